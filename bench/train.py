"""Training's throughput on this machine: DRC on images of CIFAR-10's shape, in views per second.

The whole loop (images drawn, augmented and learned from) beside the same step on one batch that
stays where it is: data are never waited for where the ratio is near 1 (bar: 0.9 on a GPU, where
augmenting costs next to nothing). Then the share of the device's matrix peak, measured here too;
the loop beside the same step fed by a DataLoader that makes torchvision's views on every core; and
two processes on CPUs, of one thread each, beside one. What is in the images does not matter to any
of it, so they are noise.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import launched, print_table, save

AUGMENT = {"rotate": 0.0, "scale": 0.0, "shift": 0.0, "shear": 0.0, "flip": 0.5}
AUGMENT |= {"crop": 0.2, "jitter": 0.4, "hue": 0.1, "grey": 0.2}
SEED = 0
SECONDS = 20.0  # that steps are timed for, at most
LIMIT = 600.0  # seconds of several processes together


@dataclasses.dataclass(frozen=True)
class Size:
    """What fits the device."""

    backbone: str
    images: int
    batch: int
    product: int  # side of the matrices that the peak is measured with
    compile: bool
    precision: str

    @classmethod
    def of(cls, device: torch.device) -> Size:
        """A ResNet-18 on a GPU, the small CNN elsewhere."""
        if device.type == "cuda":
            return cls("resnet18", 50_000, 1000, 8192, True, "bfloat16")
        return cls("small", 2048, 256, 1024, False, "float32")


def run() -> dict[str, Any]:
    """All four comparisons; each figure is printed and saved as it comes."""
    from clustcore.distributed import pick_device
    from clustcore.training import throughput

    device = pick_device("auto")
    size = Size.of(device)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "seed": SEED,
        **dataclasses.asdict(size),
    }

    def keep(**figures: float) -> None:
        found.update(figures)
        save("train", found)
        for name, value in figures.items():
            print(f"{name}: {value:,.4g}", flush=True)

    keep(loop_views_per_s=(loop := _loop(device, size)))
    constant, flops = _constant(device, size)
    keep(constant_views_per_s=constant, loop_of_constant=loop / constant, flops_per_view=flops)
    peak = throughput.peak(device, getattr(torch, size.precision), size.product)
    keep(peak_flops_per_s=peak, loop_of_peak=loop * flops / peak)
    loader = _loader(device, size)
    keep(dataloader_views_per_s=loader, loop_of_dataloader=loop / loader)
    keep(one_process_views_per_s=(alone := _processes(1)))
    keep(two_processes_views_per_s=(shared := _processes(2)), two_of_one=shared / alone)
    _print(found)
    return found


def processes_main() -> None:
    """What each process of `_processes` runs: an epoch to warm up, one to measure."""
    from clustcore.distributed import group, is_main

    torch.set_num_threads(1)
    with group("cpu") as device:
        rate = _loop(device, Size.of(device))
        if is_main():
            print(json.dumps(rate))


def _job(device: torch.device, size: Size) -> tuple[Any, Any]:
    from clustcore.models.drc import DRC
    from clustcore.training import throughput
    from clustcore.training.epoch import TrainConfig
    from clustcore.training.views import AugmentConfig

    torch.manual_seed(SEED)
    config = DRC.Config(backbone=size.backbone, input_shape=(3, 32, 32), alone=4)
    x = torch.randint(0, 256, (size.images, 3, 32, 32), dtype=torch.uint8)
    settings = TrainConfig(
        batch=size.batch, seed=SEED, precision=size.precision, compile=size.compile
    )
    job = throughput.training_of(DRC(config), x, settings, AugmentConfig.from_dict(AUGMENT), device)
    return job, job.model.stages()[0]


def _loop(device: torch.device, size: Size) -> float:
    """Views per second of the training loop; of two epochs the second, when all is warm."""
    from clustcore.training.epoch import optimiser_of, run_epoch

    job, stage = _job(device, size)
    optimiser = optimiser_of(job)
    return [run_epoch(job, stage, optimiser, e, e)[0].views_per_s for e in range(2)][1]


def _constant(device: torch.device, size: Size) -> tuple[float, float]:
    """Views per second of the step on one batch, and the operations of a view's step."""
    from clustcore.training import throughput
    from clustcore.training.epoch import draw

    job, stage = _job(device, size)
    flops = throughput.flops_of_a_view(job, stage)
    views = draw(job, stage, torch.arange(size.batch, device=device), 0)
    step = throughput.stepped(job, stage, itertools.repeat(views), SECONDS)
    return throughput.views_of(job, stage) / step, flops


