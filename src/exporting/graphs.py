"""A video method as graphs of tensors: one for each kind of frame and form of the state, and the order they run in."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree  # torch.export's own; there is no public module of it

from src.errors import UserError
from src.models.video import FrameInput, VideoSegmenter
from src.ops.standard import standard_operators

LOGITS = "logits"
WARP = "warp"
PLAIN = (int, float, str, bool, type(None))  # of a state: they decide which graph runs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graph:
    """One step of a method.

    Attributes:
        name: kind of frame, numbered where a kind has several graphs.
        program: inputs and outputs in the order of their names, with standard operators only.
        inputs: "image" (1, 3, H, W) normalised RGB; between keyframes of methods that use it "motion" (1, 2, H, W) and
            "motion_valid" (1, H, W) bool, as of `FrameInput`; and the state's tensors.
        outputs: "logits" (1, K, H, W) at the size of the image, and new tensors of the state.
        state: names of the inputs that hold the state.
        next: names of the inputs and outputs that hold the next graph's state, in the order of its `state`.
        example: inputs that it was traced with.
        dynamic: height and width are open.
    """

    name: str
    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    state: tuple[str, ...]
    next: tuple[str, ...]
    example: tuple[Tensor, ...]
    dynamic: bool

    def as_dict(self) -> dict[str, list[str]]:
        """Names of inputs, outputs and state, for metadata."""
        return {key: list(getattr(self, key)) for key in ("inputs", "outputs", "state", "next")}


@dataclass(frozen=True)
class Graphs:
    """The graphs of a method, and their order.

    Attributes:
        graphs: by name.
        order: names of the graphs of the first frames; those from `repeat_from` on are repeated. Where motion is used,
            every keyframe starts it again; at its start there is no state.
        repeat_from: index in `order`.
        warp: name of the graph of `warp_only` frames, which leaves place and state as they are; None: there are none.
    """

    graphs: dict[str, Graph]
    order: tuple[str, ...]
    repeat_from: int
    warp: str | None = None

    @property
    def dynamic(self) -> bool:
        """Whether height and width are open."""
        return all(graph.dynamic for graph in self.graphs.values())


class Step(nn.Module):
    """`step` of a method with a flat list of tensors as its inputs and outputs.

    Args:
        net: the method.
        spec, leaves: form of the state, with `...` in place of tensors.
        moves: whether motion comes after the image.
        warp_only: as of `FrameInput`.
    """

    def __init__(
        self, net: VideoSegmenter, spec: Any, leaves: Sequence[Any], moves: bool, warp_only: bool = False
    ) -> None:
        super().__init__()
        self.net, self.spec, self.leaves, self.moves, self.warp_only = net, spec, leaves, moves, warp_only

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Logits, and the tensors of the next state that are none of the inputs."""
        image, rest = tensors[0], list(tensors[1:])
        motion, valid = (rest.pop(0), rest.pop(0)) if self.moves else (None, None)
        given = iter(rest)
        state = pytree.tree_unflatten([next(given) if leaf is ... else leaf for leaf in self.leaves], self.spec)
        logits, after = self.net.step(FrameInput(image, motion, valid, self.warp_only), state)
        return (logits, *new_tensors(after, [logits, *rest]))


