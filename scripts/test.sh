#!/usr/bin/env bash
# Makes the environment where there is none and runs style checks, type checks and tests, these in two processes.
# bash scripts/test.sh [--fast] [PYTEST OPTIONS]; --fast leaves out what is slow, trainings, processes and real data.
# CAMVID_ROOT=PATH lets the tests on real CamVid run; they are skipped elsewhere.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # of each process
tests=()
if [ "${1:-}" = --fast ]; then
  shift
  tests=(tests/unit -m "not (slow or train or subprocess or real_data or slurm)")
fi
ruff check .
ruff format --check .
mypy
# "loadscope": the tests of a file share what its fixtures trained. Loader processes of data sets and trainings are not
# started from processes in which backends and tile units have run: such processes were seen to end without a word.
run=(python -m pytest --numprocesses=2 --dist=loadscope)
if [ "${#tests[@]}" = 0 ] && [ "$#" = 0 ]; then
  engines=(tests/unit/inference tests/unit/exporting tests/unit/ops tests/unit/models tests/unit/commands tests/unit/evaluation)
  "${run[@]}" "${engines[@]/#/--ignore=}"
  "${run[@]}" "${engines[@]}"
else
  "${run[@]}" "${tests[@]}" "$@"
fi
