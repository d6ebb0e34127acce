//! TUF targets metadata: parsing and the canonical form.
#![no_main]

use countersign_trust::tuf::metadata::{Signed, Targets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = Signed::<Targets>::parse(data) {
        let _ = file.signed_bytes();
    }
});
