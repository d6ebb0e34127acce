//! TUF root metadata: parsing, the canonical form, and the signatures against the file's own keys.
#![no_main]

use countersign_trust::tuf::metadata::{Root, Signed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = Signed::<Root>::parse(data)
        && let Ok(role) = file.content.role("root")
    {
        let _ = file.verify("root", &file.content.keys, role);
    }
});
