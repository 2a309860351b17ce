"""Command `src.adapt`: an AR-Seg checkpoint and videos without labels in, a checkpoint adapted to them out."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from src.adaptation.learner import Learner, NotFinite, check_adaptable, load
from src.adaptation.options import AdaptOptions, Learning
from src.adaptation.pairs import HELD_OUT, Source, batches, fitting
from src.adaptation.scores import Systems, compare
from src.checkpoints.load import LoadedModel, load_checkpoint, read_content
from src.checkpoints.metadata import KEY
from src.checkpoints.weights_file import place_of
from src.checkpoints.write import content_of, write_checkpoint
from src.cli.config import plain
from src.commands.predict import segment_sources
from src.errors import UserError
from src.files import read_json, write_json
from src.inference.device import choose_device, choose_threads
from src.inference.options import LiveOptions, PredictOptions
from src.inference.output_folder import locked_folder
from src.inference.resuming import check_same, file_identity
from src.inference.runner import FrameRunner
from src.instantiate import options_of
from src.interruption import Interruption, defer_signals, noted, raise_received
from src.models.deploy.inference_form import inference_form
from src.models.video import SingleFrame, VideoSegmenter
from src.ops.cpu.memory import keep_freed_memory
from src.pipeline import Feed
from src.progress import ProgressDisplay
from src.reports.adaptation import print_scores
from src.video.reading.decode import Video
from src.video.reading.live import is_live
from src.video.reading.random_access import count_frames
from src.video.reading.sources import videos_of

CHECKPOINT, SCORES, UNFINISHED, SEGMENTED = "adapted.ckpt", "adaptation.json", "unfinished.ckpt", "segmented"
PHASE = "adapted"
AHEAD = 2  # batches that are drawn while the network learns
NOT_LIVE = LiveOptions("none", None, 10.0)  # files are none
LISTED = 100  # videos by name in a checkpoint

log = logging.getLogger(__name__)


def adapt_to_videos(config: DictConfig) -> None:
    """Do what a composed conf/adapt.yaml describes, and print the scores.

    Raises:
        UserError: see `AdaptOptions` and `adapt`.
    """
    given = plain(config)
    del given["plugins"]  # imported by now
    segment, results = given.pop("segment"), given.pop("results")
    learning = options_of(Learning, given.pop("learning"), "learning")
    options = options_of(AdaptOptions, given, learning=learning, **given.pop("video"))
    print_scores(adapt(options))
    if segment:
        shared: dict[str, Any] = {
            key: getattr(options, key) for key in ("source", "max_gop", "motion", "on_damage", "device", "threads")
        }
        output = Path(options.output)
        own: dict[str, Any] = {"checkpoint": str(output / CHECKPOINT), "output": str(output / SEGMENTED)}
        segment_sources(PredictOptions(**own, **shared, **results, live=NOT_LIVE))


def adapt(options: AdaptOptions) -> dict[str, Any]:
    """Adapt a checkpoint to videos; return the content of `adaptation.json`.

    `options.output` gets adapted.ckpt and adaptation.json when both are complete. What is learned so far is kept there
    in between, and the same call continues from it after an interruption. Where agreement with the high branch or
    mIoU against its labels is lower than before, on frames that were not learned from, adapted.ckpt holds those before.

    Raises:
        UserError: a checkpoint, video or output that cannot be used, or a loss that is not finite.
    """
    threads = choose_threads(options.threads)
    torch.set_num_threads(threads)
    keep_freed_memory()
    device, loaded = choose_device(options.device), load_checkpoint(options.checkpoint)
    check_adaptable(loaded.network, options.checkpoint)
    gop = options.max_gop or loaded.gop
    videos = _open(options, threads)
    sizes = [(video.info.height, video.info.width) for video in videos.values()]
    options = replace(options, learning=fitting(options.learning, sizes, loaded.fit))
    identity = _identity(options, videos, gop)
    output = Path(options.output)
    with locked_folder(output, output):
        if (output / SCORES).exists():
            check_same(output, read_json(output / SCORES).get("identity"), identity)
            log.info("%s: complete, nothing is adapted again", output)
            return dict(read_json(output / SCORES))
        if (output / CHECKPOINT).exists() and not (output / UNFINISHED).exists():
            raise UserError(f"output '{output}' holds '{CHECKPOINT}' and nothing is overwritten; give another output")
        began = time.perf_counter()
        sources = [Source(name, lambda v=v: v, _count(v), v.info.all_intra) for name, v in videos.items()]  # type: ignore[misc]
        holds_out = options.held_out and max(source.count for source in sources) > gop * (HELD_OUT // 2 + 1)
        with noted(lambda: _kept(output)):
            weights, losses = _learned(
                options, loaded, device, threads, sources, gop, holds_out, output / UNFINISHED, identity
            )
            log.info("comparing with the high branch")
            adapted = deepcopy(loaded.network)
            load(adapted, weights)
            scores = _scored(options, loaded, adapted, device, sources, gop)
        judged = scores["held_out"] if holds_out and scores["held_out"] else scores["all"]
        before, after = judged["before"], judged["after"]
        lower = [key for key in ("agreement", "miou") if after[key] < before[key]]
        if lower:
            log.warning("lower than before: %s; %s holds the weights of the checkpoint", ", ".join(lower), CHECKPOINT)
        about = {
            "checkpoint": options.checkpoint,
            "videos": [_about(name, video) for name, video in videos.items()],
            "steps": options.steps,
            "losses": losses,
            "seconds": round(time.perf_counter() - began, 1),
            "adapted": not lower,
        }
        written = {**about, **scores, "held_out": scores["held_out"] if holds_out else None, "identity": identity}
        metadata = {**loaded.metadata, "phase": PHASE, "source": {"adaptation": _record(loaded, written)}}
        write_checkpoint(output / CHECKPOINT, content_of(loaded.network if lower else adapted, metadata))
        write_json(output / SCORES, written)
        (output / UNFINISHED).unlink(missing_ok=True)
    log.info("checkpoint: %s", output / CHECKPOINT)
    return written


def _open(options: AdaptOptions, threads: int) -> dict[str, Video]:
    """Videos by name."""
    found = videos_of(options.source, options.output) or {Path(str(options.source)).name: str(options.source)}
    live = [path for path in found.values() if is_live(path)]
    if live:
        raise UserError(
            f"source={live[0]} is live and comes but once; adapt on the way by src.predict adapt=true, or give files"
        )
    return {name: Video(path, options.motion, options.on_damage, threads) for name, path in found.items()}


def _count(video: Video) -> int:
    return video.info.frames or count_frames(Path(video.path))


def _identity(options: AdaptOptions, videos: dict[str, Video], gop: int) -> dict[str, Any]:
    settings = {key: getattr(options, key) for key in ("steps", "seed", "held_out", "motion", "on_damage")}
    return {
        "checkpoint": file_identity(place_of(options.checkpoint)),
        "videos": {name: file_identity(video.path) for name, video in videos.items()},
        "settings": {**settings, "gop": gop, "learning": asdict(options.learning)},
    }


def _kept(output: Path) -> str:
    if (output / UNFINISHED).exists():
        return f"what was learned is kept in '{output}'; the same command continues"
    return "nothing was learned yet; start it again"


def _learned(
    options: AdaptOptions,
    loaded: LoadedModel,
    device: torch.device,
    threads: int,
    sources: list[Source],
    gop: int,
    holds_out: bool,
    unfinished: Path,
    identity: dict[str, Any],
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights after all steps, and the mean losses of each twentieth of them; kept in a file every `save_every`."""
    network = deepcopy(loaded.network).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = Learner(network, options.learning, options.steps)
    losses: list[dict[str, float]] = []
    if unfinished.exists():
        found = read_content(unfinished)
        check_same(unfinished.parent, found.get("identity"), identity)
        learner.resume(found["learner"])
        losses = found["losses"]
        log.info("%s: continues after step %d of %d", unfinished.parent, learner.done, options.steps)

    def keep() -> None:
        content = {KEY: loaded.metadata, "identity": identity, "learner": learner.state(), "losses": losses}
        write_checkpoint(unfinished, content)

    steps = 0 if learner.done == options.steps else options.steps  # interrupted while it was compared
    drawn = batches(sources, gop, options.learning, loaded.fit, steps, holds_out, options.seed)
    try:
        with (
            ProgressDisplay("steps", options.steps) as display,
            closing(Feed(drawn, AHEAD if threads > 1 else 0)) as feed,
        ):
            for number, batch in enumerate(feed, start=1):
                if number > learner.done:  # those before are drawn again, for their place in the videos
                    defer_signals("the step at hand, to keep what was learned")
                    losses.append(learner.step(batch.to(device).ready(loaded.normalisation)))
                    defer_signals(None)
                    if number % options.save_every == 0 or number == options.steps:
                        keep()
                raise_received()
                display.advance()
        return learner.weights(), _means(losses)
    except NotFinite as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{error}. '{options.checkpoint}' is as it was, and nothing is written") from error
    except Interruption:
        if learner.done:
            keep()
        raise


