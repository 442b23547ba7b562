//! libFuzzer's entry point for `flocker_net::fuzzing::tokens_and_certificates`. Holds nothing of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flocker_net::fuzzing::tokens_and_certificates(bytes));
