#!/usr/bin/env bash
# Throw-away PostgreSQL servers for the tests.
#
#   tests/postgres.sh run COMMAND…   starts two servers, runs the command with their urls in
#                                    MIGRATE_TEST_POSTGRES and MIGRATE_TEST_POSTGRES_2, stops and
#                                    removes them, and returns the command's exit code
#   tests/postgres.sh start [DIR]    starts the two servers, unless they run already, and leaves them
#                                    running; prints the exports: eval "$(tests/postgres.sh start)"
#   tests/postgres.sh stop [DIR]     stops and removes what `start` made
#   tests/postgres.sh create DIR     makes and starts one more server in DIR (which must not exist)
#                                    and prints its url, for tests that kill it
#   tests/postgres.sh kill DIR       kills the server in DIR at once, as a crash would
#   tests/postgres.sh up DIR         starts it again on the same port
#   tests/postgres.sh remove DIR     stops it and removes DIR
#
# Where PostgreSQL's programs are missing they are installed with apt-get, as root or through sudo.
# MIGRATE_PG_BIN names the folder of another version's programs (14 or later).
set -euo pipefail

say() { printf '%s\n' "postgres.sh: $*" >&2; }
die() { say "$@"; exit 1; }

programs() {
    if [ -n "${MIGRATE_PG_BIN:-}" ]; then
        printf '%s\n' "$MIGRATE_PG_BIN"
        return
    fi
    local found
    # The newest first: Debian keeps each major version in a folder of its own, off the PATH.
    found=$(ls -d /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb 2>/dev/null | sort -V | tail -n 1 || true)
    [ -n "$found" ] || found=$(command -v initdb || true)
    [ -n "$found" ] && dirname "$found"
}

install_programs() {
    command -v apt-get >/dev/null 2>&1 || die "initdb was not found, nor apt-get to install it; set MIGRATE_PG_BIN"
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "initdb was not found; install the package postgresql, or run this as root"
        root=(sudo)
    fi
    say "installing PostgreSQL"
    export DEBIAN_FRONTEND=noninteractive
    "${root[@]}" apt-get update -qq >&2
    # The package would start a cluster of its own, which nobody here needs.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        "${root[@]}" mkdir -p /etc/postgresql-common
        printf 'create_main_cluster = false\n' | "${root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold postgresql >&2
}

bin=$(programs || true)
if [ -z "$bin" ]; then
    install_programs
    bin=$(programs || true)
    [ -n "$bin" ] || die "PostgreSQL was installed, yet initdb was not found"
fi

# PostgreSQL refuses to run as root; the Debian package makes a user for it.
if [ "$(id -u)" -eq 0 ]; then
    id postgres >/dev/null 2>&1 || useradd --system --no-create-home postgres
    as_server() { (cd / && setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"); }
else
    as_server() { "$@"; }
fi

# create DIR [NAME=VALUE…]: makes and starts a server, and prints its url.
create() {
    local dir=$1
    shift
    [ ! -e "$dir" ] || die "$dir exists already"
    mkdir -p "$dir"
    [ "$(id -u)" -ne 0 ] || chown postgres "$dir"
    chmod 755 "$dir"
    as_server "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-instructions >"$dir/initdb.log" 2>&1 ||
        as_server "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2; die "initdb failed"; }
    {
        printf '%s\n' "listen_addresses = '127.0.0.1'" "unix_socket_directories = '$dir'" "max_connections = 200" \
            "shared_buffers = '128MB'" "max_wal_size = '2GB'" "log_line_prefix = '%m [%p] %a '"
        printf '%s\n' "$@"
    } | as_server tee -a "$dir/data/postgresql.conf" >/dev/null
    # Everybody is trusted but one role, so that tests can have a password refused.
    printf 'host all with_password 127.0.0.1/32 scram-sha-256\n%s\n' "$(cat "$dir/data/pg_hba.conf")" >"$dir/pg_hba.conf"
    cat "$dir/pg_hba.conf" >"$dir/data/pg_hba.conf"
    local attempt port
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        # Below the ephemeral ports. Whether it is free shows when the server binds it.
        port=$((15000 + RANDOM % 15000))
        printf '%s\n' "$port" >"$dir/port"
        if up "$dir" 2>"$dir/start.log"; then
            printf 'postgres://postgres@127.0.0.1:%s/postgres\n' "$port"
            return
        fi
    done
    cat "$dir/start.log" >&2
    tail -n 20 "$dir/server.log" >&2 || true
    die "the server in $dir did not start"
}

up() {
    as_server "$bin/pg_ctl" -D "$1/data" -l "$1/server.log" -o "-p $(cat "$1/port")" -w -t 60 -s start
}

remove() {
    [ -d "$1" ] || return 0
    [ ! -e "$1/data/postmaster.pid" ] || as_server "$bin/pg_ctl" -D "$1/data" -m immediate -w -s stop >/dev/null 2>&1 || true
    rm -rf "$1"
}

# The second server has other defaults than the first: whatever relies on a server's settings shows there.
other_defaults=("timezone = 'Asia/Kolkata'" "datestyle = 'German, DMY'" "intervalstyle = 'sql_standard'" "extra_float_digits = -2"
    "bytea_output = 'escape'" "default_transaction_isolation = 'repeatable read'" "search_path = 'nowhere'" "xmloption = 'document'"
    "quote_all_identifiers = on" "default_text_search_config = 'pg_catalog.german'" "array_nulls = off" "standard_conforming_strings = off"
    "escape_string_warning = off" "idle_in_transaction_session_timeout = '60s'")

start_both() {
    local first second
    first=$(create "$1/1")
    second=$(create "$1/2" "${other_defaults[@]}")
    printf 'export MIGRATE_TEST_POSTGRES=%s\nexport MIGRATE_TEST_POSTGRES_2=%s\nexport MIGRATE_PG_BIN=%s\n' "$first" "$second" "$bin"
}

# The server's user must be able to reach the folder: a private TMPDIR of root's will not do.
temporary=${TMPDIR:-/tmp}
as_server test -x "$temporary" || temporary=/tmp

command=${1:-}
[ $# -eq 0 ] || shift
case "$command" in
run)
    [ $# -gt 0 ] || die "usage: tests/postgres.sh run COMMAND…"
    home=$(mktemp -d "$temporary/migrate-postgres.XXXXXX")
    chmod 755 "$home"
    trap 'remove "$home/1"; remove "$home/2"; rm -rf "$home"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    exports=$(start_both "$home")
    eval "$exports"
    "$@"
    ;;
start)
    home=${1:-$temporary/migrate-postgres-$(id -u)}
    if [ -e "$home/env" ] && as_server "$bin/pg_ctl" -D "$home/1/data" status >/dev/null 2>&1 && as_server "$bin/pg_ctl" -D "$home/2/data" status >/dev/null 2>&1; then
        cat "$home/env"
    else
        remove "$home/1"
        remove "$home/2"
        mkdir -p "$home"
        exports=$(start_both "$home")
        printf '%s\n' "$exports" | tee "$home/env"
    fi
    ;;
stop)
    home=${1:-$temporary/migrate-postgres-$(id -u)}
    remove "$home/1"
    remove "$home/2"
    rm -rf "$home"
    ;;
create) create "$@" ;;
up) up "$1" ;;
kill) as_server "$bin/pg_ctl" -D "$1/data" -m immediate -w -s stop ;;
remove) remove "$1" ;;
*) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 2 ;;
esac
