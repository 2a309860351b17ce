"""Everything that trains, and streams, on fake CUDA tensors: types under autocast, waits for the host.

Fake tensors take torch's CUDA paths, autocast among them, without a GPU; nothing is computed.
"""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.data.batch import ClipBatch
from src.data.images import Normalisation
from src.inference.runner import FrameRunner
from src.losses.lovasz import CrossEntropyAndLovasz
from src.losses.ohem import OhemCrossEntropy
from src.losses.pidnet import PIDNetLoss
from src.losses.segmentation import CrossEntropy, Presence, SegmentationLoss
from src.losses.stdc import STDCLoss
from src.models.dfanet.backbone import Xception
from src.models.dff.net import DFF, Accel
from src.models.pspnet.net import PSPNet
from src.models.registry import NETWORKS
from src.models.tdnet.variants import GROUPS, td2_psp50
from src.training.modules import arseg, propagation, tdnet
from src.training.modules.arseg import ARSegModule
from src.training.modules.base import TrainingModule
from src.training.modules.classifier import ClassifierModule
from src.training.modules.image import ImageModule
from src.training.modules.propagation import PropagationModule
from src.training.modules.tdnet import TDNetModule
from src.training.modules.tdnet_distillation import GroupedDistillation, GroupedTeacher
from src.video.motion.field import identity
from tests.support.network_cases import CASES, CLASSES, DEPLOYED
from tests.support.scores import IOU
from tests.support.tiny_arseg import Tiny

SIZE = (64, 96)
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BASE: dict[str, Any] = {"optimizer": torch.optim.SGD, "scheduler": None, "decay": "all"}
SCORED = {**BASE, "class_names": [str(k) for k in range(CLASSES)], "distances": 12, "metrics": IOU}


def image_module(name: str, loss: Callable[[], nn.Module]) -> Callable[[], TrainingModule]:
    return lambda: ImageModule(CASES[name].build(), loss(), 1.0, **SCORED)


def auxiliary(*names: str, criterion: Callable[[], nn.Module] = CrossEntropy) -> Callable[[], nn.Module]:
    return lambda: SegmentationLoss(CrossEntropy([1.0] * CLASSES), {name: criterion() for name in names}, 0.4)


def hard_pixels() -> OhemCrossEntropy:
    return OhemCrossEntropy(0.7, 1 / 16, [1.0] * CLASSES, count_ignored=True)


def arseg_module(mix: str) -> Callable[[], TrainingModule]:
    case = "arseg_gate" if mix == "gate" else "arseg"
    loss = auxiliary("aux")
    return lambda: ARSegModule(CASES[case].build(), loss(), Path(), "own", 1.0, 0.5, 0, 1.0, **SCORED)


def propagation_module(build: Callable[[], DFF]) -> Callable[[], TrainingModule]:
    return lambda: PropagationModule(build(), auxiliary()(), Path(), **SCORED)


def tdnet_module(build: Callable[[], nn.Module], *names: str) -> Callable[[], TrainingModule]:
    def module() -> TrainingModule:
        loss = SegmentationLoss(hard_pixels(), {name: hard_pixels() for name in names}, 0.1, align_corners=True)
        return TDNetModule(build(), loss, 0.5, GroupedDistillation(), Path(), **SCORED)

    return module