class _Pairs(torch.utils.data.Dataset):
    """Two of torchvision's views of each image, the usual way: one image at a time, on the CPU."""

    def __init__(self, x: Tensor) -> None:
        from torchvision import transforms as t

        self.images = [t.functional.to_pil_image(image) for image in x]
        self.view = t.Compose(
            [
                t.RandomResizedCrop(32, (AUGMENT["crop"], 1.0)),
                t.RandomHorizontalFlip(AUGMENT["flip"]),
                t.ColorJitter(*[AUGMENT["jitter"]] * 3, AUGMENT["hue"]),
                t.RandomGrayscale(AUGMENT["grey"]),
                t.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[int, Tensor, Tensor]:
        return row, self.view(self.images[row]), self.view(self.images[row])


def _loader(device: torch.device, size: Size) -> float:
    """Views per second of the step when a DataLoader with a worker a core feeds it."""
    from clustcore.models.base import Views
    from clustcore.training import throughput

    job, stage = _job(device, size)
    steps = min(job.batches - 3, 20)
    loader = torch.utils.data.DataLoader(
        _Pairs(job.data.x[: (steps + 3) * size.batch].cpu()),
        size.batch,
        num_workers=os.cpu_count() or 1,
        pin_memory=device.type == "cuda",
    )

    def batches() -> Any:
        for ids, first, second in loader:
            ids, first, second = (t.to(device, non_blocking=True) for t in (ids, first, second))
            yield Views(job.data.x[ids].float() / 255, first, second, ids)

    step = throughput.stepped(job, stage, batches(), SECONDS)
    return throughput.views_of(job, stage) / step


def _processes(n: int) -> float:
    """Views per second of n processes on CPUs, of one thread each, sharing each batch."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    done = launched(
        [sys.executable, *command, "--no-python", sys.executable, "-c", _ONE],
        LIMIT,
        cwd=Path(__file__).resolve().parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    done.check_returncode()
    return float(json.loads(done.stdout.splitlines()[-1]))


_ONE = "from bench.train import processes_main; processes_main()"


def _print(figures: dict[str, Any]) -> None:
    rows = [
        ["the loop", "loop_views_per_s", ""],
        ["the step on one constant batch", "constant_views_per_s", "loop_of_constant"],
        ["DataLoader, torchvision's views", "dataloader_views_per_s", "loop_of_dataloader"],
        ["one process, one thread (CPU)", "one_process_views_per_s", ""],
        ["two processes, one thread each", "two_processes_views_per_s", "two_of_one"],
    ]
    print_table(
        f"DRC, {figures['backbone']}, 32x32x3, batch {figures['batch']}, {figures['device']}, "
        f"{figures['cores']} cores, {figures['threads']} threads",
        ["", "views/s", "ratio"],
        [
            [name, f"{figures[rate]:,.0f}", f"{figures[ratio]:.2f}" if ratio else ""]
            for name, rate, ratio in rows
        ],
    )
    print(
        f"matrix peak {figures['peak_flops_per_s'] / 1e12:.3g} TFLOP/s, "
        f"{figures['flops_per_view'] / 1e9:.3g} GFLOP a view: the loop reaches "
        f"{figures['loop_of_peak']:.1%} of the peak"
    )
    print("ratios: the loop to the row; two processes to one")
