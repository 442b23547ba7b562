//! libFuzzer's entry point for `flocker_core::fuzzing::hostile_peer`. Holds nothing of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flocker_core::fuzzing::hostile_peer(bytes));
