#!/usr/bin/env bash
# Puts the figures of benches/results into the README.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --quiet --package p2ptun-compare --bin p2ptun-figures
