"""Entry point: `python -m src.train experiment=NAME [KEY=VALUE ...]`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@reports_errors
def main(config: DictConfig) -> float | None:
    """Train the phases of a method; files go to the run directory. The result is for sweepers that learn from it."""
    from src.commands.train import train  # imported late, so that --help and --cfg answer at once

    return train(config)


if __name__ == "__main__":
    main()