def _means(losses: list[dict[str, float]], parts: int = 20) -> list[dict[str, float]]:
    size = -(-len(losses) // parts)
    chunks = [losses[n : n + size] for n in range(0, len(losses), size)]
    return [{key: round(sum(row[key] for row in chunk) / len(chunk), 5) for key in chunk[0]} for chunk in chunks]


def _scored(
    options: AdaptOptions,
    loaded: LoadedModel,
    adapted: VideoSegmenter,
    device: torch.device,
    sources: list[Source],
    gop: int,
) -> dict[str, Any]:
    before, after = inference_form(loaded.network), inference_form(adapted)
    teacher = SingleFrame(before.high)  # type: ignore[arg-type]
    runners = [FrameRunner(net, loaded.normalisation, device, loaded.fit) for net in (teacher, before, after)]
    with ProgressDisplay("frames", 0) as display:
        return compare(sources, Systems(*runners), len(loaded.classes), gop, options.score_frames, display.advance)


def _about(name: str, video: Video) -> dict[str, Any]:
    info = video.info
    known = {"codec": info.codec, "height": info.height, "width": info.width, "motion": info.motion}
    return {"name": name, "frames": _count(video), **known}


def _record(loaded: LoadedModel, about: dict[str, Any]) -> dict[str, Any]:
    """Describe for the checkpoint what it was adapted to."""
    judged = about["held_out"] or about["all"]
    return {
        "videos": about["videos"][:LISTED],
        "count": len(about["videos"]),
        "settings": about["identity"]["settings"],
        "start": about["identity"]["checkpoint"],
        "adapted": about["adapted"],
        **{score: {key: judged[key][score] for key in ("before", "after")} for score in ("agreement", "miou")},
        "before": loaded.metadata["source"],
    }
