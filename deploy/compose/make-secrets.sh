#!/bin/sh
# Makes the secrets that compose.yaml names: the master key, the password and the URL of the database, and a self-signed
# certificate, which you replace by your own. It does not change secrets that exist.
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
if [ -e "$directory" ]; then
    echo "$directory exists. To make new secrets, remove it first; data that was sealed with its master key is then lost." >&2
    exit 1
fi
mkdir -p "$directory/tls"

random() {
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'
}

password=$(random)
random > "$directory/master_key"
printf %s "$password" > "$directory/database_password"
# The network of the database has no other members, so the connections need no TLS.
printf %s "postgresql://waypost:$password@database/waypost?sslmode=disable" > "$directory/database_url"
openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host,DNS:localhost,IP:127.0.0.1" \
    -keyout "$directory/tls/certificate.pem.key" -out "$directory/tls/certificate.pem" 2> /dev/null

mode=0444
if [ "$(id -u)" = 0 ]; then
    mode=0440
    chown -R 0:10001 "$directory/tls" "$directory"/[dm]*
fi
chmod 755 "$directory/tls"
chmod "$mode" "$directory"/tls/* "$directory"/[dm]*
echo "The secrets are in $directory. Replace tls/certificate.pem and tls/certificate.pem.key by the certificate of $host."
