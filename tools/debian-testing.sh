#!/bin/sh
# Run tests in a chroot of Debian testing, whose CPythons are newer than most machines':
#   tools/debian-testing.sh FOLDER [pytest's arguments]     (without arguments: tests/unit)
# FOLDER is made once and used again. Needs root, debootstrap, and apt's own lists (apt-get update) for the mirror.
# PYTHONS chooses others than "python3.14 python3.15"; those that Debian testing does not have are skipped visibly.
set -eu

folder=${1:?usage: tools/debian-testing.sh FOLDER [pytest arguments]}
shift
pythons=${PYTHONS:-python3.14 python3.15}
here=$(cd "$(dirname "$0")/.." && pwd)

skip() {
    echo "skipped: $*" >&2
    exit 0
}

mirror() {
    apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|//p' | head -n 1
}

inside() {  # mounts that end with the command: nothing is left mounted whatever happens
    unshare --mount sh -eu -c '
        root=$1; shift
        mount --make-rprivate /
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/dev/shm"
        exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            DEBIAN_FRONTEND=noninteractive SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
            ${PIP_CERT:+PIP_CERT=/etc/ssl/certs/ca-certificates.crt} ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
            ${PIP_DEFAULT_TIMEOUT:+PIP_DEFAULT_TIMEOUT="$PIP_DEFAULT_TIMEOUT"} PIP_DISABLE_PIP_VERSION_CHECK=1 \
            "$@"' sh "$folder" "$@"
}

[ "$(id -u)" = 0 ] || skip "a chroot takes root"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"

if [ ! -e "$folder/etc/debian_version" ]; then
    from=$(mirror)
    [ -n "$from" ] || skip "apt knows no mirror of Debian: apt-get update"
    debootstrap --variant=minbase testing "$folder" "$from" /usr/share/debootstrap/scripts/sid
fi

[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$folder/etc/resolv.conf"
if [ ! -e "$folder/.packages-installed" ]; then
    inside apt-get -qq -o Acquire::Check-Valid-Until=false update
    inside apt-get -qq install -y --no-install-recommends gcc make libc6-dev libcrypt-dev git procps
    for python in $pythons; do
        inside apt-get -qq install -y --no-install-recommends "$python" "$python-venv" "$python-dev" ||
            echo "skipped: Debian testing has no $python" >&2
    done
    touch "$folder/.packages-installed"
fi

# what makes downloads work here makes them work there
mkdir -p "$folder/etc/ssl/certs" "$folder/etc/xdg"
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$folder/etc/"
[ ! -e /etc/xdg/pip ] || cp -r /etc/xdg/pip "$folder/etc/xdg/"

# a copy of what the working tree has now, so that nothing is written into it from there
rm -rf "$folder/srv/resilient-wsgi"
mkdir -p "$folder/srv/resilient-wsgi"
(cd "$here" && git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - 2>/dev/null) |
    tar -xf - -C "$folder/srv/resilient-wsgi"

[ $# -gt 0 ] || set -- tests/unit
failed=0
for python in $pythons; do
    [ -x "$folder/usr/bin/$python" ] || { echo "skipped: no $python in $folder" >&2; continue; }
    [ -x "$folder/srv/$python/bin/python" ] || inside "$python" -m venv "/srv/$python"
    inside sh -euc 'cd /srv/resilient-wsgi
        "/srv/$0/bin/python" -m pip install -q setuptools wheel
        "/srv/$0/bin/python" -m pip install -q -e ".[test]"' "$python"
    echo "== $(inside "/srv/$python/bin/python" --version)"
    inside sh -euc 'cd /srv/resilient-wsgi; python=$1; shift; exec "/srv/$python/bin/python" -m pytest "$@"' sh "$python" "$@" ||
        failed=1
done
exit $failed
