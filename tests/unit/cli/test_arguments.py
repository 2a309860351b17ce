"""Names of files of any kind on the command line, and one line for what Hydra cannot read or compose."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.cli.arguments import comparable, explained, readable, unreadable
from src.cli.entry import all_keys, run
from tests.support.configs import CONF, ROOT

NAMES = [
    "ride (1).mp4", "a=b", "a,b", "a#b", "it's", 'say "x"', " leading", "été.mp4", "видео.mp4", "日本.mp4", "2024",
    "007", "1e5", "true", "nan",
    "back\\", "back\\'slash", "[x].mp4", "{x}", "a;b&c!", "100%d", "$HOME", "`x`", "'a", "+x",
    "-x", "a:b", "*.mp4", "choice(a,b)", "a]", "tab\tx", "plain/name.mp4",
]  # fmt: skip


def value(argument: str) -> Any:
    return OverridesParser.create().parse_override(argument).value()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_that_file(name: str) -> None:
    keys = ("output", "checkpoint", "++data.root", "hydra.run.dir", "paths.cache", "model.high_checkpoint")
    for key in (*keys, "submission", "metrics", "figure", "page", "ckpt_path"):
        [once] = readable("eval", [f"{key}={name}"])
        assert value(once) == name
        assert readable("eval", [once]) == [once], "also when a process of several repeats it"
    [several] = readable("eval", [f"checkpoint=[{name.replace(',', '')},other(1).ckpt]"])
    assert value(several) == [name.replace(",", "").strip(), "other(1).ckpt"]


def test_what_is_meant_otherwise_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [
        "baseline=null",
        "output='a b'",
        'output="2"',
        "checkpoint=[a,b]",
        "hydra.run.dir=r/${seed}",
        "seed=3",
        "-m",
    ]
    assert readable("eval", kept) == kept
    assert readable("eval", ["--multirun", "source=a,b"])[1] == "source=a,b"
    assert readable("eval", ["-m", "source=a(1),b"])[1] == "source='a(1)',b"
    assert readable("eval", ["-m", "checkpoint=[a,b],[c,d]"])[1] == "checkpoint=[a,b],[c,d]"
    assert readable("eval", ["checkpoint=[a=1.ckpt,'b,c',2024]"]) == ["checkpoint=['a=1.ckpt','b,c','2024']"]
    assert value(readable("predict", ["checkpoint=[a,b]"])[0]) == "[a,b]", "which takes one"
    monkeypatch.setenv("HOME", "/home/me")
    assert readable("eval", ["output=~/x"]) == ["output=/home/me/x"]


@pytest.mark.parametrize("given", ["seed=(1)", "x=a#b", "callbacks.best.filename=it's$", "data.crop=[1,2"])
def test_what_cannot_be_read_is_shown_as_a_shell_takes_it(given: str) -> None:
    message = unreadable(["experiment=arseg_street", given])
    assert message is not None
    [form] = shlex.split(message.partition("to give a text as it is: ")[2])
    assert value(form) == given.partition("=")[2]


def test_a_multirun_over_gops_scores_them_on_the_same_frames() -> None:
    sweep = ["--multirun", "checkpoint=a.ckpt", "video.gop=12,30,20"]
    assert comparable(sweep) == [*sweep, "data.longest_gop=30"]
    assert comparable(["-m", "video.gop=range(4,9)"])[-1] == "data.longest_gop=8"
    assert comparable(["-m", "video.gop=interval(10,30)"])[-1] == "data.longest_gop=30"
    words = ["-m", "video.gop=a,b"]
    for kept in (sweep[1:], ["-m", "seed=0,1", "video.gop=30"], [*sweep, "data.longest_gop=40"], words):
        assert comparable(kept) == kept


def test_a_word_without_a_key_is_named() -> None:
    assert "'street' is not KEY=VALUE" in str(unreadable(["--multirun", "street"]))
    assert unreadable(["--config-dir", "folder", "--cfg", "job", "~debug", "+a.b=1", "seed=0,1"]) is None


@pytest.fixture(scope="module")
def keys() -> list[str]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return all_keys(OmegaConf.to_container(compose("prepare", ["data=street"])))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("dat.root=1", "unknown configuration key 'dat.root': nothing reads it; did you mean 'data.root'?"),
        ("data.rot=1", "did you mean 'data.root'?"),
        ("video={cdec:h264}", "unknown configuration key 'video.cdec': nothing reads it; did you mean 'video.codec'?"),
        ("~seeed", "'seeed': nothing reads it; did you mean 'seed'?"),
        ("hydra/job_logging=stdot", "hydra/job_logging=stdot is unknown; did you mean 'stdout'?"),
        ("data=stret", "data=stret is unknown; did you mean 'street'?"),
        ("data=mine", "data=mine is unknown; known: as_trained, camvid,"),
        ("", "data=NAME is not given; give one of as_trained, camvid,"),
        ("seed=0,1", "seed=0,1 gives several values; give one of them, seed=[0,1] if"),
        ("data/clps@data.module.clips=films", "config group 'data/clps' does not exist"),
    ],
)
def test_what_cannot_be_composed_is_one_line_with_the_nearest_name(given: str, message: str, keys: list[str]) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(HydraException) as raised:
        compose("prepare", [part for part in (given, "data=street" * ("data=" not in message)) if part])
    found = explained(raised.value, lambda wrong: keys)
    assert message in found
    assert "\n" not in found


def test_the_command_ends_with_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["src.predict", "checkpoint=a(1)", "sauce=b", "output=2024"])
    with pytest.raises(SystemExit) as ended:
        run("predict", lambda config: None)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: unknown configuration key 'sauce': nothing reads it; did you mean 'source'?\n"
    )


def test_a_task_gets_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"checkpoint": "a(1),b=c.ckpt", "source": "vidéo #1.mp4", "output": "2024"}
    monkeypatch.setattr(sys, "argv", ["src.predict", *(f"{key}={name}" for key, name in given.items())])
    found: dict[str, Any] = {}
    run("predict", lambda config: found.update({key: config[key] for key in given}))
    assert found == given


@pytest.mark.subprocess
@pytest.mark.parametrize("given", ["data=null", "+network=null", "network@network=null"])
def test_a_group_needs_a_choice(given: str) -> None:
    assert re.search(r"=null chooses nothing; give \w+=NAME", unreadable(["seed=1", given], ["data", "network"]) or "")


def test_help_ends_with_its_reader() -> None:
    shown = subprocess.Popen(
        [sys.executable, "-m", "src.convert", "--help"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert shown.stdout is not None
    shown.stdout.close()
    assert shown.communicate()[1] == b""


@pytest.mark.parametrize("given", ["-data.seed=1", "--seed=1", "--seed"])
def test_keys_take_no_dashes(given: str) -> None:
    key = given.lstrip("-").partition("=")[0]
    assert unreadable(["-m", "data=street", given, "1"]) == (
        f"'{given}' is no option; give {key}=VALUE without dashes, see --help"
    )
    assert unreadable(["--multirun", "--cfg", "job", "-cn", "x", "--config-dir=y", "seed=-1", "--res"]) is None
