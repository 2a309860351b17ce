"""Choose the engine of a method by a short measurement on images of its own video."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic

import torch
import xxhash
from torch import Tensor

from src.errors import UserError
from src.files import read_json, write_json
from src.inference.device import hardware
from src.inference.engine.options import PACKAGES, PLAIN, Engine, candidates
from src.inference.engine.parts import Net, accelerate
from src.models.video import FrameInput, VideoSegmenter
from src.ops.resize import size_of

EQUAL = 0.99  # of the labels, for an engine of lower precision to be chosen by itself
WORTH_REPEATING = 1.3  # of the shortest time; slower engines are timed once
REMEMBERED = 200  # choices

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuned(Generic[Net]):
    """A method as it is run.

    Attributes:
        network: with its parts on the engine.
        engine: chosen or asked for.
        equal: share 0..1 of labels that are those of torch in float32, None where nothing else was run.
        milliseconds: of a cycle of two frames by engine, where engines were compared in this run.
        is_fastest: whether all engines were compared that there are.
    """

    network: Net
    engine: Engine
    equal: float | None = None
    milliseconds: dict[str, float] | None = None
    is_fastest: bool = True


def tune(
    network: Net,
    backend: str,
    precision: str,
    images: Sequence[Tensor],
    threads: int,
    workers: int = 1,
    least: float = EQUAL,
    frames: float = math.inf,
) -> Tuned[Net]:
    """Put a method on the backend and precision that were asked for, or on the fastest of them.

    Choices are kept in the user's cache directory, by network, size of the images, machine and versions.

    Args:
        network: in inference form, on its device.
        backend, precision: see `candidates`.
        images: (1, 3, H, W) of the video; the first one is what engines are compared on, all calibrate int8.
        threads: of the backend, for one run.
        workers: threads that may run the method at the same time.
        least: share of equal labels for an engine of lower precision to be chosen by itself.
        frames: that the method will run on. Engines are compared until that has taken as long as all of them on the
            fastest one so far; a choice that was cut short is not kept.

    Raises:
        UserError: see `candidates`; or the engine that was asked for cannot run the network.
    """
    device = images[0].device
    engines = candidates(backend, precision, device.type)
    if engines == [PLAIN]:
        return Tuned(network, PLAIN)
    expected = _labels(network, images[0])
    if len(engines) == 1:
        tuned = _named(network, engines[0], images, threads, workers, expected)
    else:
        key = _key(network, images[0], engines, (threads, workers), device)
        remembered = [e for e in engines if str(e) == _remembered().get(key)]
        tuned = _fastest(network, remembered or engines, images, threads, workers, expected, least, frames)
        if remembered and tuned.engine not in remembered:  # its labels do not suit this video
            tuned = _fastest(network, engines, images, threads, workers, expected, least, frames)
        if tuned.is_fastest:
            _remember(key, str(tuned.engine))
    log.info("engine: %s", _line(tuned))
    return tuned


def _named(
    network: Net, engine: Engine, images: Sequence[Tensor], threads: int, workers: int, expected: list[Tensor]
) -> Tuned[Net]:
    try:
        fast = accelerate(network, engine, threads, images, workers)
        return Tuned(fast, engine, _share(expected, _labels(fast, images[0])))
    except Exception as error:  # of whatever kind the backend raises
        raise UserError(f"{engine} cannot run {network.method} ({_first_line(error)}); give backend=torch") from error


def _fastest(
    network: Net,
    engines: list[Engine],
    images: Sequence[Tensor],
    threads: int,
    workers: int,
    expected: list[Tensor],
    least: float,
    frames: float,
) -> Tuned[Net]:
    """Run the engines in turn; those that cannot run the network, or change its labels, are left out with a line."""
    image, best, shortest, began = images[0], Tuned(network, PLAIN), math.inf, time.perf_counter()
    milliseconds: dict[str, float] = {}
    for engine in engines:
        if time.perf_counter() - began > shortest * frames / 2:
            return Tuned(best.network, best.engine, best.equal, milliseconds, False)
        try:
            fast = accelerate(network, engine, threads, images, workers)
            equal = _share(expected, _labels(fast, image))  # the first run also compiles
        except Exception as error:  # of whatever kind a backend raises
            log.info("engine: %s left out, it cannot run %s (%s)", engine, network.method, _first_line(error))
            continue
        if engine.precision != "fp32" and equal < least:
            log.info("engine: %s left out, only %.1f %% of its labels are those of fp32", engine, 100 * equal)
            continue
        seconds = _time(fast, image)
        if seconds < WORTH_REPEATING * shortest:
            seconds = min(seconds, _time(fast, image))
        milliseconds[str(engine)] = round(1000 * seconds, 1)
        if seconds < shortest:
            best, shortest = Tuned(fast, engine, equal), seconds
    return Tuned(best.network, best.engine, best.equal, milliseconds)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


@torch.inference_mode()
def _labels(network: VideoSegmenter, image: Tensor) -> list[Tensor]:
    state, found = network.init_state(), []
    for kind in network.cycle(2).kinds:
        motion = torch.zeros_like(image[:, :2]) if network.uses_motion and kind != "key" else None
        labels, state = network.labels(FrameInput(image, motion), state, size_of(image))
        found.append(labels)
    return found


def _share(expected: list[Tensor], found: list[Tensor]) -> float:
    return float(torch.stack([(a == b).float().mean() for a, b in zip(expected, found, strict=True)]).mean())


@torch.inference_mode()
def _time(network: VideoSegmenter, image: Tensor) -> float:
    started = time.perf_counter()
    _labels(network, image)[-1].flatten()[:1].cpu()  # waits for the device
    return time.perf_counter() - started


def _line(tuned: Tuned[Any]) -> str:
    compared = ", ".join(f"{name} {ms} ms" for name, ms in (tuned.milliseconds or {}).items())
    equal = "" if tuned.equal is None else f", {100 * tuned.equal:.2f} % of its labels are those of torch fp32"
    return f"{tuned.engine}{equal}{f' (two frames: {compared})' if compared else ''}"


def _key(
    network: VideoSegmenter, image: Tensor, engines: list[Engine], threads: tuple[int, int], device: torch.device
) -> str:
    versions = {"torch": str(torch.__version__)}
    for package in {package for packages in PACKAGES.values() for package in packages}:
        with contextlib.suppress(Exception):
            versions[package] = version(package)
    digest = xxhash.xxh3_128()
    digest.update(
        repr(
            (
                tuple(image.shape),
                engines,
                threads,
                hardware(device),
                sorted(versions.items()),
                network.scale,
                repr(network),
            )
        ).encode()
    )
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "compressed-video-segmentation" / "engines.json"


def _remembered() -> dict[str, str]:
    try:
        content = read_json(_file())
    except (OSError, UserError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(key: str, engine: str) -> None:
    kept = list(_remembered().items())[-REMEMBERED + 1 :]
    with contextlib.suppress(OSError, UserError):  # a read-only home costs the measurement next time
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(), {**dict(kept), key: engine})
