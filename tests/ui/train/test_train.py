"""Train's screens: empty, asking, running, stopped, failed, finished; folders and archives."""

from __future__ import annotations

import fcntl
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from clustcore import runs
from clustcore.datasets import find_folder, load_samples, peek
from clustcore.experiments.recipes import RECIPES
from clustcore.runs import jobs
from clustcore.runs.plan import Plan
from tests.support import demo
from tests.support.job_files import make_job, make_snapshot
from tests.support.screens import open_app
from ui import cached, notes, shell
from ui.train import images, new


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of one's own, for runs and for data; no run ships."""
    monkeypatch.setattr("clustcore.runs.folder.SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "own"))
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path / "data"))
    return tmp_path / "own"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are looked at by this process: one of their own takes seconds to begin."""
    monkeypatch.setattr(cached.images, "peek_apart", peek.peek)


@pytest.fixture
def apart(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are looked at by a process of their own, as in the app."""
    monkeypatch.setattr(cached.images, "peek_apart", peek.peek_apart)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A folder of 2 x 12 colour images below the root."""
    rng = np.random.default_rng(0)
    for name in ("red", "blue"):
        folder = tmp_path / "data" / "mine" / "flowers" / name
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 255, (20 + i % 6, 30, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "data" / "mine" / "flowers"


@pytest.fixture
def running(place: Path) -> Iterator[Path]:
    """A job whose process seems to work."""
    folder = make_job(place, "going", epochs=8, started=1.8e9)
    with (folder / "log.txt").open("rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What would have been started."""
    calls: list[Plan] = []
    monkeypatch.setattr(jobs, "start", calls.append)
    return calls


def open_train(**query: str) -> AppTest:
    return open_app("pages/6_Train.py", **query)


def button(app: AppTest, label: str) -> Any:
    (found,) = [one for one in app.button if one.label == label]
    return found


def words(app: AppTest) -> str:
    shown = (*app.caption, *app.markdown, *app.info, *app.warning, *app.error, *app.success)
    return "\n".join(item.value for item in shown)


def test_without_any_run_home_shows_the_way_to_train():
    app = open_app()
    labels = [link.label for link in app.get("page_link")]
    assert "Train a model of your own" in labels


def test_a_training_is_asked_for_and_started(place, started, apart):
    app = open_train()
    assert not app.exception
    assert not app.error
    assert app.title[0].value.startswith("Train: ")
    app.selectbox(key="train_data").set_value("digits").run()
    assert "1,297 images · 8 x 8 pixels · grey · 10 classes, which training never reads" in words(
        app
    )
    app.selectbox(key="train_model").set_value("dec").run()
    app.number_input(key="own__dec_cluster").set_value(3).run()
    app.number_input(key="train__dec_seed").set_value(4).run()
    assert not app.exception
    line = "python -m clustcore train dec --data digits --name my-dec-digits --seed 4"
    project = "python -m clustcore project my-dec-digits"
    assert app.code[0].value == f"{line} --model.cluster 3\n{project}"
    button(app, "Start training").click().run()
    plan = Plan("dec", "digits", {"cluster": 3}, train={"seed": 4}, name="my-dec-digits")
    assert started == [plan]


def test_a_teacher_is_made_first_where_it_is_asked_for(place, started):
    app = open_train()
    app.selectbox(key="train_data").set_value("digits").run()
    app.number_input(key="own__drc_taught").set_value(2).run()
    assert "expected 0 without a teacher" in words(app)
    assert all(one.label != "Start training" for one in app.button)
    app.toggle(key="teach__drc").set_value(True).run()
    assert not app.error
    teacher = place / "my-drc-digits" / "teacher.npz"
    first, second, third = app.code[0].value.splitlines()
    assert first == f"python -m clustcore teach --data digits --seed 0 --out {teacher}"
    assert second.endswith(f"--teacher {teacher}")
    assert third == "python -m clustcore project my-drc-digits"
    button(app, "Start training").click().run()
    assert started[0].config == {"taught": 4, "alone": 0, "weight_t": 10.0}
    assert started[0].teach == {}
    assert started[0].train == {"lr": RECIPES["drc-mnist"].plan.train["lr"]}


