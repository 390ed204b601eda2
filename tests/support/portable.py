"""What works on any system: every module is imported, Explore opens, the Train page says what it
needs, and a training is started from a terminal.

`python -m tests.support.portable` does all of it; with `--hide` as if this were a system without
POSIX.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.support.screens import calm, header, open_app, texts

# what Windows has not
MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
NAMES = {
    os: ("fork", "getuid", "killpg", "sched_getaffinity", "setsid", "sysconf", "uname"),
    signal: ("SIGHUP", "SIGKILL", "SIGUSR1"),
}
TRAIN = "train dec --data folder:images --name mine --model.clusters 2 --model.autoencode 1"
TRAIN += " --model.cluster 1 --model.width 4 --train.batch 8 --train.precision float32 --device cpu"


def hide() -> None:
    """From now on this system has no POSIX. What does not belong to this project is imported
    before: it knows the system it was installed for.
    """
    for name in ("pandas", "plotly.graph_objects", "sklearn", "streamlit.testing.v1", "torch"):
        importlib.import_module(name)
    importlib.import_module("torchvision")
    for name in MODULES:
        sys.modules[name] = None
    for module, names in NAMES.items():
        for name in names:
            delattr(module, name)


def import_all() -> int:
    """Import every module of the library and of the app; how many there are."""
    names = ["ui", "clustcore"]
    for package in names[:]:
        found = importlib.import_module(package).__path__
        names += [one.name for one in pkgutil.walk_packages(found, f"{package}.")]
    for name in names:
        importlib.import_module(name)
    return len(names)


def train(home: Path) -> None:
    """Train on a few images, by the command that the Train page names."""
    import numpy as np
    from PIL import Image

    from clustcore.cli.commands import main as clustcore

    (home / "data" / "images").mkdir(parents=True)
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (16, 28, 28))):
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(home / "data" / "images" / f"{number}.png")
    assert clustcore(TRAIN.split()) == 0
    assert (home / "runs" / "mine" / "card.json").is_file()


def main() -> None:
    """Every check, in order; the first that fails ends it."""
    if "--hide" in sys.argv[1:]:
        hide()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DRIFTMAP_HOME"] = folder
        print(import_all(), "modules imported")
        app = open_app("pages/1_Explore.py")
        assert calm(app), (app.exception, app.error, app.warning)
        assert header(app)["whole"]
        print("Explore:", texts(app)[0])
        app.switch_page("pages/6_Train.py").run()
        assert calm(app), (app.exception, app.error, app.warning)
        (info,) = app.info
        assert "needs a POSIX system" in info.value
        assert not app.button
        print("Train:", info.value)
        train(Path(folder))


if __name__ == "__main__":
    main()
