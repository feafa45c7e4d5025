#!/usr/bin/env bash
# Environment, unit tests and tiny run with several versions of Python: pythons.sh VERSION...
# Each version has an environment in a folder of its own, .venv-VERSION. What the tiny runs make must be equal.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_WAIT_POLICY=PASSIVE PYTHONNOUSERSITE=1 PYTHONPATH=src
first=.venv-$1

for version in "$@"; do
  venv=.venv-$version
  if [ ! -x "$venv/bin/python" ]; then
    # pyenv's commands exist for versions that it is not set to
    python=$(find "$HOME/.pyenv/versions" -path "*/$version.*/bin/python" 2> /dev/null | sort -V | tail -n 1 || true)
    "${python:-python$version}" -m venv "$venv"
  fi
  bash envs/install.sh "$venv" envs/steps-cpu.txt envs/dev.txt || {
    echo "taking PyPI's CUDA build of torch instead, a download of 3 GB"
    bash envs/install.sh "$venv" envs/steps-gpu.txt envs/dev.txt
  }
  export PATH="$PWD/$venv/bin:$PATH"
  OMP_NUM_THREADS=1 python -m pytest tests/unit -n 2 --dist loadfile -q
  PYTHONPATH=src:tests python -m support.tiny_hashes > "$venv/tiny.sha256"
  diff "$first/tiny.sha256" "$venv/tiny.sha256" || {
    echo "the tiny run makes other files with Python $version than with $1" >&2
    exit 1
  }
  echo "Python $version: $(wc -l < "$venv/tiny.sha256") artifacts as with $1"
done
