"""Entry point: `python -m src.train experiment=NAME [KEY=VALUE ...]`."""

from __future__ import annotations

from omegaconf import DictConfig

from src.cli.entry import entry_point


@entry_point("train")
def main(config: DictConfig) -> float | None:
    """Train the phases of a method into the run directory; return the score that sweepers optimise."""
    from src.commands.train import train  # imported here, so that --help answers at once

    return train(config)


if __name__ == "__main__":
    main()
