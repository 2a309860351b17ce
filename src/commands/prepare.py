"""Command `src.prepare`: make or check all clips of a data set, or a part of them."""

from __future__ import annotations

import logging
import re

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.cli.config import plain
from src.cli.overrides import check_data_set, check_rate
from src.data.clips.cache import ClipJob, prepare
from src.data.clips.check import faults
from src.data.clips.index import write_manifest
from src.data.module import ClipDataModule
from src.data.sharing import worker_count
from src.errors import UserError
from src.instantiate import instantiate
from src.interruption import noted

SHOWN = 20  # faults by name

log = logging.getLogger(__name__)


def prepare_data_set(config: DictConfig) -> None:
    """Make the clips of `config.splits` that are missing, and the manifest; with `config.check`, only check them.

    Raises:
        UserError: a quality beside a bitrate, a wrong shard, a data set that cannot be used, or
            faults that the check found.
    """
    check_data_set(config)
    check_rate(config)
    plain(config)
    module = instantiate(config.data.module)
    if not isinstance(module, ClipDataModule):
        name = HydraConfig.get().runtime.choices["data"]
        raise UserError(f"data={name} needs no preparation: src.train reads its images; give another data set")
    given = [config.splits] if isinstance(config.splits, str) else config.splits
    splits = given or dict.fromkeys((module.train_split, module.val_split))
    for split in splits:
        module.check_labels(split, stills=False, trained=split == module.train_split)
    jobs = [job for split in splits for job in module.jobs(split)]
    jobs = jobs if config.shard is None else shard_of(jobs, str(config.shard))
    if config.check:
        _check(jobs, module)
        return
    with noted(lambda: "clips that are made are kept; start it again to make the others"):
        workers = worker_count(module.workers)
        clips = prepare(jobs, module.encoding, module.cache, workers, module.on_damage, thorough=True)
    log.info("%d of %d clips are prepared, listed in %s", len(clips), len(jobs), write_manifest(module.cache))


def shard_of(jobs: list[ClipJob], shard: str) -> list[ClipJob]:
    """Return every n-th job from the i-th on, of shard "i/n".

    Raises:
        UserError: not of this form, or i outside 1..n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard={shard} is not i/n with i from 1 to n; give shard=1/4 to shard=4/4 for four parts")
    return jobs[int(match[1]) - 1 :: int(match[2])]


def _check(jobs: list[ClipJob], module: ClipDataModule) -> None:
    found = faults(jobs, module.encoding, module.cache)
    for fault in found[:SHOWN]:
        log.warning("%s", fault)
    if len(found) > SHOWN:
        log.warning("and %d more", len(found) - SHOWN)
    if found:
        raise UserError(
            f"{len(found)} faults in {len(jobs)} clips in '{module.cache}'; remove the files that are named, run "
            "without check=true and what is missing is made again"
        )
    log.info("%d clips in %s are complete and as recorded in the manifest", len(jobs), module.cache)