STEPS: dict[str, Callable[[], TrainingModule]] = {
    "pspnet": image_module("pspnet", auxiliary("aux")),
    "pspnet_teacher": image_module("pspnet_teacher", auxiliary("aux")),
    "pspnet_camvid": image_module("pspnet_full", auxiliary("presence", criterion=Presence)),
    "bisenet": image_module("bisenet", auxiliary("aux16", "aux32", criterion=hard_pixels)),
    "rdrnet": image_module("rdrnet", auxiliary("aux", criterion=hard_pixels)),
    "ddrnet": image_module("ddrnet", auxiliary("aux")),
    "pidnet": image_module("pidnet", lambda: PIDNetLoss(OhemCrossEntropy(0.9, 131072), {"aux": CrossEntropy()})),
    "gcnet": image_module("gcnet", auxiliary("aux", criterion=hard_pixels)),
    "efficientvit_seg": image_module("efficientvit_seg", auxiliary()),
    "bisenetv2": image_module("bisenetv2", auxiliary("aux4", "aux8", "aux16", "aux32", criterion=hard_pixels)),
    "stdc": image_module("stdc", lambda: STDCLoss(CrossEntropy(), {"aux16": CrossEntropy(), "aux32": CrossEntropy()})),
    "fast_scnn": image_module("fast_scnn", auxiliary("aux8", "aux32")),
    "pp_liteseg": image_module("pp_liteseg", auxiliary("aux16", "aux32", criterion=hard_pixels)),
    "icnet": image_module("icnet", auxiliary("aux8", "aux16")),
    "erfnet": image_module("erfnet", auxiliary()),
    "cgnet": image_module("cgnet", auxiliary()),
    "dfanet": image_module("dfanet_b", auxiliary()),
    "timm": image_module("timm", auxiliary()),
    "timm_lovasz": image_module("timm", lambda: SegmentationLoss(CrossEntropyAndLovasz())),
    "xception": lambda: ClassifierModule(Xception("b"), 1000, 0.1, ["0"], **BASE),
    "arseg": arseg_module("residual"),
    "arseg_gate": arseg_module("gate"),
    "dff": propagation_module(lambda: DFF(Tiny)),
    "accel": propagation_module(lambda: Accel(Tiny, Tiny)),
    "tiny_tdnet": tdnet_module(CASES["tdnet_4"].build),
    "td4_psp18": tdnet_module(CASES["td4_psp18"].build, "aux"),
    "td2_psp50": tdnet_module(lambda: td2_psp50(CLASSES), "aux"),
    "td4_bise18": tdnet_module(CASES["td4_bise18"].build, "aux16", "aux32"),
    "td2_fa18": tdnet_module(CASES["td2_fa18"].build),
}
BUILT = set(STEPS) | set(DEPLOYED)  # which are not trained


class HostCrossings(TorchDispatchMode):
    """Counts operators for which the host waits for a GPU: values read back, and blocking copies either way."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is not torch.ops.prim.device.default:
            with self:  # in inference mode, copies and `item` arrive as they are called
                out = func.decompose(*args, **(kwargs or {}))
            if out is not NotImplemented:
                return out
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count["item"] += args[0].device.type == "cuda"
        elif func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            devices = {x.device.type for x in tree_leaves((args, out)) if isinstance(x, Tensor)}
            waits = not ((kwargs or {}).get("non_blocking") or (len(args) > 2 and args[2]))
            self.count["copy"] += waits and len(devices) > 1
        return out


@contextmanager
def cuda_autocast(dtype: torch.dtype) -> Iterator[None]:
    """`torch.autocast("cuda", dtype)`, which does nothing where there is no GPU."""
    torch.set_autocast_dtype("cuda", dtype)
    torch.set_autocast_enabled("cuda", True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


def backward(loss: Tensor) -> int:
    """Run the nodes of a graph as autograd's engine does, which needs a GPU; how many parameters got a gradient."""
    root: Any = loss.grad_fn
    waiting: Counter[Any] = Counter()
    todo = [root]
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None:
                waiting[node] += 1
                todo += [node] if waiting[node] == 1 else []
    gradients: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    gradients[root][0] = torch.ones_like(loss)
    todo, reached = [root], 0
    while todo:
        node = todo.pop()
        given = gradients.pop(node, {})
        if hasattr(node, "variable"):
            reached += bool(given)
            assert all(g.device == node.variable.device for g in given.values())
            continue
        inputs = [given.get(i) for i in range(len(node._input_metadata))]
        found = node.apply(*inputs) if isinstance(node, BackwardCFunction) else node(*inputs)
        for (after, number), gradient in zip(node.next_functions, found if isinstance(found, tuple) else (found,)):  # noqa: B905
            if after is None:
                continue
            waiting[after] -= 1
            todo += [after] if not waiting[after] else []
            if gradient is not None:
                meta = after._input_metadata[number]
                gradient = gradient.sum_to_size(meta.shape).to(meta.dtype)
                before = gradients[after].get(number)
                gradients[after][number] = gradient if before is None else before + gradient
    return reached


