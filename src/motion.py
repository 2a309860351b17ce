"""Entry point: `python -m src.motion source=VIDEO output=FOLDER [style=wheel] [to=key]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("motion")
def main(config: DictConfig) -> None:
    """Draw the motion of a video over it, and write its vectors as .npz."""
    from src.commands.motion import draw_video_motion  # imported here, so that --help answers at once

    draw_video_motion(config)


if __name__ == "__main__":
    main()
