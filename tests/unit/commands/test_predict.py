from __future__ import annotations

import errno
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import threading
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from src.adaptation.online import Online
from src.adaptation.options import Learning
from src.commands.predict import predict, predict_many, segment_video
from src.data.labels import IndexCoding
from src.errors import UserError
from src.inference.api import StreamSegmenter
from src.inference.options import LiveOptions, PredictOptions
from src.inference.player_record import label_maps, read_record
from src.inference.resuming import file_identity
from src.inference.runner import FrameRunner
from src.inference.video_results import VideoResults
from src.interruption import Interruption
from src.reports.prediction import print_summary
from src.video.reading.decode import Video
from src.video.reading.live import LiveVideo
from src.video.reading.sources import videos_of
from tests.support.configs import ROOT
from tests.support.tiny_runner import (
    AR,
    CLASSES,
    IMAGE,
    TRAINING_GOP,
    exact_film,
    free_film,
    save_checkpoint,
)


@pytest.fixture(scope="module")
def ar(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("ar") / "ar.ckpt", AR)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("image") / "image.ckpt", IMAGE)


def request(checkpoint, source, output, **changed):
    defaults = {
        "max_gop": None,
        "motion": "auto",
        "on_damage": "stop",
        "save_labels": False,
        "label_format": "png",
        "overlay": True,
        "streams": 4,
        "live": LiveOptions("none", 0, 10.0),
        "opacity": 0.5,
        "device": "cpu",
        "backend": "torch",
        "precision": "fp32",
        "threads": 1,
    }
    return PredictOptions(str(checkpoint), str(source), str(output), **(defaults | changed))


PLUGIN = "plugins=[tests.support.tiny_runner]"


