"""Entry point: `python -m src.predict checkpoint=NET.ckpt source=VIDEO output=FOLDER [KEY=VALUE ...]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("predict")
def main(config: DictConfig) -> None:
    """Segment a video of any length; overlay, labels and timing go to the output folder."""
    from src.commands.predict import segment_video  # imported here, so that --help answers at once

    segment_video(config)


if __name__ == "__main__":
    main()