def new_tensors(state: Any, known: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors of a state that are none of the `known` objects."""
    seen = {id(x) for x in known}
    return [x for x in pytree.tree_leaves(state) if isinstance(x, Tensor) and id(x) not in seen]


@torch.no_grad()
def trace(net: VideoSegmenter, gop: int, image: Tensor, motion: Tensor, valid: Tensor, dynamic: bool) -> Graphs:
    """Export `step` once for each kind of frame and form of the state in a cycle, and for frames left to their motion.

    Args:
        net: in inference form, on the CPU.
        gop: frames from keyframe to keyframe.
        image: (1, 3, H, W).
        motion, valid: (1, 2, H, W) and (1, H, W), for methods that use them.
        dynamic: leave height and width open; where that fails they are fixed, with a warning.

    Raises:
        UserError: a state of other values than tensors and plain numbers, one that never returns to a form that it
            had, or a network that torch.export cannot trace.
    """
    cycle, state = net.cycle(gop), net.init_state()
    if any(isinstance(x, Tensor) for x in pytree.tree_leaves(state)):
        raise UserError(f"{net.method} starts from tensors, for which an exported graph has no place; start from None")
    known: dict[Any, tuple[str, Any]] = {}  # kind and form of the state -> graph and the state after it
    graphs: dict[str, Graph] = {}
    forms, order = [], []
    for kind in cycle.kinds:
        moves = net.uses_motion and kind != "key"
        form = _form(state, net.method)
        if (moves, form) not in known:
            name = f"{kind}_{1 + sum(n.rpartition('_')[0] == kind for n in graphs)}"
            frame = (image, motion, valid) if moves else (image,)
            graphs[name], after = _graph(name, net, frame, state, dynamic)
            known[moves, form] = name, after
        forms.append(form)
        name, state = known[moves, form]
        order.append(name)
    if net.uses_motion:  # keyframes come when the video has them, so what repeats are the frames between
        while len(order) > 2 and order[-1] == order[-2]:
            del order[-1], forms[-1]
        repeat_from = len(order) - 1
    else:
        repeat_from = next(n for n, kind in enumerate(cycle.kinds) if kind in cycle.repeated)
    if repeat_from and _form(state, net.method) != forms[repeat_from]:
        raise UserError(
            f"the state of {net.method} never returns to a form that it had; keep in it what a frame changes as tensors"
        )
    warp = None
    if net.can_warp and net.scale == 0:  # no network looks at the frames between keyframes anyway
        warp = order[-1]
    elif net.can_warp and all(form == forms[-1] for form in forms[1:]):  # one graph is for states of one form
        warp = f"{WARP}_1"
        graphs[warp], _ = _graph(warp, net, (image, motion, valid), state, dynamic, warp_only=True)
    counts = Counter(name.rpartition("_")[0] for name in graphs)
    shorter = {name: kind if counts[kind := name.rpartition("_")[0]] == 1 else name for name in graphs}
    named = {shorter[name]: replace(graph, name=shorter[name]) for name, graph in graphs.items()}
    return Graphs(named, tuple(shorter[name] for name in order), repeat_from, warp and shorter[warp])


def _form(state: Any, method: str) -> Any:
    """The structure of a state with the values of its plain numbers."""
    leaves, spec = pytree.tree_flatten(state)
    for leaf in leaves:
        if not isinstance(leaf, (Tensor, *PLAIN)):
            raise UserError(
                f"the state of {method} holds a {type(leaf).__name__}; keep tensors and plain numbers in it alone"
            )
    return str(spec), tuple(("tensor", x.shape) if isinstance(x, Tensor) else x for x in leaves)


def _graph(
    name: str, net: VideoSegmenter, frame: tuple[Tensor, ...], state: Any, dynamic: bool, warp_only: bool = False
) -> tuple[Graph, Any]:
    """The graph of a step, and the state after it."""
    leaves, spec = pytree.tree_flatten(state)
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    paths = [pytree.keystr(path) for path, x in pytree.tree_flatten_with_path(state)[0] if isinstance(x, Tensor)]
    inputs = ("image", "motion", "motion_valid")[: len(frame)] + tuple(f"state{_name(path)}" for path in paths)
    step = Step(net, spec, [... if isinstance(x, Tensor) else x for x in leaves], len(frame) > 1, warp_only)
    motion, valid = frame[1:] or (None, None)
    logits, after = net.step(FrameInput(frame[0], motion, valid, warp_only=warp_only), state)
    found = {id(logits): LOGITS, **{id(x): key for key, x in zip(inputs[len(frame) :], tensors, strict=True)}}
    outputs = [LOGITS]
    kept = []
    for path, x in pytree.tree_flatten_with_path(after)[0]:
        if isinstance(x, Tensor):
            if id(x) not in found:
                found[id(x)] = f"next{_name(pytree.keystr(path))}"
                outputs.append(found[id(x)])
            kept.append(found[id(x)])
    example = (*frame, *tensors)
    program, is_dynamic = _exported(step, example, net.method, dynamic)
    graph = Graph(name, program, inputs, tuple(outputs), inputs[len(frame) :], tuple(kept), example, is_dynamic)
    return graph, after


def _exported(step: Step, example: tuple[Tensor, ...], method: str, dynamic: bool) -> tuple[ExportedProgram, bool]:
    shapes = tuple(_open_dimensions(x) for x in example)
    with standard_operators():
        if dynamic:
            try:
                program = torch.export.export(step, example, dynamic_shapes=(shapes,))
                return program, all(isinstance(side, torch.SymInt) for side in _image_of(program).shape[2:])
            except Exception as error:  # whatever a network's forward asks of a size
                log.debug("%s: %s", method, error)
        try:
            return torch.export.export(step, example), False
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(
                f"{method} cannot be exported: torch.export cannot trace its step ({reason}); make its forward free of "
                "values that depend on those of tensors"
            ) from error


def _image_of(program: ExportedProgram) -> Tensor:
    """The image in the program, whose sides are symbols where they are open."""
    name = program.graph_signature.user_inputs[0]
    found: Tensor = next(node.meta["val"] for node in program.graph.nodes if node.name == name)
    return found


def _open_dimensions(x: Tensor) -> dict[int, Any]:
    """Height and width of maps; positions of TDNet's values and maps, too."""
    first = 2 if x.ndim == 4 else 1
    return {dim: Dim.AUTO for dim in range(first, x.ndim)}


def _name(path: str) -> str:
    """`.values[0]` as _values_0."""
    return "_" + "_".join("".join(c if c.isalnum() or c == "_" else " " for c in path).split())
