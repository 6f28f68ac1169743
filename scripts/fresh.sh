#!/bin/sh
# Build this commit from scratch, as on a new machine, with each supported Python version that is installed.
# Each build has a new clone, an empty HOME, no caches, and the pip that Python's own ensurepip installs.
# Usage: scripts/fresh.sh [PYTHON...]   Without arguments: python3.11 to python3.14, from PATH or pyenv.
# The variable TARGETS names the targets of make (by default demo and test).
set -eu
cd "$(dirname "$0")/.."
here=$PWD
place=$(mktemp -d)
chmod 755 "$place" # the tests' PostgreSQL and mail servers run as other users, who must be able to reach their files
trap 'rm -rf "$place"' EXIT

if [ $# -eq 0 ]; then
    for version in 3.11 3.12 3.13 3.14; do
        found=$(command -v "python$version" || ls -d "$HOME/.pyenv/versions/$version."*/bin/python 2>/dev/null | tail -n 1)
        case $found in
        */.pyenv/shims/*) found=$(ls -d "$HOME/.pyenv/versions/$version."*/bin/python 2>/dev/null | tail -n 1) ;;
        esac
        if [ -n "$found" ]; then set -- "$@" "$found"; else echo "Python $version is not installed, and is skipped"; fi
    done
fi

passed=0
for python in "$@"; do
    version=$("$python" -c 'import platform; print(platform.python_version())')
    clone=$place/$version home=$place/home-$version
    mkdir "$home"
    git clone --quiet "$here" "$clone"
    for target in ${TARGETS:-demo test}; do
        echo "== Python $version, $("$python" -m ensurepip --version): make $target"
        began=$(date +%s)
        # The trusted certificate authorities are a setting of the machine, so they are passed on.
        env -i HOME="$home" PATH="$PATH" LANG=C.UTF-8 ${SSL_CERT_FILE:+SSL_CERT_FILE="$SSL_CERT_FILE"} \
            ${NODE_EXTRA_CA_CERTS:+NODE_EXTRA_CA_CERTS="$NODE_EXTRA_CA_CERTS"} \
            make --no-print-directory -C "$clone" "$target" PYTHON="$python" || exit 1
        echo "== Python $version: make $target took $(($(date +%s) - began)) s"
    done
    # pip runs `rustc --version`. If `rustc` comes from rustup, it creates a folder in HOME.
    left=$(find "$home" -mindepth 1 -not -path "$home/.rustup*" | head -n 5)
    [ -z "$left" ] || { echo "These files were written outside the checkout:"; echo "$left"; exit 1; }
    rm -rf "$clone"
    passed=$((passed + 1))
done
echo "$passed passed, 0 failed"
