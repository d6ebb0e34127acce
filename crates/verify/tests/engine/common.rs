//! A Sigstore of one's own, in memory, with any fault one likes: authority, CT logs, timestamp authorities,
//! transparency logs, witness.

use std::sync::Arc;

use countersign_attestation::Envelope;
use countersign_attestation::dsse::{IN_TOTO_PAYLOAD_TYPE, Signature};
use countersign_bundle::rekor::{HashedRekordV2, Verifier};
use countersign_bundle::{
    Bundle, BundleVersion, CertificateAuthority, Content, InclusionProof, KeyMaterial, LogKey, TlogEntry,
    TransparencyLog, TrustedRoot, ValidFor, VerificationMaterial,
};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _, encoding};
use countersign_tlog::{Checkpoint, NoteKind, NoteSigner, merkle};
use countersign_verify::{
    Identities, Identity, Reason, Report, Requirements, RequirementsBuilder, Subject, TrustMaterial, verify,
};
use countersign_x509::chain::Purpose;
use countersign_x509::issue::{
    AuthorityProfile, LeafProfile, Precertificate, intermediate_ca, root_ca, tsa_leaf,
};
use countersign_x509::sct::{Sct, signed_data};
use countersign_x509::timestamp::{Responder, TimestampRequest, respond};
use countersign_x509::{Certificate, FulcioExtensions, Name, San, oid};
use jiff::Timestamp;

/// When things are signed.
pub(crate) const T: i64 = 1_700_000_000;
pub(crate) const ARTIFACT: &[u8] = b"an artifact";
pub(crate) const NAME: &str = "alice@example.com";
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const PREDICATE_TYPE: &str = "https://example.com/predicate";

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn window(start: i64, end: i64) -> ValidFor {
    ValidFor { start: at(start), end: Some(at(end)) }
}

fn profile(name: &str) -> AuthorityProfile {
    AuthorityProfile {
        subject: Name::new(Some("test"), Some(name)),
        not_before: at(T - 100_000),
        not_after: at(T + 100_000),
        serial: [1; 20],
    }
}

fn root(name: &str, key: &KeyPair) -> Certificate {
    Certificate::from_der(&root_ca(&profile(name), None, key).unwrap()).unwrap()
}

pub(crate) struct Tsa {
    root: Certificate,
    leaf: Certificate,
    key: KeyPair,
}

impl Tsa {
    fn new(name: &str) -> Self {
        let root_key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let root = root(name, &root_key);
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let leaf = tsa_leaf(&profile("tsa leaf"), key.public_key(), &root, &root_key).unwrap();
        Self { root, leaf: Certificate::from_der(&leaf).unwrap(), key }
    }

    pub(crate) fn stamp(&self, signature: &[u8], time: i64) -> Vec<u8> {
        let responder = Responder::new(self.leaf.clone(), oid::SIGSTORE_TSA_POLICY, &self.key).unwrap();
        let imprint = HashAlgorithm::Sha256.digest(signature);
        let request = TimestampRequest { imprint, policy: None, nonce: None, cert_req: false };
        respond(&responder, &request, at(time), &[3; 20], &self.key).unwrap()
    }
}

pub(crate) struct World {
    ca_key: KeyPair,
    ca: Certificate,
    /// What the SCTs made say beyond their time.
    pub(crate) sct_extensions: Vec<u8>,
    pub(crate) ct: [KeyPair; 2],
    pub(crate) tsa: [Tsa; 2],
    pub(crate) logs: [Arc<KeyPair>; 2],
    pub(crate) witness: Arc<KeyPair>,
    pub(crate) root: TrustedRoot,
    pub(crate) signing: KeyPair,
}

/// An authority for leaves of a purpose, with its key; the one above it, which sets no limit that matters; and a root with
/// this limit of path length.
fn two_intermediates(limit: u8, purpose: Purpose) -> ([Certificate; 3], KeyPair) {
    let [root_key, upper_key, lower_key] = [p256(), p256(), p256()];
    let certificate = |der: Vec<u8>| Certificate::from_der(&der).unwrap();
    let root = certificate(root_ca(&profile("deep root"), Some(limit), &root_key).unwrap());
    let issue = |name: &str, key: &KeyPair, issuer: &Certificate, issuer_key: &KeyPair| {
        intermediate_ca(&profile(name), key.public_key(), purpose, issuer, issuer_key).unwrap()
    };
    let upper = certificate(with_path_length(&issue("upper", &upper_key, &root, &root_key), 5, &root_key));
    let lower = certificate(issue("lower", &lower_key, &upper, &upper_key));
    ([lower, upper, root], lower_key)
}

