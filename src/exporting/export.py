"""From a checkpoint's network to a folder of files that run without this project."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.checkpoints.load import LoadedModel
from src.errors import LONGEST_SIDE, UserError, check_whole
from src.exporting.calibration import recorded
from src.exporting.comparison import Agreement, check, compare, synthetic_frames, synthetic_inputs
from src.exporting.graphs import Graphs, trace
from src.exporting.runtimes import Runtime, runtime_of
from src.exporting.segmenter import ExportedSegmenter
from src.inference.engine.int8 import quantised
from src.models.video import FrameInput, VideoSegmenter

FORMAT = 1  # of the metadata
USUAL = (288, 480)  # without a video, what a network of open size is traced and compared at; multiples of 32
SMALLEST = 32  # pixels: the deepest stride
LARGEST_MULTIPLE = 32
OTHER = (64, 128)  # added to a size to compare at another one
TIMED = 3  # rounds per frame

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportOptions:
    """Settings of an export.

    Attributes:
        format: a key of `RUNTIMES`.
        precision: "fp32", "bf16" (OpenVINO: stored in fp16, computed in bf16) or "int8".
        size: (height, width) of the images; None leaves it open where the network and the format allow it.
        threads: of the runtime in comparisons.

    Raises:
        UserError: an unknown format or precision, a missing package, or a size out of range.
    """

    format: str
    precision: str
    size: tuple[int, int] | None
    threads: int

    def __post_init__(self) -> None:
        runtime_of(self.format, self.precision)
        for key, value in zip(("input.height", "input.width"), self.size or (), strict=False):
            check_whole(key, value, SMALLEST, LONGEST_SIDE)


@dataclass(frozen=True)
class Exported:
    """A folder with a method's files.

    Attributes:
        segmenter: runs them.
        graphs: that they hold.
        rows: of the comparison with the network, the last one.
    """

    segmenter: ExportedSegmenter
    graphs: Graphs
    rows: list[Agreement]


def export(
    loaded: LoadedModel,
    net: VideoSegmenter,
    folder: Path,
    options: ExportOptions,
    video: Iterable[FrameInput] | None,
    calibration: Iterable[FrameInput] | None,
    usual: tuple[int, int] = USUAL,
) -> Exported:
    """Write the files of a method, and compare them with it.

    Args:
        loaded: the checkpoint.
        net: its network in inference form, on the CPU.
        folder: to write to.
        options: what is written.
        video: frames to compare on; None: synthetic ones.
        calibration: frames of one stream, for int8.
        usual: (height, width) to trace and compare at where the size is open.

    Raises:
        UserError: a network that cannot be exported, or files that give something else.
    """
    size = options.size or usual
    if options.size is None:
        try:
            return _export(loaded, net, folder, options, video, calibration, size, True)
        except _FixedSize as reason:
            log.warning("the size of the images is fixed at %dx%d: %s", *size, reason)
    return _export(loaded, net, folder, options, video, calibration, size, False)


class _FixedSize(Exception):
    """Why the size of the images cannot be left open."""


def _export(
    loaded: LoadedModel,
    net: VideoSegmenter,
    folder: Path,
    options: ExportOptions,
    video: Iterable[FrameInput] | None,
    calibration: Iterable[FrameInput] | None,
    size: tuple[int, int],
    dynamic: bool,
) -> Exported:
    runtime = runtime_of(options.format, options.precision)
    cycle = net.cycle(3)
    graphs = trace(net, max(2, loaded.gop), *synthetic_inputs(size), dynamic)
    if dynamic and not graphs.dynamic:
        raise _FixedSize("the network's forward depends on it")
    about = {**metadata_of(loaded, net, graphs, size), "precision": "fp32"}
    try:
        models = {name: runtime.convert(graph) for name, graph in graphs.graphs.items()}
        _write(folder, runtime, models, about)
        segmenter = ExportedSegmenter(folder, runtime, options.threads, cycle)
        if dynamic:
            other = size[0] + OTHER[0], size[1] + OTHER[1]
            check(compare(net, segmenter, synthetic_frames(net, other)), "fp32")
    except Exception as error:  # converters and runtimes raise anything
        reason = str(error).strip().partition("\n")[0][:120]
        if dynamic:
            raise _FixedSize(f"{options.format} cannot leave it open") from error
        raise UserError(f"{net.method} cannot be converted ({reason}); give another format=") from error
    if options.precision != "fp32":
        about["precision"] = options.precision
        if options.precision == "int8":
            if calibration is None:
                raise UserError("precision=int8 needs frames to calibrate on; give source=VIDEO, or data.root=PATH")
            samples = recorded(segmenter, calibration)
            missing = [name for name, found in samples.items() if not found]
            if missing:
                raise UserError(
                    f"no frame of the calibration runs graph '{missing[0]}'; give source= of a longer video"
                )
            models = {name: quantised(model, samples[name]) for name, model in models.items()}
        _write(folder, runtime, models, about)
        segmenter = ExportedSegmenter(folder, runtime, options.threads, cycle)
    rows = compare(net, segmenter, synthetic_frames(net, size) if video is None else video, TIMED)
    check(rows, options.precision)
    return Exported(segmenter, graphs, rows)


def metadata_of(loaded: LoadedModel, net: VideoSegmenter, graphs: Graphs, size: tuple[int, int]) -> dict[str, Any]:
    """Describe what a file holds and how to run it, in plain values.

    Returns:
        `network` (its registered name), `method`, `scale`, `gop`, `uses_motion`, `classes` {names, palette},
        `normalisation` {mean, std} of RGB in 0..1, `fit` {short, long} or None: the size that images are given first,
        `height` and `width` (None: any multiple of `multiple_of`), `graphs`, `order`, `repeat_from` and `warp` (see
        `Graphs`), and `output`.
    """
    return {
        "format": FORMAT,
        "network": loaded.metadata["network"]["name"],
        "method": net.method,
        "scale": net.scale,
        "gop": loaded.gop,
        "uses_motion": net.uses_motion,
        "classes": loaded.classes.as_dict(),
        "normalisation": {"mean": list(loaded.normalisation.mean), "std": list(loaded.normalisation.std)},
        "fit": loaded.metadata["fit"],
        "height": None if graphs.dynamic else size[0],
        "width": None if graphs.dynamic else size[1],
        "multiple_of": math.gcd(*size, LARGEST_MULTIPLE),
        "graphs": {name: graph.as_dict() for name, graph in graphs.graphs.items()},
        "order": list(graphs.order),
        "repeat_from": graphs.repeat_from,
        "warp": graphs.warp,
        "output": "logits (1, classes, height, width) at the size of the image",
    }


def _write(folder: Path, runtime: Runtime, models: dict[str, Any], metadata: dict[str, Any]) -> None:
    for name, model in models.items():
        runtime.save(model, folder / f"{name}{runtime.suffix}", {**metadata, "graph": name})
