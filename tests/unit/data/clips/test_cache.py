"""`src.prepare`: what it leaves on disk, what it notices, and that neither kills nor damage get in."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from scripts.campaigns.damage import DamageCampaign
from scripts.campaigns.kills import KillCampaign, contents
from src.commands.prepare import prepare_data_set
from src.data.clips import cache as prepare_clips
from src.data.clips.cache import ClipJob, prepare
from src.data.clips.files import place_of, remove_leftovers, unfinished_folder
from src.errors import UserError
from src.instantiate import instantiate
from src.video.types import CodecSettings
from tests.support import miniatures
from tests.support.configs import compose_config

Compose = Callable[..., DictConfig]
ROOT = Path(__file__).resolve().parents[4]
CLIPS = 2 + 4  # one of each training snippet, four distances of the validation snippet


def given(root: Path, cache: Path) -> list[str]:
    return ["data=cityscapes", f"data.root={root}", f"paths.cache={cache}", "video.gop=4", "video.bitrate=300"]


def file_of(cache: Path, key: str, suffix: str) -> Path:
    return place_of(cache, key).with_suffix(suffix)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.cityscapes(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of an undisturbed run."""
    cache = tmp_path_factory.mktemp("whole")
    prepare_data_set(compose_config("prepare", cache, *given(root, cache)))
    return cache


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "cache"))


def test_the_manifest_tells_what_was_made_of_what(whole: Path) -> None:
    records = [json.loads(line) for line in (whole / "manifest.jsonl").read_text().splitlines()]
    assert [r["name"] for r in records] == sorted(r["name"] for r in records)
    assert len(records) == CLIPS
    for record in records:
        assert record["encoding"] == {
            "bitrate": 300, "codec": "h264", "crf": None, "fps": "17", "gop": 4, "preset": "medium",
        }  # fmt: skip
        assert record["keyframes"] == [0]
        assert record["labelled"] == [record["length"] - 1]
        assert record["film"]["bytes"] == file_of(whole, record["key"], ".mp4").stat().st_size
        assert record["psnr_y"] > 25
        assert {"av", "ffmpeg"} <= set(record["tools"])
    assert len({r["source"] for r in records}) == CLIPS


