"""Entry point: `python -m src.predict checkpoint=AR.ckpt source=film.mp4 output=FOLDER [KEY=VALUE ...]`."""

from __future__ import annotations

import signal
import sys

import hydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="predict")
@reports_errors
def main(config: DictConfig) -> None:
    """Segment a film of any length; overlay, labels and timing go to the output folder."""
    from src.cli.config import check_keys, plain
    from src.commands.predict import predict  # imported late, so that --help and --cfg answer at once
    from src.inference.options import Request
    from src.inference.timing import print_summary

    check_keys(config)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves through `finally`, as Ctrl-C does
    given = plain(config)
    print_summary(predict(Request(**given.pop("video"), **given)))


if __name__ == "__main__":
    main()
