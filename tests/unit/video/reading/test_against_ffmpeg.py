"""A sample of the sweep of `python -m scripts.campaigns videos`: we read videos as the ffmpeg command does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.campaigns.video_recipes import Recipe, recipes
from scripts.campaigns.videos import differences

SAMPLE = (
    "h264_b3.ts", "hevc_b3.mp4", "mpeg4_b2.avi", "mpeg2_b2.mpg", "altref.webm", "av1.mp4", "interlaced_mpeg4_b2.mp4",
    "160x4_libx264.mp4", "turned90_libx264.mp4", "yuv420p10le_libx264.mkv", "uneven_b2.mkv", "gap_b0.avi", "late.ts",
    "open_gop.ts", "trim0.3_h264_b2.mp4", "xvid_b2.mp4", "cut0.7_libx264.mkv", "wiped1_mpeg2video.ts",
)  # fmt: skip
BY_NAME = {recipe.name: recipe for recipe in recipes()}


def test_the_sweep_has_300_videos() -> None:
    names = [recipe.name for recipe in recipes()]
    assert len(names) == len(set(names)) >= 300


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command, the reference")
@pytest.mark.parametrize("recipe", [BY_NAME[name] for name in SAMPLE], ids=SAMPLE)
def test_videos_are_read_as_ffmpeg_reads_them(tmp_path: Path, recipe: Recipe) -> None:
    try:
        path = recipe.make(tmp_path)
    except RuntimeError as error:
        pytest.skip(f"this ffmpeg cannot make it: {error}")
    assert not [difference for difference in differences(recipe, path) if not difference.startswith("(")]
