"""Command `src.eval`: score a checkpoint."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.cli.config import plain
from src.commands.provenance import write_provenance
from src.evaluation.evaluate import evaluate


def evaluate_checkpoint(config: DictConfig) -> None:
    """Write what the run is, score the checkpoint into `metrics.json` and print the table.

    Raises:
        UserError: see `src.evaluation.evaluate.evaluate`.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    write_provenance(run_dir, plain(config))
    evaluate(config, run_dir)
    print(f"metrics: {run_dir / 'metrics.json'}")