@pytest.mark.parametrize(
    ("name", "says"),
    [("a/b", "beginning with a letter"), ("halted", "There is a training"), ("demo", "a run demo")],
)
def test_a_name_that_is_wrong_or_taken_starts_nothing(place, started, name, says):
    make_job(place, "halted")
    demo.make_run(place)
    app = open_train()
    app.selectbox(key="train_data").set_value("digits").run()
    app.text_input(key="train_name").set_value(name).run()
    assert any(says in error.value for error in app.error)
    assert all(one.label != "Start training" for one in app.button)


def test_a_start_that_fails_says_why(monkeypatch):
    def refuse(plan: Plan) -> None:
        raise ValueError("run 'x' is being trained by another process")

    monkeypatch.setattr(jobs, "start", refuse)
    app = open_train()
    app.selectbox(key="train_data").set_value("digits").run()
    button(app, "Start training").click().run()
    assert "run 'x' is being trained by another process" in words(app)
    assert not app.exception


def test_what_is_typed_just_before_the_click_counts(place, started):
    app = open_train()
    app.selectbox(key="train_data").set_value("digits").run()
    app.selectbox(key="train_model").set_value("dec").run()
    app.text_input(key="train_name").set_value("mine")
    app.number_input(key="train__dec_seed").set_value(4)
    button(app, "Start training").click().run()
    assert [(plan.name, plan.train) for plan in started] == [("mine", {"seed": 4})]
    assert app.text_input(key="train_name").value == ""


def test_a_training_that_was_started_is_watched(place, monkeypatch):
    monkeypatch.setattr(jobs, "start", lambda plan: make_job(place, plan.name))
    app = open_train()
    app.selectbox(key="train_data").set_value("digits").run()
    button(app, "Start training").click().run()
    assert not app.exception
    assert app.selectbox(key="training").value == "my-drc-digits"


def test_a_root_that_is_not_there_is_said_and_made_for_a_download(tmp_path, started):
    app = open_train()
    app.selectbox(key="train_data").set_value("stl10").run()
    assert f"There is no folder {tmp_path / 'data'}" in words(app).replace("\\", "")
    app.toggle[0].set_value(True).run()
    button(app, "Start training").click().run()
    assert (tmp_path / "data").is_dir()


def test_data_that_are_not_there_are_said(started, apart):
    app = open_train()
    app.selectbox(key="train_data").set_value("mnist").run()
    assert "expected the train split of mnist" in words(app).replace("\\", "")
    assert all(one.label != "Start training" for one in app.button)
    app.toggle[0].set_value(True).run()
    button(app, "Start training").click().run()
    assert started[0].download


def test_a_defence_needs_a_run_of_the_same_images(place, started):
    demo.make_run(place, data="digits", train={"lr": 0.25, "minutes": 3.0, "seed": 9})
    app = open_train()
    app.selectbox(key="train_defence").set_value("pgd_at").run()
    assert app.number_input(key="train_demo_pgd_at_lr").value == 0.25
    assert app.number_input(key="train_demo_pgd_at_minutes").value == 0
    app.number_input(key="train_demo_pgd_at_lr").set_value(0.001).run()
    assert "clustcore defend demo --defence pgd_at" in app.code[0].value
    button(app, "Start training").click().run()
    (plan,) = started
    assert plan.name == "demo-pgd-at"
    assert (plan.source, plan.defence, plan.train) == ("demo", "pgd_at", {"lr": 0.001})
    (place / "demo" / "weights.safetensors").unlink()
    app.run()
    assert "train one without a defence first" in words(app)


def test_a_training_without_an_epoch_is_not_started(started):
    app = open_train()
    app.selectbox(key="train_data").set_value("digits").run()
    app.number_input(key="own__drc_alone").set_value(0).run()
    stages = "features, alone, taught, relabelled, selflabel, surest"
    assert f"expected at least 1 of {stages}" in words(app)
    assert all(one.label != "Start training" for one in app.button)
    app.number_input(key="own__drc_selflabel").set_value(1).run()
    assert not app.error


