//! libFuzzer's entry point for `flocker_runtime::fuzzing::docker_outputs`. Holds nothing of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flocker_runtime::fuzzing::docker_outputs(bytes));
