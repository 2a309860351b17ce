"""Compare video.motion=transcode with estimate: error of warped frames, mIoU, processor time.

python -m scripts.benchmarks.transcode VIDEO [VIDEO ..] [--frames 96] [--checkpoint AR.ckpt --labels FOLDER]

Prints a table: squared error of the keyframe warped to frames 1, 3, 6 and 11 behind it over that of the keyframe copied
there (GOP 12, all pixels), the share of pixels with valid motion, and ms of one thread for a frame's vectors, decoding
left out. With a checkpoint also the mIoU of its labels; FOLDER has a label map (PNG) for each frame.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from src.inference.api import load_segmenter
from src.video.motion.field import extend, identity, warp
from src.video.reading.container import open_video
from src.video.reading.damage import DamageDetector
from src.video.reading.decode import MotionSource, Video
from src.video.vectors.block_search import BlockSearch
from src.video.vectors.exported import NO_ROWS, ExactVectors
from src.video.vectors.transcoded import Transcoder

GOP, DISTANCES = 12, (1, 3, 6, 11)
SEARCHES = {"estimate": BlockSearch, "transcode": Transcoder}


def measure(video: Video, frames: list[av.VideoFrame], motion: str) -> list[float]:
    """Ratios of squared errors at `DISTANCES`, share of valid pixels at these, ms for each frame's vectors."""
    height, width = frames[0].height, frames[0].width
    search = SEARCHES[motion](height, width) if motion in SEARCHES else None
    exact = ExactVectors(video.path, open_video(video.path)[1])
    errors, valid, seconds = np.zeros((GOP, 2)), [], 0.0
    for index, frame in enumerate(frames):
        started = time.thread_time()
        rows = exact.of(frame, index) if search is None else search.update(frame)
        seconds += time.thread_time() - started
        image = video.info.image(frame).astype(np.float32)
        if index % GOP == 0:
            key, to_key = image, identity(*image.shape[:2])
            continue
        to_key = extend(to_key, NO_ROWS if rows is None else video.info.rows(rows, frame))
        if index % GOP in DISTANCES:
            errors[index % GOP] += [np.square(guess - image).sum() for guess in (warp(key, to_key), key)]
            valid.append(to_key.valid.mean())
    return [*(errors[d, 0] / errors[d, 1] for d in DISTANCES), float(np.mean(valid)), 1000 * seconds / len(frames)]


def decoded(video: Video, count: int) -> list[av.VideoFrame]:
    """The first frames, with their own vectors where these are exact."""
    container, stream = open_video(video.path)
    with container:
        ExactVectors(video.path, stream).request(stream)
        return [one.frame for one in islice(DamageDetector(video.path, container, stream, "stop"), count)]


def miou(checkpoint: Path, path: Path, motion: MotionSource, labels: list[NDArray[np.uint8]]) -> float:
    """In percent, over all frames, and classes that occur."""
    segmenter = load_segmenter(checkpoint, "cpu", threads=1)
    classes = len(segmenter.classes)
    counts = np.zeros((classes, classes), np.int64)
    for result in segmenter.run(segmenter.open(path, motion), GOP):
        truth = labels[result.frame.index]
        pairs = truth[truth < classes].astype(np.int64) * classes + result.labels[truth < classes]
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    hit = np.diag(counts)
    with np.errstate(invalid="ignore"):
        return float(100 * np.nanmean(hit / (counts.sum(0) + counts.sum(1) - hit)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--labels", type=Path)
    given = parser.parse_args()
    labels = (
        [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted(given.labels.glob("*.png"))] if given.labels else []
    )
    scores = ["mIoU"] if given.checkpoint else []
    head = ["video", "motion", *(f"d = {d}" for d in DISTANCES), "valid", "ms", *scores]
    print(f"| {' | '.join(head)} |\n| --- | --- |{' --: |' * (len(head) - 2)}")
    for path in given.videos:
        video = Video(path, "none")
        frames = decoded(video, given.frames)
        motions: list[MotionSource] = ["estimate", "transcode", *(["exact"] if video.info.inexact is None else [])]  # type: ignore[list-item]
        for motion in motions:
            if motion in SEARCHES:
                measure(video, frames[:GOP], motion)  # compiles
            values = [f"{x:.3f}" for x in measure(video, frames, motion)]
            values[-1] = "-" if motion == "exact" else f"{float(values[-1]):.1f}"
            if given.checkpoint:
                values.append(f"{miou(given.checkpoint, path, motion, labels):.1f}")
            print(f"| {path.name} | {motion} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()
