#!/usr/bin/env bash
# Writes docker/runtime.lock, dev.lock, image.lock and devbox.lock from pyproject.toml: every version pinned, every file with its hashes,
# for every platform and Python 3.11 or newer, and without naming the registry they came from.
# Needs uv. Run it after a change of the dependencies: scripts/lock.sh [path of uv]
set -euo pipefail
cd "$(dirname "$0")/.."
uv="${1:-uv}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# The tested set: these decide what a run computes, so they are chosen here and not by the day the lock is written.
printf '%s\n' 'torch==2.14.1' 'torchvision==0.29.1' 'ultralytics==8.4.190' 'numpy==2.4.6' >"$scratch/pins.txt"

# Ultralytics asks for opencv-python, which needs libGL; the headless build has the same modules without it. The
# metadata of Ultralytics does not know that, which is why the locks are installed with --no-deps.
printf '%s\n' "opencv-python ; python_version < '0'" >"$scratch/overrides.txt"
grep -o '"opencv-python[^"]*"' pyproject.toml | tr -d '"' | sed 's/^opencv-python/&-headless/' >"$scratch/headless.in"

compile() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --constraint "$scratch/pins.txt" --override "$overrides" \
        --output-file "$@" pyproject.toml "$scratch/headless.in"
}

overrides="$scratch/overrides.txt"
compile docker/runtime.lock
# The tools are resolved against the runtime, so that both locks agree on everything they share.
compile docker/dev.lock --group dev --constraint docker/runtime.lock

# The image: ONNX Runtime with CUDA's providers as well, the same version under another name; the rest is the same.
overrides="$scratch/image-overrides.txt"
{ cat "$scratch/overrides.txt"; echo "onnxruntime ; python_version < '0'"; } >"$overrides"
sed -n 's/^onnxruntime==\([0-9.]*\).*/onnxruntime-gpu==\1/p' docker/runtime.lock | sort -u >"$scratch/gpu.in"
compile docker/image.lock --constraint docker/runtime.lock "$scratch/gpu.in"
compile docker/devbox.lock --group dev --group devbox --constraint docker/dev.lock "$scratch/gpu.in"
