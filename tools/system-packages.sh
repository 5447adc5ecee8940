#!/bin/sh
# Installs nginx and wrk from the distribution where root and apt-get are at hand; says so, and goes on, where they are not.
need=""
for tool in nginx wrk; do
    command -v "$tool" >/dev/null 2>&1 || [ -x "/usr/sbin/$tool" ] || need="$need $tool"
done
[ -z "$need" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    # the package must not start a server on port 80 of this machine
    RUNLEVEL=1
    export RUNLEVEL
    if apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq --no-install-recommends $need >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "not found, and not installable here:$need (what needs it will say \"skipped: ... not found\")"
