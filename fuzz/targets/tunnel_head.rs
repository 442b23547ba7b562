//! libFuzzer's entry point for `flocker_net::fuzzing::tunnel_head`. Holds nothing of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flocker_net::fuzzing::tunnel_head(bytes));
