"""Entry point: `python -m src.benchmark network=NAME [input.height=H input.width=W] [latency=false]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("benchmark")
def main(config: DictConfig) -> None:
    """Count and time a network; the last line of standard output is the result as JSON."""
    from src.commands.benchmark import benchmark  # imported here, so that --help answers at once

    benchmark(config)


if __name__ == "__main__":
    main()
