//! See `nat::fuzz::fuzz_inbound`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nat::fuzz::fuzz_inbound(data));
