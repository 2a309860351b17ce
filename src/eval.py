"""Entry point: `python -m src.eval checkpoint=AR.ckpt [baseline=CONSTANT.ckpt]`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="eval")
@reports_errors
def main(config: DictConfig) -> None:
    """Score a checkpoint on the films of its data set; table on standard output, `metrics.json` beside it."""
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from src.cli.config import check_keys, plain
    from src.commands.provenance import write_provenance
    from src.evaluation.evaluate import evaluate

    check_keys(config)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    write_provenance(run_dir, plain(config))
    evaluate(config, run_dir)
    print(f"metrics: {run_dir / 'metrics.json'}")


if __name__ == "__main__":
    main()
