"""On a real SLURM of two nodes (cluster.sh beside this): arrays, two-node training, requeue, sweeps, W&B agents."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.integration.test_train import TINY
from tests.support.configs import ROOT
from tests.support.wandb_server import offline_history, offline_summary, serving

CLUSTER = os.environ.get("SLURM_TEST_CLUSTER")
pytestmark = pytest.mark.skipif(
    CLUSTER is None,
    reason="SLURM_TEST_CLUSTER is not set to the folder of a cluster that tests/integration/slurm/cluster.sh started",
)
FILMS = "data.source.films={train:2,val:1}"  # two clips for each of two processes
SHORT = [*TINY, FILMS, "trainer.accelerator=cpu", "model.phases.low=null", "model.phases.constant=null"]
LONG = ["model.high_epochs=8", "model.phases.high.trainer.check_val_every_n_epoch=8"]
TRAINS = "Loading `train_dataloader`"
LIMIT = 900  # seconds; only reached where something hangs


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.2)


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def ended(run: Callable[..., subprocess.CompletedProcess[str]], job: str) -> str:
    """What SLURM shows of a job, or of all jobs of an array, after the last has ended; `sbatch --wait` looks rarely."""

    def listed() -> subprocess.CompletedProcess[str]:
        return run("squeue", "--noheader", f"--jobs={job}")

    wait_for(lambda: (found := listed()).returncode == 0 and not found.stdout)
    return run("scontrol", "show", "job", job).stdout


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("SLURM_")},
        "SLURM_CONF": f"{CLUSTER}/slurm.conf",
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MASTER_ADDR": "127.0.0.1",  # the nodes' names are not in the DNS
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    }


@pytest.fixture(scope="module")
def run(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def start(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment | more, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)

    return start


@pytest.fixture(scope="module")
def cache(run: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips prepared by an array of two jobs."""
    folder = tmp_path_factory.mktemp("prepared")
    data = [part for part in (*TINY, FILMS) if part.startswith(("data.", "video.")) and "workers" not in part]
    options = ["--parsable", "--array=1-2", "--cpus-per-task=1", f"--output={folder}/%a.log"]
    submitted = run("sbatch", *options, "scripts/slurm_prepare.sh", "data=street", f"paths.cache={folder}", *data)
    shown = ended(run, submitted.stdout.strip())
    logs = [text(folder / f"{part}.log") for part in (1, 2)]
    assert shown.count("JobState=COMPLETED") == 2, "\n".join([submitted.stderr, *logs])
    parts = [re.findall(r"(\d+) of (\d+) clips are prepared", log) for log in logs]
    assert [len(part) for part in parts] == [1, 1], logs
    assert sum(int(done) for [(done, _)] in parts) == len(list(folder.rglob("*.mp4")))
    return folder


