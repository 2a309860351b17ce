"""Command `src.predict`: a checkpoint and videos in, folders of results out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from src.adaptation.learner import check_adaptable
from src.adaptation.online import AdaptingRunner, Online
from src.adaptation.options import Learning
from src.checkpoints.load import LoadedModel
from src.checkpoints.weights_file import place_of
from src.cli.config import plain
from src.errors import Exhausted, UserError
from src.inference.api import StreamSegmenter, load_segmenter
from src.inference.budget import BudgetedKeys, check_can_warp, keys_of
from src.inference.health import Health
from src.inference.keyframes import KeyedMotion
from src.inference.options import LiveOptions, PredictOptions
from src.inference.output_folder import atomic_output_folder, settle
from src.inference.player_record import RECORD, PlayerRecord
from src.inference.resuming import file_identity, is_complete
from src.inference.runner import FrameRunner, runner_of
from src.inference.segment import Segmented
from src.inference.streams import Stream, segment_streams
from src.inference.two_sided import segment_each_two_sided
from src.inference.video_results import Kinds, VideoResults
from src.instantiate import options_of
from src.interruption import Interruption
from src.progress import ProgressDisplay
from src.reports.evaluation import method_name
from src.reports.prediction import print_summaries, print_summary
from src.video.reading.decode import Video
from src.video.reading.live import LiveVideo, is_live
from src.video.reading.sources import videos_of

log = logging.getLogger(__name__)

# what the results do not depend on
_ELSEWHERE = ("checkpoint", "source", "output", "live")
_PACE = ("device", "threads", "streams", "backend")  # nor on these, without a budget of time
_NEWER = {
    "player": 0,
    "policy": "fixed",
    "budget": None,
    "lr_scale": None,
    "references": "past",
}  # options, and what versions without them did


def segment_video(config: DictConfig) -> None:
    """Segment the videos of a composed conf/predict.yaml, and print the summary.

    Raises:
        UserError: see `PredictOptions`, `predict` and `predict_many`.
    """
    given = plain(config)
    del given["plugins"]  # imported by now
    adapt, online = given.pop("adapt"), given.pop("online")
    group = "online.learning"
    learning = options_of(Learning, online.pop("learning"), group, group=group)  # what is not used is checked, too
    adaptation = options_of(Online, online, "online", learning=learning)
    live = options_of(LiveOptions, given.pop("live"), "live")
    options = options_of(PredictOptions, given, **given.pop("video"), live=live)
    segment_sources(options, adaptation if adapt else None)


def segment_sources(options: PredictOptions, online: Online | None = None) -> None:
    """Segment what `options.source` names, and print the summary; arguments and errors as of `predict`."""
    videos = videos_of(options.source, options.output)
    if videos is None:
        print_summary(predict(options, online))
    else:
        print_summaries(predict_many(options, videos, online))


def predict(options: PredictOptions, online: Online | None = None) -> dict[str, Any]:
    """Segment a video into `options.output`; return the summary that `timing.json` also holds.

    The folder gets overlay.mp4, timing.json, results.jsonl and, if asked for, labels, all at the end: a run that fails
    or is interrupted leaves nothing; but a live source ends by it, and has results. A folder that is not empty is
    rejected.

    Args:
        options: of conf/predict.yaml.
        online: how the network is adapted on the way; None leaves it as it is.

    Raises:
        UserError: a checkpoint, video or output that cannot be used, or a damaged video under on_damage=stop.
    """
    with ExitStack() as stack:
        output = Path(options.output)
        folder = stack.enter_context(atomic_output_folder(output, keep=is_live(str(options.source))))
        run = _Run(options, {"": str(options.source)}, online)
        stream = run.stream(stack, folder, str(options.source), "")
        run.segment(iter([stream]), stream.frames.info.frames if isinstance(stream.frames, Video) else 0)
    log.info("results: %s", options.output)
    return run.summaries[""]


def predict_many(
    options: PredictOptions, videos: Mapping[str, str], online: Online | None = None
) -> dict[str, dict[str, Any]]:
    """Segment several videos, each into a folder of its name in `options.output`; return the summaries by name.

    A video whose results are there is skipped. One that cannot be used is reported, and the others are done.

    Args:
        options: of all of them.
        videos: paths by name.
        online: as of `predict`; one network learns from all videos.

    Raises:
        UserError: a checkpoint or output that cannot be used; or, when all else is done, videos that could not.
    """
    run = _Run(options, videos, online)
    run.segment(run.streams(videos), 0)
    if run.failed:
        first = next(iter(run.failed.values()))
        more = f" and {len(run.failed) - 1} more" if len(run.failed) > 1 else ""
        raise UserError(
            f"{len(run.failed)} of {len(videos)} videos have no results, the others are complete: {first}{more}"
        )
    return run.summaries


def _nothing() -> None: ...


class _Run:
    """One network, and the videos that go through it."""

    def __init__(self, options: PredictOptions, videos: Mapping[str, str], online: Online | None) -> None:
        self._options, self._left = options, set(videos)
        if options.limit is not None and options.limit.fps is not None and len(videos) > 1:
            raise UserError(
                f"budget={options.limit.given} with {len(videos)} videos: they would wait for each other, and "
                "a latency is planned for one; give one source, or a budget of the mean, such as budget=20ms"
            )
        # live sources do not wait for one another
        self._at_once = len(videos) if any(map(is_live, videos.values())) else min(options.streams, len(videos))
        # one budget of threads for network, decoders and encoders
        self._adapting: AdaptingRunner | None = None

        def make_runner(loaded: LoadedModel, device: torch.device) -> FrameRunner:
            if online is None:
                return runner_of(loaded, device)
            check_adaptable(loaded.network, options.checkpoint)
            self._adapting = AdaptingRunner(loaded, device, online)
            return self._adapting

        at_once = self._at_once if online is None else 1  # one step at a time changes the network
        self._segmenter: StreamSegmenter = load_segmenter(
            options.checkpoint,
            options.device,
            options.threads,
            options.backend,
            options.precision,
            at_once,
            make_runner,
            options.lr_scale,
        )
        elsewhere = _ELSEWHERE if options.is_timed else (*_ELSEWHERE, *_PACE)
        settings = {key: value for key, value in asdict(options).items() if key not in elsewhere}
        # without the newer options, results are those of versions that had none
        self._settings = {key: value for key, value in settings.items() if (key, value) not in _NEWER.items()}
        if online is not None:
            self._settings["online"] = asdict(online)
        self._checkpoint = file_identity(place_of(options.checkpoint))
        self._open = ExitStack()
        self._display: ProgressDisplay | None = None
        self._live: dict[str, Callable[[Exception | None], None]] = {}  # that an interruption completes
        self.summaries: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, UserError] = {}

    def segment(self, streams: Iterator[Stream], frames: int) -> None:
        """Segment all streams; `frames` are expected, 0 for unknown."""
        segmenter = self._segmenter
        with self._open, ProgressDisplay("frames", frames) as self._display:
            try:
                if self._options.references == "both":
                    segment_each_two_sided(streams, segmenter.runner, segmenter.ahead)
                else:
                    segment_streams(streams, segmenter.runner, self._at_once, segmenter.ahead, segmenter.workers)
            except (KeyboardInterrupt, Interruption):
                live = list(self._live.values())
                for end in live:
                    end(None)
                if self._left or not live:  # what is open of files is deleted
                    raise
                log.info("interrupted: the results up to here are complete")

    def streams(self, videos: Mapping[str, str]) -> Iterator[Stream]:
        """Open one video after the other, each into its own folder."""
        for name, path in videos.items():
            output = Path(self._options.output) / name
            stack = ExitStack()
            self._open.push(stack)
            try:
                settle(output)
                if os.path.isfile(path) and is_complete(output, self._identity(path)):
                    self._left.discard(name)
                    log.info("%s: complete, skipped", output)
                    continue
                folder = stack.enter_context(atomic_output_folder(output, keep=is_live(path)))
                yield self.stream(stack, folder, path, name)
            except UserError as error:
                self._fail(stack, name, error)

    def stream(self, stack: ExitStack, folder: Path, path: str, name: str) -> Stream:
        """Open a video whose results go to a folder; what is opened is put on the stack."""
        options, segmenter = self._options, self._segmenter
        video = segmenter.open(path, options.motion, options.on_damage, options.live.reconnect)
        self._check_policy(video)
        if options.is_timed:  # on the engine that is chosen
            segmenter.prepare(video, is_only=not name)
        keyed = self._keys(video)
        if not options.is_timed:
            segmenter.prepare(video, is_only=not name)
        limit, fps = options.limit, video.info.fps
        if limit is not None and limit.fps is not None and fps is not None and fps > 1.01 * limit.fps:
            log.warning("budget=%s: this video has %.4g frames/s, for which too much is spent", limit.given, float(fps))
        identity = None if isinstance(video, LiveVideo) else self._identity(path)
        labels = options.label_format if options.save_labels else None
        costs = keyed.costs if isinstance(keyed, BudgetedKeys) else None
        kinds = Kinds(options.overlay, options.opacity, labels, costs)
        threads = max(1, segmenter.threads // 2)  # beside the network
        results = VideoResults(folder, video, segmenter.classes, kinds, threads, segmenter.ahead)
        stack.enter_context(results)
        player = self._player(stack, folder, video) if options.player else None
        health, stop = None, _nothing
        if isinstance(video, LiveVideo):
            health, stop = Health(video, options.live.health, options.live.drop == "newest"), video.stop

        def put(result: Segmented) -> None:
            results.put(result)
            if player is not None:
                player(result)
            if self._display is not None:
                self._display.advance()

        def end(error: Exception | None) -> None:
            self._live.pop(name, None)
            try:
                if error is not None:
                    raise error
                about = self._about(video, keyed) | {"identity": identity}
                if health:
                    about["live"] = health.summary()
                if isinstance(keyed, BudgetedKeys):
                    about["spending"] = keyed.spending.as_dict()
                summary = results.finish(about)
                if name:
                    stack.close()
            except UserError as failure:
                if not name:
                    raise
                self._fail(stack, name, failure)
                return
            self.summaries[name] = summary
            self._left.discard(name)
            if name:
                log.info("%s: complete, %d frames", Path(options.output) / name, self.summaries[name]["frames"])

        if isinstance(video, LiveVideo):
            self._live[name] = end
        return Stream(video, keyed, put, end, stop, health)

    def _check_policy(self, video: Video) -> None:
        """Reject a policy or references that the method or the video cannot have."""
        options = self._options
        for given, asked in (
            (f"policy={options.policy}", options.budget is not None),
            ("references=both", options.references == "both"),
        ):
            if asked:
                check_can_warp(self._segmenter.network, given)
        if options.references == "both" and (isinstance(video, LiveVideo) or self._adapting is not None):
            raise UserError(
                "references=both needs frames that are yet to come, and the network as it is; leave references out for "
                "live sources and with adapt=true"
            )

    def _keys(self, video: Video) -> KeyedMotion:
        """Return what chooses the keyframes of a video."""
        options, segmenter, info = self._options, self._segmenter, video.info
        size, both = (info.height, info.width), options.references == "both"
        motion = options.max_gop, info.all_intra
        return keys_of(options.policy, options.limit, segmenter.runner, size, segmenter.gop, *motion, both)

    def _player(self, stack: ExitStack, folder: Path, video: Video) -> Callable[[Segmented], None]:
        """Open the record of a video's first frames, beside the branch at full resolution where the method has one."""
        segmenter, reference = self._segmenter, self._segmenter.runner.reference()
        runners = [runner for runner in (reference, segmenter.runner) if runner is not None]
        names = [method_name(runner.network.method, runner.network.scale) for runner in runners]
        compared = None if reference is None else 0
        fps, title = float(video.info.fps or 25), Path(str(video.path)).name
        record = PlayerRecord(folder / RECORD, title, segmenter.classes, names, compared, fps)
        stack.enter_context(record)
        state = reference.init_state() if reference is not None else None

        def put(result: Segmented) -> None:
            nonlocal state
            if len(record) == self._options.player:
                return
            found = [result.labels]
            if reference is not None:
                labels, state = reference.step(result.frame.image, state, None)
                found.insert(0, labels)
            record.put(result.frame, result.is_key, found)

        return put

    def _fail(self, stack: ExitStack, name: str, error: UserError) -> None:
        stack.__exit__(type(error), error, error.__traceback__)
        if isinstance(error, Exhausted):  # which the next video would meet, too
            raise error
        log.error("%s", error)
        self.failed[name] = error
        self._left.discard(name)

    def _identity(self, path: str) -> dict[str, Any]:
        return {"source": file_identity(path), "checkpoint": self._checkpoint, "settings": self._settings}

    def _about(self, video: Video, keyed: KeyedMotion) -> dict[str, Any]:
        info, segmenter = video.info, self._segmenter
        return {
            "checkpoint": self._options.checkpoint,
            "source": str(video.path),
            "codec": info.codec,
            "height": info.height,
            "width": info.width,
            "start_seconds": float(info.start),
            "motion": info.motion,  # that may have changed on the way
            "policy": self._options.policy,
            "references": self._options.references,
            "max_gop": keyed.max_gop if segmenter.network.uses_motion else None,
            "device": str(segmenter.device),
            "threads": segmenter.threads,
            "backend": segmenter.runner.engine.backend,
            "precision": segmenter.runner.engine.precision,
            **({"adaptation": self._adapting.summary()} if self._adapting else {}),
        }
