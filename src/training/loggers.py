"""Loggers that survive interruptions, and silence for expected warnings."""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from src.errors import UserError
from src.training.summary import read_rows


class ResumableCSVLogger(CSVLogger):
    """Writes each row at once; what was logged before a checkpoint is on the disk by then."""

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name=None, version="", flush_logs_every_n_steps=1)

    def resume_at(self, step: int) -> None:
        """Keep the rows before an optimiser step, counted from 0; Lightning alone would start the file anew.

        The rows left out belong to steps after the checkpoint, which are about to be repeated.
        """
        current = Path(self.log_dir) / "metrics.csv"
        aside = current.with_name("metrics.before.csv")  # complete until the new file is
        if current.exists() and not aside.exists():
            os.replace(current, aside)
        if not aside.exists():
            return
        for at, row in read_rows(aside):
            if at < step:
                self.log_metrics(dict(row), at)
        self.save()
        aside.unlink()


_ADVERTISEMENTS = ("litlogger", "litmodels")
_EXPECTED = (
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",  # inside Lightning
    ".*module.s. in eval mode at the start of training.*",  # AR-Seg's frozen high branch
    ".*does not have many workers.*",  # two cores have no room for more
    ".*smaller than the logging interval.*",  # short epochs
    ".*your dataloader is not resumable.*",  # its sampler resumes within the epoch
    ".*recommended to use .self.log.*sync_dist=True.*",  # confusion matrices are summed before
    ".*directory .* exists and is not empty.*",  # of a resumed run, whose metrics.csv is kept
    ".*could not find the monitored key.*",  # before the first validation; from then on it is an error
    ".*wandb run already in progress.*",  # all phases log to one
)
_OUTSIDE_SLURM = ".*`srun` command is available on your system but is not used.*"  # on a login node


def silence_warnings() -> None:
    """Drop Lightning's second copy of each line, its advertisements, and warnings that are expected here."""
    lightning = logging.getLogger("lightning.pytorch")
    lightning.handlers.clear()
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).addFilter(lambda record: not any(a in record.getMessage() for a in _ADVERTISEMENTS))
    for message in _EXPECTED if "SLURM_JOB_ID" in os.environ else (*_EXPECTED, _OUTSIDE_SLURM):
        warnings.filterwarnings("ignore", message)


def check_wandb(loggers: Mapping[str, Any]) -> None:
    """Reject a W&B logger that would have to ask for a key in the middle of a command.

    Args:
        loggers: their configurations by name.

    Raises:
        UserError: W&B is not installed, or has no key.
    """
    for name, logger in loggers.items():
        if not logger or not str(logger.get("_target_")).endswith("WandbLogger"):
            continue
        if find_spec("wandb") is None:
            raise UserError(f"logger={name}: W&B is not installed; run pip install wandb, or leave the logger out")
        mode = os.environ.get("WANDB_MODE", "online")
        if not logger.get("offline") and mode == "online" and not _has_key():
            raise UserError(
                f"logger={name}: W&B has no API key here; run wandb login, set WANDB_API_KEY, or give "
                f"logger.{name}.offline=true"
            )


def _has_key() -> bool:
    if {"WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"} & {key for key, value in os.environ.items() if value}:
        return True
    if (Path.home() / ".config" / "wandb" / "settings").exists():  # of another server, perhaps
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    with suppress(OSError, NetrcParseError):
        return netrc(os.environ.get("NETRC") or Path.home() / ".netrc").authenticators(host) is not None
    return False


class ResumedWandbLogger(WandbLogger):
    """Logs all phases of a run directory, interrupted or not, to one W&B run.

    Args:
        save_dir: folder of a phase; the file `wandb_id` beside it keeps the run's id.
        id: of a run to log to; an agent names its own by `WANDB_RUN_ID`.
        arguments: of `WandbLogger`.
    """

    def __init__(self, save_dir: str, id: str | None = None, **arguments: Any) -> None:
        super().__init__(save_dir=save_dir, id=id or _kept_id(Path(save_dir).parent / "wandb_id"), **arguments)


@rank_zero_only  # W&B hears the first process only
def _kept_id(path: Path) -> str:
    if "WANDB_RUN_ID" in os.environ:
        return os.environ["WANDB_RUN_ID"]
    if not path.exists():
        path.write_text(secrets.token_hex(4))
    return path.read_text()
