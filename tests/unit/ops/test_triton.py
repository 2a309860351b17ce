"""Triton kernels without a GPU: run by Triton's interpreter, compiled for GPUs, and absent from CPU builds of torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.configs import ROOT
from tests.support.triton_cases import CASES, limit_of

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton comes with CUDA builds of torch only")
pytestmark = pytest.mark.subprocess  # Triton decides at import whether kernels are interpreted


def python(*arguments: str, **environment: str) -> str:
    variables = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
    run = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def interpreted() -> dict[str, list[float] | str]:
    results: dict[str, list[float] | str] = json.loads(
        python("-m", "tests.support.triton_cases", "cpu", TRITON_INTERPRET="1")
    )
    return results


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_interpreted_kernels_equal_the_plain_form(name: str, interpreted: dict[str, list[float] | str]) -> None:
    found = interpreted[name]
    assert isinstance(found, list), found
    assert max(found) <= limit_of(name), found


COMPILE = "from tests.support.triton_compilation import compile_all; print(*compile_all({}), sep=chr(10))"


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_gpus_and_fit_them(capability: int, tmp_path: Path) -> None:
    lines = python("-c", COMPILE.format(capability), TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    assert len(lines) == 9
    stack = {name: int(stack) for name, stack in re.findall(r"(\S+) \S+ \d+ registers, (\d+) bytes", "\n".join(lines))}
    assert stack["local_attention_kernel.forward"] == 0, "registers suffice"


WITHOUT_TRITON = """
import sys
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] == "triton" else find_spec(name, *rest)
import torch
from src.models.arseg.fusion import CReFF
from src.ops import forms, triton
from src.ops.local_attention import local_attention
import src.inference.api, src.ops.gate, src.ops.warp

assert not triton.enabled and not forms.can_use_triton(torch.zeros(1))
net = CReFF(4, mix="gate", init="identity")
low, key, motion = torch.randn(1, 4, 3, 4), torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8)
net(low, key, motion).sum().backward()
assert not any(name.partition(".")[0] == "triton" for name in sys.modules)
"""


def test_everything_runs_where_triton_is_missing() -> None:
    python("-c", WITHOUT_TRITON)