def test_heads_that_follow_a_teacher_ask_for_one(started):
    app = open_train()
    app.selectbox(key="train_data").set_value("digits").run()
    app.selectbox(key="own__drc_heads").set_value("teacher").run()
    assert "Heads: expected another choice than teacher where there is none." in words(app)
    assert all(one.label != "Start training" for one in app.button)
    app.selectbox(key="own__drc_heads").set_value("scan").run()
    assert not app.error


@pytest.mark.parametrize(
    ("fitted_on", "has"),
    [(None, "has none"), ("f" * 64, "has one that was fitted on other weights"), ("0" * 64, "")],
)
def test_a_defence_against_an_attacker_needs_one(place, started, fitted_on, has):
    folder = demo.make_run(place, data="digits")
    if fitted_on is not None:
        (folder / runs.ATTACKERS).mkdir()
        file = runs.attacker_file(runs.find_run("demo"), "alrdc")
        save_file({"w": np.zeros(1, np.float32)}, file, {"fitted_on": fitted_on})
    app = open_train()
    app.selectbox(key="train_defence").set_value("alrdc").run()
    assert not app.exception
    assert (f"and demo {has}. Choose the attack ALRDC" in words(app)) == bool(has)
    assert any(one.label == "Start training" for one in app.button) == (not has)


# A folder of one's own


def test_folders_below_the_root_are_listed_and_looked_at(flowers, started):
    app = open_train()
    app.segmented_control(key="train_kind").set_value("Folder").run()
    assert app.selectbox(key="train_folder").options == ["Folder mine/flowers"]
    assert "24 images · 30 x 20 to 30 x 25 pixels · colour · 2 classes" in words(app)
    project = f"python -m clustcore project my-drc-flowers --root {flowers.parents[1]}"
    assert app.code[0].value.splitlines()[-1] == project
    button(app, "Start training").click().run()
    (plan,) = started
    assert plan.name == "my-drc-flowers"
    assert plan.data == "folder:mine/flowers"
    assert plan.root == str(flowers.parents[1])


def test_without_folders_the_screen_says_where_they_belong():
    app = open_train()
    app.segmented_control(key="train_kind").set_value("Folder").run()
    assert "streamlit run app.py -- --root DIR" in words(app)


def test_unreadable_images_are_said(flowers):
    for file in flowers.rglob("*.png"):
        file.write_bytes(b"no image")
    app = open_train()
    app.segmented_control(key="train_kind").set_value("Folder").run()
    assert "expected at least 2 readable images, got 0 of 24" in words(app).replace("\\", "")