/// A timestamp of some bytes by an authority whose root has this limit of path length, and which sends its own certificate
/// and the one above it along; and the two certificates above those.
pub(crate) fn deep_timestamp(limit: u8, signature: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let ([lower, upper, root], lower_key) = two_intermediates(limit, Purpose::TimeStamping);
    let key = p256();
    let leaf = tsa_leaf(&profile("deep tsa"), key.public_key(), &lower, &lower_key).unwrap();
    let responder =
        Responder::new(Certificate::from_der(&leaf).unwrap(), oid::SIGSTORE_TSA_POLICY, &key).unwrap();
    let imprint = HashAlgorithm::Sha256.digest(signature);
    let request = TimestampRequest { imprint, policy: None, nonce: None, cert_req: true };
    let response = respond(&responder, &request, at(T), &[3; 20], &key).unwrap();
    let token = insert_behind(response, &leaf, lower.der());
    (token, vec![upper.der().to_vec(), root.der().to_vec()])
}

/// DER with a further element behind one that is in it; all around it have lengths of two bytes.
fn insert_behind(mut der: Vec<u8>, element: &[u8], further: &[u8]) -> Vec<u8> {
    let start = der.windows(element.len()).position(|w| w == element).unwrap();
    let mut at = 0;
    while at != start {
        let content = match der[at + 1] {
            short @ 0..=0x7f => at + 2 + usize::from(short),
            0x81 => at + 3 + usize::from(der[at + 2]),
            0x82 => {
                let length = usize::from(u16::from_be_bytes([der[at + 2], der[at + 3]]));
                if (at + 4..at + 4 + length).contains(&start) {
                    let longer = u16::try_from(length + further.len()).unwrap().to_be_bytes();
                    der[at + 2..at + 4].copy_from_slice(&longer);
                    at += 4;
                    continue;
                }
                at + 4 + length
            }
            _ => panic!("a longer length"),
        };
        at = content;
    }
    der.splice(start + element.len()..start + element.len(), further.iter().copied());
    der
}

/// The same certificate with another path length than 0, signed again.
fn with_path_length(der: &[u8], limit: u8, issuer_key: &KeyPair) -> Vec<u8> {
    let zero = [0x30, 6, 1, 1, 0xff, 2, 1, 0];
    let at = der.windows(zero.len()).position(|w| w == zero).unwrap();
    let mut der = der.to_vec();
    der[at + 7] = limit;
    let length = |at: usize| usize::from(u16::from_be_bytes([der[at + 2], der[at + 3]])) + 4;
    assert_eq!((der[1], der[5]), (0x82, 0x82), "lengths of two bytes");
    let tbs = &der[4..4 + length(4)];
    let algorithm = issuer_key.scheme().x509_algorithm().unwrap();
    let signature = issuer_key.sign(tbs).unwrap();
    let bits = [&[3, u8::try_from(signature.len() + 1).unwrap(), 0], &signature[..]].concat();
    let content = [tbs, &algorithm, &bits].concat();
    [&[0x30, 0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), &content].concat()
}

fn p256() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

pub(crate) fn log_name(i: usize) -> String {
    format!("log{i}.example")
}

impl World {
    pub(crate) fn new() -> Self {
        let ca_key = p256();
        let ca = root("ca", &ca_key);
        let ct = [p256(), p256()];
        let tsa = [Tsa::new("tsa 0"), Tsa::new("tsa 1")];
        let ed = || Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
        let logs = [ed(), ed()];
        let all = window(T - 50_000, T + 50_000);
        let authority = |certificates: Vec<Vec<u8>>| CertificateAuthority {
            organization: "test".into(),
            common_name: "test".into(),
            uri: String::new(),
            certificates,
            valid_for: all,
            operator: None,
        };
        let log = |base_url: String, key: &KeyPair, id: Vec<u8>, details: &str| TransparencyLog {
            base_url,
            hash_algorithm: HashAlgorithm::Sha256,
            public_key: LogKey {
                raw_bytes: key.public_key().spki_der().to_vec(),
                key_details: details.into(),
                valid_for: all,
            },
            log_id: id,
            checkpoint_key_id: None,
            operator: None,
        };
        let root = TrustedRoot {
            tlogs: (0..2)
                .map(|i| {
                    let id = NoteSigner::rekor_v2(&log_name(i), logs[i].clone()).unwrap().verifier().key_id;
                    log(format!("https://{}/", log_name(i)), &logs[i], id.to_vec(), "PKIX_ED25519")
                })
                .collect(),
            certificate_authorities: vec![authority(vec![ca.der().to_vec()])],
            ctlogs: ct
                .iter()
                .map(|k| {
                    let id = k.public_key().fingerprint().to_vec();
                    log("https://ct.example".into(), k, id, "PKIX_ECDSA_P256_SHA_256")
                })
                .collect(),
            timestamp_authorities: tsa
                .iter()
                .map(|t| authority(vec![t.leaf.der().to_vec(), t.root.der().to_vec()]))
                .collect(),
        };
        let sct_extensions = Vec::new();
        Self { ca_key, ca, sct_extensions, ct, tsa, logs, witness: ed(), root, signing: p256() }
    }

