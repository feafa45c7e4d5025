#!/usr/bin/env bash
# Install complete pinned lists into a virtual environment: install.sh VENV LIST...
# The lists are complete, so pip resolves nothing; an import check stands in for `pip check`.
set -euo pipefail
venv=$1
shift

if [ ! -x "$venv/bin/python" ]; then
  for candidate in python3.11 python3.12 python3; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "${python:-}" ]; then
    echo "fute needs Python 3.11 or 3.12: install it, e.g. apt-get install python3.11 python3.11-venv" >&2
    exit 1
  fi
  echo "creating $venv with $("$python" --version)"
  # half an environment from a broken attempt would be taken for a whole one
  "$python" -m venv "$venv" || {
    rm -rf "$venv"
    echo "cannot create a virtual environment: install the venv module, e.g. apt-get install python3.11-venv" >&2
    exit 1
  }
fi

pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --no-compile --progress-bar off)
here=$(dirname "$0")
if [[ " $* " == *steps-cpu.txt* ]] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  echo "installing torch (CPU build, about 200 MB)"
  "${pip[@]}" -r "$here/torch-cpu.txt" 2>/dev/null ||
    "${pip[@]}" --index-url "$(cat "$here/torch-cpu-index.txt")" -r "$here/torch-cpu.txt"
fi
for list in "$@"; do
  echo "installing $list"
  "${pip[@]}" -r "$list"
done
"$venv/bin/python" - "$@" <<'PY'
import importlib.util, sys

light = ["matplotlib", "datasets", "sklearn", "rocrate"]
steps = [*light, "torch", "transformers", "accelerate", "gguf"]
needed = {"host": ["snakemake", "pandas"], "light": light, "steps-cpu": steps, "steps-gpu": steps,
          "vllm-cpu": ["vllm", "fastapi"], "vllm-gpu": ["vllm", "fastapi"],
          "dev": ["pytest", "hypothesis", "snakefmt", "rocrate_validator"], "bench": ["opacus", "curvlinops"]}
names = [n for path in sys.argv[1:] for n in needed[path.rsplit("/", 1)[-1].removesuffix(".txt")]]
missing = [name for name in names if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"after installing, these modules are still missing: {', '.join(missing)}; remove {sys.prefix} and try again")
PY
