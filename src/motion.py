"""Entry point: `python -m src.motion source=film.mp4 output=FOLDER [style=wheel] [to=key]`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="motion")
@reports_errors
def main(config: DictConfig) -> None:
    """Draw the motion of a film over it, and write its vectors as .npz."""
    from pathlib import Path

    from src.cli.config import check_keys, plain
    from src.commands.motion import MotionRequest, export_motion
    from src.inference.output_folder import staged

    check_keys(config)
    given = plain(config)
    output = given.pop("output")
    with staged(Path(output)) as folder:
        count = export_motion(MotionRequest(motion=given.pop("video")["motion"], **given), folder)
    print(f"{count} frames: {output}/motion.mp4, {output}/vectors.npz")


if __name__ == "__main__":
    main()
