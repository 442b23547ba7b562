#!/usr/bin/env bash
# Everything: installs what is missing, builds, runs all tests (with root, Docker, pools and
# sandboxes), and takes away what a test that was killed has left.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install-dependencies.sh
# A fresh Rust is not in this shell's PATH yet.
. scripts/common.sh
need_rust

step build scripts/run-tests.sh build
[ "$FAILED_STEPS" = 0 ] || end_of_steps
step tests scripts/run-tests.sh all
step clean-up scripts/clean-sandbox.sh
end_of_steps
