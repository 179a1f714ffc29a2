#!/usr/bin/env bash
# Makes the project's own Python environment from docker/dev.lock: scripts/setup.sh FOLDER  (`make setup` calls it).
# An interrupted call leaves no FOLDER/.ready behind, and the next one begins again.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$1"
python="${PYTHON:-python3}"

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 2
}

command -v "$python" >/dev/null || fail "no $python here. Install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3"
version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" || fail "$python does not run."
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' ||
    fail "$python is Python $version; recipebox needs 3.11 to 3.14. Name another one: make setup PYTHON=/path/to/python3.12"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make environments. On Debian or Ubuntu: apt install python$version-venv"

rm -f "$folder/.ready"
lock="$version $(cksum <docker/dev.lock)"
if [ "$(cat "$folder/.lock" 2>/dev/null || true)" != "$lock" ]; then
    echo "setup: installing the locked packages into $folder (once; about 3.3 GB to fetch, 6.1 GB on disk)" >&2
    "$python" -m venv --clear "$folder" || fail "the environment $folder cannot be made; is the disk full?"
    # On a terminal pip's own bars show how far the download is; a log needs no line for each of 90 packages.
    said=--quiet
    [ -t 1 ] && said=--progress-bar=on
    # --no-deps: the lock is complete, and takes OpenCV's headless build where Ultralytics asks for the other.
    "$folder/bin/python" -m pip install "$said" --disable-pip-version-check --no-input --no-deps --require-hashes \
        -r docker/dev.lock || fail "the packages cannot be installed; the lines above say why. \`make setup\` tries again."
    printf '%s\n' "$lock" >"$folder/.lock"
fi
# recipebox itself, from this checkout; needs no network.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation \
    --no-index --editable . || fail "recipebox itself cannot be installed; the lines above say why."
touch "$folder/.ready"
