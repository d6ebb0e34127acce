//! A small world of certificates with any fault one likes, signatures made with them, and a policy that accepts them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer};
use countersign_notary::policy::{OciPolicy, Statement};
use countersign_notary::{
    Algorithm, Draft, Format, Reason, Report, Request, SignRequest, SigningScheme, StoreName, Subject,
    TargetArtifact, TrustStore, sign, verify,
};
use countersign_verify::revocation::Revocations;
use countersign_x509::Certificate;
use countersign_x509::crl::RevocationList;
use jiff::Timestamp;

/// When everything here is signed and verified.
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const YEAR: i64 = 31_536_000;
pub(crate) const DIGITAL_SIGNATURE: u16 = 0x8000;
pub(crate) const CERT_SIGN: u16 = 0x0400;
pub(crate) const CRL_SIGN: u16 = 0x0200;
pub(crate) const CODE_SIGNING: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3];
pub(crate) const TIME_STAMPING: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn now() -> Timestamp {
    at(NOW)
}

/// The same keys for all tests: making them is the slow part.
pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    root: KeyPair::generate(KeyType::EcdsaP256).unwrap(),
    middle: KeyPair::generate(KeyType::EcdsaP256).unwrap(),
    leaf: KeyPair::generate(KeyType::EcdsaP256).unwrap(),
    other: KeyPair::generate(KeyType::EcdsaP256).unwrap(),
});

pub(crate) struct Keys {
    pub(crate) root: KeyPair,
    pub(crate) middle: KeyPair,
    pub(crate) leaf: KeyPair,
    pub(crate) other: KeyPair,
}

pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head: &[u8] = match length {
        [0, short @ 0..0x80] => &[tag, short],
        [0, byte] => &[tag, 0x81, byte],
        [high, low] => &[tag, 0x82, high, low],
    };
    [head, &content].concat()
}

pub(crate) fn time(second: i64) -> Vec<u8> {
    tlv(0x18, &[at(second).strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()])
}

/// A name of attributes 2.5.4.n.
pub(crate) fn name(attributes: &[(u8, &str)]) -> Vec<u8> {
    let part = |(kind, value): &(u8, &str)| {
        tlv(0x31, &[&tlv(0x30, &[&[0x06, 3, 0x55, 4, *kind], &tlv(0x0c, &[value.as_bytes()])])])
    };
    tlv(0x30, &[&attributes.iter().map(part).collect::<Vec<_>>().concat()])
}

pub(crate) const C: u8 = 6;
pub(crate) const ST: u8 = 8;
pub(crate) const O: u8 = 10;
pub(crate) const OU: u8 = 11;
pub(crate) const CN: u8 = 3;

/// What to write into a certificate. Start from [`Spec::root`], [`Spec::middle`] or [`Spec::leaf`] and spoil one thing.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) subject: Vec<(u8, &'static str)>,
    pub(crate) serial: u8,
    pub(crate) valid: (i64, i64),
    /// Basic constraints: critical, the CA flag and the path length.
    pub(crate) constraints: Option<(bool, bool, Option<u8>)>,
    /// Key usage: critical and the bits, the first one highest.
    pub(crate) usage: Option<(bool, u16)>,
    /// Extended key usage: critical, and the purposes' DER.
    pub(crate) purposes: Option<(bool, Vec<&'static [u8]>)>,
    /// Further extensions: the OID's content, critical, value.
    pub(crate) more: Vec<(Vec<u8>, bool, Vec<u8>)>,
    /// What it says it is signed with, when that is not true: an `AlgorithmIdentifier`.
    pub(crate) algorithm: Option<&'static [u8]>,
}

impl Spec {
    pub(crate) fn root() -> Self {
        Self {
            subject: vec![(C, "US"), (ST, "WA"), (O, "acme"), (CN, "acme root")],
            serial: 1,
            valid: (NOW - 10 * YEAR, NOW + 10 * YEAR),
            constraints: Some((true, true, None)),
            usage: Some((true, CERT_SIGN | CRL_SIGN)),
            purposes: None,
            more: Vec::new(),
            algorithm: None,
        }
    }

