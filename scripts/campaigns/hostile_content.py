"""Hostile content of checkpoints and .pth files: wrong metadata and weights, pickles, and archives around them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

NAN, INF, HUGE = float("nan"), float("inf"), 10**300

METADATA: dict[str, list[Any]] = {  # wrong values by their place
    "format": [None, 1, 3, "2", True],
    "network": [None, [], "tiny_segmenter"],
    "network.name": [None, 3, "", "os.system", "tiny_segmenter\n", "x" * 10_000],
    "network.arguments": [
        *(None, [], {"width": NAN}, {"width": -1}, {"width": 0}, {"width": 16}, {"width": "8"}),
        {"width": 16384, "num_classes": 16384},
    ],
    "network.arguments.num_classes": [0, -1, 3, 5, 300, HUGE, NAN, None, "4", [4]],
    "phase": [None, "../x", "a\nb", 7],
    "lr_scale": [0, 0.0, -1, NAN, INF, 2, "0.5", [0.5], True],
    "classes": [None, [], {}, {"names": [], "palette": []}, {"names": ["a"], "palette": [[0, 0, 0]]}],
    "classes.names": [None, "road", ["road"], ["a"] * 300, [1, 2, 3, 4], ["a", "b", "c", "\x1b[2J"], [NAN] * 4],
    "classes.palette": [None, [[0, 0, 0]], [[0, 0]] * 4, [[0, 0, 256]] * 4, [[0, 0, NAN]] * 4, [["0"] * 3] * 4],
    "normalisation": [None, [], {}, {"mean": [0.4] * 3}],
    "normalisation.mean": [None, 0.4, [0.4], [NAN] * 3, [INF] * 3, ["0"] * 3, [HUGE] * 3],
    "normalisation.std": [None, 0, [0.3], [0.0] * 3, [-0.3] * 3, [NAN] * 3, [1e-30] * 3, [True] * 3],
    "fit": [0, [], {}, {"short": 0, "long": 8}, {"short": NAN, "long": 8}, {"short": HUGE, "long": HUGE}],
    "video": [None, "h264", {}],
    "video.codec": [None, "vp9", ["h264"]],
    "video.gop": [None, 0, -1, 2.5, NAN, HUGE, "12"],
    "video.crf": [-1, 99, NAN, "23"],
    "video.motion": [None, "none", 1],
    "seed": [None, -1, 0.5, NAN, "0", HUGE * 10**300],
    "data": [[], "street", {"name": "street"}, {"name": "../x", "options": {}}, {"name": "street", "options": []}],
    "config": [[], "x", 3],
}


def _replace(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any], str], None]:
    def replace(state: dict[str, Any], key: str) -> None:
        state[key] = change(state[key])

    return replace


RELEASES: dict[str, Callable[[dict[str, Any], str], Any]] = {  # changes of a release's state dict
    "a tensor is missing": lambda state, key: state.pop(key),
    "a tensor too many": lambda state, key: state.update(more=torch.ones(1)),
    "a name with a line break": lambda state, key: state.update({"a\nb": state.pop(key)}),
    "a name without end": lambda state, key: state.update({"x" * 100_000: state.pop(key)}),
    "another shape": _replace(lambda value: value[:1]),
    "no axes": _replace(lambda value: value.sum()),
    "nothing in it": _replace(lambda value: value[:0]),
    "integers": _replace(lambda value: value.int()),
    "complex numbers": _replace(lambda value: value.to(torch.complex64)),
    "NaN": _replace(lambda value: value * NAN),
    "infinity": _replace(lambda value: value / 0),
    "text": _replace(str),
}


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ%btQ"  # floats


def of(count: int, offset: int, size: int, stride: int) -> bytes:
    """Pickle a mapping with one tensor of a storage of `count` floats."""
    count_, offset_, size_, stride_ = (struct.pack("<i", value) for value in (count, offset, size, stride))
    arguments = b"(" + STORAGE % count_ + b"J" + offset_ + b"(J" + size_ + b"t(J" + stride_ + b"t\x89}tR"
    return b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"s."


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small archives of many zeros."""
    zeros = bytes(1 << 28)
    for what, method in {"deflated": zipfile.ZIP_DEFLATED, "by bzip2": zipfile.ZIP_BZIP2}.items():
        bomb = archived(of(1 << 26, 0, 1 << 26, 1), {"data/0": zeros}, method)
        yield f"compressed zeros, {what}", bomb
        size = struct.pack("<I", len(zeros))
        yield f"compressed zeros that claim to be few, {what}", bomb.replace(size, struct.pack("<I", 64))


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """Files that try to run something, to take memory or time, or to read what is not theirs."""
    data = bytes(16)  # four floats
    shapes = {
        "a storage larger than its record": of(10**6, 0, 10**6, 1),
        "a storage smaller than its record": of(2, 0, 2, 1),
        "a storage of negative size": of(-4, 0, 4, 1),
        "a tensor beyond its storage": of(4, 2, 4, 1),
        "a tensor before its storage": of(4, -2, 2, 1),
        "a tensor of one repeated number": of(4, 0, 10**9, 0),
        "a negative stride": of(4, 3, 4, -1),
        "a negative size": of(4, 0, -4, 1),
    }
    yield from ((what, archived(code, {"data/0": data})) for what, code in shapes.items())
    yield "a record that is missing", archived(of(4, 0, 4, 1), {})
    yield "a record twice", archived(of(4, 0, 4, 1), {"data/0": data}, twice=True)
    yield "no pickle", archived(None, {"data/0": data})
    yield "another byte order", archived(of(4, 0, 4, 1), {"data/0": data, "byteorder": b"big"})
    for what, code in pickles().items():
        yield what, archived(code, {"data/0": data})
        yield f"{what}, no archive", _stream(code)
        yield f"{what}, bare", code
    count = struct.pack("<i", 1 << 29)
    yield "a storage without bytes, no archive", _stream(b"}X\x01\x00\x00\x00w" + STORAGE % count + b"s.")
    yield "storages that are not listed, no archive", _stream(b"}X\x01\x00\x00\x00w" + STORAGE % b"\1\0\0\0" + b"s.")
    yield "an empty file", b""
    yield "an empty archive", b"PK\5\6" + bytes(18)
    yield "text", b"not a checkpoint\n" * 100
    yield "zeros", bytes(10_000)
    yield "noise", np.random.default_rng(0).bytes(10_000)
    yield "an archive without end", b"PK\3\4" + bytes(1000)


