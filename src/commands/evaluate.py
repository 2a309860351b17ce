"""Command `src.eval`: score checkpoints on a labelled data set into a table and `metrics.json`."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig
from torchmetrics import MetricCollection

from src.checkpoints.load import LoadedModel, load_checkpoint
from src.cli.config import plain
from src.cli.ending import is_first_process
from src.commands.evaluated_data import data_config
from src.commands.processes import processes
from src.commands.provenance import check_unused, write_provenance
from src.data.clips.dataset import scored_candidates
from src.data.clips.recipes import ClipsAtLabels
from src.data.clips.table import Clips
from src.data.datasets.base import LabelledImage
from src.data.datasets.files import reject_or_skip
from src.data.labels import ClassSet
from src.data.module import ClipDataModule
from src.distributed import all_reduce_sum, gather, together
from src.errors import UserError, check_choice, check_whole
from src.evaluation.bootstrap import BlockCounts, Bootstrap, Counts, intervals
from src.evaluation.engine import OneEngine, first_readable, key_image
from src.evaluation.live import score_live
from src.evaluation.results import result_of, training_of
from src.evaluation.scoring import record_clip, score_clips, score_stills
from src.evaluation.submission import SubmissionFiles
from src.evaluation.systems import Rows, System, systems_of
from src.files import atomic_write, write_json
from src.inference.device import choose_device, choose_threads
from src.inference.engine.options import Engine, candidates
from src.inference.output_folder import PARTIAL, atomic_output_folder
from src.inference.player_record import MOST_SYSTEMS, RECORD, PlayerRecord
from src.inference.spending import Spending
from src.instantiate import instantiate
from src.metrics.collection import ON_IMAGES, ON_VIDEOS, Scores, build_metrics
from src.reports.evaluation import print_results, row_names

log = logging.getLogger(__name__)


def evaluate_checkpoint(config: DictConfig) -> None:
    """Write what the run is, score the checkpoints into `metrics.json` and print the table.

    Raises:
        UserError: see `evaluate`.
    """
    run_dir, resolved = Path(HydraConfig.get().runtime.output_dir), plain(config)
    if is_first_process():
        write_provenance(run_dir, resolved)
    else:
        check_unused(run_dir, resolved)
        logging.getLogger("src").setLevel(logging.ERROR)  # the first process reports for all
    if evaluate(config, run_dir):
        print(f"metrics: {run_dir / 'metrics.json'}")


def evaluate(config: DictConfig, run_dir: Path) -> list[dict[str, Any]]:
    """Score checkpoints, print the table and write `metrics.json` into the run directory.

    Several processes divide the clips or images; the first one prints and writes.

    Returns:
        Rows of `metrics.json`; none in other processes than the first.

    Raises:
        UserError: a wrong checkpoint, a baseline of another data set or scale, or nothing to score in the split.
    """
    check_choice("inputs", config.inputs, ("videos", "stills"))
    torch.set_num_threads(choose_threads(config.threads))
    candidates(config.backend, config.precision, choose_device(config.device).type)  # before any work
    resampling = Bootstrap(**plain(config.bootstrap))
    check_whole("player", config.player, 0)
    asked = plain(config)
    rows = Rows.of(*(asked[key] for key in ("budget", "policy", "lr_scale", "references", "live")))
    rows.check_videos_are_scored(config.inputs == "videos" and config.submission is None)
    checkpoints = _load(config, rows.scales)
    first = next(iter(checkpoints.values()))
    systems = systems_of(checkpoints, rows)
    data = data_config(first.metadata, config, next(iter(checkpoints)))
    used, motion = plain(data), data.video.motion  # names what is missing
    module: ClipDataModule = instantiate(data.data.module)
    _check_classes(first, module, config)
    if config.submission is not None:
        own = [s for s in systems if s.checkpoint == next(iter(checkpoints))][-1]  # after its comparisons
        _submit(config, module, own, motion)
        return []
    module.check_labels(config.split, config.inputs == "stills", trained=False)
    stills = _stills(module, config)
    distances = module.encoding.gop if stills is None else 1
    block = resampling.block or distances
    blocks = BlockCounts(len(systems), len(first.classes), distances, block) if resampling.resamples else None
    given = ON_VIDEOS if stills is None else ON_IMAGES
    metrics = build_metrics(instantiate(config.metric), given, num_classes=len(first.classes), distances=distances)
    spendings: dict[int, list[Spending]] = {}
    done = _score(config, module, stills, systems, lambda: metrics, motion, blocks, spendings, rows.live)
    if not is_first_process():
        return []
    about = {"gop": distances, "split": config.split, "seed": first.metadata["seed"], **done.columns}
    height, width = done.image().shape[:2]
    results = [
        {
            **result_of(system, computed, first.classes, (height, width), distances, spendings.get(n, ())),
            **about,
            **({} if live is None else {"live": live}),
            "training": training_of(checkpoints[system.checkpoint].metadata),
        }
        for n, (system, computed, live) in enumerate(zip(systems, done.scores, done.live, strict=True))
    ]
    if done.blocks is not None:
        drawn = {"resamples": resampling.resamples, "seed": resampling.seed, "block": block}
        drawn["blocks"] = done.blocks.shape[1]
        for row, found in zip(results, intervals(done.blocks, resampling), strict=True):
            row["bootstrap"] = {**drawn, **found}
    print_results(results)  # first, as the disk may be full
    with atomic_write(run_dir / "config_evaluated.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(used, sort_keys=False))
    write_json(run_dir / "metrics.json", results)
    if config.player and stills is None:
        tune = _engine(config, module, done.image)
        _record(config, module, systems, row_names(results), first.classes, run_dir / RECORD, motion, tune)
    return results


def _record(
    config: DictConfig,
    module: ClipDataModule,
    systems: list[System],
    names: list[str],
    classes: ClassSet,
    path: Path,
    motion: str,
    tune: OneEngine,
) -> None:
    """Write frames of the first clip for the player of `src.report`: of networks themselves first, then comparisons."""
    constant = [n for n, s in enumerate(systems) if s.network.cycle(2).is_constant]
    reference = max(constant, key=lambda n: systems[n].network.scale, default=None)
    own = {s.checkpoint: n for n, s in enumerate(systems)}  # the last of each, after its comparisons
    order = [*([] if reference is None else [reference]), *own.values(), *range(len(systems))]
    shown = sorted(list(dict.fromkeys(order))[:MOST_SYSTEMS])
    place = None if reference is None else shown.index(reference)
    clip, fps = module.prepared(config.split)[0], float(module.encoding.fps)
    with PlayerRecord(path, clip.name, classes, [names[n] for n in shown], place, fps) as record:
        device = choose_device(config.device)
        record_clip([systems[n] for n in shown], clip, motion, device, record, config.player, tune)
    log.info("%d frames for the player of src.report: %s", len(record), path)


def _submit(config: DictConfig, module: ClipDataModule, system: System, motion: str) -> None:
    """Write label PNGs for the test server, whose labels nobody has: nothing is scored."""
    if module.source.server_values is None:
        raise UserError("submission is for data sets with a known test server (cityscapes); leave submission out")
    if isinstance(module.val_clips, ClipsAtLabels):
        module.val_clips = replace(module.val_clips, distances="last")
    stills, output = _stills(module, config), Path(config.submission)
    with ExitStack() as stack:

        def files() -> MetricCollection:
            first = is_first_process()  # whose folder it is
            made = atomic_output_folder(output, key="submission") if first else nullcontext(output / PARTIAL)
            return MetricCollection({"files": SubmissionFiles(stack.enter_context(made), module.source)})

        (written,) = _score(config, module, stills, [system], files, motion, None, {}).scores
    if is_first_process():
        print(f"{int(written['files'])} label PNGs for the test server: {output}")


def _stills(module: ClipDataModule, config: DictConfig) -> list[LabelledImage] | None:
    """Labelled still images of the split; None where videos are scored."""
    stills = module.images(config.split) if config.inputs == "stills" else None
    if stills == []:
        raise UserError(f"split '{config.split}' has no labelled still images; give another split or inputs=videos")
    return stills


class _Scored(NamedTuple):
    """Results of systems on the data.

    Attributes:
        scores: the metrics of each system.
        blocks: of all processes.
        columns: of `metrics.json`.
        image: reads one of the images.
        live: what each system achieves in real time, where that is asked for and it can.
    """

    scores: list[Scores]
    blocks: Counts | None
    columns: dict[str, Any]
    image: Callable[[], NDArray[np.uint8]]
    live: list[dict[str, Any] | None]


def _score(
    config: DictConfig,
    module: ClipDataModule,
    stills: list[LabelledImage] | None,
    systems: list[System],
    make_metrics: Callable[[], MetricCollection],
    motion: str,
    blocks: BlockCounts | None,
    spendings: dict[int, list[Spending]],
    fps: float | None = None,
) -> _Scored:
    """Run systems over the stills or else the clips of the split, which all processes divide.

    `spendings` gets those of all processes; `fps` is of a source that does not wait, where that is scored, too.
    """
    with processes(config.device, config.devices) as device:
        metrics = together(make_metrics)
        torch.set_num_threads(choose_threads(config.threads))  # of this process's share of the cores
        clips, frames = _prepared(module, config.split) if stills is None else ([], len(stills))
        if not is_first_process():
            logging.getLogger("src").setLevel(logging.WARNING)  # from here on each one has its own to warn of
        image = functools.partial(first_readable, stills) if stills else functools.partial(key_image, clips[0])
        tune = _engine(config, module, image)
        if stills is None:
            start, codec = module.first_scored(config.split), module.encoding.codec
            own: dict[int, list[Spending]] = {}
            scores = score_clips(systems, clips, metrics, motion, device, start, tune, blocks, own)
            for part in gather(own):
                for n, found in part.items():
                    spendings.setdefault(n, []).extend(found)
        else:
            left_out: list[UserError] = []

            def damaged(error: UserError) -> None:
                reject_or_skip(str(error), module.on_damage)
                left_out.append(error)

            scores, codec = score_stills(systems, stills, metrics, device, damaged, tune, blocks), None
            frames -= int(all_reduce_sum(torch.tensor(len(left_out))))
        gathered = None if blocks is None else blocks.gathered()
        live: list[dict[str, Any] | None] = [None] * len(systems)
        if fps is not None:
            live = score_live(systems, clips, len(module.source.classes), motion, device, fps, start, tune)
    return _Scored(scores, gathered, {"codec": codec, "frames": frames, **tune.engine._asdict()}, image, live)


def _engine(config: DictConfig, module: ClipDataModule, image: Callable[[], NDArray[np.uint8]]) -> OneEngine:
    return OneEngine(Engine(config.backend, config.precision), choose_threads(config.threads), module, image)


def _prepared(module: ClipDataModule, split: str) -> tuple[Clips, int]:
    """Clips of a split, which one process of each machine makes before the others look, and how many frames count."""
    is_first_here = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"
    if not is_first_here:
        together(lambda: None)  # while the first makes them
    found = together(lambda: _scored(module, split))
    if is_first_here:
        together(lambda: None)
    return found


def _scored(module: ClipDataModule, split: str) -> tuple[Clips, int]:
    clips, gop, start = module.prepared(split), module.encoding.gop, module.first_scored(split)
    scored = len(scored_candidates(clips, list(range(gop)), 1, first=start))
    if not scored:
        raise UserError(
            f"no labelled frame of '{split}' has {start} frames before it; give a lower video.gop={gop} "
            f"or data.longest_gop={module.longest_gop}"
        )
    return clips, scored


def _load(config: DictConfig, scales: Sequence[float]) -> dict[str, LoadedModel]:
    """Load checkpoints by path, the baseline, which has to suit the first at its scales, among them."""
    given = config.checkpoint
    paths = [given] if isinstance(given, str) else list(given)
    if not paths:
        raise UserError("checkpoint=[] names none; give checkpoint=A.ckpt, or checkpoint=[A.ckpt,B.ckpt]")
    loaded = {path: load_checkpoint(path) for path in paths}
    if not config.baseline:
        return loaded
    baseline, main = load_checkpoint(config.baseline), loaded[paths[0]]
    if not baseline.network.cycle(2).is_constant:
        raise UserError(
            f"baseline '{config.baseline}' is not a single-frame network; give one trained at a constant scale, or "
            "several checkpoints as checkpoint=[A,B]"
        )
    if baseline.normalisation != main.normalisation:
        raise UserError(f"baseline '{config.baseline}' was trained with another normalisation; train both on the same")
    scales = scales or [main.network.scale]
    if main.network.uses_motion and baseline.network.scale not in scales:
        raise UserError(
            f"baseline '{config.baseline}' was trained at scale {baseline.network.scale}, the checkpoint's low branch "
            f"runs at {', '.join(map(str, scales))}; give one of the same scale"
        )
    return {**loaded, config.baseline: baseline}


def _check_classes(loaded: LoadedModel, module: ClipDataModule, config: DictConfig) -> None:
    trained, found = loaded.classes.names, module.source.classes.names
    if tuple(trained) != tuple(found):
        raise UserError(
            f"the checkpoint labels {len(trained)} classes ({', '.join(trained[:3])}, ..), the data set has "
            f"{len(found)} ({', '.join(found[:3])}, ..); give data=NAME of a data "
            "set with its classes, or data.void=true where void is one of them (CamVid)"
        )
