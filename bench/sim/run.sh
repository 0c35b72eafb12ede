#!/usr/bin/env bash
# How fast the simulator is: cluster seconds and events a second of one core; see crates/sim/examples/speed.rs.
#
#   bench/sim/run.sh [SEEDS] [SECONDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
cargo build --release --locked --quiet -p quorate-sim --example speed
for rate in 100 0 2000; do
    "$TARGET/release/examples/speed" "${1:-20}" "${2:-300}" "$rate" 3
done
