//! Revocation lists: reading, and asking. No list of strangers is taken for the authority's.
#![no_main]

use std::sync::LazyLock;

use countersign_x509::Certificate;
use countersign_x509::crl::{self, RevocationList};
use libfuzzer_sys::fuzz_target;

static ISSUER: LazyLock<Certificate> = LazyLock::new(|| {
    let text = include_str!("../../crates/notary/tests/data/notation-root.pem");
    Certificate::from_pem(text).expect("a certificate")
});

fuzz_target!(|data: &[u8]| {
    let _ = crl::from_file(data);
    let Ok(list) = RevocationList::from_der(data) else { return };
    for serial in [&[1][..], &[0x10, 0x00], &[]] {
        let _ = list.entries_of(serial);
    }
    let _ = list.covers(&ISSUER);
    assert!(!list.adds_to(&list));
    if list.verify(&ISSUER).is_ok() {
        // The seed is the one list which this authority has made.
        assert_eq!(list.entries_of(&[0x10, 0x00]).map(|found| found.len()), Ok(1));
    }
});
