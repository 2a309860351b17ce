"""Signals of a process that watches them, each in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from tests.support.configs import ROOT

HEAD = """
import os, signal, sys, time
from src.interruption import *
from src.interruption import _Watch
watch_signals()
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HEAD + code], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_leaves_through_finally(name, status):
    done = run(f"""
try:
    os.kill(os.getpid(), signal.{name})
finally:
    print("cleaned")
""")
    assert (done.returncode, done.stdout, done.stderr) == (status, "cleaned\n", "")


def test_a_signal_that_was_swallowed_can_be_sent_again():
    done = run("""
import time
for _ in range(2):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except SystemExit as error:
        print(error.code, flush=True)
    time.sleep(0.4)
""")
    assert (done.returncode, done.stdout) == (0, "143\n143\n")


def test_a_deferred_signal_is_raised_when_asked_for_even_where_others_have_taken_it():
    done = run("""
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
defer_signals("the step")
os.kill(os.getpid(), signal.SIGTERM)
print("stepped")
raise_received()
""")
    assert (done.returncode, done.stdout) == (143, "stepped\n")
    assert done.stderr == "SIGTERM: waiting for the step; Ctrl-C again ends at once\n"


def test_a_worker_of_a_fork_server_ends_at_a_sigterm_of_its_owner():
    done = run("""
from multiprocessing import get_context
context = get_context("forkserver")
ready = context.Event()
code = "import src.interruption, time; src.interruption.leave_signals_to_parent(); ready.set(); time.sleep(60)"
worker = context.Process(target=exec, args=(code, {"ready": ready}))
worker.start()
ready.wait()
worker.terminate()
worker.join(20)
print(worker.exitcode)
worker.kill()
""")
    assert done.stdout == "0\n", done.stderr


@pytest.mark.parametrize(("age", "status"), [(1, 130), (0, 0)], ids=["ends at once", "is the same signal, passed on"])
def test_a_second_ctrl_c(age, status):
    done = run(f"""
defer_signals("the step")
os.kill(os.getpid(), signal.SIGINT)
_Watch.since = time.monotonic() - {age}
os.kill(os.getpid(), signal.SIGINT)
""")
    assert done.returncode == status


def test_a_signal_that_the_parent_ignores_remains_ignored():
    done = run("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)
watch_signals()
os.kill(os.getpid(), signal.SIGHUP)
print("there")
""")
    assert done.stdout == "there\n"


def test_a_worker_ends_by_its_parent_alone():
    done = run("""
ready, tell = os.pipe()
child = os.fork()
if not child:
    leave_signals_to_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    while signal.sigpending():  # a second one of the same kind would be merged
        time.sleep(0.001)
    os.write(tell, b"alive")
    time.sleep(60)
    os._exit(1)
assert os.read(ready, 5) == b"alive"
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert done.stdout == "0\n", done.stderr


def test_a_command_ends_with_one_line_and_its_notes():
    done = run("""
import types
from src.cli.start import entry_point
_Watch.process = None  # as before a command starts

def interrupted(name, task):
    with noted(lambda: "the cat is fed; feed it again"):
        os.kill(os.getpid(), signal.SIGTERM)

sys.modules["src.cli.entry"] = types.SimpleNamespace(run=interrupted)
entry_point("train")(print)()
""")
    assert done.returncode == 143
    assert done.stderr == "error: interrupted by SIGTERM: the cat is fed; feed it again\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_an_interpreter_that_ends_leaves_the_exit_status(name):
    done = run(f"""
class Late:
    def __del__(self, kill=os.kill, process=os.getpid()):  # Python's handlers are gone by then
        kill(process, {int(signal.Signals[name])})
        print("here")

late = Late()
watch_signals()
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")


@pytest.mark.parametrize(
    ("launcher", "jobs", "answer"),
    [
        ("x.SlurmLauncher", ["7_0", "7_1"], "its jobs remain with SLURM and write to .*end them by scancel 7$"),
        ("x.SlurmLauncher", [], "no job was submitted; start it again$"),
        ("x.BasicLauncher", [], "no results were written; start it again$"),
    ],
)
def test_an_interrupted_wait_for_slurm_names_the_jobs_that_remain(launcher, jobs, answer, tmp_path):
    for job in jobs:
        (tmp_path / ".submitit" / job).mkdir(parents=True)
    done = run(f"""
from omegaconf import OmegaConf
from src.cli.ending import answers_signals
from src.cli.multirun import FailedJobs
_Watch.process = None  # as before a command starts
with answers_signals():
    hydra = {{"launcher": {{"_target_": "{launcher}"}}, "sweep": {{"dir": "{tmp_path}"}}}}
    FailedJobs().on_multirun_start(OmegaConf.create({{"hydra": hydra}}))
    os.kill(os.getpid(), signal.SIGINT)
""")
    assert done.returncode == 130
    assert re.search(f"^error: interrupted by SIGINT: {answer}", done.stderr, re.MULTILINE), done.stderr