def run_cli(*arguments):
    command = [sys.executable, "-m", "src.predict", "threads=1", PLUGIN, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def timing(output):
    return json.loads((output / "timing.json").read_text())


@pytest.mark.parametrize("motion", ["auto", "transcode"])
def test_b_frame_film_of_variable_rate_keeps_its_times(ar, tmp_path, motion):
    times = [40, 80, 130, 131, 300, 310, 1000, 1001, 1010, 1500, 1550, 1551]
    film = free_film(tmp_path / "film.mp4", times, Fraction(1, 1000))
    summary = predict(request(ar, film, tmp_path / "output", motion=motion))
    assert summary["motion"] == ("transcode" if motion == "transcode" else "estimate")
    overlay = list(Video(tmp_path / "output" / "overlay.mp4", motion="none"))
    assert [f.pts for f in Video(film, motion="none")] == [Fraction(t, 1000) for t in times]
    assert [f.pts for f in overlay] == [Fraction(t - times[0], 1000) for t in times]


@pytest.mark.parametrize(
    ("suffix", "time_base"),
    [(".mkv", Fraction(1, 1000)), (".ts", Fraction(1, 90000)), (".avi", Fraction(1001, 30000))],
)
def test_times_of_any_container_are_kept(image, tmp_path, suffix, time_base):
    film = free_film(tmp_path / f"film{suffix}", range(6), Fraction(1001, 30000), params="bframes=0")
    predict(request(image, film, tmp_path / "output"))
    source = Video(film, motion="none")
    expected = [f.pts - source.info.start for f in source]
    assert expected[0] == 0
    assert [f.pts for f in Video(tmp_path / "output" / "overlay.mp4", motion="none")] == expected


def test_odd_size_gives_pictures_and_labels_of_that_size(ar, tmp_path):
    film = exact_film(tmp_path / "film.mp4", 5, gop=5, height=45, width=67)
    predict(request(ar, film, tmp_path / "output", save_labels=True))
    info = Video(tmp_path / "output" / "overlay.mp4", motion="none").info
    assert (info.height, info.width, info.codec) == (45, 67, "h264")
    files = sorted((tmp_path / "output" / "labels").iterdir())
    assert [f.name for f in files] == [f"{i:06d}.png" for i in range(5)]
    coding = IndexCoding(tuple((index, index) for index in range(len(CLASSES))), ())
    assert coding.read(files[3]).shape == (45, 67)


@pytest.mark.parametrize("threads", [1, 2])
def test_frames_for_the_player_are_those_of_the_labels_beside_full_resolution(ar, image, tmp_path, threads):
    film = exact_film(tmp_path / "film.mp4", 8, gop=4)
    output = tmp_path / "output"
    predict(request(ar, film, output, player=6, save_labels=True, max_gop=4, threads=threads))
    about, frames = read_record(output / "player.zip")
    assert (about["title"], about["systems"], about["reference"]) == ("film.mp4", ["constant 1x", "AR 0.5x"], 0)
    assert [frame.about["key"] for frame in frames] == [True, False, False, False, True, False]
    assert [frame.motion is None for frame in frames] == [True, False, False, False, True, False]
    for n, frame in enumerate(frames):
        full, found = label_maps(about, frame)
        labels = cv2.imread(str(output / "labels" / f"{n:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found, labels)
        assert np.array_equal(full, found) or n % 4
    predict(request(image, film, tmp_path / "single", player=2))
    about, frames = read_record(tmp_path / "single" / "player.zip")
    assert (about["systems"], about["reference"], len(frames)) == (["constant 0.5x"], None, 2)
    with pytest.raises(UserError, match="player=-1 is out of range"):
        request(ar, film, output, player=-1)


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_overlay_blends_the_source_with_class_colours(image, tmp_path, opacity):
    film = exact_film(tmp_path / "film.mp4", 2, gop=2)
    predict(request(image, film, tmp_path / "output", opacity=opacity, save_labels=True))
    source, *_ = Video(film, motion="none")
    shown, *_ = Video(tmp_path / "output" / "overlay.mp4", motion="none")
    labels = cv2.imread(str(tmp_path / "output" / "labels" / "000000.png"), cv2.IMREAD_UNCHANGED)
    expected = (1 - opacity) * source.image + opacity * CLASSES.colour(labels)
    assert np.abs(shown.image - expected).mean() < 12  # what coding colours at a quarter of the pixels costs
    others = np.abs(shown.image - ((1 - opacity) * source.image + opacity * CLASSES.colour((labels + 1) % 4))).mean()
    assert opacity == 0 or others > 2 * np.abs(shown.image - expected).mean()


def test_timing_tells_keyframes_types_and_means(ar, tmp_path):
    film = exact_film(tmp_path / "film.mp4", 16, gop=8)
    summary = predict(request(ar, film, tmp_path / "output"))
    found = timing(tmp_path / "output")
    assert found["summary"] == summary
    frames = found["frames"]
    assert [f["index"] for f in frames] == list(range(16))
    assert [f["index"] for f in frames if f["keyframe"]] == [0, TRAINING_GOP, 8, 8 + TRAINING_GOP]
    assert [f["index"] for f in frames if f["picture_type"] == "I"] == [0, 8]
    assert (summary["frames"], summary["keyframes"], summary["motion"]) == (16, 4, "exact")
    networks = [f["milliseconds"]["network"] for f in frames if not f["keyframe"]]
    assert summary["mean_milliseconds"]["nonkey"]["network"] == pytest.approx(np.mean(networks), abs=0.01)
    assert not summary["damaged_frames"]


def test_max_gop_of_the_user_wins(ar, tmp_path):
    film = exact_film(tmp_path / "film.mp4", 9, gop=9)
    predict(request(ar, film, tmp_path / "output", max_gop=3))
    assert [f["index"] for f in timing(tmp_path / "output")["frames"] if f["keyframe"]] == [0, 3, 6]


def test_image_network_runs_in_full_on_every_frame(image, tmp_path):
    film = exact_film(tmp_path / "film.mp4", 4, gop=4)
    summary = predict(request(image, film, tmp_path / "output"))
    assert (summary["motion"], summary["keyframes"], summary["max_gop"]) == ("none", 4, None)
    assert summary["mean_milliseconds"]["nonkey"] == {}


def corrupt(path, source):
    data = bytearray(source.read_bytes())
    start = data.index(b"mdat")
    middle = start + (len(data) - start) // 3
    data[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(data)
    return path


def test_damage_stops_the_run_or_makes_a_keyframe(ar, tmp_path):
    film = corrupt(tmp_path / "damaged.mp4", exact_film(tmp_path / "film.mp4", 16, gop=16))
    with pytest.raises(UserError, match="on_damage=continue"):
        predict(request(ar, film, tmp_path / "output"))
    assert not (tmp_path / "output").exists()
    summary = predict(request(ar, film, tmp_path / "output", on_damage="continue", max_gop=100))
    damaged = [f for f in timing(tmp_path / "output")["frames"] if f["damaged"]]
    assert damaged
    assert summary["damaged_frames"] == len(damaged)
    assert all(f["keyframe"] for f in damaged)


def bad_film(kind, path, good):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "picture":
        path = path.with_suffix(".png")
        cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    elif kind == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "noise", "picture", "sound"])
def test_bad_film_is_one_clear_error_and_leaves_nothing(image, tmp_path, kind):
    film = bad_film(kind, tmp_path / "bad.mp4", exact_film(tmp_path / "good.mp4", 6, gop=3))
    with pytest.raises(UserError, match=r"^video '.*bad\.(mp4|png)'.*; "):
        predict(request(image, film, tmp_path / "output"))
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("kind", ["missing", "noise", "foreign", "list"])
def test_bad_checkpoint_is_one_clear_error_and_leaves_nothing(tmp_path, kind):
    path = tmp_path / "bad.ckpt"
    if kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind != "missing":
        torch.save({"state_dict": {}} if kind == "foreign" else [1, 2], path)
    with pytest.raises(UserError, match=r"^checkpoint '.*bad\.ckpt'.*; "):
        predict(request(path, exact_film(tmp_path / "film.mp4", 3, gop=3), tmp_path / "output"))
    assert not (tmp_path / "output").exists()


def test_exact_motion_of_a_b_frame_film_is_refused_with_the_remedy(ar, tmp_path):
    film = free_film(tmp_path / "film.mp4", range(6), Fraction(1, 25))
    with pytest.raises(UserError, match=r"video\.motion=estimate"):
        predict(request(ar, film, tmp_path / "output", motion="exact"))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("stage", "raised", "answer"),
    [
        ("runner.FrameRunner.step", KeyboardInterrupt(), KeyboardInterrupt),
        ("timing.TimingFile.write", OSError(errno.ENOSPC, "No space left on device"), UserError),
        ("segment.KeyedMotion.update", RuntimeError("defect"), RuntimeError),
    ],
)
def test_a_run_that_ends_in_any_stage_leaves_nothing(ar, tmp_path, monkeypatch, threads, stage, raised, answer):
    film, calls, before = exact_film(tmp_path / "film.mp4", 12, gop=4), [], set(threading.enumerate())
    whole = pkgutil.resolve_name(f"src.inference.{stage}")

    def fail(*given, **named):
        calls.append(1)
        if len(calls) > 4:
            raise raised
        return whole(*given, **named)

    monkeypatch.setattr("src.inference.device.os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(f"src.inference.{stage}", fail)
    with pytest.raises(answer):
        predict(request(ar, film, tmp_path / "output", threads=threads))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["film.mp4"]
    assert set(threading.enumerate()) <= before


def test_stages_in_threads_write_the_same_results(ar, tmp_path, monkeypatch):
    film = free_film(tmp_path / "film.mp4", range(14), Fraction(1, 25))
    monkeypatch.setattr("src.inference.device.os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    for threads in (1, 2):
        predict(request(ar, film, tmp_path / str(threads), threads=threads, save_labels=True))
    one, two = (sorted((tmp_path / threads / "labels").iterdir()) for threads in "12")
    assert len(one) == 14
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    frames = [[row | {"milliseconds": None} for row in timing(tmp_path / threads)["frames"]] for threads in "12"]
    assert frames[0] == frames[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("video.motion", "fast"),
        ("on_damage", "ignore"),
        ("max_gop", 0),
        ("threads", "many"),
        ("opacity", 1.5),
        ("device", "abacus"),
        ("save_labels", "maybe"),
        ("overlay", "maybe"),
        ("label_format", "jpg"),
        ("streams", 0),
    ],
)
def test_value_out_of_range_is_refused_by_name(image, tmp_path, key, value):
    film = exact_film(tmp_path / "film.mp4", 2, gop=2)
    with pytest.raises(UserError, match=f"^{key}={value} "):
        predict(request(image, film, tmp_path / "output", **{key.removeprefix("video."): value}))


def test_lines_and_a_lossless_label_video_hold_the_labels(ar, tmp_path):
    film = exact_film(tmp_path / "film.mp4", 6, gop=4, height=45, width=67)
    predict(request(ar, film, tmp_path / "png", save_labels=True))
    predict(request(ar, film, tmp_path / "video", save_labels=True, label_format="video", overlay=False))
    assert sorted(item.name for item in (tmp_path / "video").iterdir()) == [
        "labels.mkv",
        "results.jsonl",
        "timing.json",
    ]
    files = sorted((tmp_path / "png" / "labels").iterdir())
    with av.open(str(tmp_path / "video" / "labels.mkv")) as container:
        coded = [frame.to_ndarray() for frame in container.decode(video=0)]
    rows = [json.loads(line) for line in (tmp_path / "video" / "results.jsonl").read_text().splitlines()]
    assert len(files) == len(coded) == len(rows) == 6
    for file, labels, row in zip(files, coded, rows, strict=True):
        assert np.array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), labels)
        shares = [row["classes"].get(name, 0) for name in CLASSES.names]
        assert shares == pytest.approx(np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size, abs=1e-6)
    assert [row["keyframe"] for row in rows] == [frame["keyframe"] for frame in timing(tmp_path / "png")["frames"]]


