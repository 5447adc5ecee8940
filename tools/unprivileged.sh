#!/bin/sh
# Runs a command in this checkout as a user without rights and with an empty environment: `tools/unprivileged.sh .venv/bin/python -m pytest`.
# Needs root, setpriv and unshare (util-linux). Where Python lies in root's closed home, the command gets a mount namespace of
# its own, in which that home shows nothing but Python.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    exec env -i PATH="$PATH" HOME="$HOME" "$@"
fi
id=65534
scratch=$(mktemp -d /tmp/unprivileged.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/home" "$scratch/python"
chown -R "$id:$id" "$scratch/home"
chmod 755 "$scratch"
prefix=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
as_user="setpriv --reuid=$id --regid=$id --clear-groups --no-new-privs env -i PATH=$PATH HOME=$scratch/home"
export prefix scratch as_user
if ! $as_user test -r "$PWD/pyproject.toml"; then
    echo "skipped: a user without rights cannot read $PWD"
    exit 0
fi
unshare --mount sh -eu -c '
    if ! $as_user test -x "$prefix/bin"; then
        mount --bind "$prefix" "$scratch/python"
        closed="/$(echo "$prefix" | cut -d/ -f2)"
        mount -t tmpfs -o mode=755 tmpfs "$closed"
        mkdir -p "$prefix"
        mount --move "$scratch/python" "$prefix"
    fi
    $as_user "$@"' sh "$@"
