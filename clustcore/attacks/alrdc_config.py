"""The settings of ALRDC's attack, apart from it: a screen offers them before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from clustcore.config import Config, setting


@dataclass(frozen=True, kw_only=True)
class ALRDCConfig(Config):
    """The weights of L_att, and how long the network learns."""

    weight_x: float = setting(
        2.5,
        "weight of the change of the decoded image, which a model without a decoder has none of: "
        "the larger, the less the image gives the attack away",
        range=(0, 1000),
        rare=True,
    )
    weight_y: float = setting(
        40.0,
        "weight w of the overlap <y, y'>: it sets how many samples the unscaled attack moves, "
        "10 few, 160 nearly all",
        range=(0, 1e5),
    )
    weight_d: float = setting(1.0, "weight of the shift's length", range=(0, 1000), rare=True)
    epochs: int = setting(10, "passes over the images", range=(1, 1000))
    batch: int = setting(256, "images in a batch", range=(1, 65536), rare=True)
    lr: float = setting(1e-3, "Adam's learning rate", range=(1e-7, 1), rare=True)
