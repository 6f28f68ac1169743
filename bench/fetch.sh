#!/bin/sh
# Install the servers that `make bench` measures beside Waypost into .cache/bench. If one cannot be installed, the script
# prints the reason, and the benchmark names that server as missing. Exim and OpenSMTPD are installed in separate Debian
# root directories, because they cannot be installed on the same system as Postfix.
set -eu
cd "$(dirname "$0")/.."
cache=.cache/bench
mkdir -p "$cache"

foreign/debian_root.sh "$cache/exim" exim4-daemon-light
foreign/debian_root.sh "$cache/opensmtpd" opensmtpd

if ! command -v npm > /dev/null; then
    echo "npm is not installed (apt-get install nodejs npm), so Haraka is not measured"
elif ! cmp -s bench/haraka/package-lock.json "$cache/haraka/complete"; then
    echo "Downloading Haraka"
    rm -rf "$cache/haraka" && mkdir -p "$cache/haraka"
    cp bench/haraka/package.json bench/haraka/package-lock.json "$cache/haraka"
    if npm ci --prefix "$cache/haraka" --silent --ignore-scripts --no-audit --no-fund --cache .cache/npm; then
        cp bench/haraka/package-lock.json "$cache/haraka/complete"
    else
        rm -rf "$cache/haraka"
        echo "npm could not download Haraka, so it is not measured"
    fi
fi

# moto has an environment of its own, because its dependencies may conflict with those of the tests. To lock it again:
# .venv/bin/uv pip compile --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-header \
#     --no-emit-index-url --no-emit-find-links bench/moto.in --output-file bench/moto.txt
if ! cmp -s bench/moto.txt "$cache/moto/complete"; then
    echo "Downloading moto"
    rm -rf "$cache/moto"
    .venv/bin/python -m venv "$cache/moto"
    if UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.cache/uv}" .venv/bin/uv pip install --quiet --python "$cache/moto/bin/python" \
        --no-deps --require-hashes --requirement bench/moto.txt; then
        cp bench/moto.txt "$cache/moto/complete"
    else
        rm -rf "$cache/moto"
        echo "pip could not download moto, so it is not measured"
    fi
fi
