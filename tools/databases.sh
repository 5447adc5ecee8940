#!/bin/sh
# What the tests of REQUEST.DATABASE_TIMEOUT and of ended waits need, where root and apt-get are at hand: PostgreSQL, Redis and MariaDB from the
# distribution, and MySQL, which Debian has in unstable alone: that is unpacked into .mysql with all that it is linked to, so
# that nothing of the system changes. Without them those tests are shown as skipped.
set -e
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "databases: not installable here (needs root and apt-get); their tests will say \"skipped\""
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# the packages must not start their servers
RUNLEVEL=1
export RUNLEVEL
apt-get update -qq >/dev/null
apt-get install -y -qq --no-install-recommends postgresql mariadb-server redis-server >/dev/null

here=$(pwd)/.mysql
if [ ! -x "$here/mysqld" ]; then
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' | head -1)
    if [ ! -e "$keys" ] || [ -z "$mirror" ]; then
        echo "mysqld: not installable here (needs Debian); its test will say \"skipped\""
        exit 0
    fi
    rm -rf "$here"
    mkdir -p "$here/lists/partial" "$here/cache/archives/partial" "$here/root"
    : >"$here/status" # as if nothing were installed: its libraries are to come with it
    echo "deb [signed-by=$keys] $mirror unstable main" >"$here/sources"
    apt() {
        apt-get -qq -o Dir::Etc::sourcelist="$here/sources" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$here/lists" \
            -o Dir::State::status="$here/status" -o Dir::Cache="$here/cache" -o APT::Sandbox::User=root "$@" >/dev/null
    }
    apt update
    apt install -y --no-install-recommends --download-only mysql-server-core
    for package in "$here"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$here/root"
    done
    rm -rf "$here/lists" "$here/cache" "$here/status" "$here/sources" "$here"/lock*
    cat >"$here/mysqld" <<'END'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
loader=$(find "$here/root" -name 'ld-linux*.so*' | head -1)
libraries=$(find "$here/root/usr/lib" -name '*.so.*' -exec dirname {} + | sort -u | paste -sd: -)
exec "$loader" --library-path "$libraries" "$here/root/usr/sbin/mysqld" --no-defaults \
    --lc-messages-dir="$here/root/usr/share/mysql" "$@"
END
    chmod 755 "$here/mysqld"
fi
"$here/mysqld" --version
