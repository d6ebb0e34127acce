//! An authority with a chain of three, on a clock that stands still.

use std::sync::Arc;

use countersign_clock::{ManualClock, Timestamp};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer};
use countersign_tsa::Tsa;
use countersign_x509::chain::Purpose;
use countersign_x509::issue::{AuthorityProfile, intermediate_ca, root_ca, tsa_leaf};
use countersign_x509::timestamp::VerifiedTimestamp;
use countersign_x509::timestamp::{Authority, Imprinted, TimestampError, TimestampRequest, TimestampToken};
use countersign_x509::{Certificate, Name, oid};

pub(crate) const DATA: &[u8] = b"a signature";
/// 2027-01-15, within the validity of the certificates.
pub(crate) const NOW: i64 = 1_800_000_000;
/// The last second of the leaf; those above it live longer.
pub(crate) const LEAF_END: i64 = 4_000_000_000;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) struct Instance {
    pub(crate) tsa: Tsa,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) chain: Vec<Certificate>,
    pub(crate) key: Arc<KeyPair>,
}

pub(crate) fn instance(key_type: KeyType) -> Instance {
    let profile = |name: &str, serial: u8, end: i64| AuthorityProfile {
        subject: Name::new(Some("example"), Some(name)),
        not_before: at(1_700_000_000),
        not_after: at(end),
        serial: [serial; 20],
    };
    let read = |der: Vec<u8>| Certificate::from_der(&der).unwrap();
    let root_key = KeyPair::generate(KeyType::EcdsaP384).unwrap();
    let root = read(root_ca(&profile("root", 1, LEAF_END + 2), Some(1), &root_key).unwrap());
    let middle_key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let middle = intermediate_ca(
        &profile("tsa-intermediate", 2, LEAF_END + 1),
        middle_key.public_key(),
        Purpose::TimeStamping,
        &root,
        &root_key,
    );
    let middle = read(middle.unwrap());
    let key = Arc::new(KeyPair::generate(key_type).unwrap());
    let leaf = tsa_leaf(&profile("tsa", 3, LEAF_END), key.public_key(), &middle, &middle_key);
    let chain = vec![read(leaf.unwrap()), middle, root];
    let clock = Arc::new(ManualClock::new(at(NOW)));
    let tsa = Tsa::new(chain.clone(), key.clone(), clock.clone(), oid::SIGSTORE_TSA_POLICY).unwrap();
    Instance { tsa, clock, chain, key }
}

pub(crate) fn request() -> TimestampRequest {
    let imprint = HashAlgorithm::Sha256.digest(DATA);
    TimestampRequest { imprint, policy: None, nonce: None, cert_req: false }
}

impl Instance {
    pub(crate) fn verify(&self, response: &[u8]) -> Result<VerifiedTimestamp, TimestampError> {
        let authority = Authority::from_chain(&self.chain).unwrap();
        TimestampToken::parse(response)?.verify(Imprinted::Bytes(DATA), None, &authority)
    }

    /// The second in an answer given now.
    pub(crate) fn stamp(&self) -> Result<i64, countersign_tsa::TsaError> {
        let response = self.tsa.respond(&request().encode().unwrap())?;
        Ok(self.verify(&response).unwrap().time().as_second())
    }
}