def test_lines_are_there_while_the_video_runs(image, tmp_path, monkeypatch):
    film, seen = exact_film(tmp_path / "film.mp4", 4, gop=4), []
    whole = FrameRunner.step

    def step(*given, **named):
        seen.append(len((tmp_path / "output" / ".partial" / "results.jsonl").read_text().splitlines()))
        return whole(*given, **named)

    segmenter_ready = StreamSegmenter.prepare

    def prepare(self, video, **given):
        segmenter_ready(self, video, **given)
        monkeypatch.setattr(FrameRunner, "step", step)

    monkeypatch.setattr(StreamSegmenter, "prepare", prepare)
    predict(request(image, film, tmp_path / "output"))
    assert seen == [0, 1, 2, 3]


def test_several_videos_are_done_once_and_bad_ones_do_not_stop_them(ar, tmp_path, caplog):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, count in (("a", 5), ("b", 7), ("c", 6)):
        exact_film(folder / f"{name}.mp4", count, gop=4)
    (folder / "bad.mp4").write_bytes(b"no video")
    given = request(ar, folder, tmp_path / "output", streams=2, save_labels=True)
    with pytest.raises(UserError, match=r"1 of 4 videos have no results, the others are complete: video '.*bad\.mp4'"):
        predict_many(given, videos_of(given.source, given.output))
    assert sorted(item.name for item in (tmp_path / "output").iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]
    predict(request(ar, folder / "b.mp4", tmp_path / "alone", save_labels=True))
    assert [path.read_bytes() for path in sorted((tmp_path / "alone" / "labels").iterdir())] == [
        path.read_bytes() for path in sorted((tmp_path / "output" / "b.mp4" / "labels").iterdir())
    ]
    (folder / "bad.mp4").unlink()
    shutil.rmtree(tmp_path / "output" / "c.mp4")
    before = (tmp_path / "output" / "a.mp4" / "timing.json").stat().st_mtime_ns
    assert list(predict_many(given, videos_of(given.source, given.output))) == ["c.mp4"]
    assert (tmp_path / "output" / "a.mp4" / "timing.json").stat().st_mtime_ns == before
    other = request(ar, folder, tmp_path / "output", max_gop=2)
    with pytest.raises(UserError, match=r"3 of 3 .* holds results of another run \(another settings\)"):
        predict_many(other, videos_of(given.source, given.output))
    exact_film(folder / "a.mp4", 6, gop=4)
    with pytest.raises(UserError, match=r"1 of 3 .* \(another source\)"):
        predict_many(given, videos_of(given.source, given.output))


