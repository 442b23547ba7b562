#!/usr/bin/env bash
# Runs the workspace's tests. `unit`: those of crates that need no root, as whoever builds. `all`:
# every test, as root. Both build the same things, so nothing is compiled twice.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_rust

# Crates whose tests need neither root nor Docker.
UNIT_CRATES="types manifest core store control tidy model"
# A snapshot that differs is a failure; it is never written by itself.
export INSTA_UPDATE=no
# Without cargo-nextest there is no limit for each test, so there is one for all, in seconds.
ALL_LIMIT_S=1800

run_unit() {
    if has_nextest; then
        local filter=""
        for crate in $UNIT_CRATES; do
            filter="${filter:+$filter | }package(flocker-$crate)"
        done
        as_builder cargo nextest run --workspace --locked --no-fail-fast -E "$filter"
    else
        local packages=""
        for crate in $UNIT_CRATES; do
            packages="$packages -p flocker-$crate"
        done
        as_builder cargo test --locked --no-fail-fast $packages
    fi
}

give_back() {
    [ "$BUILDER" = root ] || as_root chown -R "$BUILDER" target
}

run_all() {
    trap give_back EXIT
    if has_nextest; then
        as_root cargo nextest run --workspace --locked --no-fail-fast
    else
        say "note: cargo-nextest is not installed; cargo test runs the tests one after the other"
        as_root env RUST_TEST_THREADS=1 timeout --kill-after=30 "$ALL_LIMIT_S" \
            cargo test --workspace --locked --no-fail-fast
    fi
}

case "${1:-}" in
unit) run_unit ;;
all) run_all ;;
build)
    if has_nextest; then
        as_builder cargo nextest run --workspace --locked --no-run
    else
        as_builder cargo test --workspace --locked --no-run
    fi
    ;;
*) die "usage: $0 build|unit|all" ;;
esac
