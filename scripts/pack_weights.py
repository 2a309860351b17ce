"""Pack the weights of a checkpoint, without what a training needs.

    python -m scripts.pack_weights NET.ckpt NAME.safetensors

The file is about a tenth of the checkpoint and stands wherever one is taken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from src.checkpoints.load import load_checkpoint, read_checkpoint
from src.checkpoints.weights_file import SUFFIX, write_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    if given.output.suffix != SUFFIX or given.output.exists():
        parser.error(f"output '{given.output}' has to be a new file whose name ends in {SUFFIX}")
    write_weights(given.output, read_checkpoint(given.checkpoint))
    load_checkpoint(given.output)
    print(f"{given.output}: {given.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
