"""Entry point: `python -m src.report runs=FOLDER | metrics=RUN/metrics.json | table=cost`."""

from __future__ import annotations

from omegaconf import DictConfig

from src.cli.entry import entry_point


@entry_point("report")
def main(config: DictConfig) -> None:
    """Print tables of the results found; nothing is written."""
    from src.commands.report import report  # imported here, so that --help answers at once

    report(config)


if __name__ == "__main__":
    main()
