"""Entry point: `python -m src.report runs=FOLDER | metrics=RUN/metrics.json | table=cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("report")
def main(config: DictConfig) -> None:
    """Print tables of the results found; nothing is written."""
    from src.commands.report import report  # imported here, so that --help answers at once

    report(config)


if __name__ == "__main__":
    main()
