"""Random draws that belong to a sample, not to a batch."""

from __future__ import annotations

import hashlib
import struct

import torch
from jaxtyping import Float, Int
from torch import Tensor


def draw(
    ids: Int[Tensor, " n"], shape: tuple[int, ...], seed: int, stream: int, *, normal: bool = False
) -> Float[Tensor, "n ..."]:
    """One float32 array of `shape` per sample: uniform in [-1, 1], or standard normal.

    Each sample's numbers come from a CPU generator seeded by (seed, id, stream), so that neither
    the order of the samples, nor how they are batched, nor the device of the model changes them.
    Another `stream` gives other numbers.
    """
    out = torch.empty(len(ids), *shape)
    generator = torch.Generator()
    for row, sample in zip(out, ids.tolist(), strict=True):
        key = hashlib.blake2b(struct.pack("<qqq", seed, sample, stream), digest_size=8).digest()
        generator.manual_seed(int.from_bytes(key, "little"))
        if normal:
            row.normal_(generator=generator)
        else:
            row.uniform_(-1, 1, generator=generator)
    return out
