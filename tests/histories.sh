#!/usr/bin/env bash
# Plays random histories between all pairs of engines, against real servers, with runs that end anywhere.
#
#   tests/histories.sh [HISTORIES]   10,000 by default, of all pairs together; the ordinary run plays 256
#
# Built with optimisations: 10,000 take twenty minutes on two cores, and hours without.
# MIGRATE_PROPERTY_SEED says which ones: a failing history is shrunk, and printed with the seed that it came from.
set -euo pipefail
cd "$(dirname "$0")/.."

export MIGRATE_HISTORIES=${1:-10000}
export MIGRATE_PROPERTY_SEED=${MIGRATE_PROPERTY_SEED:-$(date +%s%N)}
exec tests/postgres.sh run cargo test --release --locked -p migrate-tests --test histories any_history -- --nocapture
