"""Entry point: `python -m src.convert name=RELEASE source=FILE [key_source=FILE] output=FILE`."""

from __future__ import annotations

from omegaconf import DictConfig

from src.cli.entry import entry_point


@entry_point("convert")
def main(config: DictConfig) -> None:
    """Write the weights of an official release as a checkpoint for `src.predict` and `src.eval`."""
    from src.commands.convert import convert_release  # imported here, so that --help answers at once

    convert_release(config)


if __name__ == "__main__":
    main()
