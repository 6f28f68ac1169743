#!/bin/sh
# Create a Debian root directory with some packages, for servers that cannot be installed on the same system as Postfix.
# Usage: foreign/debian_root.sh DIRECTORY PACKAGE...   Needs root and debootstrap; uses apt's own mirror and release.
set -eu
directory=$1
shift
[ ! -e "$directory/complete" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "Only root can create $directory, so its servers are skipped"; exit 0; }
command -v debootstrap > /dev/null || { echo "debootstrap is not installed (apt-get install debootstrap), so $* are
skipped"; exit 0; }

main=$(apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(CODENAME) $(SITE)' |
    sed -n '/security/d; /updates/d; s/^Packages main //p' | head -n 1)
[ -n "$main" ] || { echo "apt has no list of packages (apt-get update), so $* are skipped"; exit 0; }
rm -rf "$directory"
mkdir -p "$directory"
echo "Creating a Debian root directory with $*; this takes a minute or two"
packages=$(echo "$*" | tr ' ' ,)
# shellcheck disable=SC2086 # the name of the release and the mirror's address
set -- $main
if debootstrap --variant=minbase --include="$packages" "$1" "$directory" "$2" > "$directory.log" 2>&1; then
    rm -rf "$directory/var/cache/apt" "$directory/var/lib/apt/lists"
    touch "$directory/complete"
else
    tail -n 3 "$directory.log"
    echo "debootstrap failed (see $directory.log), so $packages are skipped"
fi
