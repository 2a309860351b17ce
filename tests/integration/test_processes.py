"""Several processes train and evaluate as one does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from src.distributed import together as together_or_not_at_all
from src.errors import UserError
from src.losses.lovasz import lovasz_softmax
from src.losses.ohem import OhemCrossEntropy
from src.losses.pidnet import balanced_bce
from src.losses.segmentation import CrossEntropy, Presence
from src.training.ranks import meet
from tests.support import configs, trainings
from tests.support.configs import ROOT, TINY
from tests.support.failing_rank import FAILURE
from tests.support.processes import finish, start, together

LOSSES = {
    "cross-entropy": CrossEntropy([0.5, 1.0, 2.0, 4.0]),
    "hard pixels": OhemCrossEntropy(0.7, 10),
    "hardest share": OhemCrossEntropy(0.01, 1 / 4, [0.5, 1.0, 2.0, 4.0], count_ignored=True),
    "hardest number": OhemCrossEntropy(0.01, 131),
    "all there are": OhemCrossEntropy(0.01, 131072),
    "Lovász-softmax": lovasz_softmax,
    "presence": lambda logits, labels: Presence()(logits.mean((2, 3)), labels),
    "boundaries": lambda logits, labels: balanced_bce(logits[:, 0], labels == 1),
}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Four pictures with very different shares of ignored pixels."""
    torch.manual_seed(3)
    labels = torch.randint(0, 4, (4, 11, 13))
    ignored = torch.rand(4, 11, 13) < torch.tensor([0.0, 0.9, 0.5, 1.0])[:, None, None]
    return 3 * torch.randn(4, 4, 11, 13), labels.masked_fill(ignored, 255)


def gradients(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Of every loss with respect to a weight, on this rank's pictures."""
    logits, labels = batch()
    found = {}
    for name, loss in LOSSES.items():
        weight = torch.ones(4, 1, 1, requires_grad=True)
        value = loss((weight * logits)[rank::world], labels[rank::world])
        value.backward()
        found[name] = torch.cat([value.detach()[None], weight.grad.flatten()])
    return found


def average_gradients(target: Path) -> None:
    dist.init_process_group("gloo")
    found = gradients(dist.get_rank(), dist.get_world_size())
    for value in found.values():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    if dist.get_rank() == 0:
        torch.save(found, target)
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, 4])
def test_losses_are_those_of_the_global_batch(world: int, tmp_path: Path) -> None:
    together(world, average_gradients, tmp_path / "found.pt", log=tmp_path / "log")
    found = torch.load(tmp_path / "found.pt")
    for name, expected in gradients(0, 1).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-7, msg=name)


GROUP = [
    *configs.ARSEG,
    "network.name=group_tiny",
    "loss@network.loss=ohem_rdrnet",
    "network.loss.main.min_kept=0.3",
    "trainer.precision=32-true",
    "optimizer@model.optimizer=sgd",  # Adam divides rounding errors by themselves where the gradient is zero
    "model.optimizer.lr=0.05",
]
SHARED = ["trainer.devices=2", "data.batch_size=2"]


@pytest.mark.parametrize(("world", "phases"), [(2, ["high", "low"]), (4, ["high"])])
def test_several_processes_train_what_one_does(
    world: int, phases: list[str], tmp_path: Path, street_cache: Path
) -> None:
    left_out = [f"model.phases.{phase}=null" for phase in ("high", "low") if phase not in phases]
    overrides = [*GROUP, *left_out, f"paths.cache={street_cache}"]
    trainings.run(tmp_path / "one", [*overrides, f"data.batch_size={world}"])
    shared = [*overrides, f"trainer.devices={world}", f"data.batch_size={world}"]
    together(world, trainings.run, tmp_path / "many", shared, log=tmp_path / "log")
    for phase in phases:
        one, many = (trainings.last(tmp_path / run, phase)["state_dict"] for run in ("one", "many"))
        assert one.keys() == many.keys()
        apart = {key: float((one[key].double() - many[key].double()).abs().max()) for key in one}
        worst = max(apart, key=apart.__getitem__)
        print(f"phase {phase}: weights of {world} processes and one differ by {apart[worst]:.1e} at most ({worst})")
        assert apart[worst] < 1e-5
        done = [json.loads((tmp_path / run / phase / "done.json").read_text()) for run in ("one", "many")]
        assert done[0]["train/loss"] == pytest.approx(done[1]["train/loss"], abs=1e-5)
        assert done[0]["steps"] == done[1]["steps"]


def test_every_clip_is_evaluated_once(tmp_path: Path, street_cache: Path) -> None:
    still = [
        *GROUP,
        "model.phases.low=null",
        "model.high_epochs=1",
        "model.optimizer.lr=1e-30",
        f"paths.cache={street_cache}",
    ]
    trainings.run(tmp_path / "one", still)
    together(2, trainings.run, tmp_path / "two", [*still, *SHARED], log=tmp_path / "log")
    one, two = (json.loads((tmp_path / name / "high" / "done.json").read_text()) for name in ("one", "two"))
    scores = [key for key in one if key.startswith("val/")]
    assert len(scores) > 10
    assert {key: one[key] for key in scores} == pytest.approx({key: two[key] for key in scores}, abs=0, nan_ok=True)


