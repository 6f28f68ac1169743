#!/bin/sh
# Install locked requirements into .venv exactly as they are locked: nothing is resolved, every file has its hash.
# Usage: scripts/install.sh FILE...   (each FILE is one of requirements/*.txt)
#
# pip installs uv alone, pinned and without its dependencies, which any pip can do. uv installs the rest, because old
# versions of pip resolve a hashed lock anew, and fail when something newer has been published since.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv

wanted=$(sed -n 's/^uv==\([^ ]*\).*/uv \1/p' requirements/installer.txt)
case "$($uv --version 2>/dev/null)" in
"$wanted" | "$wanted "*) ;;
*) .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
    --only-binary :all: --requirement requirements/installer.txt ;;
esac

export VIRTUAL_ENV="$PWD/.venv" UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.cache/uv}"
requirements=
for file in "$@"; do requirements="$requirements --requirement $file"; done
# shellcheck disable=SC2086 # one word for each option is meant
$uv pip install --quiet --compile-bytecode --no-deps --require-hashes --build-constraint requirements/run.txt $requirements
$uv pip install --quiet --no-deps --no-build-isolation --editable .
# Fails where the lock lacks something, or where two things in it do not fit together.
$uv pip check --quiet || { $uv pip check; exit 1; }
