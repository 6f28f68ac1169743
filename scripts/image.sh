#!/bin/sh
# Build the container image from dist with buildah, run it, and send mail through it (`make image`).
#
# These variables change what is built:
#   BASE     the base image (the default is in the Containerfile); for example, a directory that debootstrap has made,
#            imported with: buildah from scratch; buildah copy
#   NAME     the name of the image (default: localhost/waypost)
#   VOLUMES  --volume options for the build, for example for the certificates of a proxy
#   BUILDAH  the buildah program with its options (default: buildah)
#
# buildah needs no daemon. As root in a container, set BUILDAH_ISOLATION=chroot and STORAGE_DRIVER=vfs.
set -eu
cd "$(dirname "$0")/.."
name=${NAME:-localhost/waypost}
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/waypost/__init__.py)
epoch=$(git log -1 --format=%ct)

# The docker format, because OCI images have no health check.
# shellcheck disable=SC2086 # the options must be split into words
${BUILDAH:-buildah} build --format docker --timestamp "$epoch" --build-arg "SOURCE_DATE_EPOCH=$epoch" ${BASE:+--build-arg "BASE=$BASE"} \
    ${VOLUMES:-} --tag "$name:$version" --file Containerfile .
.venv/bin/python -m scripts.check_image "$name:$version"