    pub(crate) fn middle() -> Self {
        let subject = vec![(C, "US"), (ST, "WA"), (O, "acme"), (CN, "acme issuing")];
        Self { subject, serial: 2, constraints: Some((true, true, Some(0))), ..Self::root() }
    }

    pub(crate) fn leaf() -> Self {
        Self {
            subject: vec![(C, "US"), (ST, "WA"), (O, "acme"), (OU, "build"), (CN, "signer")],
            serial: 3,
            valid: (NOW - YEAR, NOW + YEAR),
            constraints: None,
            usage: Some((true, DIGITAL_SIGNATURE)),
            purposes: Some((false, vec![CODE_SIGNING])),
            ..Self::root()
        }
    }

    pub(crate) fn tsa() -> Self {
        let subject = vec![(C, "US"), (O, "clock"), (CN, "tsa")];
        Self { subject, serial: 4, purposes: Some((true, vec![TIME_STAMPING])), ..Self::leaf() }
    }

    pub(crate) fn with(mut self, spoil: impl FnOnce(&mut Self)) -> Self {
        spoil(&mut self);
        self
    }

    pub(crate) fn issue(&self, holder: &dyn Signer, issuer: &Self, signer: &dyn Signer) -> Certificate {
        Certificate::from_der(&self.der(holder, issuer, signer)).unwrap()
    }

    pub(crate) fn der(&self, holder: &dyn Signer, issuer: &Self, signer: &dyn Signer) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut add = |oid: &[u8], critical: bool, value: &[u8]| {
            let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
            extensions.push(tlv(0x30, &[&tlv(0x06, &[oid]), critical, &tlv(0x04, &[value])]));
        };
        if let Some((critical, ca, length)) = self.constraints {
            let flag: &[u8] = if ca { &[1, 1, 0xff] } else { &[] };
            let length = length.map(|n| tlv(0x02, &[&[n]])).unwrap_or_default();
            add(&[0x55, 0x1d, 19], critical, &tlv(0x30, &[flag, &length]));
        }
        if let Some((critical, bits)) = self.usage {
            let bytes = bits.to_be_bytes();
            let (unused, bytes) = match bits.trailing_zeros() {
                zeros @ 8.. => (zeros - 8, &bytes[..1]),
                zeros => (zeros, &bytes[..]),
            };
            add(&[0x55, 0x1d, 15], critical, &tlv(0x03, &[&[u8::try_from(unused).unwrap()], bytes]));
        }
        if let Some((critical, purposes)) = &self.purposes {
            add(&[0x55, 0x1d, 37], *critical, &tlv(0x30, &purposes[..]));
        }
        for (oid, critical, value) in &self.more {
            add(oid, *critical, value);
        }
        let algorithm =
            self.algorithm.map_or_else(|| signer.scheme().x509_algorithm().unwrap(), <[u8]>::to_vec);
        let extensions = match extensions.is_empty() {
            true => Vec::new(),
            false => tlv(0xa3, &[&tlv(0x30, &[&extensions.concat()])]),
        };
        let tbs = tlv(
            0x30,
            &[
                &tlv(0xa0, &[&[2, 1, 2]]),
                &tlv(0x02, &[&[self.serial]]),
                &algorithm,
                &name(&issuer.subject),
                &tlv(0x30, &[&time(self.valid.0), &time(self.valid.1)]),
                &name(&self.subject),
                holder.public_key().spki_der(),
                &extensions,
            ],
        );
        // A certificate is made once: ECDSA signs the same bytes in another way each time, and a trust store compares
        // bytes.
        static MADE: LazyLock<Mutex<HashMap<Made, Vec<u8>>>> = LazyLock::new(Mutex::default);
        let key = (tbs.clone(), signer.public_key().fingerprint());
        let mut made = MADE.lock().unwrap();
        made.entry(key)
            .or_insert_with(|| {
                let signature = signer.sign(&tbs).unwrap();
                tlv(0x30, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signature])])
            })
            .clone()
    }
}

/// What is signed, and by which key.
type Made = (Vec<u8>, [u8; 32]);

/// The extension which says where revocation lists are.
pub(crate) fn distribution_point(url: &str) -> (Vec<u8>, bool, Vec<u8>) {
    let point = tlv(0x30, &[&tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[url.as_bytes()])])])]);
    (vec![0x55, 0x1d, 31], false, tlv(0x30, &[&point]))
}

