"""Systems: the rows of an evaluation, and how each labels the frames of a clip."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.checkpoints.load import LoadedModel
from src.data.clips.table import Clip
from src.data.images import Normalisation
from src.data.transforms import FitSize
from src.distributed import together
from src.errors import UserError, check_choice, check_range
from src.inference.budget import BUDGETED, BudgetedKeys, check_can_warp, keys_of
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.segment import VideoRun
from src.inference.spending import Budget, Spending
from src.inference.two_sided import segment_two_sided
from src.models.deploy.inference_form import inference_form
from src.models.video import VideoSegmenter
from src.video.reading.decode import Video
from src.video.types import Frame, MotionField

REMEDY = "remove it, and it is encoded again"  # of a damaged clip


@dataclass(frozen=True)
class Rows:
    """Rows of an evaluation beside each method and its comparisons.

    Attributes:
        budgets: each gives a row more of each checkpoint whose method can leave a frame to its motion.
        policies: each with each budget, of `BUDGETED`.
        scales: of methods with a low-resolution branch, a row each; none: that of the training.
        two_sided: a row more of each checkpoint whose method can leave a frame to its motion, and one of each budget
            that policy "uniform" keeps.
        live: frames per second of a source that does not wait, a score more of each row; None for none.

    Raises:
        UserError: a value out of range.
    """

    budgets: tuple[Budget, ...] = ()
    policies: tuple[str, ...] = ("adaptive",)
    scales: tuple[float, ...] = ()
    two_sided: bool = False
    live: float | None = None

    @classmethod
    def of(cls, budget: Any, policy: Any, lr_scale: Any, references: Any, live: Any) -> Rows:
        """Return what these keys of conf/eval.yaml ask for."""
        check_choice("references", references, ("past", "both"))
        budgets = tuple(dict.fromkeys(map(Budget.of, _listed(budget))))
        return cls(budgets, tuple(_listed(policy)), tuple(_listed(lr_scale)), references == "both", live)

    def __post_init__(self) -> None:
        for policy in self.policies or (None,):
            check_choice("policy", policy, tuple(BUDGETED))
        for budget in self.budgets if self.two_sided and "uniform" in self.policies else ():
            budget.check_two_sided()
        fps = self.live
        valid = fps is None or (isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < math.inf)
        check_range(valid, "live", fps, "null, or frames per second above 0")
        for budget in self.budgets if fps is not None else ():
            if budget.fps not in (None, fps):
                raise UserError(
                    f"budget={budget.given} with live={fps:g}: the latency is planned for another rate than is played; "
                    f"give budget={replace(budget, fps=fps).given}, or live={budget.fps:.12g}"
                )

    def check_videos_are_scored(self, is_scored: bool) -> None:
        """Reject what only scored videos have.

        Raises:
            UserError: it is asked for, and still images are scored, or nothing is.
        """
        given = {"budget": self.budgets, "references=both": self.two_sided, "live": self.live}
        for key, value in given.items():
            if value and not is_scored:
                raise UserError(
                    f"{key} is for videos that are scored; leave it out, or give inputs=videos submission=null"
                )


@dataclass(frozen=True)
class System:
    """One row of an evaluation: a method with weights, and how its input is prepared.

    Attributes:
        network: the method, in the form that is run.
        normalisation: of its input.
        fit: the size that images had in training before augmentation; None for their own.
        architecture: registered name of the checkpoint's network.
        checkpoint: that the weights are from.
        budget: in which keyframes are chosen; None: they are those of the coding.
        policy: that chooses them, one of `POLICIES`.
        two_sided: whether frames between keyframes are seen from both, the later one too.
    """

    network: VideoSegmenter
    normalisation: Normalisation
    fit: FitSize | None
    architecture: str
    checkpoint: str
    budget: Budget | None = None
    policy: str = "fixed"
    two_sided: bool = False

    @property
    def method(self) -> str:
        """Its name in tables."""
        added = [*([self.policy] if self.budget else []), *(["from both sides"] if self.two_sided else [])]
        return " ".join([self.network.method, *added])

    def keys(self, clip: Clip, runner: FrameRunner, size: tuple[int, int]) -> KeyedMotion:
        """Return what chooses the keyframes of a clip with frames of `size` = (height, width).

        Raises:
            UserError: the budget is too small, or cannot be kept from both sides.
        """
        return keys_of(self.policy, self.budget, runner, size, clip.gop, two_sided=self.two_sided)

    def on(self, clip: Clip, runner: FrameRunner, motion: str) -> ClipRun:
        """Return what labels a clip from its first frame on, with motion of the kind."""
        if self.two_sided:
            return _FromBothSides(self, clip, runner, motion)
        return _AsCoded(runner) if self.budget is None else _WithinBudget(self, clip, runner)


class ClipRun(ABC):
    """A system on the frames of one clip, one after the other."""

    @abstractmethod
    def label(self, frame: Frame, to_key: MotionField | None) -> NDArray[np.uint8]:
        """Label the next frame.

        Args:
            frame: of the clip.
            to_key: motion to the keyframe of the coding; None: the frame is one.

        Returns:
            Class indices (H, W).

        Raises:
            UserError: the system's budget is too small.
        """

    def advance(self, frame: Frame, to_key: MotionField | None) -> None:
        """Pass a frame whose labels are not needed; arguments and errors as of `label`."""
        self.label(frame, to_key)

    @property
    def spending(self) -> Spending | None:
        """Of a system with a budget, until now."""
        return None


class _AsCoded(ClipRun):
    """Keyframes are those of the coding, whose motion all such systems share."""

    def __init__(self, runner: FrameRunner) -> None:
        self._runner, self._state = runner, runner.init_state()

    def label(self, frame: Frame, to_key: MotionField | None) -> NDArray[np.uint8]:
        labels, self._state = self._runner.step(frame.image, self._state, to_key)
        return labels

    def advance(self, frame: Frame, to_key: MotionField | None) -> None:
        self._state = self._runner.advance(frame.image, self._state, to_key)


class _ByItsOwnKeys(ClipRun):
    """Chooses keyframes of its own, once the size of the frames is known."""

    def __init__(self, system: System, clip: Clip, runner: FrameRunner) -> None:
        self._make, self._runner = functools.partial(system.keys, clip, runner), runner
        self._keys: KeyedMotion | None = None

    def label(self, frame: Frame, to_key: MotionField | None) -> NDArray[np.uint8]:
        if self._keys is None:
            self._keys = self._make((frame.image.shape[0], frame.image.shape[1]))
            self._begin(self._keys)
        return self._label(frame)

    @abstractmethod
    def _begin(self, keys: KeyedMotion) -> None: ...

    @abstractmethod
    def _label(self, frame: Frame) -> NDArray[np.uint8]: ...

    @property
    def spending(self) -> Spending | None:
        return self._keys.spending if isinstance(self._keys, BudgetedKeys) else None


class _WithinBudget(_ByItsOwnKeys):
    def _begin(self, keys: KeyedMotion) -> None:
        self._run = VideoRun(self._runner, keys)

    def _label(self, frame: Frame) -> NDArray[np.uint8]:
        plan, began = self._run.plan(frame), perf_counter()
        labels, after = self._run.step(frame.image, plan)
        self._run.settle(frame.image, plan, labels, after, perf_counter() - began)
        return labels


class _FromBothSides(_ByItsOwnKeys):
    """Reads the clip by itself, ahead of the others."""

    def __init__(self, system: System, clip: Clip, runner: FrameRunner, motion: str) -> None:
        super().__init__(system, clip, runner)
        self._frames = Video(clip.video, motion=motion, remedy=REMEDY)  # type: ignore[arg-type]

    def _begin(self, keys: KeyedMotion) -> None:
        self._found = segment_two_sided(self._frames, self._runner, keys)

    def _label(self, frame: Frame) -> NDArray[np.uint8]:
        return next(self._found).labels


def systems_of(checkpoints: dict[str, LoadedModel], rows: Rows = Rows()) -> list[System]:
    """Systems of checkpoints, by name, and their comparisons, methods without memory first.

    Raises:
        UserError: checkpoints of other classes than the first one's, or rows that no method can have.
    """
    (first_name, first), *others = checkpoints.items()
    for name, loaded in others:
        if loaded.classes != first.classes:
            raise UserError(
                f"checkpoint '{name}' was trained on other classes than '{first_name}'; compare networks of the same "
                "classes"
            )
    if rows.scales and not any(loaded.network.can_rescale for loaded in checkpoints.values()):
        first.network.rescaled(rows.scales[0])  # says why not
    if (rows.budgets or rows.two_sided) and not any(loaded.network.can_warp for loaded in checkpoints.values()):
        check_can_warp(first.network, "references=both" if rows.two_sided else f"budget={rows.budgets[0].given}")
    found: list[System] = []
    for name, loaded in checkpoints.items():
        network = inference_form(loaded.network)
        of_checkpoint = functools.partial(
            System,
            normalisation=loaded.normalisation,
            fit=loaded.fit,
            architecture=loaded.metadata["network"]["name"],
            checkpoint=name,
        )
        comparisons = network.comparisons()
        found += map(of_checkpoint, comparisons)
        if rows.two_sided and network.can_warp:
            warping = next(method for method in (*comparisons, network) if method.can_warp and not method.scale)
            found.append(of_checkpoint(warping, two_sided=True))
            kept = [budget for budget in rows.budgets if "uniform" in rows.policies]
            found += [of_checkpoint(warping, budget=budget, policy="uniform", two_sided=True) for budget in kept]
        scales = rows.scales if network.can_rescale else ()
        for method in [network.rescaled(scale) for scale in scales] or [network]:
            found.append(of_checkpoint(method))
            pairs = [(b, p) for b in rows.budgets for p in rows.policies] if method.can_warp else []
            found += [of_checkpoint(method, budget=budget, policy=policy) for budget, policy in pairs]
    return sorted(found, key=_rank)


def runners_of(
    systems: list[System], device: torch.device, tune: Callable[[FrameRunner], object] | None
) -> list[FrameRunner]:
    """Runners of systems on a device, each on its engine where there is one to `tune` it to."""
    runners = together(lambda: [FrameRunner(s.network, s.normalisation, device, s.fit) for s in systems])
    for runner in runners if tune is not None else []:
        tune(runner)  # type: ignore[misc]
    return runners


def _rank(system: System) -> int:
    """Single-frame networks first, then methods of several networks without memory, then the others."""
    cycle = system.network.cycle(2)
    return (0 if len(cycle.kinds) == 1 else 1) if cycle.is_constant else 2


def _listed(given: Any) -> list[Any]:
    """A value, or several of a list, each once; none for null."""
    listed = given if isinstance(given, list) else [] if given is None else [given]
    return [value for n, value in enumerate(listed) if value not in listed[:n]]
