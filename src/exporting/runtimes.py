"""The formats that graphs are written in, and the runtimes that run them: ONNX, OpenVINO IR and torch.export."""

from __future__ import annotations

import importlib.util
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.errors import UserError, check_choice
from src.exporting.graphs import Graph

KEY = "segmentation"  # of the metadata in a file
Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], dict[str, NDArray[Any]]]


class Runtime(ABC):
    """A file format and what runs it; constructed only where its packages are installed.

    Attributes:
        suffix: of the files.
        precisions: that it has.
        packages: that it needs, by their import names.
    """

    suffix: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...] = ()

    @abstractmethod
    def convert(self, graph: Graph) -> Any:
        """Express a graph as a model of the format, in fp32."""

    @abstractmethod
    def save(self, model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write a model with its metadata; `path` has the format's suffix."""

    @abstractmethod
    def load(self, path: Path, threads: int) -> Run:
        """Read a file and return what runs it: arrays by name in, arrays by name out."""

    @abstractmethod
    def metadata(self, path: Path) -> dict[str, Any]:
        """Metadata of a file."""


class OnnxRuntime(Runtime):
    """ONNX files, run by ONNX Runtime on the CPU."""

    suffix, precisions, packages = ".onnx", ("fp32", "int8"), ("onnx", "onnxscript", "onnxruntime")

    def convert(self, graph: Graph) -> Any:
        """Express a graph as an onnx.ModelProto."""
        program = torch.onnx.export(
            graph.program,
            dynamo=True,
            verbose=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
        )
        assert program is not None
        return program.model_proto

    def save(self, model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write one file; metadata as a property of the model."""
        import onnx

        onnx.helper.set_model_props(model, {KEY: json.dumps(metadata)})
        onnx.save(model, path)

    def load(self, path: Path, threads: int) -> Run:
        """Start a session on the CPU."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs, outputs = ([x.name for x in ports] for ports in (session.get_inputs(), session.get_outputs()))
        return lambda arrays: dict(zip(outputs, session.run(outputs, {n: arrays[n] for n in inputs}), strict=True))

    def metadata(self, path: Path) -> dict[str, Any]:
        """Metadata of the model's properties."""
        import onnx

        properties = {p.key: p.value for p in onnx.load(path).metadata_props}
        return dict(json.loads(properties[KEY]))


class OpenVino(Runtime):
    """OpenVINO IR (.xml and .bin), run on the CPU in the precision that its metadata name."""

    suffix, precisions, packages = ".xml", ("fp32", "bf16", "int8"), ("openvino", "onnx", "onnxscript")

    def convert(self, graph: Graph) -> Any:
        """Express a graph as an openvino.Model."""
        import openvino

        from src.inference.engine.openvino_part import openvino_core

        openvino_core()
        if graph.dynamic:  # its reader of ONNX knows arithmetic of sizes, that of torch.export does not
            return openvino.convert_model(io.BytesIO(OnnxRuntime().convert(graph).SerializeToString()))
        model = openvino.convert_model(graph.program)
        named = dict(zip(graph.program.graph_signature.user_inputs, graph.inputs, strict=True))
        for port in model.inputs:  # without those that nothing reads
            port.get_tensor().set_names({named[port.any_name]})
        for port, name in zip(model.outputs, graph.outputs, strict=True):
            port.get_tensor().set_names({name})
        return model

    def save(self, model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write weights in fp32, for bf16 in fp16: IR stores no bf16, and the runner computes in it."""
        import openvino

        model.set_rt_info(json.dumps(metadata), KEY)
        openvino.save_model(model, path, compress_to_fp16=metadata["precision"] == "bf16")

    def load(self, path: Path, threads: int) -> Run:
        """Compile the model; OpenVINO by itself computes fp32 graphs in bf16 where the CPU has it."""
        from src.inference.engine.openvino_part import openvino_core

        core = openvino_core()
        model = core.read_model(path)
        hint = "bf16" if json.loads(model.get_rt_info(KEY).value)["precision"] == "bf16" else "f32"
        compiled = core.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        )
        inputs, outputs = ([port.any_name for port in ports] for ports in (compiled.inputs, compiled.outputs))

        def run(arrays: Arrays) -> dict[str, NDArray[Any]]:
            found = compiled({name: arrays[name] for name in inputs})
            return {name: np.array(found[n]) for n, name in enumerate(outputs)}  # its own memory is written again

        return run

    def metadata(self, path: Path) -> dict[str, Any]:
        """Metadata of the model's runtime information."""
        from src.inference.engine.openvino_part import openvino_core

        return dict(json.loads(openvino_core().read_model(path).get_rt_info(KEY).value))


class TorchExport(Runtime):
    """Programs of torch.export, run by torch."""

    suffix, precisions = ".pt2", ("fp32",)

    def convert(self, graph: Graph) -> Any:
        """Take the program as it is."""
        return graph.program

    def save(self, model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write one file; metadata as an extra file in it."""
        model.example_inputs = None  # as large as the weights of a light network
        torch.export.save(model, path, extra_files={KEY: json.dumps(metadata)})

    def load(self, path: Path, threads: int) -> Run:
        """Read the program; it runs in torch's threads."""
        known = self.metadata(path)
        names: dict[str, Sequence[str]] = known["graphs"][known["graph"]]
        module = torch.export.load(path).module()

        @torch.no_grad()
        def run(arrays: Arrays) -> dict[str, NDArray[Any]]:
            found = module(*(torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names["inputs"]))
            return {name: x.numpy() for name, x in zip(names["outputs"], found, strict=True)}

        return run

    def metadata(self, path: Path) -> dict[str, Any]:
        """Metadata of the extra file."""
        found: dict[str, Any] = {KEY: ""}
        torch.export.load(path, extra_files=found)
        return dict(json.loads(found[KEY]))


RUNTIMES: dict[str, type[Runtime]] = {"onnx": OnnxRuntime, "openvino": OpenVino, "torch": TorchExport}


def runtime_of(name: str, precision: str) -> Runtime:
    """Return the runtime of a format, once its packages are found.

    Raises:
        UserError: an unknown format, a precision that it does not have, or a missing package.
    """
    check_choice("format", name, RUNTIMES)
    runtime = RUNTIMES[name]()
    if precision not in runtime.precisions:
        with_it = [key for key, kind in RUNTIMES.items() if precision in kind.precisions]
        known = ", ".join(runtime.precisions)
        remedy = f"choose one of these, or format={with_it[0]}" if with_it else "choose one of these"
        raise UserError(f"precision={precision} is not one of format={name}'s ({known}); {remedy}")
    needed = (*runtime.packages, *(("nncf",) if precision == "int8" else ()))
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"format={name} needs the package {missing[0]}; install it by pip install -e '.[export]'")
    return runtime
