"""The way to resume a training that ended early."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from src.training.callbacks.checkpoint import begun


def resumption(run_dir: Path) -> str:
    """Return the arguments that resume a run, or the multirun of which it is a trial, if it left a checkpoint."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        kept = any(begun(folder) for folder in Path(hydra.sweep.dir).glob("*/*/checkpoints"))
        resume = f"--multirun ckpt_path=last hydra.sweep.dir={hydra.sweep.dir}"
    else:
        kept = any(begun(folder) for folder in run_dir.glob("*/checkpoints"))
        resume = f"ckpt_path=last hydra.run.dir={run_dir}"
    return f"resume with {resume}" if kept else "no checkpoint was written; start it again"