def batch_of(module: TrainingModule) -> Any:
    """What a loader gives, on the device."""
    if isinstance(module, ClassifierModule):
        return torch.empty(2, 3, *SIZE, device="cuda"), torch.zeros(2, dtype=torch.int64, device="cuda")
    pairs = isinstance(module, (ARSegModule, PropagationModule))
    frames = 2 if pairs else module.net.num_paths if isinstance(module, TDNetModule) else 1
    loaded = ClipBatch(
        torch.empty(2, frames, 3, *SIZE, dtype=torch.uint8),
        torch.empty(2, *SIZE, dtype=torch.uint8),
        torch.empty(2, 2, *SIZE),
        torch.empty(2, *SIZE, dtype=torch.bool),
        torch.empty(2, dtype=torch.int64),
        ["a", "b"],
    )
    return loaded.to("cuda").ready(Normalisation.of([0.5] * 3, [0.5] * 3))


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Collecting garbage within a mode for fake tensors can crash torch."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def no_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules start from untrained networks, and numbers that OHEM reads back take both of its branches."""
    teacher = lambda _, student: GroupedTeacher(PSPNet(CLASSES), student.num_paths, GROUPS)  # noqa: E731
    for module in (arseg, propagation):
        monkeypatch.setattr(module, "load_net", lambda *_: None)
    monkeypatch.setattr(tdnet, "_teacher", teacher)
    numbers = cycle([10, 1000, 500, 1000, 1000, 500])  # hard pixels, all of them, at least so many
    monkeypatch.setattr("src.losses.ohem.int", lambda _: next(numbers), raising=False)


def test_every_network_is_trained_here() -> None:
    own = {name for name, place in NETWORKS.items() if isinstance(place, str)}  # other tests register more
    assert own <= BUILT


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", STEPS)
def test_a_training_step_runs_under_cuda_autocast(name: str, half: str, no_checkpoints: None) -> None:
    with FakeTensorMode():
        with torch.device("cuda"):
            module = STEPS[name]().train()
        with HostCrossings() as crossings:
            batch = batch_of(module)
            assert not crossings.count["copy"], "a batch is copied without waiting"
            with cuda_autocast(HALVES[half]):
                loss = module.training_step(batch, 0)
        assert loss.dtype == torch.float32
        trained = sum(p.requires_grad for p in module.parameters())
        reached = backward(loss)
    assert reached > 0.95 * trained or module.graph_changes
    hard = sum(isinstance(m, OhemCrossEntropy) for m in module.modules())
    assert crossings.count["item"] == 0
    assert crossings.count["copy"] <= 2 * hard, "OHEM reads how many pixels are hard; nothing else waits"


@pytest.mark.parametrize("name", ["arseg", "arseg_gate"])
def test_a_streamed_frame_waits_only_for_its_labels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda x: pinned.append(x) or x)  # which needs a GPU
    monkeypatch.setattr(nn.Module, "to", lambda net, **_: net)  # parameters that are fake cannot be moved
    monkeypatch.setattr(Tensor, "numpy", lambda x: np.zeros(x.shape, np.uint8))  # fake tensors have no values
    image, motion = np.zeros((*SIZE, 3), np.uint8), identity(*SIZE)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            net = CASES[name].build()
        runner = FrameRunner(net, Normalisation.of([0.5] * 3, [0.5] * 3), torch.device("cuda"))
        state = runner.init_state()
        for to_key, uploads in ((None, 1), (motion, 3)):
            pinned.clear()
            with HostCrossings() as crossings:
                _, state = runner.step(image, state, to_key)
            assert crossings.count.total() == 1
            assert len(pinned) == uploads, "image, motion and its validity come from pinned memory"
