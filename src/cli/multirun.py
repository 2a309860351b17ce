"""Jobs of a multirun outlive a failed neighbour: it is reported where it ran and once more at the end."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src.errors import UserError
from src.files import FAILED, write_json


def record_failure(run_dir: Path, overrides: list[str], error: Exception) -> None:
    """Print why a job failed, and leave it as `failed.json` in its run directory."""
    if isinstance(error, UserError):
        message = str(error)
        print(f"error: {message}", file=sys.stderr)
    else:
        message = f"{type(error).__name__}: {error}"
        traceback.print_exception(error)
    write_json(run_dir / FAILED, {"overrides": overrides, "error": message})


class FailedJobs(Callback):
    """Hydra callback: exit status 2 after a multirun in which jobs failed, wherever they ran."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra after the last job."""
        files = sorted(Path(config.hydra.sweep.dir).glob(f"*/{FAILED}"))
        for path in files:
            failure = json.loads(path.read_text())
            print(f"failed: {path.parent} ({' '.join(failure['overrides'])}): {failure['error']}", file=sys.stderr)
        if files:
            print(f"error: {len(files)} jobs of the multirun failed, the others are complete", file=sys.stderr)
            sys.exit(2)
