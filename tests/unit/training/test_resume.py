"""A resumed run keeps its configuration, but for where and how it computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from src.errors import UserError
from src.training.resume import CONFIG, PROVENANCE, RESUMES, Change, changes_of, stored_config

BEGAN: dict[str, Any] = {
    "seed": 0,
    "ckpt_path": None,
    "limits": {},
    "trainer": {"devices": 1, "precision": "32-true"},
    "data": {"workers": 2, "crop": [32, 48], "root": "/a", "module": {"seed": "${seed}", "crop": "${data.crop}"}},
    "model": {
        "epochs": 2,
        "lr": 0.1,
        "phases": {"image": {"trainer": {"max_epochs": "${model.epochs}"}, "module": {"lr": "${model.lr}"}}},
    },
}


def resume(run: Path, *overrides: str, begun: bool = True, same_data: bool = False) -> list[Change]:
    """Compare with the configuration in a run directory, which is written there first."""
    config = OmegaConf.create(BEGAN)
    if not (run / CONFIG).exists():
        (run / CONFIG).write_text(yaml.safe_dump(OmegaConf.to_container(config, resolve=True)))
    merged = OmegaConf.merge(config, OmegaConf.from_dotlist(["ckpt_path=last", *overrides]))
    resolved, unresolved = (OmegaConf.to_container(merged, resolve=value) for value in (True, False))
    usual = OmegaConf.to_container(config)
    return changes_of(run, resolved, unresolved, usual, lambda _: begun, lambda: same_data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("seed=1", "seed=0, not 1; give seed=0 as before"),
        ("model.lr=0.5", "model.lr=0.1, not 0.5"),
        ("data.crop=[64,64]", r"data.crop=\[32, 48\], not \[64, 64\]"),
        ("trainer.precision=16-mixed", "trainer.precision=32-true, not 16-mixed"),
        ("model.epochs=1", "model.epochs=2, not 1"),
        ("data.root=/b", "data.root=/a, not /b"),
        ("limits.limit_train_batches=2", "leave out limits.limit_train_batches"),
        ("model.phases.image.module.lr=0.2", "model.phases.image.module.lr=0.1, not 0.2"),
        ("model.phases.image=null", "leave out model.phases.image"),
        ("callbacks.ema={_target_: some.Average, decay: 0.9}", "callbacks.ema=absent, not some.Average"),
    ],
)
def test_what_would_be_learned_otherwise_is_refused(override: str, shown: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=shown):
        resume(tmp_path, override)


def test_values_that_follow_from_a_wrong_one_are_not_listed(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        resume(tmp_path, "seed=1")
    assert "data.module.seed" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "also"),
    [
        ("trainer.devices=4", []),
        ("data.workers=0", []),
        ("logger.csv=x", []),
        ("paths.cache=/b", []),
        ("model.epochs=3", ["model.phases.image.trainer.max_epochs"]),
    ],
)
def test_where_and_how_long_it_computes_may_change(override: str, also: list[str], tmp_path: Path) -> None:
    assert [change.key for change in resume(tmp_path, override)] == [override.split("=")[0], *also]


def test_data_may_move(tmp_path: Path) -> None:
    assert [change.key for change in resume(tmp_path, "data.root=/b", same_data=True)] == ["data.root"]


def test_a_phase_that_has_not_begun_may_be_left_out(tmp_path: Path) -> None:
    assert [change.key for change in resume(tmp_path, "model.phases.image=null", begun=False)] == ["model.phases.image"]


def test_a_run_is_compared_with_how_it_was_last_resumed(tmp_path: Path) -> None:
    changes = resume(tmp_path, "model.epochs=3", "trainer.devices=2", "logger.csv=x")
    line = json.dumps({"changes": {change.key: change.as_dict() for change in changes}})
    (tmp_path / RESUMES).write_text(line + "\n" + line[:20])  # the second was torn
    assert not resume(tmp_path, "model.epochs=3", "trainer.devices=2", "logger.csv=x")
    assert [(c.key, str(c.new)) for c in resume(tmp_path, "model.epochs=3", "trainer.devices=2")] == [
        ("logger.csv", "absent")
    ]
    with pytest.raises(UserError, match=r"model\.epochs=3, not 2"):
        resume(tmp_path)


OLD: dict[str, Any] = {
    "seed": 3,
    "trainer": {"accelerator": "cpu", "devices": 4, "num_nodes": 1, "precision": "auto"},
    "data": {"batch_size": 8, "module": {"batch_size": 8, "clips": {"_target_": "Clips", "seed": 3}}},
    "model": {"phases": {}},
}
NOW: dict[str, Any] = {
    **OLD,
    "trainer": {**OLD["trainer"], "precision": "32-true"},
    "data": {
        "batch_size": 8,
        "seed": 0,
        "longest_gop": None,
        "module": {
            "batch_size": "${data.batch_size}",
            "longest_gop": "${data.longest_gop}",
            "clips": {"_target_": "Clips", "seed": "${data.seed}"},
        },
    },
}


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (["data.batch_size=32", "data.seed=3"], None),
        (["data.batch_size=32", "data.seed=3", "trainer.devices=1"], None),
        ([], r"data\.batch_size=32, not 8, data\.seed=3, not 0; give data\.batch_size=32, data\.seed=3 as before"),
        (["data.batch_size=32", "data.seed=3", "data.longest_gop=9"], r"leave out data\.longest_gop"),
        (["data.batch_size=32", "data.seed=3", "callbacks.ema._target_=A"], r"leave out callbacks\.ema"),
    ],
)
def test_runs_of_earlier_versions_continue_as_they_began(
    overrides: list[str], refused: str | None, tmp_path: Path
) -> None:
    (tmp_path / CONFIG).write_text(yaml.safe_dump(OLD))
    (tmp_path / PROVENANCE).write_text("{}")
    merged = OmegaConf.merge(NOW, OmegaConf.from_dotlist(overrides))
    resolved, unresolved = (OmegaConf.to_container(merged, resolve=value) for value in (True, False))
    usual = {**NOW, "callbacks": {"ema": {"_target_": "A"}}}  # as after callbacks=ema
    arguments: Any = (tmp_path, resolved, unresolved, usual, lambda _: True, lambda: False)
    if refused:
        with pytest.raises(UserError, match=refused):
            changes_of(*arguments)
    else:
        changes = changes_of(*arguments)
        assert {change.key for change in changes} <= {"trainer.devices"}
        line = json.dumps({"changes": {change.key: change.as_dict() for change in changes}})
        (tmp_path / RESUMES).write_text(line + "\n")
        assert changes_of(*arguments) == []


def test_a_record_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert stored_config(tmp_path) is None
    (tmp_path / CONFIG).write_text("seed: [")
    with pytest.raises(UserError, match=r"config_resolved\.yaml' cannot be read; restore it"):
        stored_config(tmp_path)