def test_one_and_two_processes_evaluate_to_the_last_digit(tmp_path: Path, street_cache: Path) -> None:
    trained = [*GROUP, "model.phases.low=null", "model.high_epochs=1", f"paths.cache={street_cache}"]
    trainings.run(tmp_path / "run", trained)
    given = [TINY, "plugins=[tests.support.tiny_arseg]", f"checkpoint={tmp_path}/run/high/checkpoints/last.ckpt"]
    command = [sys.executable, "-m", "src.eval", *given, "device=cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = []
    for number in (1, 2):
        run_dir = tmp_path / f"by_{number}"
        own = [f"devices={number}", f"hydra.run.dir={run_dir}"]
        done = subprocess.run([*command, *own], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("metrics: ") == 1
        found.append(sorted(path.name for path in run_dir.iterdir()))
    assert found[0] == found[1]
    one, two = ((tmp_path / f"by_{number}" / "metrics.json").read_bytes() for number in (1, 2))
    assert one == two


def ends(module: str, failure: str, run_dir: Path, *given: str) -> str:
    """Run a command in two processes of which the second fails; its errors."""
    plugins = "plugins=[tests.support.tiny_arseg,tests.support.failing_rank]"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", FAILURE: failure}
    command = [sys.executable, "-m", module, TINY, plugins, *given, f"hydra.run.dir={run_dir}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    others = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(run_dir).encode() in readable(path)]
    assert not others, "all processes have ended"
    [line] = re.findall("^error: .*", done.stderr, re.MULTILINE)
    return str(line)


def readable(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile
        return b""


LOST = r"error: rank 1 \(process \d+\) was killed by SIGKILL, perhaps for want of memory"


def test_a_process_that_fails_ends_a_training_with_one_line(tmp_path: Path, street_cache: Path) -> None:
    given = [*configs.FILMS, *GROUP, *SHARED, "model.phases.low=null", f"paths.cache={street_cache}"]
    line = ends("src.train", "kill", tmp_path, *given)
    assert re.fullmatch(f"{LOST}; no checkpoint was written; start it again", line)
    assert ends("src.train", "bad item", tmp_path, *given) == "error: item 7 is damaged"


def test_a_process_that_fails_ends_an_evaluation_with_one_line(tmp_path: Path, street_cache: Path) -> None:
    trainings.run(tmp_path / "run", [*GROUP, "model.phases.low=null", "debug=limit", f"paths.cache={street_cache}"])
    given = [f"checkpoint={tmp_path}/run/high/checkpoints/last.ckpt", "device=cpu", "devices=2"]
    more = ["data.root=null", f"paths.cache={street_cache}", "split=train"]
    assert re.fullmatch(LOST, ends("src.eval", "kill", tmp_path / "one", *given, *more))
    assert ends("src.eval", "bad item", tmp_path / "two", *given, *more) == "error: item 7 is damaged"


def meet_twice(target: Path) -> None:
    meet()
    slurm = SLURMEnvironment()
    dist.init_process_group("gloo", rank=slurm.global_rank(), world_size=slurm.world_size())
    total = torch.ones(1)
    dist.all_reduce(total)
    target.with_suffix(f".{slurm.global_rank()}").write_text(str(int(total)))
    dist.destroy_process_group()


def test_tasks_of_slurm_meet_before_they_work(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "work"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    log = tmp_path / "log"
    tasks = [
        start(meet_twice, tmp_path / "met", log=log, SLURM_PROCID=rank, SLURM_LOCALID=rank, **shared) for rank in "01"
    ]
    for task in tasks:
        finish(task, log)
    assert [(tmp_path / f"met.{rank}").read_text() for rank in "01"] == ["2", "2"]


def fail_in_the_second(target: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()

    def action() -> None:
        if rank == 1:
            raise UserError("clip 7 is damaged")

    try:
        together_or_not_at_all(action)
    except BaseException as error:
        target.with_suffix(f".{rank}").write_text(f"{type(error).__name__}: {error}")
    dist.destroy_process_group()


def test_the_first_process_reports_what_another_cannot_do(tmp_path: Path) -> None:
    together(2, fail_in_the_second, tmp_path / "error", log=tmp_path / "log")
    assert (tmp_path / "error.0").read_text() == "UserError: clip 7 is damaged"
    assert (tmp_path / "error.1").read_text() == "SystemExit: 0"


def test_tdnet_paths_agree_between_processes(tmp_path: Path, street_cache: Path) -> None:
    four = "data.batch_size=4"  # batch norm after pooling to one pixel needs more than one picture in each process
    overrides = [*configs.TDNET, *SHARED, four, f"paths.cache={street_cache}", "model.still_epochs=1"]
    together(2, trainings.run, tmp_path / "run", overrides, log=tmp_path / "log")
    assert json.loads((tmp_path / "run" / "stills" / "done.json").read_text())["steps"] == 3


def test_torchrun_starts_a_training(tmp_path: Path, street_cache: Path) -> None:
    own = [TINY, "plugins=[tests.support.tiny_arseg]"]
    overrides = [*own, *configs.FILMS, *GROUP, *SHARED, f"paths.cache={street_cache}", "debug=limit"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "src.train", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [*command, f"hydra.run.dir={tmp_path / 'run'}"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr[-3000:]
    assert (tmp_path / "run" / "low" / "done.json").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.sync_batchnorm=true"], r"trainer\.sync_batchnorm=true runs on GPUs only"),
        (["trainer.strategy=fsdp"], r"trainer\.strategy=fsdp runs on GPUs only"),
        (["trainer.precision=bf16-true"], r"trainer\.precision=bf16-true is out of range"),
        (["trainer.devices=2", "data.batch_size=3"], r"data\.batch_size=3 is the joint batch of all 2 processes"),
    ],
)
def test_what_needs_gpus_is_refused_on_the_cpu(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        trainings.run(tmp_path, [*configs.ARSEG, *overrides])
