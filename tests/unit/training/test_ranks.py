"""Processes of one command: tasks that do not come, and the end of one that waits for a lost one."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from src.errors import UserError
from src.training import ranks
from tests.support.configs import ROOT

TASK = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
JOB = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "work"}
WAITING = """
import subprocess, sys, time
from src.training import ranks
ranks.GRACE = 0
with ranks.ending_together(lambda: "start it again"):
    ranks.subprocess_script._launch_process_observer([subprocess.Popen([sys.executable, "-c", sys.argv[1]])])
    time.sleep(600)  # as for NCCL
"""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Port of a job of two tasks, of which this process is the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    for key, value in {**JOB, **TASK, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(number)}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    monkeypatch.setattr(ranks, "UNSTARTED", 0.001)
    return number


def test_a_command_without_srun_waits_for_minutes_only(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=rf"SLURM_NTASKS=2, .*:{port} within .*`srun`.*`unset SLURM_NTASKS`"):
        ranks.meet()
    monkeypatch.delenv("SLURM_NTASKS")  # the remedy
    ranks.meet()
    assert ranks.slurm_tasks() == 1


def test_a_shell_of_an_allocation_is_no_task(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_PROCID")
    with pytest.raises(UserError, match=r"SLURM_NTASKS=2 without SLURM_PROCID.*`srun`"):
        ranks.meet()


def test_tasks_do_not_meet_at_a_port_in_use(port: int) -> None:
    with socket.socket() as other:
        other.bind(("", port))
        other.listen()
        with pytest.raises(UserError, match=f"MASTER_PORT={port}.*in use"):
            ranks.meet()


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, perhaps for want of memory; start it again"),
        ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV; start it again"),
        ("import sys; sys.exit(1)", "ended with exit status 1; start it again"),
        ("import sys; print('error: own line', file=sys.stderr); sys.exit(2)", "own line"),
    ],
)
def test_a_process_that_waits_for_a_lost_one_ends_with_one_line(code: str, message: str) -> None:
    done = subprocess.run([sys.executable, "-c", WAITING, code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.endswith(message)
