"""Run a part of a network in ONNX Runtime."""

from __future__ import annotations

import io
import threading

import onnx
import onnxruntime
import torch
from torch import Tensor

from src.inference.engine.part import Part

SIZES = 4  # of inputs, whose sessions are kept


class ONNXRuntimePart:
    """A part as an ONNX Runtime session on the CPU, in float32, made anew for each shape of its input.

    Args:
        part: to translate.
        threads: that it may use, in all runs at the same time.
    """

    def __init__(self, part: Part, threads: int) -> None:
        self._part, self._options = part, onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 3
        self._lock = threading.Lock()
        self._sessions: dict[tuple[int, ...], onnxruntime.InferenceSession] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Output (B, C, h, w) in float32 for x (B, C', h', w'), channels_last."""
        x = x.float().contiguous()
        with self._lock:
            session = self._sessions.get(tuple(x.shape))
            if session is None:
                while len(self._sessions) >= SIZES:
                    self._sessions.pop(next(iter(self._sessions)))
                session = self._sessions[tuple(x.shape)] = self._session(x)
        (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        return torch.from_numpy(out).contiguous(memory_format=torch.channels_last)

    def _session(self, example: Tensor) -> onnxruntime.InferenceSession:
        file = io.BytesIO()
        with torch.no_grad():
            program = torch.onnx.export(self._part, (example.clone(),), dynamo=True, verbose=False)
        assert program is not None
        onnx.save_model(program.model_proto, file)
        return onnxruntime.InferenceSession(file.getvalue(), self._options, providers=["CPUExecutionProvider"])