@pytest.mark.parametrize(
    ("given", "name"),
    [(("oldest", 0, 1), "live.drop"), (("none", -1, 1), "live.reconnect"), (("none", None, 0), "live.health")],
)
def test_live_values_out_of_range_are_refused_by_name(given, name):
    with pytest.raises(UserError, match=f"^{name}="):
        LiveOptions(*given)


def test_an_interrupted_live_source_has_results(image, tmp_path, monkeypatch):
    film, before = exact_film(tmp_path / "film.ts.mkv", 9, gop=3), set(threading.enumerate())
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sender = threading.Thread(target=lambda: pipe.write_bytes(film.read_bytes()))
    sender.start()
    whole, seen = FrameRunner.step_batch, []

    def step_batch(*given, **named):
        seen.append(1)
        if len(seen) == 4:
            raise Interruption(signal.SIGINT)
        return whole(*given, **named)

    monkeypatch.setattr(FrameRunner, "step_batch", step_batch)
    summary = predict(request(image, pipe, tmp_path / "output"))
    sender.join()
    assert summary["frames"] == 3
    assert len((tmp_path / "output" / "results.jsonl").read_text().splitlines()) == 3
    assert len(list(Video(tmp_path / "output" / "overlay.mp4", motion="none"))) == 3
    assert summary["live"]["dropped_frames"] == 0
    assert set(threading.enumerate()) <= before


