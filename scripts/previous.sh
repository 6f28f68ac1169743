#!/bin/sh
# Make the previous version of Waypost in a directory, with its own locked dependencies, for the proof of a rolling
# upgrade. If the clone does not have the version's commit, make nothing.
# Usage: scripts/previous.sh DIRECTORY COMMIT
set -eu
cd "$(dirname "$0")/.."

if ! git cat-file -e "$2^{commit}" 2>/dev/null; then
    echo "This clone does not have the commit $2, so the proof of a rolling upgrade is skipped"
    exit 0
fi
source=.cache/previous-$2
rm -rf "$source"
mkdir -p "$source"
git archive "$2" | tar --extract --directory "$source"
scripts/environment.sh "$1" "$source/requirements/server.txt"
for packages in "$1"/lib/python*/site-packages; do
    echo "$PWD/$source/src" > "$packages/waypost.pth"
done
