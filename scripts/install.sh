#!/bin/sh
# Install locked requirements into .venv exactly as they are locked. Nothing is resolved, and each file's hash is checked.
# Usage: scripts/install.sh FILE...   (each FILE is one of requirements/*.txt)
#
# pip installs only uv, pinned and without dependencies, which works with any version of pip. uv installs the rest,
# because old versions of pip resolve a hashed lock file again, and fail if a newer version of a package has been
# published since.
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
# shellcheck disable=SC2086 # the words must be split into options
$uv pip install --quiet --compile-bytecode --no-deps --require-hashes --build-constraint requirements/run.txt $requirements
$uv pip install --quiet --no-deps --no-build-isolation --editable .
# This check fails if a dependency is missing in the lock file, or if two locked versions are incompatible.
$uv pip check --quiet || { $uv pip check; exit 1; }
