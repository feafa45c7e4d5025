#!/usr/bin/env bash
# Install lists into a virtual environment: install.sh VENV LIST...
# The lists are complete and have a hash of every file, so pip resolves nothing and takes nothing else. An import check
# stands in for `pip check`, which would miss what no step needs.
set -euo pipefail
venv=$1
shift
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -x "$venv/bin/python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "${python:-}" ]; then
    echo "fute needs Python 3.11, 3.12 or 3.13, and finds none: install it, e.g. apt-get install python3 python3-venv" >&2
    exit 1
  fi
  echo "creating $venv with $("$python" --version)"
  # half an environment from a broken attempt would be taken for a whole one
  "$python" -m venv "$venv" || {
    rm -rf "$venv"
    echo "cannot create a virtual environment: install the venv module, e.g. apt-get install python3-venv" >&2
    exit 1
  }
fi

# LIST, and what it includes
included() {
  local list
  for list in "$@"; do
    echo "$list"
    # shellcheck disable=SC2046  # names without blanks
    included $(sed -nE "s|^-r (.*)|$(dirname "$list")/\1|p" "$list")
  done
}

pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --no-compile --progress-bar off)
locked() { # OPTION...: of pip's warnings, those on folders of wheels that somebody's settings name are left out
  "${pip[@]}" --require-hashes --use-pep517 --no-build-isolation "$@" \
    2> >(grep -vE "^WARNING: Location '.*' is ignored: it is (neither|either)" >&2)
}

# first what source packages are built with
locked -r "$here/build.txt"
mapfile -t lists < <(included "$@")
if [[ " ${lists[*]} " == *torch-cpu.txt\ * ]]; then
  index=$(cat "$here/torch-cpu-index.txt")
  echo "installing torch (CPU build, about 200 MB where it is missing)"
  locked -r "$here/torch-cpu.txt" 2> /dev/null || locked -r "$here/torch-cpu.txt" --index-url "$index" || {
    echo "torch's CPU build, $(grep -o '^torch[^ ]*' "$here/torch-cpu.txt"), is neither where pip looks by itself nor" \
      "can it be had from $index: put its wheel into a folder and name that in PIP_FIND_LINKS" >&2
    exit 1
  }
fi
echo "installing $*"
locked "${@/#/--requirement=}"
# the command `fute`, of the checkout that these lists belong to; an image has none
if [ -f "$here/../pyproject.toml" ]; then
  "${pip[@]}" --no-build-isolation --editable "$here/.."
fi

"$venv/bin/python" - "${lists[@]}" <<'PY'
import importlib.util
import sys

light = ["snakemake", "pandas", "matplotlib", "datasets", "sklearn", "rocrate"]
steps = ["torch", "transformers", "accelerate", "gguf"]
needed = {"light": light, "steps-cpu": steps, "steps-gpu": steps, "vllm-cpu": ["vllm", "fastapi"],
          "vllm-gpu": ["vllm", "fastapi"], "dev": ["pytest", "hypothesis", "snakefmt", "rocrate_validator"],
          "bench": ["opacus", "curvlinops"]}
names = [n for path in sys.argv[1:] for n in needed.get(path.rsplit("/", 1)[-1].removesuffix(".txt"), [])]
missing = [name for name in names if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"after installing, these modules are still missing: {', '.join(missing)}; remove {sys.prefix} and try again")
PY
