"""Every command answers --help from any directory, with examples that compose and hold known keys only."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from src.cli.config import check_keys
from tests.support.commands import commands_in, compose_command
from tests.support.configs import CONF, ROOT

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
HELP = sorted((CONF / "hydra" / "help").glob("*.yaml"))
BASE = "python -m src.train experiment=arseg_street"  # of examples that begin with ".."


def examples(path: Path) -> list[tuple[str, list[str]]]:
    template = yaml.safe_load(path.read_text())["template"]
    return commands_in(template.replace("  .. ", f"  {BASE} "))


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.subprocess
def test_a_console_script_shows_its_examples_from_another_directory(script: str, tmp_path: Path) -> None:
    module, function = SCRIPTS[script].split(":")
    code = f"import sys; from {module} import {function} as main; sys.argv = ['{script}', '--help']; sys.exit(main())"
    done = subprocess.run(  # what pip writes into the script
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m {module} " in done.stdout.split("== Examples ==")[1]
    assert not list(tmp_path.iterdir())


def test_every_command_has_a_script_and_a_help_text() -> None:
    commands = {path.stem for path in CONF.glob("*.yaml")}
    assert {path.stem for path in HELP} == commands
    assert {f"vss-{command}": f"src.{command}:main" for command in commands} == SCRIPTS


@pytest.mark.slow
@pytest.mark.parametrize("path", HELP, ids=lambda path: path.stem)
def test_examples_compose(path: Path, tmp_path: Path) -> None:
    found = examples(path)
    assert len(found) >= 4
    for name, arguments in found:
        check_keys(compose_command(name, arguments, tmp_path))
    GlobalHydra.instance().clear()


@pytest.mark.parametrize("path", HELP, ids=lambda path: path.stem)
def test_the_logging_of_a_command_can_be_configured(path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = {"prepare": ["data=street"], "benchmark": ["network=timm"]}.get(path.stem, [])
        logging = compose(path.stem, chosen, return_hydra_config=True).hydra.job_logging
    assert all("class" in handler for handler in (logging.get("handlers") or {}).values())


def test_a_wrong_example_is_found(tmp_path: Path) -> None:
    [(name, arguments)] = commands_in("    misspelt    python -m src.predict checkpoint=A source=B output=C opacty=1")
    with pytest.raises(Exception, match="opacty"):
        compose_command(name, arguments, tmp_path)
    GlobalHydra.instance().clear()
