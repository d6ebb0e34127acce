//! What passes between the program and the child with the PKCS #11 module, read by either end.
#![no_main]

use countersign_keys::pkcs11::frame::{Reply, Request, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut from = data;
    while let Ok(Some(reply)) = read::<Reply>(&mut from) {
        let mut frame = Vec::new();
        if write(&mut frame, &reply).is_ok() {
            assert_eq!(
                read::<Reply>(&mut frame.as_slice()).expect("what is written reads back"),
                Some(reply)
            );
        }
    }
    let mut from = data;
    while let Ok(Some(request)) = read::<Request>(&mut from) {
        assert!(write(&mut Vec::new(), &request).is_ok());
    }
});
