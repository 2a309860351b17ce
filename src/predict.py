"""Entry point: `python -m src.predict source=VIDEO [checkpoint=NET.ckpt output=FOLDER KEY=VALUE ...]`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Read when torch is loaded. Threads of the network that wait for work soon leave their core to the other stages, not
# some milliseconds later: 30 in place of 26 frames/s on two cores.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


@entry_point("predict")
def main(config: DictConfig) -> None:
    """Segment a video of any length; overlay, labels and timing go to the output folder."""
    from src.commands.predict import segment_video  # imported here, so that --help answers at once

    segment_video(config)


if __name__ == "__main__":
    main()
