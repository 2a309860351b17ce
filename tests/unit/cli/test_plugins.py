"""Plugins are imported before a task, whether one is named or several."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.cli.plugins import with_plugins


@pytest.mark.parametrize(
    ("given", "loaded"),
    [
        ("a_lab.nets", ["a_lab.nets"]),
        (["a_lab.nets", "a_lab.data"], ["a_lab.nets", "a_lab.data"]),
        ([], []),
        (None, []),
    ],
)
def test_one_module_needs_no_brackets(
    given: object, loaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_lab").mkdir()
    for name in ("__init__", "nets", "data"):
        (tmp_path / "a_lab" / f"{name}.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = ("a_lab", "a_lab.nets", "a_lab.data")
    found: list[str] = []
    try:
        with_plugins(lambda config: found.extend(m for m in modules[1:] if m in sys.modules))(
            OmegaConf.create({"plugins": given})
        )
    finally:
        for module in modules:
            sys.modules.pop(module, None)
    assert found == loaded