def test_an_archive_becomes_a_folder_that_is_chosen(tmp_path, flowers, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in flowers.rglob("*.png"):
            archive.write(file, file.relative_to(flowers))
    packed.name = "petals.zip"
    session: dict[str, Any] = {"train_zip": packed}
    monkeypatch.setattr(images.st, "session_state", session)
    images.unpack_upload()
    assert session["train_kind"] == "Folder"
    assert session["train_folder"] in peek.folders()
    assert peek.peek(session["train_folder"]).n == 24
    session["train_zip"] = io.BytesIO(b"no archive")
    images.unpack_upload()
    assert session["train_error"]


def test_an_archive_that_cannot_be_trained_on_leaves_nothing_and_says_why(
    tmp_path, flowers, monkeypatch
):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for part in ("train", "test"):
            archive.write(flowers / "red" / "0.png", f"{part}/red/0.png")
    packed.name = "one.zip"
    session: dict[str, Any] = {"train_zip": packed}
    monkeypatch.setattr(images.st, "session_state", session)
    images.unpack_upload()
    assert "expected images, or at least 2 classes" in session["train_error"].replace("\\", "")
    assert "train_folder" not in session
    assert not list((tmp_path / "data" / "uploads").iterdir())


def test_what_was_just_unpacked_is_offered_beyond_the_list(flowers, started):
    app = open_train()
    app.session_state["train_unpacked"] = "folder:mine/flowers/red"
    app.session_state["train_folder"] = "folder:mine/flowers/red"
    app.segmented_control(key="train_kind").set_value("Folder").run()
    options = app.selectbox(key="train_folder").options
    assert options == ["Folder mine/flowers/red", "Folder mine/flowers"]
    assert "12 images" in words(app)
    assert "Expected at least 20 images, which a map takes, got 12" in words(app)
    assert all(one.label != "Start training" for one in app.button)


def test_folders_that_may_not_be_read_are_left_out(flowers, monkeypatch):
    closed = flowers.parents[1] / "closed"
    closed.mkdir()
    listed = Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:
        if self == closed:
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert peek.folders() == ["folder:mine/flowers"]


def test_thumbnails_come_from_files_that_are_whole(tmp_path):
    place = tmp_path / "data" / "many"
    place.mkdir(parents=True)
    for i in range(36):
        Image.new("RGB", (9, 9), (7 * i, 0, 0)).save(place / f"{i:02}.bmp")
        if i % 3 == 0:  # the header is whole, the pixels are not
            (place / f"{i:02}.bmp").write_bytes((place / f"{i:02}.bmp").read_bytes()[:60])
    found = peek.peek("folder:many")
    assert len(found.unread) == 12
    assert Image.open(io.BytesIO(found.sheet)).width == 12 * (56 + 8)


def test_a_folder_of_one_image_says_no_more_than_that(tmp_path):
    place = tmp_path / "data" / "one"
    place.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(place / "a.png")
    with pytest.raises(ValueError, match=r"got 1 of 1 that were opened$"):
        peek.peek("folder:one")


def test_a_named_folder_is_found_again_and_never_leaves_its_root(tmp_path, flowers):
    found = load_samples("folder:mine/flowers", "test")
    assert (found.name, found.split, found.x.shape) == (
        "folder:mine/flowers",
        "all",
        (24, 3, 32, 32),
    )
    for where in ("../own", "/etc", "mine/../../own"):
        with pytest.raises(ValueError, match="expected a path below a root, without"):
            load_samples(f"folder:{where}", "train")
    (tmp_path / "data" / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="expected it below"):
        find_folder("out")
    with pytest.raises(ValueError, match="unknown data set 'mnist:x'"):
        load_samples("mnist:x", "train")


def test_roots_are_named_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["app.py", "--root", str(tmp_path / "a"), "--root", "b"])
    shell.take_roots()
    assert os.environ["DRIFTMAP_DATA"].split(os.pathsep) == [
        str(tmp_path / "a"),
        str(Path("b").resolve()),
    ]


@pytest.mark.parametrize("sidebar", [True, False])
def test_a_failure_names_only_ways_out_that_are_there(sidebar):
    def app(sidebar):  # its source is run by itself: no names of this module
        from ui import notes

        with notes.calm(sidebar=sidebar):
            raise ValueError("no")

    shown = words(AppTest.from_function(app, kwargs={"sidebar": sidebar}).run())
    assert ("Choose another model at the left, or Reset" in shown) == sidebar
    assert "eloading starts anew" in shown


# Watching


def test_coming_back_finds_the_running_training(running):
    make_snapshot(running, 7, mapped=True)
    app = open_train()
    assert not app.exception
    assert app.selectbox(key="training").value == "going"
    shown = words(app)
    assert "Digits, 8 x 8 · DEC · training" in shown.splitlines()
    assert "Epoch 8 · 300 training images, the same each time" in shown
    assert "9 of 10 clusters hold samples; empty: 9" in shown
    assert "accuracy" in shown
    assert len(app.get("plotly_chart")) == 2
    assert not app.warning
    titles = [json.loads(chart.proto.spec)["layout"]["title"] for chart in app.get("plotly_chart")]
    assert titles[0]["subtitle"]["text"] == "epoch 8, n = 1,350, seed 3"


@pytest.mark.parametrize("model", ["drc", "dec"])
def test_the_parts_of_the_loss_of_drc_are_explained(place, model):
    folder = make_job(place, "halted", stop=True)
    plan = json.loads((folder / "plan.json").read_text()) | {"model": model}
    (folder / "plan.json").write_text(json.dumps(plan))
    shown = words(open_train(training="halted"))
    assert ("af, the contrast of samples" in shown) == (model == "drc")


