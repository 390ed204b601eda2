"""The samples that a command works on."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clustcore.runs import Card
    from clustcore.types import Samples


def samples_of(
    card: Card,
    name: str | None = None,
    split: str | None = None,
    root: str | None = None,
    download: bool = False,
) -> Samples:
    """The samples that fit a run.

    They are those of its own data that it is judged on, unless others are named.
    """
    from clustcore.datasets import judged_split, load_samples
    from clustcore.datasets.shipped import SOURCES

    name = name or card.data.name
    split = split or judged_split(name, card.data.split)
    root = None if split == "test" and name in SOURCES else root  # what ships is at hand
    load = functools.partial(load_samples, name, split, root=root, download=download)
    if name.partition(":")[0] == "folder":
        # what the model was trained on decides, not the first image found
        channels, size, _ = card.input_shape
        samples = load(channels=channels, size=size)
    else:
        samples = load()
    say_skipped(samples)
    return samples


def loaded(name: str, split: str, root: str | None, download: bool) -> Samples:
    """Samples to train on; of several processes the first downloads, before the others read."""
    from clustcore.datasets import load_samples
    from clustcore.distributed import first_main, is_main

    samples = first_main(
        lambda: load_samples(name, split, root=root, download=download and is_main())
    )
    say_skipped(samples)
    return samples


def say_skipped(samples: Samples) -> None:
    """Name the files that could not be read."""
    for file in samples.skipped:
        print(f"skipped {file}", file=sys.stderr)
