//! libFuzzer's entry point for `flocker_manifest::fuzzing::manifest_v1`. Holds nothing of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flocker_manifest::fuzzing::manifest_v1(bytes));