/// What to write into a revocation list.
#[derive(Clone)]
pub(crate) struct List {
    pub(crate) updates: (i64, Option<i64>),
    /// Serial number, since when, the reason, and since when the key is not to be trusted.
    pub(crate) entries: Vec<(u8, i64, Option<u8>, Option<i64>)>,
    pub(crate) number: u8,
    /// Extensions: the OID's last number under 2.5.29, critical, value.
    pub(crate) more: Vec<(u8, bool, Vec<u8>)>,
}

impl List {
    pub(crate) fn of(entries: &[(u8, i64, Option<u8>, Option<i64>)]) -> Self {
        Self { updates: (NOW - 100, Some(NOW + 100)), entries: entries.to_vec(), number: 5, more: Vec::new() }
    }

    pub(crate) fn with(mut self, spoil: impl FnOnce(&mut Self)) -> Self {
        spoil(&mut self);
        self
    }

    pub(crate) fn issue(&self, issuer: &Spec, signer: &dyn Signer) -> RevocationList {
        RevocationList::from_der(&self.der(issuer, signer)).unwrap()
    }

    pub(crate) fn der(&self, issuer: &Spec, signer: &dyn Signer) -> Vec<u8> {
        let extension = |last: u8, critical: bool, value: &[u8]| {
            let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
            tlv(0x30, &[&[0x06, 3, 0x55, 0x1d, last], critical, &tlv(0x04, &[value])])
        };
        let entry = |(serial, since, reason, invalid): &(u8, i64, Option<u8>, Option<i64>)| {
            let mut extensions = Vec::new();
            if let Some(reason) = reason {
                extensions.extend(extension(21, false, &tlv(0x0a, &[&[*reason]])));
            }
            if let Some(invalid) = invalid {
                extensions.extend(extension(24, false, &time(*invalid)));
            }
            let extensions = if extensions.is_empty() { extensions } else { tlv(0x30, &[&extensions]) };
            tlv(0x30, &[&tlv(0x02, &[&[*serial]]), &time(*since), &extensions])
        };
        let entries: Vec<u8> = self.entries.iter().flat_map(entry).collect();
        let entries = if entries.is_empty() { entries } else { tlv(0x30, &[&entries]) };
        let mut extensions = extension(20, false, &tlv(0x02, &[&[self.number]]));
        for (last, critical, value) in &self.more {
            extensions.extend(extension(*last, *critical, value));
        }
        let algorithm = signer.scheme().x509_algorithm().unwrap();
        let tbs = tlv(
            0x30,
            &[
                &[2, 1, 1],
                &algorithm,
                &name(&issuer.subject),
                &time(self.updates.0),
                &self.updates.1.map(time).unwrap_or_default(),
                &entries,
                &tlv(0xa0, &[&tlv(0x30, &[&extensions])]),
            ],
        );
        let signature = signer.sign(&tbs).unwrap();
        tlv(0x30, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signature])])
    }
}

/// Leaf, issuing authority, root.
pub(crate) fn chain_of(leaf: &Spec, middle: &Spec, root: &Spec) -> Vec<Certificate> {
    vec![
        leaf.issue(&KEYS.leaf, middle, &KEYS.middle),
        middle.issue(&KEYS.middle, root, &KEYS.root),
        root.issue(&KEYS.root, root, &KEYS.root),
    ]
}

pub(crate) fn chain() -> Vec<Certificate> {
    chain_of(&Spec::leaf(), &Spec::middle(), &Spec::root())
}

pub(crate) fn target() -> TargetArtifact {
    TargetArtifact {
        media_type: MANIFEST.into(),
        digest: HashAlgorithm::Sha256.digest(b"an image"),
        size: 528,
        annotations: BTreeMap::from([("build".to_owned(), "42".to_owned())]),
    }
}

pub(crate) fn subject() -> Subject {
    let target = target();
    Subject::Manifest { media_type: target.media_type, digest: target.digest, size: target.size }
}

/// A key with the scheme that goes with it here.
pub(crate) fn with_scheme(key: KeyPair) -> KeyPair {
    let algorithm = Algorithm::of_key(key.public_key().key_type()).unwrap();
    key.with_scheme(algorithm.scheme()).unwrap()
}

