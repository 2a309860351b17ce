#!/usr/bin/env bash
# sbatch scripts/slurm_train.sh experiment=arseg_camvid data.root=PATH
# One task per GPU. Time is up or the node is wanted back: SIGUSR1 makes Lightning write a checkpoint and requeue the
# job, which goes on where it stopped because its run directory is named by the job id.
#SBATCH --job-name=train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=SIGUSR1@90
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
source .venv/bin/activate
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
srun python -m src.train \
  trainer.devices="$SLURM_NTASKS_PER_NODE" trainer.num_nodes="$SLURM_JOB_NUM_NODES" "$@"
