"""Entry point: `python -m src.export checkpoint=NET.ckpt format=onnx|openvino|torch output=FOLDER [KEY=VALUE ...]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.cli.start import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("export")
def main(config: DictConfig) -> None:
    """Write a checkpoint's network as files that run without this project, compared with it first."""
    from src.commands.export import export_checkpoint  # imported here, so that --help answers at once

    export_checkpoint(config)


if __name__ == "__main__":
    main()
