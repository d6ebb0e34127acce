//! An authority with root, intermediate and CT log, in memory and in a temporary directory.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests; each test file uses a part of them"
)]

use std::sync::Arc;

use countersign_ca::config::{IssuerConfig, IssuerType, Issuers};
use countersign_ca::ct::CtLog;
use countersign_ca::oidc::TokenVerifier;
use countersign_ca::{Ca, SctSource};
use countersign_clock::{ManualClock, Timestamp};
use countersign_crypto::{KeyPair, KeyType, Signer};
use countersign_log::{Log, Options};
use countersign_x509::chain::Purpose;
use countersign_x509::issue::{AuthorityProfile, intermediate_ca, root_ca};
use countersign_x509::{Certificate, Name};

use super::support::{ISSUER, Network, RSA, START, jwk, publish};

pub const YEAR: i64 = 365 * 24 * 3600;

pub fn profile(name: &str, from: i64, until: i64) -> AuthorityProfile {
    AuthorityProfile {
        subject: Name::new(Some("example"), Some(name)),
        not_before: Timestamp::from_second(from).unwrap(),
        not_after: Timestamp::from_second(until).unwrap(),
        serial: [1; 20],
    }
}

pub fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap())
}

pub fn root(key: &KeyPair, from: i64, until: i64) -> Certificate {
    Certificate::from_der(&root_ca(&profile("root", from, until), Some(1), key).unwrap()).unwrap()
}

pub fn intermediate(key: &KeyPair, root: &Certificate, root_key: &KeyPair, purpose: Purpose) -> Certificate {
    let profile = profile("intermediate", root.not_before().as_second(), root.not_after().as_second());
    let der = intermediate_ca(&profile, key.public_key(), purpose, root, root_key).unwrap();
    Certificate::from_der(&der).unwrap()
}

pub struct Lab {
    pub clock: Arc<ManualClock>,
    pub network: Arc<Network>,
    pub chain: Vec<Certificate>,
    pub ca_key: Arc<KeyPair>,
    pub root_key: Arc<KeyPair>,
    pub ct: Arc<CtLog>,
    pub ca: Ca,
    pub directory: tempfile::TempDir,
}

pub struct Choices {
    pub issuers: Vec<IssuerConfig>,
    pub leaf_index: bool,
    pub until: i64,
}

impl Default for Choices {
    fn default() -> Self {
        let issuers = vec![IssuerConfig::new(ISSUER, IssuerType::Email)];
        Self { issuers, leaf_index: true, until: START + YEAR }
    }
}

impl Lab {
    pub fn new(choices: &Choices) -> Self {
        Self::with_source(choices, |ct| ct)
    }

    /// With something between the authority and its log.
    pub fn with_source(choices: &Choices, between: impl FnOnce(Arc<CtLog>) -> Arc<dyn SctSource>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(START).unwrap()));
        let network = Arc::new(Network::default());
        publish(&network, ISSUER, &[jwk(&RSA, "k1")]);
        let (root_key, ca_key) = (key(), key());
        let root = root(&root_key, START - 10, choices.until);
        let chain = vec![intermediate(&ca_key, &root, &root_key, Purpose::CodeSigning), root];
        let directory = tempfile::tempdir().unwrap();
        let ct = open_ct(directory.path(), &chain, choices.leaf_index, &clock, key(), true);
        let issuers = Arc::new(Issuers::new(&choices.issuers, None).unwrap());
        let verifier = TokenVerifier::new(issuers, network.clone(), clock.clone());
        let ca =
            Ca::new(chain.clone(), ca_key.clone(), between(ct.clone()), verifier, clock.clone()).unwrap();
        Self { clock, network, chain, ca_key, root_key, ct, ca, directory }
    }
}

pub fn open_ct(
    directory: &std::path::Path,
    chain: &[Certificate],
    leaf_index: bool,
    clock: &Arc<ManualClock>,
    ct_key: Arc<KeyPair>,
    create: bool,
) -> Arc<CtLog> {
    let directory = directory.join("ct");
    if create {
        let now = Timestamp::from_second(START).unwrap();
        Log::create(&directory, &CtLog::params("ct.example.com", &chain[chain.len() - 1], now).unwrap())
            .unwrap();
    }
    let options = CtLog::options(Options { reserve_bytes: 0, ..Options::default() });
    let signer: Arc<dyn Signer> = ct_key;
    let log = Log::open(&directory, options, vec![signer.clone()], clock.clone()).unwrap();
    Arc::new(CtLog::new(log, signer, &[chain.to_vec()], leaf_index, clock.clone()).unwrap())
}
