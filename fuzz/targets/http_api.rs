//! libFuzzer's entry point for `flocker_control::fuzzing::http_api`. Holds nothing of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flocker_control::fuzzing::http_api(bytes));
