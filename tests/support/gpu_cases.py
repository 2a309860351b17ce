"""What a GPU computes against the CPU: `python -m tests.support.gpu_cases [cpu]` prints a line for each check.

Every network in float32 with TF32 off, its gradients in a training step under autocast, and every video method as
replayed CUDA graphs against the same method run as it is. The exit status is 1 where a check fails.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from src.data.batch import ClipBatch
from src.data.images import Normalisation
from src.inference.engine.cuda_graphs import Replays
from src.models.deploy.inference_form import inference_form
from src.models.pspnet.net import PSPNet
from src.models.registry import build
from src.models.tdnet.variants import GROUPS
from src.models.video import FrameInput, VideoSegmenter, as_video_segmenter
from src.training.modules import arseg, propagation, tdnet
from src.training.modules.base import TrainingModule
from src.training.modules.classifier import ClassifierModule
from src.training.modules.tdnet_distillation import GroupedTeacher
from tests.support.network_cases import CASES, CLASSES, DEPLOYED, Case
from tests.unit.training.test_without_gpu import STEPS

SIZE = (96, 160)
LIMIT = 2e-3  # of values in float32, relative to the largest
EQUAL = 0.999  # share of labels
FRAMES, GOP = 10, 4


def main() -> int:
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    failed = 0
    for name, check in checks(device):
        torch.manual_seed(0)
        try:
            print(f"ok      {name}: {check()}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__} {' '.join(str(error).split())[:300]}", flush=True)
    print(f"{failed} checks failed")
    return int(failed > 0)


def checks(device: torch.device) -> Iterator[tuple[str, Callable[[], str]]]:
    for name, case in {**CASES, **DEPLOYED}.items():
        yield f"{name}, float32", lambda case=case: same_values(case, device)  # type: ignore[misc]
    for name, make in STEPS.items():
        for half in (torch.bfloat16, torch.float16):
            yield f"{name}, training step in {half}", lambda make=make, half=half: trains(make, half, device)  # type: ignore[misc]
    for name in ("bisenet18", "pspnet18_camvid", "rdrnet_s_simple", "timm"):
        yield f"AR-Seg over {name}, replayed", lambda name=name: replays(arseg_over(name), device)  # type: ignore[misc]
    for name in ("tdnet_4", "td4_psp18", "td2_fa18", "stdc", "efficientvit_seg"):
        yield (
            f"{name}, replayed",
            lambda name=name: replays(as_video_segmenter(CASES[name].build()), device),  # type: ignore[misc]
        )


def same_values(case: Case, device: torch.device) -> str:
    net = case.build().eval()
    inputs = case.inputs(net, SIZE)
    there: nn.Module = copy.deepcopy(net).to(device)
    moved = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, inputs)
    with torch.inference_mode():
        expected, found = (first(case.run(n)(*x)) for n, x in ((net, inputs), (there, moved)))
    difference = float((found.cpu() - expected).abs().max() / expected.abs().max())
    assert difference < LIMIT, f"differs by {difference:.1e}"
    return f"differs by {difference:.1e}"


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def trains(make: Callable[[], TrainingModule], half: torch.dtype, device: torch.device) -> str:
    teacher = lambda _, student: GroupedTeacher(PSPNet(CLASSES), student.num_paths, GROUPS)  # noqa: E731
    with (
        patch.object(arseg, "load_net"),
        patch.object(propagation, "load_net"),
        patch.object(tdnet, "_teacher", teacher),
    ):
        module = make().to(device).train()
    with torch.autocast(device.type, dtype=half):
        loss = module.training_step(batch_of(module, device), 0)
    assert loss.isfinite(), "the loss is not finite"
    loss.backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    if half == torch.bfloat16:  # float16 needs a scaled loss, which Lightning gives
        assert all(g.isfinite().all() for g in gradients), "a gradient is not finite"
    return f"loss {float(loss.detach()):.4f}, {len(gradients)} gradients"


def batch_of(module: TrainingModule, device: torch.device) -> object:
    if isinstance(module, ClassifierModule):
        return torch.randn(2, 3, *SIZE, device=device), torch.zeros(2, dtype=torch.int64, device=device)
    pairs = isinstance(module, (arseg.ARSegModule, propagation.PropagationModule))
    frames = 2 if pairs else module.net.num_paths if isinstance(module, tdnet.TDNetModule) else 1
    loaded = ClipBatch(
        torch.randint(0, 256, (2, frames, 3, *SIZE), dtype=torch.uint8),
        torch.randint(0, CLASSES, (2, *SIZE), dtype=torch.uint8),
        4 * torch.randn(2, 2, *SIZE),
        torch.rand(2, *SIZE) < 0.9,
        torch.ones(2, dtype=torch.int64),
        ["a", "b"],
    )
    return loaded.to(device).ready(Normalisation.of([0.5] * 3, [0.5] * 3))


def arseg_over(name: str) -> VideoSegmenter:
    arguments = {"encoder": "tf_efficientnet_lite0"} if name == "timm" else {}
    branch = {"name": name, "arguments": {"num_classes": CLASSES, **arguments}}
    net: VideoSegmenter = build("arseg", {"network": branch, "fusion": {"mix": "gate"} if name == "timm" else {}})
    return net


@torch.inference_mode()
def replays(network: VideoSegmenter, device: torch.device) -> str:
    network = inference_form(network.eval()).to(device)
    graphed = Replays(network.labels)
    state, state_of_graphs, shares = network.init_state(), network.init_state(), []
    for number in range(FRAMES):
        image = torch.randn(1, 3, *SIZE, device=device)
        motion = 4 * torch.randn(1, 2, *SIZE, device=device) if network.uses_motion and number % GOP else None
        frame = FrameInput(image, motion)
        expected, state = network.labels(frame, state, SIZE)
        found, state_of_graphs = graphed(frame, state_of_graphs, SIZE)
        shares.append(float((found == expected).float().mean()))
    assert min(shares) > EQUAL, f"labels agree by {min(shares):.4f}"
    return f"labels agree by {min(shares):.4f} on the worst frame"


if __name__ == "__main__":
    sys.exit(main())
