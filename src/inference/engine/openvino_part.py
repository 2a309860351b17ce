"""Run a part of a network in OpenVINO."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import openvino as ov
import torch
from torch import Tensor

from src.inference.engine.int8 import quantised
from src.inference.engine.options import Precision
from src.inference.engine.part import Part
from src.ops.resize import resize

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
TYPES = {torch.float32: ov.Type.f32, torch.bfloat16: ov.Type.bf16}
SIZES = 4  # of inputs, whose compiled models are kept
log = logging.getLogger(__name__)


@dataclass
class _Compiled:
    model: ov.CompiledModel
    idle: list[ov.InferRequest] = field(default_factory=list)  # one for each run at the same time


class OpenVINOPart:
    """A part as a compiled OpenVINO model, made anew for each size of its input.

    Images of a batch run one after the other: on CPUs a batch gains nothing, and each size is compiled once.
    Channels are the last dimension in memory on both sides, as the kernels around it expect them.

    Args:
        part: to translate.
        precision: of the computation.
        threads: of one run.
        workers: threads that may run it at the same time.
        samples: inputs to calibrate int8 with, from one video.
    """

    def __init__(
        self, part: Part, precision: Precision, threads: int, workers: int = 1, samples: Sequence[Tensor] = ()
    ) -> None:
        self._part, self._precision, self._samples = part, precision, samples
        self._settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads * workers,
            "NUM_STREAMS": workers,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        self._lock = threading.Lock()
        self._compiled: dict[tuple[int, ...], _Compiled] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Output (B, C, h, w) for x (B, C', h', w'), both channels_last and of the type that is handed on."""
        outputs = [self._run(image[None]) for image in x.to(self._part.taken).permute(0, 2, 3, 1)]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).permute(0, 3, 1, 2)

    def _run(self, pixels: Tensor) -> Tensor:
        pixels = pixels.contiguous()
        with self._lock:
            compiled = self._compiled.get(tuple(pixels.shape))
            if compiled is None:
                while len(self._compiled) >= SIZES:
                    self._compiled.pop(next(iter(self._compiled)))
                compiled = self._compiled[tuple(pixels.shape)] = _Compiled(self._compile(pixels))
            request = compiled.idle.pop() if compiled.idle else compiled.model.create_infer_request()
        out = torch.empty(tuple(request.model_outputs[0].shape), dtype=self._part.given)  # a state may keep it for long
        request.set_input_tensor(_shared(pixels))
        request.set_output_tensor(_shared(out))
        request.infer()
        compiled.idle.append(request)
        return out

    def _compile(self, pixels: Tensor) -> ov.CompiledModel:
        core = openvino_core()
        model = translated(self._part, pixels.float().permute(0, 3, 1, 2).contiguous())
        if self._precision == "int8":
            size = int(pixels.shape[1]), int(pixels.shape[2])
            images = [x for sample in self._samples for x in resize(sample, size)]
            name = model.inputs[0].any_name
            model = quantised(model, [{name: x[None].contiguous().numpy()} for x in images])
        _hand_over(model, self._part)
        return core.compile_model(model, "CPU", self._settings)


@functools.cache
def openvino_core() -> ov.Core:
    """Return the one OpenVINO core of the process, which is never deleted.

    On CPUs with AMX a core gives the thread that first uses its CPU plugin a stack for signals, and deletes that stack
    with itself: the next signal, such as that of an ended child, then kills the process. NNCF makes cores of its own
    for a while, which do no harm where this one was made before them.
    """
    core = ov.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    return core


def translated(part: Part, example: Tensor) -> ov.Model:
    """Translate a part for inputs of the shape of `example` (1, C, h, w)."""
    with torch.no_grad():
        program = torch.export.export(part, (example.clone(),))
    model = ov.convert_model(program)
    model.reshape(list(example.shape))  # it came out with any shape, which is slower
    return model


def _hand_over(model: ov.Model, part: Part) -> None:
    """Let a model take and give tensors of the part's types with channels as the last dimension."""
    processor = ov.preprocess.PrePostProcessor(model)
    for side, dtype in ((processor.input(), part.taken), (processor.output(), part.given)):
        side.tensor().set_layout(ov.Layout("NHWC")).set_element_type(TYPES[dtype])
        side.model().set_layout(ov.Layout("NCHW"))
    processor.build()


def _shared(x: Tensor) -> ov.Tensor:
    """Wrap the memory of a contiguous tensor; NumPy has no bfloat16."""
    if x.dtype == torch.bfloat16:
        return ov.Tensor(x.view(torch.int16).numpy(), x.shape, ov.Type.bf16)
    return ov.Tensor(x.numpy(), shared_memory=True)
