"""Notice when what makes clips makes others, so that its format number rises and prepared clips are made again.

The summaries in `formats.json` are means and counts, compared with a tolerance: floating point differs between CPUs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from src.data.clips.cache import clip_key
from src.data.clips.recipes import AnimatedClipJob, ClipsFromVideos
from src.data.datasets import files
from src.data.datasets.files import ImageFile, VideoFile
from src.data.labels import ColourCoding, IndexCoding
from src.data.still_animation import render as animation
from src.data.still_animation.layers import SceneRoles
from src.data.still_animation.motion import SceneMotion
from src.data.street import render as street
from src.data.street.dataset import Street, StreetVideo
from src.video.reading.colour import from_rgb
from src.video.types import CodecSettings
from src.video.vectors.vector_file import read_vector_file, vector_file_of, write_vector_file
from src.video.writing import encode
from tests.support.miniatures import SIZE, blocks, moving
from tests.support.videos import write

STORED = Path(__file__).with_name("formats.json")
STREET = StreetVideo("street00003", 15, 3, 6, *SIZE)
CODING = IndexCoding(((0, 0), (1, 1), (2, 2)), (255,))


class _Scene:
    """A labelled image that is not on disk."""

    name = "scene"

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        parts = [[0, 1, 8, 2, 9, 1, 1, 10]] * 3 + [[3, 3, 3, 4, 4, 4, 3, 3]] * 3
        return moving(5, 2), np.kron(np.array(parts, np.uint8), np.ones((8, 8), np.uint8))

    def fingerprint(self) -> Any:
        return self.name


def summary(frames: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> list[Any]:
    """Mean colours of 6 x 8 parts of each frame, and how many pixels have each label."""
    found = []
    for image, labels in frames:
        cells = cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA).astype(int).reshape(-1)
        counts = (
            [] if labels is None else np.bincount(labels.reshape(-1).astype(np.uint8), minlength=256)[[*range(12), 255]]
        )
        found.append({"cells": cells.tolist(), "labels": np.asarray(counts).tolist()})
    return found


def of_street(folder: Path) -> Any:
    return summary(STREET.frames())


def of_animation(folder: Path) -> Any:
    job = AnimatedClipJob("scene", 1, 5, _Scene(), 7, SceneMotion(), SceneRoles())  # type: ignore[arg-type]
    return summary(job.frames())


def of_files(folder: Path) -> Any:
    values = blocks([0, 1, 2, 255])
    colours = np.array([[9, 9, 9], [255, 0, 0], [0, 128, 255]], np.uint8)[np.minimum(values, 2)]
    for name, content in (("image", moving(3)), ("values", values), ("colours", colours)):
        assert cv2.imwrite(str(folder / f"{name}.png"), content[..., ::-1] if content.ndim == 3 else content)
    coloured = ColourCoding((((255, 0, 0), 0), ((0, 128, 255), 1)), None)
    images = [
        ImageFile("indexed", folder / "image.png", folder / "values.png", CODING).read(),
        ImageFile("coloured", folder / "image.png", folder / "colours.png", coloured).read(),
    ]
    video = write(folder / "video.mkv", [moving(n) for n in range(5)], "ffv1", pixels="bgr0")
    labelled = VideoFile("video", 15, ((3, folder / "values.png"),), CODING, video)
    return summary([*images, *labelled.frames(1, 5)])


def of_encoder(folder: Path) -> Any:
    """Encoder options, the planes that it is given, and the file of motion vectors; its bytes are the library's."""
    settings = {
        "h264": CodecSettings("h264", 4, 15, crf=23),
        "hevc": CodecSettings("hevc", 4, 15, bitrate=300, preset="fast"),
        "mpeg4": CodecSettings("mpeg4", 4, 15, bitrate=300),
    }
    options = {codec: encode._options(setting, Path("saved:here")) for codec, setting in settings.items()}
    planes = [
        np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in from_rgb(moving(2, 4)[..., ::-1] // 2 + np.array([90, 40, 0], np.uint8)).planes
    ]
    video = folder / "video.mp4"
    video.write_bytes(b"0123")
    write_vector_file(video, [None, np.array([[0, 8, 16, 8, -1.25, 0.5]], np.float32)])
    with np.load(vector_file_of(video)) as archive:
        stored = {name: [str(archive[name].dtype), archive[name].tolist()] for name in archive.files}
    read = [None if rows is None else rows.tolist() for rows in read_vector_file(video)]
    shown = [
        {"cells": cv2.resize(p, (8, 6), interpolation=cv2.INTER_AREA).reshape(-1).tolist(), "labels": []}
        for p in planes
    ]
    return {"options": options, "planes": shown, "vectors": [stored, read]}


MAKERS: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "src/data/street/render.py": (of_street, street),
    "src/data/still_animation/render.py": (of_animation, animation),
    "src/data/datasets/files.py": (of_files, files),
    "src/video/writing/encode.py": (of_encoder, encode),
}


def differs(found: Any, stored: Any) -> bool:
    """Compare plain data; mean colours may differ by one, and one pixel in fifty may have another label."""
    if isinstance(found, dict) and set(found) == {"cells", "labels"}:
        cells = np.abs(np.subtract(found["cells"], stored["cells"]))
        moved = np.abs(np.subtract(found["labels"], stored["labels"])).sum()
        return bool(cells.max() > 1 or moved > 2 * SIZE[0] * SIZE[1] / 50)
    if isinstance(found, dict):
        return set(found) != set(stored) or any(differs(found[key], stored[key]) for key in found)
    if isinstance(found, list):
        return len(found) != len(stored) or any(differs(a, b) for a, b in zip(found, stored, strict=True))
    return bool(found != stored)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_format_number_rises_with_what_is_made(maker: str, tmp_path: Path) -> None:
    make, module = MAKERS[maker]
    stored = json.loads(STORED.read_text())[maker]
    remedy = f"raise FORMAT in {maker}, then run `python -m tests.unit.data.clips.test_formats` and commit formats.json"
    assert stored["format"] == module.FORMAT, f"FORMAT and formats.json differ: {remedy}"
    assert not differs(json.loads(json.dumps(make(tmp_path))), stored["made"]), f"the output has changed: {remedy}"


def test_the_comparison_sees_a_change(tmp_path: Path) -> None:
    made, other = of_street(tmp_path), summary(StreetVideo("street00004", 15, 4, 6, *SIZE).frames())
    assert not differs(made, made)
    assert differs(made, other)
    assert differs({"options": {"h264": "a"}}, {"options": {"h264": "b"}})


@pytest.mark.parametrize(("maker", "job"), [(street, 0), (animation, 1), (encode, 0), (encode, 1)])
def test_a_raised_format_number_makes_new_clips(maker: Any, job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CodecSettings("h264", 4, 15, crf=23)
    jobs = [
        ClipsFromVideos(1).jobs(Street({"train": 1}, 6, *SIZE, 15), "train", 4)[0],
        AnimatedClipJob("scene", 1, 5, _Scene(), 7, SceneMotion(), SceneRoles()),  # type: ignore[arg-type]
    ]
    before = clip_key(jobs[job], settings)
    assert clip_key(jobs[job], settings) == before
    monkeypatch.setattr(maker, "FORMAT", 99)
    assert clip_key(jobs[job], settings) != before


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        made = {name: {"format": module.FORMAT, "made": make(Path(folder))} for name, (make, module) in MAKERS.items()}
    STORED.write_text(json.dumps(made) + "\n")
