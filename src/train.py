"""Entry point: `python -m src.train experiment=NAME [KEY=VALUE ...]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("train")
def main(config: DictConfig) -> float | None:
    """Train the phases of a method into the run directory; return the score that sweepers optimise."""
    from src.commands.train import train  # imported here, so that --help answers at once

    return train(config)


if __name__ == "__main__":
    main()
