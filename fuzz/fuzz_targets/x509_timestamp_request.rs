//! RFC 3161 requests: reading, and that what was read survives being written and read again.
#![no_main]

use countersign_x509::timestamp::TimestampRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = TimestampRequest::parse(data) {
        let written = request.encode().expect("it was read");
        assert_eq!(TimestampRequest::parse(&written).expect("it was written"), request);
    }
});
