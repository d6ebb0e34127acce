//! Requests to a Rekor v2 log: reading, and that the entry made of one goes through body and request unchanged.
#![no_main]

use countersign_bundle::rekor::{EntryRequest, HashedRekordV2};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let entry = match EntryRequest::parse(data) {
        Ok(EntryRequest::HashedRekord(entry)) => {
            assert_eq!(
                EntryRequest::parse(&entry.to_request()),
                Ok(EntryRequest::HashedRekord(entry.clone()))
            );
            entry
        }
        Ok(EntryRequest::Dsse(request)) => match request.into_hashedrekord() {
            Ok((entry, pae)) => {
                assert_eq!(entry.digest, entry.digest.algorithm().digest(&pae));
                entry
            }
            Err(_) => return,
        },
        _ => return,
    };
    assert_eq!(HashedRekordV2::parse_body(&entry.canonical_body()), Ok(entry));
});