def test_an_interruption_completes_live_sources_only(image, tmp_path, monkeypatch):
    live, film = exact_film(tmp_path / "live.mkv", 9, gop=3), exact_film(tmp_path / "film.mp4", 9, 3, 45, 67)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sender = threading.Thread(target=lambda: pipe.write_bytes(live.read_bytes()))
    sender.start()
    sent, seen, frames, whole = threading.Event(), [], LiveVideo.__iter__, FrameRunner.step_batch

    def iterate(self):
        for frame in frames(self):
            yield frame
            sent.set()

    def step_batch(self, images, *given, **named):
        if images[0].shape[0] == 45:
            seen.append(1)
            sent.wait(30)
            if len(seen) == 4:
                raise Interruption(signal.SIGINT)
        return whole(self, images, *given, **named)

    monkeypatch.setattr(LiveVideo, "__iter__", iterate)
    monkeypatch.setattr(FrameRunner, "step_batch", step_batch)
    given = request(image, film, tmp_path / "output")
    with pytest.raises(Interruption):
        predict_many(given, {"live": str(pipe), "film": str(film)})
    sender.join()
    assert timing(tmp_path / "output" / "live")["summary"]["frames"] > 0
    assert not (tmp_path / "output" / "film").exists()
    assert predict_many(given, {"film": str(film)})["film"]["frames"] == 9


def test_an_error_of_the_last_results_ends_one_video(image, tmp_path, monkeypatch):
    videos = {name: str(exact_film(tmp_path / name, 3, gop=3)) for name in ("a.mp4", "b.mp4", "c.mp4")}
    whole = VideoResults.finish

    def finish(self, about):
        if about["source"] == videos["b.mp4"]:
            raise UserError("b cannot be written; give another")
        return whole(self, about)

    monkeypatch.setattr(VideoResults, "finish", finish)
    with pytest.raises(UserError, match=r"1 of 3 videos have no results, .*: b cannot be written"):
        predict_many(request(image, tmp_path, tmp_path / "output", streams=1), videos)
    assert sorted(item.name for item in (tmp_path / "output").iterdir()) == ["a.mp4", "c.mp4"]


