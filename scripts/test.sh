#!/usr/bin/env bash
# Makes the environment where there is none and runs style checks, type checks and tests.
# CAMVID_ROOT=PATH lets the tests on real CamVid run; they are skipped elsewhere.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
