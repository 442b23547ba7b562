#!/usr/bin/env bash
# Measures the pause of moves on this machine: installs what is missing, builds, and runs the measurement as root.
# BENCH_ARGUMENTS are handed on (`--moves 20 --data 256`).

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install-dependencies.sh
# A fresh Rust is not in this shell's PATH yet.
. scripts/common.sh
need_rust

say "building (some minutes the first time, seconds after that)"
as_builder cargo build --workspace --locked --bins --quiet
# shellcheck disable=SC2086
as_root target/debug/flocker-pause ${BENCH_ARGUMENTS:-}
