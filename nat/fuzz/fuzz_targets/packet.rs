//! See `nat::fuzz::fuzz_packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nat::fuzz::fuzz_packet(data));
