#!/bin/sh
# Makes the secrets that compose.yaml names: the master key, the password and the URL of the database, and a self-signed
# certificate, which you replace by your own. It does not change secrets that exist, and makes either all or none.
#
# Usage: make-secrets.sh HOST [DIRECTORY]   HOST is the name of the certificate, such as mx.example.com. DIRECTORY is
# `secrets` beside this script by default.
#
# Only you can enter the directory. As root, the script also lets only the group 10001 read the files, which all
# containers have. As another user, it cannot change the group, and everyone who can enter the directory can read them.
set -eu
umask 077
host=${1:?Usage: make-secrets.sh HOST [DIRECTORY]}
directory=${2:-$(dirname "$0")/secrets}
directory=${directory%/}
if [ -e "$directory" ]; then
    echo "$directory exists. To make new secrets, remove it first; data that was sealed with its master key is then lost." >&2
    exit 1
fi
if ! command -v openssl > /dev/null; then
    echo "openssl is not installed. Install it, and run this script again. No secrets were made." >&2
    exit 1
fi
mkdir -p "$(dirname "$directory")"
# Everything is made in another directory, which gets its name at the end.
new=$(mktemp -d "$directory.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$new/tls"

random() {
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'
}

password=$(random)
random > "$new/master_key"
printf %s "$password" > "$new/database_password"
# The network of the database has no other members, so the connections need no TLS.
printf %s "postgresql://waypost:$password@database/waypost?sslmode=disable" > "$new/database_url"
if ! said=$(openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host,DNS:localhost,IP:127.0.0.1" \
    -keyout "$new/tls/certificate.pem.key" -out "$new/tls/certificate.pem" 2>&1); then
    echo "$said" >&2
    echo "openssl could not make the certificate of $host. No secrets were made." >&2
    exit 1
fi

mode=0444
if [ "$(id -u)" = 0 ]; then
    mode=0440
    chown -R 0:10001 "$new/tls" "$new"/[dm]*
fi
chmod 755 "$new/tls"
chmod "$mode" "$new"/tls/* "$new"/[dm]*
mv "$new" "$directory"
echo "The secrets are in $directory. Replace tls/certificate.pem and tls/certificate.pem.key by the certificate of $host."
