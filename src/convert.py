"""Entry point: `python -m src.convert name=RELEASE source=FILE [key_source=FILE] output=FILE`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="convert")
@reports_errors
def main(config: DictConfig) -> None:
    """Write the weights of an official release as a checkpoint for `src.predict` and `src.eval`."""
    from src.commands.convert import convert_release  # imported late, so that --help and --cfg answer at once

    print(f"checkpoint: {convert_release(config)}")


if __name__ == "__main__":
    main()
