#!/usr/bin/env bash
# Takes away every sandbox on this machine, also those whose makers were killed.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_rust

flocker=target/debug/flocker
if [ ! -x "$flocker" ]; then
    as_builder cargo build --workspace --locked --bins --quiet
fi
as_root "$flocker" sandbox down --all
