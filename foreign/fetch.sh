#!/bin/sh
# Download the software that the tests in foreign/ run with Waypost into .cache/foreign. If a download fails, the script
# prints the reason, and the tests are skipped. Debian packages are installed in separate root directories, because Exim
# and OpenSMTPD cannot be installed on the same system as Postfix.
set -eu
cd "$(dirname "$0")/.."
cache=.cache/foreign
mkdir -p "$cache"

if [ -n "$(find foreign/moto.txt -newer "$cache/moto/complete" 2>/dev/null || echo missing)" ]; then
    echo "Downloading moto's tests"
    rm -rf "$cache/moto" && mkdir -p "$cache/moto"
    if .venv/bin/python -m pip download --quiet --disable-pip-version-check --cache-dir .cache/pip --require-hashes --no-deps \
        --no-build-isolation --no-binary moto --dest "$cache/moto" --requirement foreign/moto.txt; then
        tar --extract --gzip --file "$cache"/moto/moto-*.tar.gz --directory "$cache/moto" --strip-components 1 \
            --wildcards '*/tests/test_connect/*'
        rm "$cache"/moto/moto-*.tar.gz
        touch "$cache/moto/complete"
    else
        echo "pip could not download moto, so its tests are skipped"
    fi
fi

if ! command -v npm > /dev/null; then
    echo "npm is not installed (apt-get install nodejs npm), so the tests that need npm packages are skipped"
elif ! cmp -s foreign/javascript/package-lock.json "$cache/javascript/package-lock.json"; then
    echo "Downloading the AWS SDK for JavaScript, Haraka and smtp-server"
    rm -rf "$cache/javascript" && mkdir -p "$cache/javascript"
    cp foreign/javascript/package.json "$cache/javascript"
    cp foreign/javascript/package-lock.json "$cache/javascript"
    npm ci --prefix "$cache/javascript" --silent --ignore-scripts --no-audit --no-fund --cache .cache/npm ||
        { rm -rf "$cache/javascript"; echo "npm could not download them, so their tests are skipped"; }
fi

foreign/debian_root.sh "$cache/exim" exim4-daemon-light dovecot-core dovecot-lmtpd
foreign/debian_root.sh "$cache/opensmtpd" opensmtpd
foreign/debian_root.sh "$cache/go" golang-go golang-github-aws-aws-sdk-go-v2-dev