def test_a_second_run_does_nothing(root: Path, cache: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a clip was made again")

    monkeypatch.setattr(prepare_clips, "_make_all", refuse)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    prepare_data_set(composed("prepare", cache, *given(root, cache)))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_shards_merge_by_themselves(root: Path, whole: Path, composed: Compose, tmp_path: Path) -> None:
    for shard in ("2/3", "1/3", "3/3"):
        prepare_data_set(composed("prepare", tmp_path, *given(root, tmp_path / "cache"), f"shard={shard}"))
    assert contents(tmp_path / "cache") == contents(whole)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b"])
def test_a_wrong_shard_is_refused(root: Path, composed: Compose, tmp_path: Path, shard: str) -> None:
    with pytest.raises(UserError, match=f"shard={shard} is not i/n"):
        prepare_data_set(composed("prepare", tmp_path, *given(root, tmp_path / "cache"), f"shard={shard}"))


def spoil_film(cache: Path, key: str) -> None:
    film = file_of(cache, key, ".mp4")
    film.write_bytes(film.read_bytes()[:-1] + b"?")


SPOILT: dict[str, Callable[[Path, str], object]] = {
    "missing: it was not made": lambda cache, key: file_of(cache, key, ".json").unlink(),
    r"missing: .*\.mp4": lambda cache, key: file_of(cache, key, ".mp4").unlink(),
    r"torn: .*\.npz has 100 of": lambda cache, key: os.truncate(file_of(cache, key, ".npz"), 100),
    r"torn: .*\.json cannot be read": lambda cache, key: os.truncate(file_of(cache, key, ".json"), 50),
    r"different: .*\.mp4 is not the file": spoil_film,
    r"different: manifest\.jsonl lacks it": lambda cache, key: (cache / "manifest.jsonl").write_text("{}\nnonsense\n"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_check_names_what_is_wrong_and_a_run_mends_it(
    root: Path, whole: Path, cache: Path, composed: Compose, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    check = composed("prepare", cache, *given(root, cache), "check=true")
    prepare_data_set(check)
    record = json.loads((cache / "manifest.jsonl").read_text().splitlines()[0])
    SPOILT[fault](cache, record["key"])
    spoilt = contents(cache)
    with pytest.raises(UserError, match="faults in 6 clips"):
        prepare_data_set(check)
    assert re.search(fault, caplog.text)
    assert contents(cache) == spoilt, "a check changes nothing"
    if "not the file" in fault:  # of the right size: only a check sees it
        file_of(cache, record["key"], ".mp4").unlink()
    prepare_data_set(composed("prepare", cache, *given(root, cache)))
    assert contents(cache) == contents(whole)


def test_too_little_space_is_refused(
    root: Path, composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_clips.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 0, 100))
    with pytest.raises(UserError, match=r"MB free, \d+ clips need about .*lower video\.bitrate"):
        prepare_data_set(composed("prepare", tmp_path, *given(root, tmp_path / "cache")))
    assert not list((tmp_path / "cache").iterdir()), "refused before anything is kept"


def test_a_quality_beside_a_bitrate_is_refused(root: Path, composed: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"video\.crf=20 and video\.bitrate=300 are both set"):
        prepare_data_set(composed("prepare", tmp_path, *given(root, tmp_path / "cache"), "video.crf=20"))


def test_damaged_files_can_be_left_out(
    root: Path, composed: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "root"))
    next((copy / "leftImg8bit_sequence/train/aachen").glob("*000018_*")).write_bytes(b"")
    settings = given(copy, tmp_path / "cache")
    with pytest.raises(UserError, match=r"aachen_000000_000018_leftImg8bit\.png' cannot be decoded"):
        prepare_data_set(composed("prepare", tmp_path, *settings))
    prepare_data_set(composed("prepare", tmp_path, *settings, "data.on_damage=skip"))
    assert "left out" in caplog.text
    caplog.clear()
    module = instantiate(composed("prepare", tmp_path, *settings, "data.on_damage=skip").data.module)
    with monkeypatch.context() as patched:
        patched.setattr(prepare_clips, "_make_all", lambda *_: pytest.fail("it was tried again"))
        assert len(module.prepared("train")) + len(module.prepared("val")) == CLIPS - 1
    assert "left out" in caplog.text
    assert len(list((tmp_path / "cache").rglob("*.mp4"))) == CLIPS - 1


def hold_unfinished_folder(cache: Path, meeting: Path) -> None:
    """Work in a folder of the cache until the pipe is opened."""
    with unfinished_folder(cache):
        meeting.open("wb").close()
        meeting.open("rb").read()


@pytest.mark.subprocess
def test_only_folders_of_processes_that_are_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock decides, not a number: that of a process means nothing on another host or in another container."""
    meeting, cache = tmp_path / "meeting", tmp_path / "cache"
    cache.mkdir()
    os.mkfifo(meeting)
    process = multiprocessing.get_context("spawn").Process(target=hold_unfinished_folder, args=(cache, meeting))
    process.start()
    meeting.open("rb").read()
    (held,) = cache.iterdir()
    remove_leftovers(cache)
    assert held.exists()
    process.kill()
    process.join()
    assert held.exists()
    with monkeypatch.context() as patched:  # locks may not be seen by other hosts
        patched.setattr(socket, "gethostname", lambda: "another")
        remove_leftovers(cache)
        assert held.exists()
    remove_leftovers(cache)
    assert not held.exists()


def test_folders_of_processes_killed_before_they_locked_are_removed_when_old(tmp_path: Path) -> None:
    folders = [tmp_path / f".{name}.unfinished" for name in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    os.utime(folders[0], (0, 0))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == folders[1:]


@dataclass(frozen=True)
class OddJob(ClipJob):
    """Two grey frames, or damage; two jobs with a `meeting`, a named pipe, are at work at the same time."""

    name: str
    damaged: bool
    meeting: Path | None = None
    start: int = 0

    def __len__(self) -> int:
        return 2

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        if self.meeting is not None:  # opening waits for the other side, reading for its end
            with self.meeting.open("wb" if self.damaged else "rb", buffering=0) as pipe:
                if not self.damaged:
                    pipe.read()
        if self.damaged:
            raise UserError(f"{self.name} is damaged")
        for _ in range(2):
            yield np.full((32, 32, 3), 128, np.uint8), np.zeros((32, 32), np.uint8)

    def fingerprint(self) -> str:
        return self.name


SETTINGS = CodecSettings("h264", 2, 15, bitrate=300, preset="ultrafast")


@pytest.mark.subprocess
def test_two_signals_end_a_preparation_at_once_and_without_leftovers(tmp_path: Path) -> None:
    """Its processes get those of the terminal too; one of them waits for ever."""
    meeting = tmp_path / "meeting"
    os.mkfifo(meeting)
    script = (
        "import sys; from pathlib import Path; from tests.unit.data.clips.test_cache import *\n"
        "jobs = [OddJob('a', False, Path(sys.argv[1])), *(OddJob(name, False) for name in 'bcdef')]\n"
        "if __name__ == '__main__': prepare(jobs, SETTINGS, Path(sys.argv[2]), workers=2)\n"
    )
    (tmp_path / "run.py").write_text(script)
    command = [sys.executable, str(tmp_path / "run.py"), str(meeting), str(tmp_path / "cache")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    with meeting.open("wb"):  # the first clip is in work
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)  # equal signals that wait are one
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode not in (0, None)
    assert "spawn_main" not in errors.decode(), "no traceback of its processes"
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


@pytest.mark.subprocess
def test_what_other_processes_do_at_an_error_leaves_nothing(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    os.mkfifo(meeting)
    jobs = [OddJob("a", True, meeting), OddJob("b", False, meeting), OddJob("c", False), OddJob("d", False)]
    with pytest.raises(UserError, match="a is damaged"):
        prepare(jobs, SETTINGS, tmp_path / "cache", workers=2)
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


@pytest.mark.subprocess
def test_a_killed_preparation_is_resumed(tmp_path: Path) -> None:
    """At moments that the process chooses itself; random ones: `python -m scripts.campaigns preparation-kills`."""
    campaign = KillCampaign(tmp_path, workers=1, size=(64, 128))
    for files in (len(campaign.expected) // 2, len(campaign.expected) - 2):  # and when all but the manifest is there
        kill = campaign.kill_at(files)
        assert kill.wrong == ""
        assert files <= kill.files < len(campaign.expected)


def test_two_damaged_files(tmp_path: Path) -> None:
    campaign = DamageCampaign(tmp_path)
    cases = [campaign.damage_once(seed) for seed in (0, 4)]
    assert all(case.is_good for case in cases), cases