def pickles() -> dict[str, bytes]:
    """Pickles that do something else than to describe tensors."""
    pair = b"X\x01\x00\x00\x00a"
    shared = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60))
    keys = b"Nq\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))
    hashes = b"".join(b"\x8a\x0c" + (k * ((1 << 61) - 1)).to_bytes(12, "little") + b"N" for k in range(60_000))
    pairs = b"](" + (pair + b"N\x86") * 10_000 + b"eq\x00ccollections\nOrderedDict\nq\x010"
    return {
        "a call of os.mkdir": b"cos\nmkdir\nX\x05\x00\x00\x00trace\x85R.",
        "an object of os.mkdir": b"cos\nmkdir\nX\x05\x00\x00\x00trace\x85\x81.",
        "a call of eval": b"cbuiltins\neval\nX\x05\x00\x00\x001/0+0\x85R.",
        "a class of this project": b"csrc.files\natomic_write\nX\x05\x00\x00\x00trace\x85R.",
        "10 GB by bytearray": b"cbuiltins\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R.",
        "a bytearray without bytes": b"\x96\x00\x00\x00\x00\x01\x00\x00\x00.",
        "4 GB by torch.Tensor": b"ctorch\nTensor\nJ\x00\x00\x00@\x85R.",
        "a memo of 2 billion": b"Nr\xff\xff\xff\x7f.",
        "text without end": b"X\xff\xff\xff\x7fabc.",
        "a number without end": b"\x8b\xff\xff\xff\x7f1.",
        "a number of 9999 digits": b"L" + b"9" * 9999 + b"L\n.",
        "lists in lists": b"]" * 100_000 + b"a" * 99_999 + b".",
        "lists that share lists": shared + b".",
        "a mapping of lists that share lists": shared + b"}" + pair + b"h\x3cs.",
        "keys that share keys": keys + b"}h\x3cNs.",
        "numbers of one hash": b"}(" + hashes + b"u.",
        "copy after copy": pairs + b"](" + b"h\x01h\x00\x85R" * 100_000 + b"e.",
        "three million opcodes": b"N0" * 1_500_000 + b"N.",
        "a frame": b"\x95\x00\x00\x00\x00\x00\x00\x00\x7fN.",
        "nothing on the stack": b"s.",
        "no end": b"N",
        "another protocol": b"\x80\x63N.",
        "an extension": b"\x82\x01.",
    }


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def archived(
    code: bytes | None, records: dict[str, bytes], method: int = zipfile.ZIP_STORED, twice: bool = False
) -> bytes:
    file = io.BytesIO()
    named = {**({} if code is None else {"data.pkl": b"\x80\x02" + code}), **records}
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in [*named.items(), *(records.items() if twice else ())]:
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


def _stream(code: bytes) -> bytes:
    """The format before torch 1.6, without storages."""
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*head, b"\x80\x02" + code, pickle.dumps([], 2)])