    /// Puts an intermediate between the authority and its leaves. Returns how to make certificates for any key under
    /// its name, valid until some second, and the root.
    pub(crate) fn under_an_intermediate(&mut self) -> (impl Fn(&KeyPair, i64) -> Vec<u8> + use<>, Vec<u8>) {
        let root_key = std::mem::replace(&mut self.ca_key, p256());
        let root = self.ca.clone();
        let root_der = root.der().to_vec();
        let make = move |key: &KeyPair, until: i64| {
            let profile = AuthorityProfile { not_after: at(until), ..profile("intermediate") };
            intermediate_ca(&profile, key.public_key(), Purpose::CodeSigning, &root, &root_key).unwrap()
        };
        self.ca = Certificate::from_der(&make(&self.ca_key, T + 50_000)).unwrap();
        (make, root_der)
    }

    /// Puts the two intermediates between a root and its leaves. Returns their certificates.
    pub(crate) fn under_two_intermediates(&mut self, limit: u8) -> [Vec<u8>; 3] {
        let (chain, key) = two_intermediates(limit, Purpose::CodeSigning);
        self.ca = chain[0].clone();
        self.ca_key = key;
        chain.map(|certificate| certificate.der().to_vec())
    }

    /// The key that signs certificates.
    pub(crate) fn issuing_key(&self) -> &KeyPair {
        &self.ca_key
    }

    /// A certificate with an SCT of each of these CT logs.
    pub(crate) fn certificate(&self, ct: &[usize]) -> Vec<u8> {
        let profile = LeafProfile {
            public_key: self.signing.public_key().clone(),
            san: San::Email(NAME.into()),
            fulcio: FulcioExtensions {
                issuer_v2: Some(ISSUER.into()),
                source_repository_uri: Some("https://git.example/a".into()),
                ..Default::default()
            },
            not_before: at(T - 60),
            not_after: at(T + 540),
            serial: [7; 20],
        };
        let precertificate = Precertificate::build(&profile, &self.ca, &self.ca_key).unwrap();
        let timestamp_ms = u64::try_from(T - 60).unwrap() * 1000;
        let data = signed_data(timestamp_ms, precertificate.entry(), &self.sct_extensions).unwrap();
        let scts: Vec<Sct> = ct
            .iter()
            .map(|i| Sct {
                log_id: self.ct[*i].public_key().fingerprint(),
                timestamp_ms,
                extensions: self.sct_extensions.clone(),
                scheme: self.ct[*i].scheme(),
                signature: self.ct[*i].sign(&data).unwrap(),
            })
            .collect();
        precertificate.into_certificate(&scts, &self.ca_key).unwrap()
    }

    /// An entry for a bundle's content in a log whose only leaf it is.
    pub(crate) fn entry(&self, log: usize, content: &Content, material: &KeyMaterial) -> TlogEntry {
        let digest = match content {
            Content::Dsse(envelope) | Content::StoredDsse { envelope, .. } => {
                HashAlgorithm::Sha256.digest(&envelope.pae())
            }
            Content::SimpleSigning { payload, .. } => HashAlgorithm::Sha256.digest(payload),
            Content::MessageSignature { .. } => HashAlgorithm::Sha256.digest(ARTIFACT),
        };
        let verifier = match material.leaf() {
            Some(der) => Verifier::Certificate(der.to_vec()),
            None => Verifier::PublicKey(self.signing.public_key().spki_der().to_vec()),
        };
        let key_details = self.signing.public_key().key_details();
        let signature = content.signature().to_vec();
        let body = HashedRekordV2 { digest, signature, verifier, key_details }.canonical_body();
        let signer = NoteSigner::rekor_v2(&log_name(log), self.logs[log].clone()).unwrap();
        self.only_leaf(log, signer, ("hashedrekord", "0.0.2"), body)
    }

