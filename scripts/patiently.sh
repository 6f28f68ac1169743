#!/bin/sh
# Run a command that may take a while, and print every five seconds that it is still running.
# Usage: scripts/patiently.sh WHAT COMMAND [ARGUMENT...]   WHAT completes the sentence "still ...".
set -eu
what=$1
shift

say_every_few_seconds() {
    while sleep 5 > /dev/null 2>&1; do echo "  still $what; a slow network may take some minutes"; done
}
say_every_few_seconds &
said_by=$!
trap 'kill $said_by 2>/dev/null || :' EXIT
"$@"
