#!/usr/bin/env bash
# Kills the migrating process over and over, in all four directions, and has the next run finish each time.
#
#   tests/soak.sh [KILLS]   1,200 by default; prints after which commit each one fell, and fails if fewer than
#                           half fell between the first and the last commit of a run, or if a result is not exact
#
# MIGRATE_BIN names the command line to kill; without it the optimised one is built.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${MIGRATE_BIN:-}" ]; then
    cargo build --locked --release -p migrate-cli
    MIGRATE_BIN=$(realpath "${CARGO_TARGET_DIR:-target}")/release/migrate
    export MIGRATE_BIN
fi
export MIGRATE_SOAK_KILLS=${1:-1200}
exec tests/postgres.sh run cargo test --locked -p migrate-tests --test end_to_end kills:: -- --nocapture
