#!/usr/bin/env bash
# Shows Flocker on this machine: installs what is missing, builds, and runs the demonstration as root.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install-dependencies.sh
# A fresh Rust is not in this shell's PATH yet.
. scripts/common.sh
need_rust

say "building (some minutes the first time, seconds after that)"
as_builder cargo build --workspace --locked --bins --quiet
as_root target/debug/flocker-demo "$@"
