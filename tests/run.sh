#!/usr/bin/env bash
# Builds and checks everything: formatting, lints, docs, dependencies, and all tests, against real
# databases. Needs Rust, a C compiler and git; installs PostgreSQL where it is missing (tests/postgres.sh).
#
#   tests/run.sh                 everything
#   tests/run.sh --tests         the tests alone
#   tests/run.sh --full          also installs and runs cargo-deny, and checks the MSRV with its own toolchain
#   tests/run.sh [--tests] -- …  passes the rest to cargo test, and counts nothing
#
# The tests' databases are kept in memory where it has room for them (8 GiB); TMPDIR names another place.
set -euo pipefail
cd "$(dirname "$0")/.."

checks=true full=false
while [ $# -gt 0 ]; do
    case "$1" in
    --tests) checks=false ;;
    --full) full=true ;;
    --) shift; break ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 2 ;;
    esac
    shift
done

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
failed=()
# step NAME COMMAND…: runs a step and remembers its failure, so that one run shows all of them.
step() {
    local name=$1 began=$SECONDS
    shift
    printf '\n==> %s\n' "$name"
    if "$@"; then
        printf '    %s: ok (%d s)\n' "$name" $((SECONDS - began))
    else
        printf '    %s: FAILED (%d s)\n' "$name" $((SECONDS - began))
        failed+=("$name")
    fi
}

core_knows_no_database() {
    local tree
    tree=$(cargo tree --locked -p migrate-core -e normal --prefix none) || return 1
    if grep -E '^(sqlx|rusqlite|libsqlite3-sys|tokio-postgres|postgres|migrate-(postgres|sqlite))[ -]' <<<"$tree"; then
        printf 'migrate-core depends on a database\n'
        return 1
    fi
}

msrv() {
    local version
    version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if $full; then rustup toolchain install --profile minimal "$version" || return 1; fi
    if ! rustup run "$version" rustc --version >/dev/null 2>&1; then
        printf 'Rust %s is not installed (--full installs it): its own check is left to clippy::incompatible_msrv\n' "$version"
        return 0
    fi
    # A folder of its own: two compilers in one folder would rebuild everything for each other.
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/msrv" rustup run "$version" cargo check --locked --workspace --all-targets
}

dependencies() {
    if $full && ! cargo deny --version >/dev/null 2>&1; then cargo install --locked cargo-deny || return 1; fi
    if ! cargo deny --version >/dev/null 2>&1; then
        printf 'cargo-deny is not installed (--full installs it)\n'
        return 0
    fi
    # Advisories come from the network; licences, bans and sources do not.
    if $full; then cargo deny --locked check; else cargo deny --locked --offline check licenses bans sources; fi
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
}

# Prints a new folder in memory, if there is room: hundreds of databases are made, and a disk takes ten times as long for it.
folder_in_memory() {
    local shm=/dev/shm need=$((8 << 20)) free available folder
    free=$(df -k --output=avail "$shm" 2>/dev/null | tail -n 1) || return 0
    available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo 2>/dev/null)
    [ "${free:-0}" -ge "$need" ] && [ "${available:-0}" -ge $((need + need / 2)) ] || return 0
    folder=$(mktemp -d "$shm/migrate-tests.XXXXXX" 2>/dev/null) || return 0
    # The server's user passes through it; and doc tests are programs, which such a place may not allow.
    printf '#!/bin/sh\n' >"$folder/program"
    chmod 755 "$folder" "$folder/program"
    if "$folder/program" 2>/dev/null; then printf '%s\n' "$folder"; else rm -rf "$folder"; fi
}

# The number of tests that ran, out of cargo's own summary lines.
tests_run() {
    awk '/^test result:/ { for (i = 1; i < NF; i++) if ($(i + 1) ~ /^(passed|failed);$/) n += $i } END { print n + 0 }' "$1"
}

run_tests() {
    local log code=0
    log=$(mktemp)
    # The end-to-end tests run the binary that a user would.
    cargo build --locked --workspace || return 1
    MIGRATE_BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug/migrate" tests/postgres.sh run \
        cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || code=1
    if [ $# -eq 0 ]; then
        local ran minimum
        ran=$(tests_run "$log")
        minimum=$(cat tests/minimum-count)
        printf '\n%d tests ran (at least %d must)\n' "$ran" "$minimum"
        [ "$ran" -ge "$minimum" ] || code=1
    fi
    rm -f "$log"
    return $code
}

if $checks; then
    step "format" cargo fmt --all --check
    step "core knows no database" core_knows_no_database
    step "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
    step "docs" docs
    step "dependencies" dependencies
    step "oldest Rust" msrv
fi
if [ -z "${TMPDIR:-}" ]; then
    folder=$(folder_in_memory)
    if [ -n "$folder" ]; then
        trap 'rm -rf "$folder"' EXIT
        export TMPDIR=$folder
    fi
fi
step "tests" run_tests "$@"

if [ ${#failed[@]} -gt 0 ]; then
    printf '\nFAILED: %s\n' "$(IFS=,; printf '%s' "${failed[*]}")"
    exit 1
fi
printf '\nall passed (%d s)\n' "$SECONDS"