def test_stopping_asks_first(running, monkeypatch):
    asked: list[Path] = []
    monkeypatch.setattr(jobs, "stop", asked.append)
    app = open_train(training="going")
    button(app, "Stop").click().run()
    assert not asked
    assert "What was trained up to the last whole epoch is kept" in words(app)
    button(app, "Stop it").click().run()
    assert asked == [running]


def test_a_stopped_training_can_go_on(place, monkeypatch):
    folder = make_job(place, "halted", stop=True)
    gone: list[Path] = []
    monkeypatch.setattr(jobs, "resume", gone.append)
    app = open_train(training="halted")
    assert not app.exception
    assert "stopped at epoch 6 of 20" in words(app)
    button(app, "Resume").click().run()
    assert gone == [folder]


def test_a_failed_training_says_which_part_and_epoch(place):
    said = "stage 'cluster', epoch 6: loss: expected a finite number, got nan (part kl)"
    make_job(place, "bad", ended=(("train", 2),), reason=said)
    app = open_train(training="bad")
    assert not app.exception
    assert [notes.plain(said)] == [error.value for error in app.error]
    assert button(app, "Resume")


def test_nearly_all_in_one_cluster_is_a_notice(place):
    make_job(place, "alone", alone=True)
    app = open_train(training="alone")
    assert "100% of the samples are in cluster 0" in words(app)
    assert not app.error


def test_a_batch_that_was_halved_is_said(place):
    make_job(place, "tight", stop=True, batches=(256, 64))
    make_job(place, "roomy", stop=True)
    said = "a batch holds 64 images now, and held 256 at the start"
    assert said in words(open_train(training="tight"))
    assert "Memory ran out" not in words(open_train(training="roomy"))


def test_a_finished_training_leads_on(place):
    demo.make_run(place, "done", data="digits")
    for file in make_job(place, "copy", ended=(("project", 0),)).iterdir():
        file.rename(place / "done" / file.name)
    app = open_train(training="done")
    assert not app.exception
    links = [link.label for link in app.get("page_link")]
    assert {"Explore it", "Attack it"} <= set(links)
    assert "finished" in words(app)


def test_earlier_trainings_are_listed_with_their_state(place):
    make_job(place, "halted", stop=True)
    app = open_train()
    assert app.selectbox(key="training").value == new.NEW
    app.selectbox(key="train_data").set_value("digits").run()
    assert "stopped at epoch 6 of 20 · started 2023-11-1" in words(app)
    button(app, "halted").click().run()
    assert app.selectbox(key="training").value == "halted"


def test_while_its_map_is_made_the_last_live_map_stays_and_stop_is_there(place, running):
    (running / "card.json").write_text("{}")
    make_snapshot(running, 7, mapped=True)
    app = open_train(training="going")
    assert "the map of the test images is being made" in words(app)
    button(app, "Stop").click().run()
    assert "Its map can be made later" in words(app)


def test_a_run_without_a_map_gets_one(place, monkeypatch):
    demo.make_run(place, "done", data="digits")
    for file in make_job(place, "copy", stop=True, ended=(("project", 130),)).iterdir():
        file.rename(place / "done" / file.name)
    (place / "done" / "map.npz").unlink()
    make_snapshot(place / "done", 5, mapped=True)
    plan = json.loads((place / "done" / "plan.json").read_text()) | {"root": "/some where"}
    (place / "done" / "plan.json").write_text(json.dumps(plan))
    made: list[Path] = []
    monkeypatch.setattr(jobs, "make_map", made.append)
    app = open_train(training="done")
    assert not app.exception
    assert "python -m clustcore project done --root '/some where'" in words(app)
    assert "finished, no map" in words(app)
    assert "Epoch 6 · 300 training images" in words(app)
    button(app, "Make the map").click().run()
    assert made == [place / "done"]


def test_an_unknown_training_of_a_link_is_said(place):
    make_job(place, "halted")
    app = open_train(training="nothing")
    assert app.selectbox(key="training").value == new.NEW
    assert "There is no training 'nothing' here" in app.toast[0].value