def test_a_file_that_cannot_be_read_ends_one_video(image, tmp_path):
    videos = {name: str(exact_film(tmp_path / name, 3, gop=3)) for name in ("a.mp4", "b.mp4")}
    (tmp_path / "output" / "a.mp4" / "timing.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"1 of 2 .*timing\.json' cannot be read \(Is a directory\)"):
        predict_many(request(image, tmp_path, tmp_path / "output"), videos)
    assert timing(tmp_path / "output" / "b.mp4")["summary"]["frames"] == 3
    with pytest.raises(UserError, match="cannot be read"):
        file_identity(tmp_path)


@pytest.mark.subprocess
def test_standard_input_is_a_source(image, tmp_path):
    film, output = exact_film(tmp_path / "film.mkv", 5, gop=5), tmp_path / "output"
    command = [sys.executable, "-m", "src.predict", "threads=1", PLUGIN, f"checkpoint={image}", "source=-"]
    command += [f"output={output}", "live.drop=none", "backend=torch", "precision=fp32"]
    done = subprocess.run(command, cwd=ROOT, input=film.read_bytes(), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [row["index"] for row in timing(output)["frames"]] == list(range(5))
    assert b"live: latency p50" in done.stdout


@pytest.mark.subprocess
def test_command_line_writes_results_and_a_table(ar, tmp_path):
    film = free_film(tmp_path / "film.mkv", range(0, 400, 40), Fraction(1, 1000))
    output = tmp_path / "output"
    done = run_cli(f"checkpoint={ar}", f"source={film}", f"output={output}", "save_labels=true")
    assert done.returncode == 0, done.stderr
    assert sorted(item.name for item in output.iterdir()) == ["labels", "overlay.mp4", "results.jsonl", "timing.json"]
    assert "motion estimated" in done.stdout
    assert "frames/s" in done.stdout


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("bad", "message"),
    [("output", "error: output"), ("source", "error: video"), ("checkpoint", "error: checkpoint")],
)
def test_command_line_ends_bad_input_with_one_line_and_status_2(image, tmp_path, bad, message):
    given = {
        "checkpoint": image,
        "source": exact_film(tmp_path / "film.mp4", 2, gop=2),
        "output": tmp_path / "output",
    }
    (tmp_path / "bad").write_text("no film, no checkpoint, no folder")
    given[bad] = tmp_path / "bad"
    done = run_cli(*(f"{key}={value}" for key, value in given.items()))
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "output").exists()


def online(**changed):
    learning = Learning(1e-2, 1, [384, 512], [1.0, 1.0], 0.5, 1.0, 1.0, 1.0, "fp32")
    return Online(**{"every": 2, "seed": 0, "learning": learning, **changed})


def test_adapting_on_the_way_is_in_the_summary(ar, tmp_path, capsys):
    film = exact_film(tmp_path / "film.mp4", 40, 40)
    found = predict(request(ar, film, tmp_path / "out", backend="auto", precision="auto", overlay=False), online())
    assert found["adaptation"]["comparisons"] == 32 // 3
    assert found["adaptation"]["agreement"]["used"] > found["adaptation"]["agreement"]["start"]
    assert (found["backend"], found["precision"]) == ("torch", "fp32")
    print_summary(found)
    assert "labelled by adapted weights, 0 restarts" in " ".join(capsys.readouterr().out.split())


def test_several_videos_teach_one_network_and_are_complete_for_the_same_options_only(ar, tmp_path):
    films = {f"{n}.mp4": str(exact_film(tmp_path / f"{n}.mp4", 12, 40)) for n in "ab"}
    options = request(ar, "[]", tmp_path / "out", overlay=False)
    found = predict_many(options, films, online())
    assert [s["adaptation"]["comparisons"] for s in found.values()][-1] == 18 // 3
    assert predict_many(options, films, online()) == {}
    with pytest.raises(UserError, match="another settings"):
        predict_many(options, films)


def test_networks_that_do_not_learn_from_keyframes_are_not_adapted(image, tmp_path):
    film = exact_film(tmp_path / "film.mp4", 4, 40)
    with pytest.raises(UserError, match="give one of AR-Seg"):
        predict(request(image, film, tmp_path / "out"), online())
    assert not (tmp_path / "out").exists()


@pytest.mark.train
def test_the_command_adapts_only_if_asked(ar, tmp_path, composed):
    film = exact_film(tmp_path / "film.mp4", 16, 40)
    for adapt in ("false", "true"):
        output = tmp_path / adapt
        given = (
            f"checkpoint={ar}",
            f"source={film}",
            f"output={output}",
            f"adapt={adapt}",
            "overlay=false",
            "threads=1",
        )
        segment_video(composed("predict", tmp_path, *given))
        assert ("adaptation" in json.loads((output / "timing.json").read_text())["summary"]) == (adapt == "true")