def test_tasks_on_two_nodes_evaluate_as_one_process_does(
    run: Callable[..., subprocess.CompletedProcess[str]], cache: Path, tmp_path: Path
) -> None:
    trained = run(sys.executable, "-m", "src.train", *SHORT, f"paths.cache={cache}", f"hydra.run.dir={tmp_path}/run")
    assert trained.returncode == 0, trained.stderr
    given = [f"checkpoint={tmp_path}/run/high/checkpoints/last.ckpt", "device=cpu", f"paths.cache={cache}"]
    command = [sys.executable, "-m", "src.eval", *given]
    alone = run(*command, f"hydra.run.dir={tmp_path}/one")
    tasks = ["srun", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1"]
    both = run(*tasks, *command, f"hydra.run.dir={tmp_path}/two")
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    assert both.stdout.count("metrics: ") == 1
    assert (tmp_path / "one" / "metrics.json").read_bytes() == (tmp_path / "two" / "metrics.json").read_bytes()


def test_a_training_on_two_nodes_is_requeued_and_goes_on_after_the_step(
    run: Callable[..., subprocess.CompletedProcess[str]], cache: Path, tmp_path: Path
) -> None:
    options = ["--parsable", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", f"--output={tmp_path}/log"]
    longer = ["model.high_epochs=40", "model.phases.high.trainer.check_val_every_n_epoch=40"]  # than a signal takes
    small = [*SHORT, *longer, "data.batch_size=4", "trainer.log_every_n_steps=1", f"paths.cache={cache}"]
    submitted = run("sbatch", *options, "scripts/slurm_train.sh", *small, f"paths.runs={tmp_path}")
    job = submitted.stdout.strip()
    log = tmp_path / "log"
    wait_for(lambda: re.search(f"{TRAINS}|error: |Traceback", text(log)))  # both processes are up
    run("scancel", "--signal=USR1", job)  # what --signal=USR1@120 sends before the limit
    shown = run("scontrol", "show", "job", job).stdout
    print(shown)
    assert "NodeList=node[1-2]" in shown
    assert "NumNodes=2" in shown
    assert "Restarts=1" in ended(run, job)
    print(text(log))
    [saved] = re.findall(r"step (\d+) is in", text(log))
    assert f"resuming after step {saved}" in text(log)
    phase = tmp_path / "train" / "arseg_street" / job / "high"
    assert json.loads((phase / "done.json").read_text())["epochs"] == 40
    trainer = torch.load(phase / "checkpoints" / "last.ckpt", weights_only=True)["metadata"]["config"]["trainer"]
    assert (trainer["num_nodes"], trainer["devices"]) == (2, 1)


def test_a_sweep_is_a_job_array_and_outlives_a_failed_and_a_requeued_job(
    environment: dict[str, str], run: Callable[..., subprocess.CompletedProcess[str]], cache: Path, tmp_path: Path
) -> None:
    launcher = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=10"]
    sweep = [*launcher, f"hydra.sweep.dir={tmp_path}", "model.optimizer.lr=1e10,0.001"]
    wandb = ["logger=wandb", "logger.wandb.offline=true", "trainer.log_every_n_steps=1"]
    command = [sys.executable, "-m", "src.train", "--multirun", *SHORT, *LONG, *wandb, f"paths.cache={cache}", *sweep]
    waiting = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def log() -> str:
        return "".join(map(text, (tmp_path / ".submitit").glob("*_1/*_log.out")))

    wait_for(lambda: waiting.poll() is not None or TRAINS in log())
    [array] = {path.name.split("_")[0] for path in (tmp_path / ".submitit").glob("*_[0-9]")}
    run("scancel", "--signal=USR1", f"{array}_1")
    _, told = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 2, told
    assert "1 jobs of the multirun failed" in told
    assert "not finite" in told
    [saved] = re.findall(r"step (\d+) is in", log())
    assert f"resuming after step {saved}" in log()
    assert json.loads((tmp_path / "1" / "high" / "done.json").read_text())["epochs"] == 8
    turns = sorted(tmp_path.glob("1/high/wandb/offline-run-*/*.wandb"))
    assert {turn.name for turn in turns} == {f"run-{(tmp_path / '1' / 'wandb_id').read_text()}.wandb"}
    steps = [row["trainer/global_step"] for turn in turns for row in offline_history(turn) if "train/loss" in row]
    assert steps == list(range(24)), "both turns are one run of W&B"
    assert {path.name for path in (tmp_path / ".submitit").glob("*_[0-9]")} == {f"{array}_0", f"{array}_1"}
    shown = run("scontrol", "show", "job", array).stdout
    print(shown)
    assert shown.count(f"ArrayJobId={array}") == 2
    assert sorted(re.findall(r"Restarts=(\d)", shown)) == ["0", "1"]
    table = run(sys.executable, "-m", "src.report", "table=sweep", f"runs={tmp_path}")
    print(table.stdout)
    assert "model.optimizer.lr" in table.stdout


def test_agents_in_an_allocation_share_a_sweep(
    run: Callable[..., subprocess.CompletedProcess[str]], cache: Path, tmp_path: Path
) -> None:
    sweep = yaml.safe_load((ROOT / "sweeps" / "seeds.yaml").read_text())
    runs = "hydra.run.dir=" + str(tmp_path) + "/${oc.env:WANDB_RUN_ID}"
    small = [*SHORT, f"paths.cache={cache}", "logger=wandb", "logger.wandb.offline=true", runs]
    sweep["command"] = [*sweep["command"][:4], *small, "${args_no_hyphens}"]
    options = ["--parsable", "--ntasks=2", "--nodes=2", "--cpus-per-task=1", f"--output={tmp_path}/log"]
    with serving(sweep, count=2) as server:
        agents = ["scripts/slurm_agents.sh", "me/here/grid"]
        submitted = run("sbatch", *options, *agents, **server, WANDB_DIR=str(tmp_path))
        shown = ended(run, submitted.stdout.strip())
    print(text(tmp_path / "log"))
    assert "JobState=COMPLETED" in shown, text(tmp_path / "log")
    for trial in ("trial0", "trial1"):
        [log] = (tmp_path / trial).glob("**/*.wandb")
        score = json.loads((tmp_path / trial / "high" / "done.json").read_text())["val/miou"]
        assert offline_summary(log)["val/miou"] == score
        assert (tmp_path / trial / "provenance.json").exists()
