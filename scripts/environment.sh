#!/bin/sh
# Make a virtual environment with exactly the locked packages of a file, and nothing else.
# Usage: scripts/environment.sh DIRECTORY FILE
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.cache/uv}"

rm -rf "$1"
$uv venv --quiet --python .venv/bin/python "$1"
$uv pip install --quiet --python "$1" --no-deps --require-hashes --build-constraint requirements/run.txt --requirement "$2" \
    || { rm -rf "$1"; exit 1; }
