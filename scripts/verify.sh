#!/usr/bin/env bash
# The gate: what must hold before a change goes in. Changes nothing and needs no root.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_rust

step format as_builder cargo fmt --all --check
step clippy as_builder cargo clippy --workspace --all-targets --locked -- -D warnings
step documentation as_builder env RUSTDOCFLAGS="-D warnings" \
    cargo doc --workspace --no-deps --locked --document-private-items
step unit-tests scripts/run-tests.sh unit
end_of_steps
