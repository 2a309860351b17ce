"""Entry point: `python -m src.benchmark model=NAME [input.height=H input.width=W] [latency=false]`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
@reports_errors
def main(config: DictConfig) -> None:
    """Parameters, multiply-adds and times of a network; the last line of standard output is the result as JSON."""
    from src.commands.benchmark import benchmark  # imported late, so that --help and --cfg answer at once

    benchmark(config)


if __name__ == "__main__":
    main()
