"""Entry point: `python -m src.convert name=RELEASE source=FILE [key_source=FILE] output=FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("convert")
def main(config: DictConfig) -> None:
    """Write the weights of an official release as a checkpoint for `src.predict` and `src.eval`."""
    from src.commands.convert import convert_release  # imported here, so that --help answers at once

    convert_release(config)


if __name__ == "__main__":
    main()
