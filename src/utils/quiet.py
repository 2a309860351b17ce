"""Keeps a training log readable: each line once, and only lines that say something about the run."""

from __future__ import annotations

import logging
import os
import warnings

_ADVERTISEMENTS = ("litlogger", "litmodels")
_EXPECTED = (
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",  # inside Lightning
    ".*module.s. in eval mode at the start of training.*",  # AR-Seg's frozen high branch
    ".*does not have many workers.*",  # two cores have no more to give
    ".*smaller than the logging interval.*",  # short epochs
    ".*your dataloader is not resumable.*",  # its sampler goes on where the epoch was
    ".*recommended to use .self.log.*sync_dist=True.*",  # confusion matrices are summed before
    ".*directory .* exists and is not empty.*",  # of a resumed run, whose metrics.csv is kept
    ".*could not find the monitored key.*",  # before the first validation; from then on it is an error
    ".*wandb run already in progress.*",  # all phases log to one
)
_OUTSIDE_SLURM = ".*`srun` command is available on your system but is not used.*"  # on a login node


def quiet() -> None:
    """Drop Lightning's second copy of each line, its advertisements, and warnings that are expected here."""
    lightning = logging.getLogger("lightning.pytorch")
    lightning.handlers.clear()
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).addFilter(lambda record: not any(a in record.getMessage() for a in _ADVERTISEMENTS))
    for message in _EXPECTED if "SLURM_JOB_ID" in os.environ else (*_EXPECTED, _OUTSIDE_SLURM):
        warnings.filterwarnings("ignore", message)
