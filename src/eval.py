"""Entry point: `python -m src.eval checkpoint=NET.ckpt [baseline=OTHER.ckpt] [KEY=VALUE ...]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("eval")
def main(config: DictConfig) -> None:
    """Score checkpoints on the videos or still images of a data set; print a table and write metrics.json."""
    from src.commands.evaluate import evaluate_checkpoint  # imported here, so that --help answers at once

    evaluate_checkpoint(config)


if __name__ == "__main__":
    main()
