#!/usr/bin/env bash
#SBATCH --job-name=prepare
#SBATCH --array=1-8
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --output=%x_%A_%a.out
# One part of a data set per job of the array, all into one cache; a job that is killed goes on when submitted again:
# sbatch scripts/slurm_prepare.sh data=cityscapes data.root=PATH video.codec=hevc video.bitrate=5000 paths.cache=SHARED
set -euo pipefail
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || source .venv/bin/activate
export OMP_NUM_THREADS=1
python -m src.prepare "$@" shard="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" data.workers="$SLURM_CPUS_PER_TASK"
