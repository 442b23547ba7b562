#!/usr/bin/env bash
# Runs the cells of the crash matrix that docs/crash-matrix.tsv does not have or that did not hold, for
# MATRIX_MINUTES (60) in MATRIX_SANDBOXES (2) beside each other, and writes the table and its summary.
# MATRIX_ONLY=move/,frozen chooses by names that must all be there; MATRIX_AGAIN=1 runs all again.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_rust

as_builder cargo test --locked -p flocker --features test-halt --test e2e --no-run
# A copy, which no other build replaces while this one runs.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp target/debug/flocker "$copy/"
as_root env FLOCKER_E2E_PROGRAM="$copy/flocker" MATRIX_MINUTES="${MATRIX_MINUTES:-60}" \
    MATRIX_SANDBOXES="${MATRIX_SANDBOXES:-2}" MATRIX_ONLY="${MATRIX_ONLY:-}" \
    MATRIX_AGAIN="${MATRIX_AGAIN:-0}" \
    cargo test --locked -p flocker --features test-halt --test e2e -- \
    --exact crash::whatever_dies_in_whichever_step_one_copy_runs_with_every_row --nocapture
