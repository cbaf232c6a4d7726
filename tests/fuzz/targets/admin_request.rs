//! A line at the admin socket: a request or an error.
#![no_main]

use quorate::admin::Request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let line = serde_json::to_vec(&request).expect("what was parsed can be printed");
        assert_eq!(serde_json::from_slice::<Request>(&line).expect("it was printed by us"), request);
    }
});
