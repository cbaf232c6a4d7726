//! See `nat::fuzz::fuzz_dhcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nat::fuzz::fuzz_dhcp(data));
