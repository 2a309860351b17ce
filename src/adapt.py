"""Entry point: `python -m src.adapt checkpoint=AR.ckpt source=VIDEO [output=FOLDER] [KEY=VALUE ...]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("adapt")
def main(config: DictConfig) -> None:
    """Adapt AR-Seg to videos without labels; checkpoint and scores go to the output folder."""
    from src.commands.adapt import adapt_to_videos  # imported here, so that --help answers at once

    adapt_to_videos(config)


if __name__ == "__main__":
    main()
