"""Export all networks and compare them with themselves: `python -m scripts.benchmarks.exports FOLDER`, then --time.

The first run writes files of the networks in conf/network with random weights; the second, on a quiet machine, adds
differences, equal labels and milliseconds to FOLDER/exports.json and prints the table of docs/export.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import hydra
import torch
import torch.nn.functional as F
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from torch.optim.swa_utils import update_bn

import src.cli.config  # noqa: F401  # registers resolvers
from src.checkpoints.load import LoadedModel
from src.commands.benchmark import build
from src.data.images import IMAGENET
from src.data.labels import ClassSet
from src.exporting.comparison import compare, synthetic_frames
from src.exporting.export import ExportOptions, export
from src.exporting.runtimes import RUNTIMES
from src.exporting.segmenter import ExportedSegmenter
from src.files import write_json
from src.inference.device import choose_threads
from src.models.arseg.net import ARSeg
from src.models.deploy.inference_form import inference_form
from src.models.video import VideoSegmenter
from src.reports.tables import as_markdown

CONF = Path(__file__).resolve().parents[2] / "conf"
CLASSIFIERS = ("xception_a", "xception_b")
OVER = ("timm", "bisenet18", "pspnet18", "rdrnet_s_simple")  # that AR-Seg is measured over
FORMATS = ("onnx", "openvino")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--only", nargs="*", default=None, help="names such as timm or arseg_timm")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480))
    given = parser.parse_args()
    torch.set_num_threads(choose_threads(None))
    results = given.folder / "exports.json"
    rows: list[dict[str, Any]] = json.loads(results.read_text()) if results.exists() else []
    for name in given.only or all_names():
        net = network(name)
        for format in FORMATS:
            folder = given.folder / name / format
            if given.time and any(folder.glob("*")):
                rows = [row for row in rows if (row["network"], row["format"]) != (name, format)]
                rows += measured(name, net, folder, format, tuple(given.size))
                write_json(results, rows)
            elif not given.time and not any(folder.glob("*")):
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    options = ExportOptions(format, "fp32", tuple(given.size), torch.get_num_threads())
                    export(loaded(net, name), net, folder, options, None, None)
                    print(name, format, "exported", flush=True)
                except Exception as error:
                    print(name, format, f"failed: {str(error)[:300]}", flush=True)
    print(table(rows))


def all_names() -> list[str]:
    """Networks as `src.benchmark` reports them."""
    found = [path.stem for path in sorted((CONF / "network").glob("*.yaml")) if path.stem not in CLASSIFIERS]
    return [f"tdnet_{n}" if n.startswith("td") else n for n in found] + [f"arseg_{name}" for name in OVER]


def network(name: str) -> VideoSegmenter:
    """The inference form, with seeded random weights."""
    method, _, rest = name.partition("_")
    choices = [f"model={method}", f"network={rest}"] if method in ("arseg", "tdnet") else [f"network={name}"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config: DictConfig = hydra.compose("benchmark", choices, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        torch.manual_seed(0)
        net = build(config, torch.device("cpu"))
    if isinstance(net, ARSeg):  # features of random weights reach 1e7, where rounding decides what attention selects
        for branch in (net.high, net.low):
            update_bn((F.interpolate(torch.randn(2, 3, 12, 16), (192, 256), mode="bicubic") for _ in range(4)), branch)
            branch.eval()
    return inference_form(net).to(memory_format=torch.channels_last)


def loaded(net: VideoSegmenter, name: str) -> LoadedModel:
    """A checkpoint of it, as far as exporting asks for one."""
    names = tuple(f"class {n}" for n in range(net.num_classes))
    classes = ClassSet(names, tuple((n, n, n) for n in range(net.num_classes)))
    return LoadedModel(net, classes, IMAGENET, None, 12, {"network": {"name": name}, "fit": None})


def measured(name: str, net: VideoSegmenter, folder: Path, format: str, size: tuple[int, int]) -> list[dict[str, Any]]:
    threads = torch.get_num_threads()
    exported = ExportedSegmenter(folder, RUNTIMES[format](), threads, net.cycle(3))
    rows = compare(net, exported, list(synthetic_frames(net, size)), rounds=3)
    about = {"network": name, "format": format, "height": size[0], "width": size[1], "threads": threads}
    return [{**about, **row.as_dict()} for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """One line per network and kind of frame: what is worst over its graphs, and the median of their times."""
    lines = []
    for name in dict.fromkeys(row["network"] for row in rows):
        for kind in ("key", "nonkey", "warp"):
            cells = []
            for format in FORMATS:
                of = [r for r in rows if (r["network"], r["format"]) == (name, format) and r["graph"].startswith(kind)]
                if not of:
                    cells += ["-", "-", "-"]
                    continue
                ms = sum(row["milliseconds"] for row in of) / len(of)
                worst, equal = max(row["difference"] for row in of), min(row["equal"] for row in of)
                cells += [f"{worst:.0e}", f"{100 * equal:.2f}", f"{ms:.1f}"]
            own = [r["own_milliseconds"] for r in rows if r["network"] == name and r["graph"].startswith(kind)]
            if own:
                lines.append([name, kind, *cells, f"{sum(own) / len(own):.1f}"])
    head = ["network", "frame", *(f"{f}: {what}" for f in FORMATS for what in ("difference", "equal, %", "ms"))]
    return as_markdown([*head, "here: ms"], lines, left=2)


if __name__ == "__main__":
    main()
