#!/usr/bin/env bash
# Makes the environment where there is none, trains AR-Seg and its baseline on the generated street videos
# and prints the table. A second call resumes where the first stopped, and only evaluates where all is trained.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
run=logs/quickstart
resume=()
[ -e "$run/high/checkpoints/last.ckpt" ] && resume=(ckpt_path=last)
python -m src.train experiment=arseg_street hydra.run.dir="$run" ${resume[@]+"${resume[@]}"}
python -m src.eval checkpoint="$run/low/checkpoints/last.ckpt" baseline="$run/constant/checkpoints/last.ckpt" \
  hydra.run.dir="$run/eval"
