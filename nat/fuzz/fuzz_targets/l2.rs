//! See `nat::fuzz::fuzz_l2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nat::fuzz::fuzz_l2(data));
