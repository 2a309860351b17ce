# Sourced by the other scripts: makes .venv where there is no environment, and installs the project into it.
# CUDA or CPU build of torch: install the one you want beforehand; it is kept if it is recent enough.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
  [ -x .venv/bin/python ] || python3 -m venv .venv
  # shellcheck disable=SC1091
  source .venv/bin/activate
fi
stamp="$(python -c 'import sys; print(sys.prefix)')/.installed-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)"
if [ ! -e "$stamp" ]; then
  echo "installing the packages of pyproject.toml into $(python -c 'import sys; print(sys.prefix)')"
  python -m pip install --quiet --upgrade pip
  python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
  touch "$stamp"
fi
