"""Entry point: `python -m src.prepare data=NAME [data.root=PATH] [video.KEY=VALUE ...] [check=true] [shard=1/4]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("prepare")
def main(config: DictConfig) -> None:
    """Encode the clips of a data set, or check those that are encoded; training and evaluation then find them."""
    from src.commands.prepare import prepare_data_set  # imported here, so that --help answers at once

    prepare_data_set(config)


if __name__ == "__main__":
    main()
