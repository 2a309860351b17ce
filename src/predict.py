"""Entry point: `python -m src.predict checkpoint=NET.ckpt source=VIDEO output=FOLDER [KEY=VALUE ...]`."""

from __future__ import annotations

from omegaconf import DictConfig

from src.cli.entry import entry_point


@entry_point("predict")
def main(config: DictConfig) -> None:
    """Segment a video of any length; overlay, labels and timing go to the output folder."""
    from src.commands.predict import segment_video  # imported here, so that --help answers at once

    segment_video(config)


if __name__ == "__main__":
    main()