    /// The entry of a body that is the only leaf of its log, whose checkpoint the log and the witness sign.
    pub(crate) fn only_leaf(
        &self,
        log: usize,
        signer: NoteSigner,
        (kind, version): (&str, &str),
        body: Vec<u8>,
    ) -> TlogEntry {
        let root = merkle::leaf_hash(&body);
        let witness =
            NoteSigner::new(NoteKind::CosignatureV1, "witness.example", self.witness.clone()).unwrap();
        let log_id = self.root.tlogs[log].log_id.clone();
        let checkpoint = Checkpoint { origin: log_name(log), size: 1, root, extensions: vec![] };
        let time = u64::try_from(T).unwrap() * 1000;
        TlogEntry {
            log_index: 0,
            log_id,
            kind: kind.into(),
            version: version.into(),
            integrated_time: None,
            inclusion_promise: None,
            inclusion_proof: Some(InclusionProof {
                log_index: 0,
                root_hash: root.to_vec(),
                tree_size: 1,
                hashes: vec![],
                checkpoint: checkpoint.sign(&[signer, witness], time).unwrap().to_string(),
            }),
            canonicalized_body: body,
        }
    }

    fn bundle(&self, material: KeyMaterial, content: Content) -> Bundle {
        let entry = self.entry(0, &content, &material);
        let token = self.tsa[0].stamp(content.signature(), T);
        Bundle {
            version: BundleVersion::V0_3,
            verification_material: VerificationMaterial {
                content: material,
                tlog_entries: vec![entry],
                rfc3161_timestamps: vec![token],
            },
            content,
        }
    }

    fn message(&self) -> Content {
        Content::MessageSignature {
            digest: Some(HashAlgorithm::Sha256.digest(ARTIFACT)),
            signature: self.signing.sign(ARTIFACT).unwrap(),
        }
    }

    /// A good bundle over the artifact, with a certificate.
    pub(crate) fn signed(&self) -> Bundle {
        self.bundle(KeyMaterial::Certificate(self.certificate(&[0])), self.message())
    }

    /// A good bundle over the artifact, by the bare key.
    pub(crate) fn signed_by_key(&self) -> Bundle {
        let hint = encoding::base64_encode(&self.signing.public_key().fingerprint());
        self.bundle(KeyMaterial::PublicKeyHint(hint), self.message())
    }

    /// A bundle over any payload.
    pub(crate) fn enveloped(&self, payload_type: &str, payload: &[u8]) -> Bundle {
        let mut envelope =
            Envelope { payload_type: payload_type.into(), payload: payload.to_vec(), signatures: vec![] };
        let sig = self.signing.sign(&envelope.pae()).unwrap();
        envelope.signatures.push(Signature { sig, keyid: String::new() });
        self.bundle(KeyMaterial::Certificate(self.certificate(&[0])), Content::Dsse(envelope))
    }

    /// A good bundle over a statement with these subjects, as JSON.
    pub(crate) fn attested(&self, subjects: &str) -> Bundle {
        let payload = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":{subjects},"predicateType":"{PREDICATE_TYPE}","predicate":{{}}}}"#
        );
        self.enveloped(IN_TOTO_PAYLOAD_TYPE, payload.as_bytes())
    }

    pub(crate) fn material(&self) -> TrustMaterial {
        let witness = self.witness.public_key().clone();
        TrustMaterial::from_trusted_root(&self.root)
            .unwrap()
            .with_witness("witness.example", witness)
            .unwrap()
    }

    pub(crate) fn judge(&self, bundle: &Bundle, requirements: &Requirements) -> Report {
        let now = at(T + 3600);
        verify(&Subject::from_bytes(ARTIFACT), bundle, &self.material(), requirements, now)
    }
}

/// A subject that is the artifact, as JSON.
pub(crate) fn subject() -> String {
    let hex = HashAlgorithm::Sha256.digest(ARTIFACT).to_hex();
    format!(r#"[{{"name":"a","digest":{{"sha256":"{hex}"}},"annotations":{{"k":"v"}}}}]"#)
}

pub(crate) fn alice() -> RequirementsBuilder<Identities> {
    Requirements::builder().identity(Identity::exact(NAME, ISSUER).unwrap())
}

pub(crate) fn reason(report: &Report) -> Option<Reason> {
    report.verified().err().map(|rejection| rejection.reason)
}
