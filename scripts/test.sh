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
# "loadscope": the tests of a file share what its fixtures trained. Files keep their order: those of integration tests, which
# are long and few, come first, else one process would wait for the other at the end.
python -m pytest --numprocesses=2 --dist=loadscope --no-loadscope-reorder "${tests[@]}" "$@"
