"""An exported folder as a video method: what the files give, through the same interface as the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.errors import UserError
from src.exporting.graphs import LOGITS
from src.exporting.runtimes import Run, Runtime
from src.models.video import FrameCycle, FrameInput, VideoSegmenter


class Position(NamedTuple):
    """Where a stream is.

    Attributes:
        place: of the next graph in the order; 0 before the first frame.
        state: arrays for that graph.
    """

    place: int
    state: tuple[NDArray[Any], ...]


class ExportedSegmenter(VideoSegmenter):
    """The graphs of a folder in their order; one stream, on the CPU.

    Args:
        folder: with the files.
        runtime: of their format.
        threads: of the runtime.
        cycle: of the network that was exported.
    """

    def __init__(self, folder: Path, runtime: Runtime, threads: int, cycle: FrameCycle) -> None:
        super().__init__()
        files = {path.stem: path for path in sorted(folder.glob(f"*{runtime.suffix}"))}
        about = runtime.metadata(next(iter(files.values())))
        self.metadata: dict[str, Any] = {"warp": None, **about}  # earlier files have no such entry
        self.runs: dict[str, Run] = {name: runtime.load(files[name], threads) for name in self.metadata["graphs"]}
        self.method, self.scale = self.metadata["method"], self.metadata["scale"]
        self.uses_motion, self.can_warp = self.metadata["uses_motion"], self.metadata["warp"] is not None
        self.num_classes = len(self.metadata["classes"]["names"])
        self._cycle = cycle

    def init_state(self) -> Position:
        """The start of the order."""
        return Position(0, ())

    def step(self, frame: FrameInput, state: Position) -> tuple[Tensor, Position]:
        """Logits (1, K, H, W) of the next frame, and the position after it.

        Raises:
            UserError: an image of another size than the files are for.
        """
        known, position = self.metadata, self._start(frame, state)
        name = self.next_graph(frame, position)
        arrays = self.arrays(frame, position)
        arrays |= self.runs[name](arrays)
        if frame.warp_only:
            return torch.from_numpy(arrays[LOGITS]), position
        after = position.place + 1
        index = after if after < len(known["order"]) else known["repeat_from"]
        kept = () if index == 0 else tuple(arrays[key] for key in known["graphs"][name]["next"])
        return torch.from_numpy(arrays[LOGITS]), Position(index, kept)

    def variants(self, frame: FrameInput) -> list[FrameInput]:
        """The frame, after itself left to its motion where the folder has a graph for that alone."""
        known = self.metadata
        has_choice = frame.motion is not None and known["warp"] not in (None, *known["order"])
        return [frame._replace(warp_only=True), frame] if has_choice else [frame]

    def next_graph(self, frame: FrameInput, state: Position) -> str:
        """Name of the graph that `step` runs."""
        known = self.metadata
        return str(known["warp"] if frame.warp_only else known["order"][self._start(frame, state).place])

    def arrays(self, frame: FrameInput, state: Position) -> dict[str, NDArray[Any]]:
        """Inputs by name of the graph that `step` runs.

        Raises:
            UserError: an image of another size than the files are for.
        """
        known, position = self.metadata, self._start(frame, state)
        height, width = frame.image.shape[-2:]
        if known["height"] is not None and (height, width) != (known["height"], known["width"]):
            raise UserError(
                f"an image has {height}x{width} pixels, the files are for {known['height']}x{known['width']}; "
                f"give input.height={height} input.width={width}"
            )
        if height % known["multiple_of"] or width % known["multiple_of"]:
            raise UserError(
                f"an image has {height}x{width} pixels, the files are for multiples of {known['multiple_of']}; "
                f"give input.height={height} input.width={width}"
            )
        names = known["graphs"][self.next_graph(frame, state)]
        arrays: dict[str, NDArray[Any]] = dict(zip(names["state"], position.state, strict=True))
        arrays["image"] = _array(frame.image)
        if "motion" in names["inputs"]:
            assert frame.motion is not None
            arrays["motion"] = _array(frame.motion)
            valid = frame.motion_valid
            arrays["motion_valid"] = np.ones((1, height, width), np.bool_) if valid is None else _array(valid)
        return arrays

    def _start(self, frame: FrameInput, state: Position) -> Position:
        """The position that the frame is run at: a keyframe's is the start."""
        return self.init_state() if self.uses_motion and frame.motion is None else state

    def cycle(self, gop: int) -> FrameCycle:
        """As of the network that was exported."""
        return self._cycle


def _array(x: Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(x.cpu().numpy())
