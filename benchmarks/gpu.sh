#!/usr/bin/env bash
# Check and measure everything on one CUDA GPU, in at most 9 minutes: gpu.sh OUT [--surrogate FOLDER] [--dry]
# Writes OUT/gpu.json and OUT/gpu.md after every part. PYTHON names an interpreter with torch, transformers and
# accelerate (default: python3). No package registry is asked: WHEELS names a folder of wheels for what else is missing.
set -euo pipefail
out=${1:?"usage: gpu.sh OUT [--surrogate FOLDER] [--dry]"}
shift
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}

absent() {
  "$python" -c 'import importlib.util, sys; print(*(n for n in sys.argv[1:] if importlib.util.find_spec(n) is None))' \
    torch transformers accelerate numpy safetensors tokenizers pydantic rich
}

mkdir -p "$out"
export PYTHONPATH="$here/../src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TQDM_DISABLE=1
missing=$(absent)
if [ -n "$missing" ] && [ -n "${WHEELS:-}" ]; then
  site=$(mktemp -d)
  # shellcheck disable=SC2086  # a list of names
  "$python" -m pip install --quiet --no-index --find-links "$WHEELS" --target "$site" $missing
  export PYTHONPATH="$PYTHONPATH:$site"
  missing=$(absent)
fi
if [ -n "$missing" ]; then
  echo "$python has no $missing: install them, or put their wheels into a folder and name it in WHEELS" >&2
  exit 1
fi
status=0
timeout --kill-after=10 540 "$python" "$here/bench_gpu.py" --out "$out" "$@" || status=$?
if [ "$status" = 124 ]; then echo "stopped after 540 s; $out has what was measured until then" >&2; fi
exit "$status"
