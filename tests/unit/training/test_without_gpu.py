"""Everything that trains, and streams, on fake CUDA tensors: types under autocast, waits for the host, batch norms.

Fake tensors take torch's CUDA paths, autocast among them, without a GPU; nothing is computed. Where numbers matter, the
forms of a network are compared on the CPU.
"""

from __future__ import annotations

import gc
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.data.batch import ClipBatch
from src.data.images import Normalisation
from src.errors import UserError
from src.inference.runner import FrameRunner
from src.losses.ohem import OhemCrossEntropy
from src.losses.pidnet import PIDNetLoss
from src.losses.segmentation import CrossEntropy, Presence, SegmentationLoss
from src.losses.stdc import STDCLoss
from src.models.base import Segmenter
from src.models.deploy.frozen import frozen_features
from src.models.deploy.inference_form import inference_form
from src.models.dfanet.backbone import Xception
from src.models.dff.net import DFF, Accel
from src.models.pspnet.net import PSPNet
from src.models.registry import NETWORKS
from src.models.tdnet.variants import GROUPS, td2_psp50
from src.models.video import as_video_segmenter, run_cycle
from src.training.modules import arseg, propagation, tdnet
from src.training.modules.arseg import ARSegModule
from src.training.modules.base import TrainingModule
from src.training.modules.classifier import ClassifierModule
from src.training.modules.image import ImageModule
from src.training.modules.propagation import PropagationModule
from src.training.modules.tdnet import TDNetModule
from src.training.modules.tdnet_distillation import GroupedDistillation, GroupedTeacher
from src.training.sync_batchnorm import SyncBatchNorms
from src.video.motion.field import identity
from tests.support import configs, trainings
from tests.support.network_cases import CASES, CLASSES, DEPLOYED
from tests.support.processes import together
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


class Counted:
    """Calls of activations inside a network."""

    def __init__(self, net: nn.Module) -> None:
        self.calls = 0
        for module in net.modules():
            if isinstance(module, (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Sigmoid)):
                module.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.calls += 1


def trained(name: str) -> nn.Module:
    """A network in training mode whose batch norms have statistics of their own."""
    torch.manual_seed(0)
    net = CASES[name].build().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_synchronised_batch_norms_compute_what_they_did(name: str) -> None:
    case, net = CASES[name], trained(name)
    counted = Counted(net)
    inputs = case.inputs(net.eval(), SIZE)
    counted.calls = 0
    expected, calls = first(case.run(net)(*inputs)), counted.calls
    trains = {n for n, m in net.train().named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
    SyncBatchNorms().apply(net)
    assert {n for n, m in net.named_modules() if isinstance(m, nn.SyncBatchNorm)} == trains, "frozen ones stay"
    counted.calls = 0
    torch.testing.assert_close(first(case.run(net.eval())(*inputs)), expected)
    assert counted.calls == calls


def test_a_batch_norm_of_an_unknown_kind_is_not_converted() -> None:
    class Scaled(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    with pytest.raises(UserError, match=r"cannot convert Scaled '0'.*trainer\.sync_batchnorm=false"):
        SyncBatchNorms().apply(nn.Sequential(Scaled(3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_every_form_of_a_network_computes_the_same(name: str) -> None:
    net = trained(name).eval()
    image = torch.randn(1, 3, *SIZE)
    method = as_video_segmenter(net)
    plain = run_cycle(method, image)
    for expected, actual in zip(plain, run_cycle(inference_form(method), image), strict=True):
        assert float((expected - actual).abs().max()) <= 1e-4 * float(expected.abs().max())
    for branch in (net, getattr(net, "high", None)):
        if isinstance(branch, Segmenter):
            expected, fast = branch.features(image), frozen_features(branch)
            assert getattr(fast, "__self__", branch) is not branch, "the fast form was not used"
            assert float((expected - fast(image)).abs().max()) <= 1e-4 * float(expected.abs().max())


class CollectivesOfSteps(Callback):
    """Writes which collectives of Python there are from one step to the next, those of gradients aside."""

    names = ("all_reduce", "barrier", "broadcast", "all_gather", "all_gather_object", "broadcast_object_list")

    def __init__(self, file: str) -> None:
        self.file, self.seen, self.steps = Path(file), Counter[str](), []
        for name in self.names:
            setattr(dist, name, self._counting(name, getattr(dist, name)))

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.seen[name] += 1
            return function(*args, **kwargs)

        return counted

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(Counter(self.seen))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        steps = [dict(after - before) for before, after in pairwise(self.steps)]
        ddp = trainer.strategy.model
        flags = [ddp.broadcast_buffers, ddp.find_unused_parameters, ddp.static_graph]
        if trainer.is_global_zero:
            self.file.write_text(json.dumps({"steps": steps, "flags": flags}))


def test_processes_wait_for_each_other_only_where_they_must(tmp_path: Path, street_cache: Path) -> None:
    """Without logging, a step needs one sum for its loss, besides the exchange of gradients."""
    file = tmp_path / "steps.json"
    count = f"+callbacks.count={{_target_: {__name__}.CollectivesOfSteps, file: {file}}}"
    options = ["trainer.devices=2", "data.batch_size=4", "model.phases.low=null", "model.high_epochs=2"]
    options += ["trainer.log_every_n_steps=4", "+limits.limit_val_batches=1"]  # epochs have three steps
    overrides = [*configs.ARSEG, *options, count, f"paths.cache={street_cache}"]
    together(2, trainings.run, tmp_path / "run", overrides, log=tmp_path / "log")
    found = json.loads(file.read_text())
    _, quiet, _, logged, _ = found["steps"]
    assert quiet == {"all_reduce": 1}
    assert logged["all_reduce"] <= 4, "the values to log, and the agreements on signals and on finite weights"
    assert set(logged) <= {"all_reduce", "barrier"}
    assert logged["barrier"] <= 2, "those agreements"
    assert found["flags"] == [False, False, True]
