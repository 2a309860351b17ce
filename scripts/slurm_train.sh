#!/usr/bin/env bash
# sbatch scripts/slurm_train.sh experiment=arseg_camvid data.root=PATH
# sbatch --nodes=2 --ntasks-per-node=4 scripts/slurm_train.sh experiment=arseg_camvid data.root=PATH
# Give nodes and tasks per node here or to sbatch only: each task has one GPU and is one process of the Trainer. Before
# the time limit, or when the node is reclaimed, SIGUSR1 makes src/training/slurm.py save at the end of the step and
# requeue the job, which resumes there because its run directory is named by the job. --signal has to leave more seconds
# than a validation takes.
#SBATCH --job-name=train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || source .venv/bin/activate
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun no longer takes it from sbatch
# all tasks of a node see all of its GPUs, of which Lightning gives them one each
srun --gpu-bind=none python -m src.train \
  trainer.devices="$SLURM_NTASKS_PER_NODE" trainer.num_nodes="$SLURM_JOB_NUM_NODES" "$@"
