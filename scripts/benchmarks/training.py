"""Training throughput against a plain loop over the same modules: `python -m scripts.benchmarks.training [--rounds N]`.

Four ways train the same network on the same batches, which are in memory (loading has its own benchmark): a loop as
it is commonly written, in fp32 with the optimiser as torch makes it; the same loop with this platform's settings but
the precision; this platform in fp32; and this platform as it is by default. Each round runs each way once; a line has
the median rate with its quartiles, and the medians of the ratios to both loops, round by round. Batches and crops are
those of the recipes for two CPU cores, experiment=arseg_camvid_small and rdrnet_camvid_small.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from src.benchmarking.latency import synchronise
from src.cli.config import plain
from src.data.batch import ClipBatch
from src.inference.device import choose_device
from src.ops.cpu.memory import keep_freed_memory
from src.training.loggers import silence_warnings
from src.training.phases import Phase, build_phase
from tests.support.configs import compose_config

CASES = {  # configuration, phase, frames of a clip, crop
    "AR-Seg, phase 2": (["experiment=arseg_street"], "low", 2, (320, 416)),
    "RDRNet-S-Simple": (["data=street", "network=rdrnet_s_simple"], "image", 1, (288, 352)),
}
FP32 = ["trainer.precision=32-true", "channels_last=false"]
COMMON = [*FP32, "model.optimizer.fused=false", "trainer.deterministic=false"]
WAYS = {  # settings, and whether a loop of our own trains rather than the platform
    "common loop, fp32": (COMMON, True),
    "equal loop, fp32": (FP32, True),
    "platform, fp32": (FP32, False),
    "platform, default": ([], False),
}
WARMUP = 2  # steps


class Stopwatch(L.Callback):
    """Times all steps after the first `WARMUP`."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARMUP:
            synchronise(pl_module.device)
            self.begin = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            synchronise(pl_module.device)
            self.end = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=4, help="that are timed in each round")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    silence_warnings()
    keep_freed_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            case = Case(name, Path(folder), batches(name, given.batch), given.steps)
            report(name, measure(case, given.rounds))


class Case:
    """One network, trained in several ways.

    Args:
        name: among `CASES`.
        folder: for what training writes.
        data: batches, taken in turn.
        steps: that are timed.
    """

    def __init__(self, name: str, folder: Path, data: list[ClipBatch], steps: int) -> None:
        self.overrides, self.phase, *_ = CASES[name]
        self.folder, self.data, self.steps = folder, data, steps
        if self.phase == "low":
            self.overrides = [*self.overrides, f"model.high_checkpoint={self._high_branch()}"]

    def rate(self, way: str) -> float:
        """Clips per second."""
        settings, plain = WAYS[way]
        phase = self.build(settings)
        seconds = self.plain(phase) if plain else self.platform(phase)
        return self.steps * len(self.data[0]) / seconds

    def build(self, settings: list[str], name: str | None = None) -> Phase:
        """The phase as `src.train` builds it."""
        fixed = [
            "num_classes=11",
            "trainer.max_epochs=1",
            "+limits.max_epochs=1",
            "+limits.limit_val_batches=0",
            "+limits.enable_progress_bar=false",
            "callbacks.progress=null",
        ]
        config = compose_config("train", self.folder, *self.overrides, *settings, *fixed)
        return build_phase(config, plain(config), self.folder, name or self.phase)

    def batches(self) -> Iterator[ClipBatch]:
        """As many as a round takes."""
        return islice(cycle(self.data), WARMUP + self.steps)

    def platform(self, phase: Phase) -> float:
        """Seconds of the steps in Lightning, with all callbacks and loggers."""
        watch = Stopwatch()
        phase.trainer.callbacks.insert(0, watch)
        phase.trainer.fit(phase.module, train_dataloaders=DataLoader(list(self.batches()), batch_size=None))
        return watch.end - watch.begin

    def plain(self, phase: Phase) -> float:
        """Seconds of the steps in a loop of our own."""
        device = choose_device("auto")
        module = phase.module.to(device).train()
        module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
        optimizer = module.make_optimizer([p for p in module.parameters() if p.requires_grad])
        scheduler = module.make_scheduler(optimizer, total_steps=WARMUP + self.steps)
        for number, batch in enumerate(self.batches()):
            if number == WARMUP:
                synchronise(device)
                begin = time.perf_counter()
            optimizer.zero_grad()
            module.training_step(batch.to(device), number).backward()
            optimizer.step()
            scheduler.step()
        synchronise(device)
        return time.perf_counter() - begin

    def _high_branch(self) -> Path:
        """The checkpoint of an untrained one."""
        module = self.build(FP32, "high").module
        path = self.folder / "high.ckpt"
        torch.save({"metadata": module.metadata, "state_dict": module.state_dict()}, path)
        return path


def batches(name: str, size: int) -> list[ClipBatch]:
    """Two batches of noise with motion of a few pixels, for one of `CASES`."""
    _, _, frames, shape = CASES[name]
    torch.manual_seed(0)
    return [
        ClipBatch(
            torch.randn(size, frames, 3, *shape),
            torch.randint(0, 11, (size, *shape)),
            3 * torch.randn(size, 2, *shape),
            torch.rand(size, *shape) < 0.9,
            torch.full((size,), 5),
            [str(n) for n in range(size)],
        )
        for _ in range(2)
    ]


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Rates by way and round; a first round warms up."""
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in WAYS:
            rate = case.rate(way)
            if number:
                rates[way].append(rate)
    return rates


def report(name: str, rates: dict[str, list[float]]) -> None:
    """One line per way."""
    print(name)
    common, equal = (np.array(rates[way]) for way in list(WAYS)[:2])
    for way, values in rates.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        ratios = [np.median(np.array(values) / loop) for loop in (common, equal)]
        print(
            f"  {way:20} {median:7.2f} clips/s ({low:.2f} .. {high:.2f})   {ratios[0]:.3f} of the common loop, "
            f"{ratios[1]:.3f} of the equal one",
            flush=True,
        )


if __name__ == "__main__":
    main()
