# Sourced by the other scripts: makes .venv where no environment is active, and installs the project into it.
# CUDA or CPU build of torch: install the one you want into the environment beforehand; it is kept.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
  if [ ! -x .venv/bin/pip ]; then
    python="$(command -v python3 || command -v python)"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "error: $("$python" --version) is too old; install Python 3.11 or newer, or activate an environment with it" >&2
      exit 2
    }
    "$python" -m venv .venv 2>/dev/null || {  # Debian ships Python without venv; the system's Python is left alone
      rm -rf .venv
      echo "error: $python cannot make environments; install its venv (Debian: apt install python3-venv)," \
        "or activate an environment, and start this again" >&2
      exit 2
    }
  fi
  # shellcheck disable=SC1091
  source .venv/bin/activate
fi
prefix="$(python -c 'import sys; print(sys.prefix)')"
stamp="$prefix/.installed-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)"
if [ ! -e "$stamp" ]; then
  echo "installing the packages of pyproject.toml into $prefix; this takes a few minutes"
  python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
  echo "compiling the kernels of this CPU, a minute, so that the first video does not wait for them"
  python -m scripts.compile_kernels || echo "that failed; the first video compiles them"
  touch "$stamp"
fi
