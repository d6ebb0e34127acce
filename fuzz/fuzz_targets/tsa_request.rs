//! The timestamp authority's requests, in DER and in JSON: every answer is a timestamp that can be read, and every
//! refusal is a rejection that can be read.
#![no_main]

use std::sync::{Arc, OnceLock};

use countersign_clock::{ManualClock, Timestamp};
use countersign_crypto::{KeyPair, KeyType, Signer};
use countersign_tsa::{Tsa, TsaError};
use countersign_x509::issue::{AuthorityProfile, root_ca, tsa_leaf};
use countersign_x509::timestamp::{TimestampError, TimestampToken};
use countersign_x509::{Certificate, Name, oid};
use libfuzzer_sys::fuzz_target;

fn authority() -> Tsa {
    let profile = |name| AuthorityProfile {
        subject: Name::new(None, Some(name)),
        not_before: Timestamp::UNIX_EPOCH,
        not_after: Timestamp::MAX,
        serial: [1; 20],
    };
    let (root_key, key) = (KeyPair::generate(KeyType::EcdsaP256), KeyPair::generate(KeyType::EcdsaP256));
    let (root_key, key) = (root_key.expect("a key"), key.expect("a key"));
    let root = root_ca(&profile("root"), None, &root_key).expect("a root");
    let root = Certificate::from_der(&root).expect("a root");
    let leaf = tsa_leaf(&profile("tsa"), key.public_key(), &root, &root_key).expect("a leaf");
    let chain = vec![Certificate::from_der(&leaf).expect("a leaf"), root];
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    Tsa::new(chain, Arc::new(key), clock, oid::SIGSTORE_TSA_POLICY).expect("an authority")
}

fn check(result: Result<Vec<u8>, TsaError>) {
    match result {
        Ok(response) => drop(TimestampToken::parse(&response).expect("it was written")),
        Err(error) => {
            let read = TimestampToken::parse(&error.rejection());
            assert!(matches!(read, Err(TimestampError::NotGranted { status: 2, .. })));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    static TSA: OnceLock<Tsa> = OnceLock::new();
    let tsa = TSA.get_or_init(authority);
    check(tsa.respond(data));
    check(tsa.respond_json(data));
});
