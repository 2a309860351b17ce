#!/usr/bin/env bash
# sbatch scripts/slurm_agents.sh ENTITY/PROJECT/SWEEP [OPTION OF wandb agent ..]
# One W&B agent per task, each with a GPU and a trial at a time, until the sweep is done or the time is up.
#SBATCH --job-name=agents
#SBATCH --ntasks=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
set -euo pipefail
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || source .venv/bin/activate
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun no longer takes it from sbatch
# agents stop after three trials that fail in the first minute; a grid may have such corners
export WANDB_AGENT_DISABLE_FLAPPING=true
# a trial is a training of its own, not one process of a training over all tasks
srun env -u SLURM_NTASKS -u SLURM_PROCID wandb agent "$@"
