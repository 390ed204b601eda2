"""The images that Train asks for: a data set, a folder, or an archive that becomes a folder."""

from __future__ import annotations

import os
import shutil

import streamlit as st

from clustcore.datasets import DATASETS, data_folder, roots
from clustcore.datasets.archive import unpack
from clustcore.datasets.folder import find
from clustcore.datasets.peek import Peek, folders
from clustcore.locations import OPEN_APP
from clustcore.manifold import FEWEST
from ui import cached, notes, scene


def images() -> tuple[str, bool] | None:
    """Ask for the images to train on, and show what there is.

    Returns:
        their name, and whether they may be downloaded; None where there is nothing to train on yet.
    """
    kind = st.segmented_control(
        "Where from",
        ["Data set", "Folder", "Zip file"],
        default="Data set",
        required=True,
        key="train_kind",
        label_visibility="collapsed",
        persist_state="session",
    )
    if kind == "Zip file":
        _upload()
        return None
    if os.environ.get("DRIFTMAP_DATA"):
        for root in roots():
            if not root.is_dir():
                st.warning(
                    f"There is no folder {notes.plain(str(root))}, which was named at the start.",
                    icon=":material/folder_off:",
                )
    if kind == "Folder":
        names = folders()
        unpacked = st.session_state.get("train_unpacked")
        if unpacked and unpacked not in names:  # there may be more than are listed
            names.insert(0, unpacked)
        if not names:
            st.info(
                "A folder counts that lies below `data/`, or below a folder named at the start: "
                f"`{OPEN_APP} --root DIR`. It holds PNG or JPEG files, or one "
                "sub-folder of them for each class. A zip file can be uploaded instead.",
                title="No folder of images here yet",
                icon=":material/folder_off:",
            )
            return None
        if st.session_state.get("train_folder") not in names:
            st.session_state.pop("train_folder", None)
        name = st.selectbox(
            "Folder", names, format_func=_label, key="train_folder", persist_state="session"
        )
    else:
        names = [name for name in DATASETS if name != "folder"]
        name = st.selectbox(
            "Data set", names, format_func=_label, key="train_data", persist_state="session"
        )
    with st.spinner("Looking at the images", show_time=True):
        peek, problem = cached.images.peek(name)
    if peek is None:
        st.warning(notes.plain(problem), title="No images to train on", icon=":material/image:")
        able = kind == "Data set" and DATASETS[name].download
        if able and st.toggle(f"Let torchvision download it into {data_folder().name}/"):
            return name, True
        return None
    _thumbs(peek)
    if peek.n < FEWEST:
        st.error(
            f"Expected at least {FEWEST} images, which a map takes, got {peek.n}.",
            icon=":material/error:",
        )
        return None
    return name, False


def _thumbs(peek: Peek) -> None:
    colour = "colour" if peek.colour else "grey"
    classes = f" · {peek.classes} classes, which training never reads" if peek.classes else ""
    st.image(peek.sheet, alt="A few of the images")
    st.caption(f"{peek.n:,} images · {peek.sizes} · {colour}{classes}")
    if peek.unread:
        shown = "; ".join(notes.plain(file) for file in peek.unread[:3])
        st.caption(f":material/warning: {len(peek.unread)} cannot be read: {shown}")


def _upload() -> None:
    st.file_uploader(
        "A zip file of images",
        type="zip",
        key="train_zip",
        on_change=unpack_upload,
        help="PNG or JPEG files, or a folder of them for each class; up to 200 MB.",
    )
    st.caption(f"It is unpacked below `{data_folder().name}/uploads`, and stays there as a folder.")


def unpack_upload() -> None:
    """Make a folder of the archive that was just uploaded, and choose it."""
    file = st.session_state.get("train_zip")
    if file is None:
        return
    try:
        place = unpack(file, data_folder() / "uploads")
        try:
            parted = (place / "train").is_dir() and (place / "test").is_dir()
            find(place / "train" if parted else place)
        except ValueError:
            shutil.rmtree(place)
            raise
    except (ValueError, OSError) as error:
        st.session_state["train_error"] = notes.say(error)
        return
    name = f"folder:{place.relative_to(data_folder()).as_posix()}"
    st.session_state["train_folder"] = st.session_state["train_unpacked"] = name
    st.session_state["train_kind"] = "Folder"


def _label(name: str) -> str:
    return scene.label("dataset", name)
