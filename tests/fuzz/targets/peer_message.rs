//! What an authenticated peer sends: a message or an error.
#![no_main]

use quorate::replica::PeerMessage;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(message) = postcard::from_bytes::<PeerMessage>(data) {
        let bytes = postcard::to_stdvec(&message).expect("what was decoded can be encoded");
        assert_eq!(postcard::from_bytes(&bytes), Ok(message));
    }
});
