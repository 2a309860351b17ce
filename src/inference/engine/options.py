"""Choice of a backend and a precision: which there are, and which suit a device and what is installed."""

from __future__ import annotations

import importlib.util
from typing import Literal, NamedTuple, cast, get_args

from src.errors import UserError, check_choice

Backend = Literal["torch", "compile", "openvino", "onnxruntime"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]


class Engine(NamedTuple):
    """A backend and the precision that it computes in."""

    backend: Backend
    precision: Precision

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


PACKAGES: dict[Engine, tuple[str, ...]] = {
    Engine("openvino", "fp32"): ("openvino",),
    Engine("openvino", "bf16"): ("openvino",),
    Engine("openvino", "int8"): ("openvino", "nncf"),
    Engine("onnxruntime", "fp32"): ("onnxruntime", "onnx", "onnxscript"),
}
RUNS: dict[tuple[str, Backend], tuple[Precision, ...]] = {
    ("cpu", "torch"): ("fp32", "bf16"),
    ("cpu", "compile"): ("fp32", "bf16"),
    ("cpu", "openvino"): ("fp32", "bf16", "int8"),
    ("cpu", "onnxruntime"): ("fp32",),
    ("cuda", "torch"): ("fp32", "bf16", "fp16"),
    ("cuda", "compile"): ("fp32", "bf16", "fp16"),
    ("mps", "torch"): ("fp32", "fp16"),
}
CALIBRATION_IMAGES, CALIBRATION_STEP = 30, 10  # of int8: every tenth frame of the first 300 of a video
SEARCHED: tuple[Backend, ...] = ("torch", "openvino", "onnxruntime")  # compiling may take longer than a short video


PLAIN = Engine("torch", "fp32")


def candidates(backend: str, precision: str, device: str) -> list[Engine]:
    """List the engines that a request may mean, `PLAIN` first where it is among them.

    Args:
        backend: one of `Backend`, or "auto".
        precision: one of `Precision`, or "auto": bf16 or fp32; int8 needs calibration and is chosen by name only.
        device: its type, e.g. "cpu".

    Raises:
        UserError: an unknown value, a pair that does not run on the device, or a package that is missing.
    """
    for key, value, choices in (("backend", backend, get_args(Backend)), ("precision", precision, get_args(Precision))):
        check_choice(key, value, ("auto", *choices))
    wanted = SEARCHED if backend == "auto" else (cast(Backend, backend),)
    automatic = ("fp32", "bf16") if device == "cpu" else ("fp32",)
    found = [
        Engine(b, p)
        for b in wanted
        for p in RUNS.get((device, b), ())
        if p == precision or (precision == "auto" and p in automatic)
    ]
    installed = [engine for engine in found if not _missing(engine)]
    if found and not installed:
        raise UserError(
            f"backend={found[0].backend} precision={found[0].precision} needs the package {_missing(found[0])[0]}; "
            "pip install -e .[export], or give backend=torch precision=fp32"
        )
    if not found:
        runs = ", ".join(str(Engine(b, p)) for (d, b), ps in RUNS.items() if d == device for p in ps)
        raise UserError(
            f"backend={backend} precision={precision} does not run on {device}; there are {runs}, of which openvino "
            "and onnxruntime are installed by pip install -e .[export]"
        )
    return installed


def _missing(engine: Engine) -> list[str]:
    return [package for package in PACKAGES.get(engine, ()) if importlib.util.find_spec(package) is None]
