"""The W&B run of a training, which goes on when the training does."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only


class ResumedWandbLogger(WandbLogger):
    """Logs all phases of a run directory, and what follows an interruption, to one W&B run.

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
