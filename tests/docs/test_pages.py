"""Examples in the docs and the README run, their commands exist, their links lead somewhere."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import sys
from types import SimpleNamespace

import pytest

from clustcore.cli.commands import main as clustcore
from clustcore.maps import projection
from tests.conftest import quick
from tests.support import ROOT
from tests.support.small_recipe import Planes

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"# ([\w/]+\.py)\n")  # the first line of a block that is a file of its own
KINDS = {"python", "sh", "text"}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def blocks(page, kind):
    """The blocks of code of this kind, in order."""
    return [
        text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == kind
    ]


@every_page
def test_every_block_says_what_it_is(page):
    found = {kind for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert found <= KINDS


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page, "python")],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    # a map is made in a second: how good it is does not matter here
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Planes))
    fit = projection.fit
    monkeypatch.setattr(projection, "fit", lambda z, _=None, **more: fit(z, quick(), **more))
    names = {"__name__": "__main__"}
    files = [match[1] for text in blocks(page, "python") if (match := FILE.match(text))]
    for file in files:  # a module of an earlier page by that name is another one
        monkeypatch.delitem(sys.modules, file.removesuffix(".py"), raising=False)
    for number, text in enumerate(blocks(page, "python")):
        if match := FILE.match(text):
            (tmp_path / match[1]).write_text(text, encoding="utf-8")
        exec(compile(text, f"{page.name}, block {number}", "exec"), names)


def commands(page):
    """The words that follow each `clustcore` in the page's blocks for a shell."""
    found = []
    for text in blocks(page, "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part, comments=True)
                if "clustcore" in words:
                    found.append(words[words.index("clustcore") + 1 :])
    return [words for words in found if words]


@functools.cache
def usage(*words):
    """What a command says of its flags."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        assert clustcore([*words, "--help"]) == 0
    return out.getvalue()


@every_page
def test_commands_and_their_flags_exist(page):
    for words in commands(page):
        command, *rest = words
        given = rest[:1] if command in ("train", "reproduce") and rest[0][:1] != "-" else []
        if command == "defend":
            given = [rest[0], "--defence", rest[rest.index("--defence") + 1]]
        known = set(re.findall(r"--[\w.-]+", usage(command, *given))) | {"--defence"}
        assert {word for word in rest if word.startswith("--")} - known == set(), words


def test_a_flag_that_is_not_there_would_be_found():
    assert "--model.width" in usage("train", "drc")
    assert "--model.breadth" not in usage("train", "drc")


def anchor(heading):
    """What a heading is called in a link."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@every_page
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, part = target.partition("#")
        place = (page.parent / file) if file else page
        assert place.exists(), target
        if part and not part.startswith("clustcore."):
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.M)
            assert part in map(anchor, headings), target
        elif part:  # made by the reference: `mkdocs build --strict` looks for the name itself
            module = re.findall(r"^::: ([\w.]+)$", place.read_text(encoding="utf-8"), re.M)
            assert any(part.startswith(f"{name}.") for name in module), target


def test_every_page_is_on_the_site_and_every_module_group_in_the_reference():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in site
    drawn = set()
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        drawn |= set(re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.M))
    groups = {name.split(".")[1] for name in drawn}
    folders = {path.parent.name for path in (ROOT / "clustcore").glob("*/__init__.py")}
    assert folders - groups == {"cli"}
    import clustcore as door

    index = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[`(\w+)`\]", index, re.M)) == set(door.__all__)


def test_the_picture_is_there_and_small():
    picture = (ROOT / "docs" / "images" / "dial.gif").read_bytes()
    assert picture.startswith(b"GIF89a")
    assert len(picture) <= 1_500_000
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        assert "images/dial.gif" in page.read_text(encoding="utf-8")
