//! Evidence that a log shows two histories: reading it, and checking it with a key that signed none of it.
#![no_main]

use std::sync::LazyLock;

use countersign_client::monitor::read_evidence;
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use countersign_tlog::NoteVerifier;
use libfuzzer_sys::fuzz_target;

static STRANGER: LazyLock<NoteVerifier> = LazyLock::new(|| {
    let key = KeyPair::generate(KeyType::Ed25519).unwrap();
    NoteVerifier::rekor_v2("log.test", key.public_key().clone()).unwrap()
});

fuzz_target!(|data: &[u8]| {
    if let Ok(evidence) = read_evidence("it", data) {
        assert!(evidence.verify(&STRANGER).is_err());
    }
});
