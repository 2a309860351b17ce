"""Times of networks on a film, decoding and motion included."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig

from src.benchmarking.latency import Round, Subject
from src.checkpoints.load import Loaded
from src.data.images import Normalisation
from src.data.labels import ClassSet
from src.errors import UserError
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameNetwork
from src.inference.segment import Segmented, segment
from src.video.reading.decode import Video

log = logging.getLogger(__name__)

STEPS = ("decode", "motion", "network", "total")
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))  # any will do: nobody looks at the labels


def measure_film(
    subjects: list[Subject], path: Path, config: DictConfig, device: torch.device, threads: int
) -> list[dict[str, list[Round]]]:
    """One round over the whole film for each subject and step, in the form of `latency.measure`.

    All subjects advance frame by frame side by side, each decoding the film for itself. "network" is from RGB
    in main memory to labels there.

    Raises:
        UserError: a film that cannot be read, or of one frame only.
    """
    runs = [_run(subject, path, config, device, threads) for subject in subjects]
    found: list[dict[str, Round]] = [{step: [] for step in STEPS} for _ in subjects]
    for results in zip(*runs, strict=True):
        for subject, times, result in zip(subjects, found, results, strict=True):
            _add(times, _kind(subject, len(times["total"]), result), result)
        if len(found[0]["total"]) % 100 == 0:
            log.info("%d frames", len(found[0]["total"]))
    for subject, times in zip(subjects, found, strict=True):
        if not {kind for kind, _ in times["total"]} & set(subject.lasting):
            raise UserError(f"film '{path}' is too short for {subject.name}; give one of {len(subject.kinds)} frames")
    return [{step: [times] for step, times in steps.items()} for steps in found]


def _run(subject: Subject, path: Path, config: DictConfig, device: torch.device, threads: int) -> Iterator[Segmented]:
    loaded = Loaded(subject.net, config, ClassSet((), ()), NORMALISATION, subject.scale)
    network = FrameNetwork(loaded, device)
    film = Video(path, "auto" if network.follows_motion else "none", "stop", threads)
    network.warm_up(film.info.height, film.info.width)
    return segment(film, network, KeyedMotion(config.video.gop, film.info.all_intra))


def _kind(subject: Subject, index: int, result: Segmented) -> str:
    if subject.lasting == ("nonkey",):  # TDNet, whose first frames are the first of its round
        return subject.kinds[min(index, len(subject.kinds) - 1)]
    return "key" if result.is_key else "nonkey"


def _add(times: dict[str, Round], kind: str, result: Segmented) -> None:
    spent = vars(result.milliseconds)
    for step in STEPS:
        times[step].append((kind, sum(spent.values()) if step == "total" else spent[step]))
