"""Plugin that makes the second of several processes fail at its work, as the variable `FAILURE` asks."""

from __future__ import annotations

import os
import signal
from typing import Any
from unittest import mock

from src.errors import UserError
from src.inference.runner import FrameRunner
from src.training.slurm import SaveAndStop

FAILURE = "FAILURE"


def fail(*_: Any, **__: Any) -> None:
    if os.environ[FAILURE] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise UserError("item 7 is damaged")


if FAILURE in os.environ and os.environ.get("LOCAL_RANK") == "1":
    mock.patch.object(FrameRunner, "step", fail).start()
    mock.patch.object(SaveAndStop, "on_train_batch_end", fail).start()