/// What is signed, and how; the signer's key is the leaf's.
pub(crate) struct Signing {
    pub(crate) format: Format,
    pub(crate) scheme: SigningScheme,
    pub(crate) signing_time: i64,
    pub(crate) expiry: Option<i64>,
    pub(crate) chain: Vec<Certificate>,
}

impl Signing {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, scheme: SigningScheme::X509, signing_time: NOW - 10, expiry: None, chain: chain() }
    }

    pub(crate) fn with(mut self, spoil: impl FnOnce(&mut Self)) -> Self {
        spoil(&mut self);
        self
    }

    pub(crate) fn draft(&self) -> Draft {
        sign(&SignRequest {
            format: self.format,
            scheme: self.scheme,
            target: &target(),
            signing_time: at(self.signing_time),
            expiry: self.expiry.map(at),
            agent: Some("tests"),
            chain: &self.chain,
            signer: &KEYS.leaf,
        })
        .unwrap()
    }

    pub(crate) fn envelope(&self) -> Vec<u8> {
        self.draft().finish(None).unwrap().0
    }
}

pub(crate) const BOTH: [Format; 2] = [Format::Jws, Format::Cose];

/// A policy with one statement for everything, from the members of that statement.
pub(crate) fn statement(verification: &str, stores: &str, identities: &str) -> Statement {
    let document = format!(
        r#"{{"version":"1.0","trustPolicies":[{{"name":"all","registryScopes":["*"],
        "signatureVerification":{verification},"trustStores":{stores},"trustedIdentities":{identities}}}]}}"#
    );
    OciPolicy::parse(document.as_bytes()).unwrap().statement_for("registry.example.com/app").unwrap().clone()
}

pub(crate) fn strict() -> Statement {
    statement(r#"{"level":"strict"}"#, r#"["ca:acme"]"#, r#"["x509.subject: C=US, ST=WA, O=acme"]"#)
}

pub(crate) fn store_of(name: &str, certificates: Vec<Certificate>) -> TrustStore {
    let mut store = TrustStore::new();
    store.add(StoreName::parse(name).unwrap(), certificates).unwrap();
    store
}

/// A verification of [`subject`] under [`strict`]: change one thing and see what becomes of it.
pub(crate) struct World {
    pub(crate) subject: Subject,
    pub(crate) statement: Statement,
    pub(crate) store: TrustStore,
    pub(crate) lists: Vec<RevocationList>,
    pub(crate) revoked: Vec<Arc<Revocations>>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) enforce_logged: bool,
    pub(crate) now: i64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            subject: subject(),
            statement: strict(),
            store: store_of("ca:acme", vec![chain().pop().unwrap()]),
            lists: Vec::new(),
            revoked: Vec::new(),
            metadata: BTreeMap::new(),
            enforce_logged: false,
            now: NOW,
        }
    }

    pub(crate) fn with(mut self, spoil: impl FnOnce(&mut Self)) -> Self {
        spoil(&mut self);
        self
    }

    pub(crate) fn verify(&self, format: Format, envelope: &[u8]) -> Report {
        verify(&Request {
            subject: &self.subject,
            format,
            envelope,
            statement: &self.statement,
            store: &self.store,
            revocation: &self.lists,
            revoked: &self.revoked,
            metadata: &self.metadata,
            enforce_logged: self.enforce_logged,
            now: at(self.now),
        })
    }

    /// Verifies a signature which must be refused, and gives the reason.
    pub(crate) fn refused(&self, signing: &Signing) -> Reason {
        let report = self.verify(signing.format, &signing.envelope());
        report.rejection().unwrap_or_else(|| panic!("accepted: {report:?}")).reason
    }

    /// Verifies a signature which must be accepted.
    pub(crate) fn accepted(&self, signing: &Signing) -> countersign_notary::Verified {
        let report = self.verify(signing.format, &signing.envelope());
        report.verified().unwrap_or_else(|| panic!("refused: {report:#?}")).clone()
    }
}

pub(crate) fn reasons(checks: &[countersign_notary::Check]) -> Vec<Reason> {
    checks.iter().filter_map(|check| check.reason).collect()
}
