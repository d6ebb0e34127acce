//! Revocation lists, bare and signed; who may sign them; and the record of the last one. What is read is written as it was
//! read, and no list is opened that nobody signed who may.
#![no_main]

use std::sync::LazyLock;

use countersign_crypto::encoding;
use countersign_crypto::PublicKey;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{
    Memory, RevocationAuthority, RevocationList, Revocations, Signature, open,
};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

/// A key whose private half nobody has.
const KEY: &str = "MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=";

static AUTHORITY: LazyLock<RevocationAuthority> = LazyLock::new(|| {
    let key = encoding::base64_decode(KEY).expect("base64");
    let key = PublicKey::from_spki_der(&key).expect("a key");
    RevocationAuthority::new(&[key], &[]).expect("somebody")
});

fuzz_target!(|data: &[u8]| {
    if let Ok(list) = RevocationList::from_json(data) {
        let written = list.to_json().expect("what was read can be written");
        assert_eq!(RevocationList::from_json(&written).expect("and read"), list);
        let ready = Revocations::read(&written, "fuzz").expect("and used");
        let memory = Memory::of(&ready);
        assert_eq!(Memory::parse(&memory.to_string()).expect("its own text"), memory);
        memory.check(&ready).expect("the same list");
        // Of a signature of which nothing is known, nothing that needs to know something is revoked.
        let _ = ready.ask(&Signature::default(), list.issued_at);
        assert!(ready.ask(&Signature::default(), list.expires).is_err());
    }
    assert!(open(data, &AUTHORITY, &TrustMaterial::empty(), "fuzz", Timestamp::MAX).is_err());
    if let Ok(authority) = RevocationAuthority::from_json(data) {
        let written = authority.to_json().expect("what was read can be written");
        let again = RevocationAuthority::from_json(&written).expect("and read");
        assert_eq!(again.keys(), authority.keys());
        assert!(!authority.keys().is_empty() || !authority.identities().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Memory::parse(text);
    }
});
