"""Recipes of small videos made with ffmpeg: codecs, containers, shapes, times, cuts and damage."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FRAMES = 20


@dataclass(frozen=True)
class Recipe:
    """How a video is made.

    Attributes:
        name: with the suffix that names its container.
        coding: arguments of ffmpeg between its input and its output.
        size, rate, filters: of the test image.
        trim: seconds that are cut off at the start without encoding again.
        harm: changes the bytes of the file.
    """

    name: str
    coding: str
    size: str = "160x120"
    rate: str = "25"
    filters: str = "null"
    trim: float = 0.0
    harm: Callable[[bytes], bytes] | None = None

    def make(self, folder: Path) -> Path:
        """Write the video into a folder."""
        path = folder / self.name
        whole = path.with_name(f"whole_{self.name}") if self.trim else path
        source = f"testsrc2=size={self.size}:rate={self.rate}:duration={float(FRAMES / Fraction(self.rate))}"
        source += ",gblur=sigma=3:planes=6"  # chroma without edges, which versions of FFmpeg enlarge differently
        ffmpeg("-f", "lavfi", "-i", source, "-frames:v", FRAMES, "-vf", self.filters, *self.coding.split(), whole)
        if self.trim:
            ffmpeg("-ss", self.trim, "-i", whole, "-c", "copy", path)
            whole.unlink()
        if self.harm is not None:
            path.write_bytes(self.harm(path.read_bytes()))
        return path


X264, X265 = "-c:v libx264 -preset veryfast -g 6", "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=6"
MPEG2, MPEG1, MPEG4 = "-c:v mpeg2video -q:v 3 -g 6", "-c:v mpeg1video -q:v 3 -g 6", "-c:v mpeg4 -q:v 3 -g 6"
VP8, VP9 = "-c:v libvpx -g 6 -b:v 300k -deadline realtime", "-c:v libvpx-vp9 -g 6 -deadline realtime -cpu-used 8"
ALTREF = "-c:v libvpx -g 12 -b:v 200k -auto-alt-ref 1 -lag-in-frames 10 -deadline good -cpu-used 5"
AV1 = "-c:v libaom-av1 -g 6 -cpu-used 8 -usage realtime"
YUV = " -pix_fmt yuv420p"
CONTAINERS = {
    "h264": (X264 + YUV, "mp4 mkv mov avi ts flv m4v h264 nut"),
    "hevc": (X265 + YUV, "mp4 mkv mov ts hevc"),
    "mpeg4": (MPEG4, "mp4 mkv mov avi ts m4v 3gp nut"),
    "xvid": ("-c:v libxvid -q:v 3 -g 6", "avi mp4 mkv"),
    "mpeg2": (MPEG2, "ts mpg vob mxf mkv mov m2v"),
    "mpeg1": (MPEG1, "ts mpg mkv m1v"),
}
B_FRAMES = {
    "h264": ("-bf {}", (0, 1, 3)),
    "hevc": ("-bf {}", (0, 3)),
    "mpeg4": ("-bf {}", (0, 2)),
    "xvid": ("-bf {}", (0, 2)),
    "mpeg2": ("-bf {}", (0, 2)),
    "mpeg1": ("-bf {}", (0, 2)),
}
WITHOUT_B = {
    "mjpeg": ("-c:v mjpeg -q:v 3 -pix_fmt yuvj420p", "avi mov mkv mp4 mjpeg"),
    "vp8": (VP8, "webm mkv ivf ogv"),
    "altref": (ALTREF, "webm mkv ivf"),
    "vp9": (VP9, "webm mkv ivf mp4"),
    "av1": (AV1, "webm mkv ivf mp4 obu"),
    "theora": ("-c:v libtheora -q:v 6 -g 6", "ogv mkv"),
    "ffv1": ("-c:v ffv1", "mkv avi mov"),
    "huffyuv": ("-c:v huffyuv -pix_fmt yuv422p", "avi mkv"),
    "raw": ("-c:v rawvideo", "avi mov mkv nut"),
    "prores": ("-c:v prores_ks", "mov mkv"),
    "wmv1": ("-c:v wmv1 -q:v 3 -g 6", "wmv avi mkv"),
    "wmv2": ("-c:v wmv2 -q:v 3 -g 6", "wmv avi"),
    "msmpeg4": ("-c:v msmpeg4 -q:v 3 -g 6", "avi wmv mkv"),
    "msmpeg4v2": ("-c:v msmpeg4v2 -q:v 3 -g 6", "avi"),
    "flv1": ("-c:v flv -q:v 3 -g 6", "flv avi"),
    "cinepak": ("-c:v cinepak -s 64x48", "avi mov"),
    "utvideo": ("-c:v utvideo -pix_fmt yuv422p", "avi"),
    "png": ("-c:v png -pix_fmt rgb24", "mov mkv avi"),
    "svq1": ("-c:v svq1", "mov"),
    "qtrle": ("-c:v qtrle", "mov"),
    "snow": ("-c:v snow -q:v 3 -strict -2", "avi mkv"),
}
FIXED = {
    "dv": ("-c:v dvvideo -pix_fmt yuv420p", "720x576", "avi mov dv mxf"),
    "dnxhr": ("-c:v dnxhd -profile:v 1 -pix_fmt yuv422p", "256x120", "mov mxf mkv"),
    "h263": ("-c:v h263 -q:v 3 -g 6", "176x144", "avi 3gp mkv"),
    "h261": ("-c:v h261 -q:v 3", "176x144", "avi mkv"),
}


def recipes() -> Iterator[Recipe]:
    """All videos of the sweep, each kind of fault beside what surrounds it."""
    for codec, (coding, suffixes) in CONTAINERS.items():
        option, counts = B_FRAMES[codec]
        for suffix, count in product(suffixes.split(), counts):
            yield Recipe(f"{codec}_b{count}.{suffix}", f"{coding} {option.format(count)}")
    for codec, (coding, suffixes) in WITHOUT_B.items():
        for suffix in suffixes.split():
            yield Recipe(f"{codec}.{suffix}", coding)
    for codec, (coding, size, suffixes) in FIXED.items():
        for suffix in suffixes.split():
            yield Recipe(f"{codec}.{suffix}", coding, size)
    yield from _interlaced()
    yield from _shapes()
    yield from _times()
    yield from _trimmed()
    yield from _harmed()


def _interlaced() -> Iterator[Recipe]:
    fields = "tinterlace=interleave_top"
    for suffix, coding in (("mp4", X264), ("ts", X264), ("ts", MPEG2), ("mov", MPEG2), ("mp4", MPEG4), ("avi", MPEG4)):
        for count in (0, 2):
            codec = coding.split()[1]
            name = f"interlaced_{codec}_b{count}.{suffix}"
            yield Recipe(name, f"{coding}{YUV} -flags +ilme+ildct -bf {count}", filters=f"{fields},setpts=N/25/TB")


def _shapes() -> Iterator[Recipe]:
    for width, height in ((16, 16), (34, 18), (160, 4), (6, 96), (322, 182), (720, 576), (1280, 720)):
        for suffix, coding in (("mp4", X264 + YUV), ("avi", MPEG4), ("mkv", "-c:v ffv1"), ("webm", VP8)):
            yield Recipe(f"{width}x{height}_{coding.split()[1]}.{suffix}", coding, f"{width}x{height}")
    for width, height in ((161, 121), (33, 17), (9, 7)):
        for suffix, coding in (("mkv", "-c:v ffv1 -pix_fmt bgr0"), ("mp4", X264 + " -pix_fmt yuv444p"), ("webm", VP8)):
            yield Recipe(f"{width}x{height}_odd_{coding.split()[1]}.{suffix}", coding, f"{width}x{height}")
    for turn in (90, 180, 270):
        for suffix, coding in (("mp4", X264 + YUV), ("mov", MPEG4), ("mp4", X265 + YUV)):
            name = f"turned{turn}_{coding.split()[1]}.{suffix}"
            yield Recipe(name, f"{coding} -metadata:s:v rotate={turn}", "96x64")
    for pixels, coding, suffix in (
        ("yuv422p", X264, "mp4"), ("yuv444p", X264, "mkv"), ("yuv420p10le", X264, "mkv"), ("gray", X264, "mp4"),
        ("yuvj420p", X264, "mp4"), ("yuv420p10le", X265, "mp4"), ("yuv422p", MPEG2, "ts"),
        ("yuva420p", VP8 + " -auto-alt-ref 0", "webm"),
        ("yuv444p", VP9, "webm"), ("gray", "-c:v ffv1", "mkv"), ("gray16le", "-c:v ffv1", "mkv"),
        ("gbrp", "-c:v ffv1", "mkv"), ("yuv410p", "-c:v ffv1", "avi"), ("rgb24", "-c:v huffyuv", "avi"),
        ("bgra", "-c:v ffv1", "mkv"), ("yuva444p10le", "-c:v prores_ks -profile:v 4444", "mov"),
        ("monow", "-c:v rawvideo", "nut"),
        ("pal8", "-c:v png", "mov"), ("rgb555le", "-c:v rawvideo", "avi"), ("gbrp", X264 + "rgb", "mkv"),
    ):  # fmt: skip
        coding = coding.replace("libx264 -preset veryfast -g 6rgb", "libx264rgb -preset veryfast -g 6")
        yield Recipe(f"{pixels}_{coding.split()[1]}.{suffix}", f"{coding} -pix_fmt {pixels}")
    for ratio in ("64/45", "1/2"):
        yield Recipe(f"sar{ratio.replace('/', '_')}.mp4", X264 + YUV, filters=f"setsar={ratio}")


def _times() -> Iterator[Recipe]:
    for rate in ("30000/1001", "12.5", "60", "1", "1000"):
        for suffix in ("mp4", "mkv", "avi", "ts"):
            yield Recipe(f"rate{rate.replace('/', '_')}.{suffix}", X264 + YUV + " -bf 2", rate=rate)
    uneven = "setpts='(N+N*N/4)/25/TB'"
    gap = "setpts='(N+8*gt(N,9))/25/TB'"
    for name, filters in (("uneven", uneven), ("gap", gap)):
        for suffix, count in product(("mp4", "mkv", "ts", "webm"), (0, 2)):
            coding = VP8 if suffix == "webm" else f"{X264}{YUV} -bf {count}"
            yield Recipe(f"{name}_b{count}.{suffix}", coding + " -vsync passthrough", filters=filters)
    for count in (0, 2):
        coding = f"{X264}{YUV} -bf {count} -vsync passthrough"
        yield Recipe(f"gap_b{count}.avi", coding, filters="select='lt(n,6)+gt(n,11)'")
    yield Recipe("gap_mpeg4.avi", f"{MPEG4} -vsync passthrough", filters="select='lt(n,6)+gt(n,11)'")
    for suffix in ("ts", "mkv", "mp4", "mov"):
        yield Recipe(f"late.{suffix}", f"{X264}{YUV} -output_ts_offset 80000")
    yield Recipe("intra_refresh.mkv", f"{X264}{YUV} -bf 0 -intra-refresh 1")
    yield Recipe("intra_refresh.ts", f"{X264}{YUV} -bf 0 -intra-refresh 1")
    yield Recipe("open_gop.ts", f"-c:v libx264 -x264-params keyint=6:bframes=3:open-gop=1{YUV}")
    yield Recipe("open_gop.mp4", f"-c:v libx264 -x264-params keyint=6:bframes=3:open-gop=1{YUV}")
    yield Recipe("open_gop_hevc.ts", f"-c:v libx265 -x265-params log-level=none:keyint=6:bframes=3:open-gop=1{YUV}")
    yield Recipe("fragments.mp4", f"{X264}{YUV} -bf 2 -movflags frag_keyframe+empty_moov")
    yield Recipe("faststart.mp4", f"{X264}{YUV} -bf 2 -movflags faststart")


def _trimmed() -> Iterator[Recipe]:
    for codec, coding in (("h264", X264 + YUV), ("mpeg4", MPEG4), ("hevc", X265 + YUV)):
        for count, trim, suffix in product((0, 2), (0.1, 0.3, 0.46), ("mp4", "mov", "mkv")):
            yield Recipe(f"trim{trim}_{codec}_b{count}.{suffix}", f"{coding} -bf {count}", trim=trim)
    for trim in (0.1, 0.5):
        yield Recipe(f"trim{trim}_one_gop.mp4", X264 + YUV + " -g 100 -bf 0", trim=trim)
        yield Recipe(f"trim{trim}.ts", X264 + YUV + " -bf 2", trim=trim)
        yield Recipe(f"trim{trim}.avi", MPEG4, trim=trim)


def _harmed() -> Iterator[Recipe]:
    for suffix, coding in (
        ("mp4", X264 + YUV + " -bf 2 -movflags faststart"), ("mkv", X264 + YUV + " -bf 2"), ("avi", MPEG4),
        ("ts", MPEG2 + " -bf 2"), ("ts", X264 + YUV + " -bf 0"), ("mpg", MPEG1), ("flv", X264 + YUV), ("webm", VP9),
        ("mp4", X265 + YUV + " -movflags faststart"),
    ):  # fmt: skip
        codec = coding.split()[1]
        for share in (0.5, 0.7, 0.9):
            cut = partial(shortened, share=share)
            yield Recipe(f"cut{share}_{codec}.{suffix}", coding, harm=cut)
        for seed in (1, 2):
            yield Recipe(f"wiped{seed}_{codec}.{suffix}", coding, harm=partial(wiped, seed=seed))


def shortened(data: bytes, share: float) -> bytes:
    """The first part of a file."""
    return data[: int(share * len(data))]


def wiped(data: bytes, seed: int) -> bytes:
    """Zeros over a fiftieth of the middle of a file."""
    start = int(np.random.default_rng(seed).uniform(0.3, 0.8) * len(data))
    length = len(data) // 50
    return data[:start] + bytes(length) + data[start + length :]


def ffmpeg(*arguments: Any, check: bool = True) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[:300]}")
