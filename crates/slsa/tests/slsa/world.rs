//! A Sigstore of one's own, in memory, which signs as GitHub's workflows do and with bare keys; and provenance of builders.

use std::sync::Arc;

use countersign_attestation::Envelope;
use countersign_attestation::dsse::{IN_TOTO_PAYLOAD_TYPE, Signature};
use countersign_bundle::rekor::{HashedRekordV2, Verifier as LogVerifier};
use countersign_bundle::{
    Bundle, BundleVersion, CertificateAuthority, Content, InclusionProof, KeyMaterial, LogKey, TlogEntry,
    TransparencyLog, TrustedRoot, ValidFor, VerificationMaterial,
};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, PublicKey, Signer as _};
use countersign_slsa::wire::Piece;
use countersign_slsa::{Expectations, Report, Roots, TrustedBuilders, Verifier};
use countersign_tlog::{Checkpoint, NoteSigner, merkle};
use countersign_verify::{Reason, Subject, TrustMaterial};
use countersign_x509::issue::{AuthorityProfile, LeafProfile, Precertificate, root_ca, tsa_leaf};
use countersign_x509::sct::{Sct, signed_data};
use countersign_x509::timestamp::{Responder, TimestampRequest, respond};
use countersign_x509::{Certificate, FulcioExtensions, Name, San, oid};
use jiff::Timestamp;
use serde_json::{Value, json};

/// When things are signed.
pub(crate) const T: i64 = 1_700_000_000;
pub(crate) const ARTIFACT: &[u8] = b"an artifact";
pub(crate) const GITHUB: &str = "https://token.actions.githubusercontent.com";
pub(crate) const SHOP: &str = "https://github.com/acme/shop";
pub(crate) const COMMIT: &str = "4d329c75e7ec1725f7c9ce917a8799d408d06be3";
pub(crate) const GENERATOR: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0";
pub(crate) const WORKFLOW: &str = "https://github.com/acme/shop/.github/workflows/build.yml@refs/tags/v1.2.3";
pub(crate) const V1: &str = "https://slsa.dev/provenance/v1";
pub(crate) const V02: &str = "https://slsa.dev/provenance/v0.2";
const RUN: &str = "https://github.com/acme/shop/actions/runs/7/attempts/1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn now() -> Timestamp {
    at(T + 3600)
}

fn p256() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

fn profile(name: &str) -> AuthorityProfile {
    AuthorityProfile {
        subject: Name::new(Some("test"), Some(name)),
        not_before: at(T - 100_000),
        not_after: at(T + 100_000),
        serial: [1; 20],
    }
}

fn root(name: &str) -> (Certificate, KeyPair) {
    let key = p256();
    (Certificate::from_der(&root_ca(&profile(name), None, &key).unwrap()).unwrap(), key)
}

/// Who signs, and what the certificate says.
#[derive(Clone)]
pub(crate) enum Who {
    Workflow(&'static str, Box<FulcioExtensions>),
    Key,
}

/// A run of a workflow of the shop at its tag, signed by this workflow.
pub(crate) fn workflow(name: &'static str) -> Who {
    let said = FulcioExtensions {
        issuer_v1: Some(GITHUB.into()),
        github_workflow_trigger: Some("push".into()),
        github_workflow_sha: Some(COMMIT.into()),
        github_workflow_repository: Some("acme/shop".into()),
        github_workflow_ref: Some("refs/tags/v1.2.3".into()),
        issuer_v2: Some(GITHUB.into()),
        build_signer_uri: Some(name.into()),
        runner_environment: Some("github-hosted".into()),
        source_repository_uri: Some(SHOP.into()),
        source_repository_digest: Some(COMMIT.into()),
        source_repository_ref: Some("refs/tags/v1.2.3".into()),
        source_repository_identifier: Some("5".into()),
        source_repository_owner_identifier: Some("6".into()),
        build_config_digest: Some(COMMIT.into()),
        build_trigger: Some("push".into()),
        run_invocation_uri: Some(RUN.into()),
        ..FulcioExtensions::default()
    };
    Who::Workflow(name, Box::new(said))
}

/// The same with something else in the certificate.
pub(crate) fn saying(name: &'static str, change: impl FnOnce(&mut FulcioExtensions)) -> Who {
    let Who::Workflow(name, mut said) = workflow(name) else { unreachable!("a workflow") };
    change(&mut said);
    Who::Workflow(name, said)
}

pub(crate) struct World {
    ca: (Certificate, KeyPair),
    ct: KeyPair,
    tsa: (Certificate, KeyPair),
    log: Arc<KeyPair>,
    root: TrustedRoot,
    /// The key of certificates and bare signatures.
    pub(crate) signing: KeyPair,
}

impl World {
    pub(crate) fn new() -> Self {
        let (ca, ct, log) = (root("ca"), p256(), Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap()));
        let (tsa_root, tsa_root_key) = root("tsa");
        let tsa_key = p256();
        let leaf = tsa_leaf(&profile("tsa leaf"), tsa_key.public_key(), &tsa_root, &tsa_root_key).unwrap();
        let tsa = Certificate::from_der(&leaf).unwrap();
        let valid_for = ValidFor { start: at(T - 50_000), end: None };
        let authority = |certificates: Vec<Vec<u8>>| CertificateAuthority {
            organization: "test".into(),
            common_name: "test".into(),
            uri: String::new(),
            certificates,
            valid_for,
            operator: None,
        };
        let logged = |base_url: &str, key: &PublicKey, log_id: Vec<u8>, details: &str| TransparencyLog {
            base_url: base_url.into(),
            hash_algorithm: HashAlgorithm::Sha256,
            public_key: LogKey { raw_bytes: key.spki_der().to_vec(), key_details: details.into(), valid_for },
            log_id,
            checkpoint_key_id: None,
            operator: None,
        };
        let log_id = NoteSigner::rekor_v2("log.example", log.clone()).unwrap().verifier().key_id.to_vec();
        let ct_id = ct.public_key().fingerprint().to_vec();
        let root = TrustedRoot {
            tlogs: vec![logged("https://log.example", log.public_key(), log_id, "PKIX_ED25519")],
            certificate_authorities: vec![authority(vec![ca.0.der().to_vec()])],
            ctlogs: vec![logged("https://ct.example", ct.public_key(), ct_id, "PKIX_ECDSA_P256_SHA_256")],
            timestamp_authorities: vec![authority(vec![tsa.der().to_vec(), tsa_root.der().to_vec()])],
        };
        Self { ca, ct, tsa: (tsa, tsa_key), log, root, signing: p256() }
    }

    pub(crate) fn material(&self) -> TrustMaterial {
        TrustMaterial::from_trusted_root(&self.root).unwrap()
    }

    /// As GitHub's own instance is: no logs, a timestamp authority.
    pub(crate) fn material_without_logs(&self) -> TrustMaterial {
        let root = TrustedRoot { tlogs: Vec::new(), ctlogs: Vec::new(), ..self.root.clone() };
        TrustMaterial::from_trusted_root(&root).unwrap()
    }

    pub(crate) fn certificate(&self, name: &str, said: &FulcioExtensions) -> Vec<u8> {
        let profile = LeafProfile {
            public_key: self.signing.public_key().clone(),
            san: San::Uri(name.into()),
            fulcio: said.clone(),
            not_before: at(T - 60),
            not_after: at(T + 540),
            serial: [7; 20],
        };
        let precertificate = Precertificate::build(&profile, &self.ca.0, &self.ca.1).unwrap();
        let timestamp_ms = u64::try_from(T - 60).unwrap() * 1000;
        let data = signed_data(timestamp_ms, precertificate.entry(), &[]).unwrap();
        let sct = Sct {
            log_id: self.ct.public_key().fingerprint(),
            timestamp_ms,
            extensions: Vec::new(),
            scheme: self.ct.scheme(),
            signature: self.ct.sign(&data).unwrap(),
        };
        precertificate.into_certificate(&[sct], &self.ca.1).unwrap()
    }

    fn entry(&self, envelope: &Envelope, material: &KeyMaterial) -> TlogEntry {
        let key = self.signing.public_key();
        let body = HashedRekordV2 {
            digest: HashAlgorithm::Sha256.digest(&envelope.pae()),
            signature: envelope.signatures[0].sig.clone(),
            verifier: match material.leaf() {
                Some(der) => LogVerifier::Certificate(der.to_vec()),
                None => LogVerifier::PublicKey(key.spki_der().to_vec()),
            },
            key_details: key.key_details(),
        }
        .canonical_body();
        let root = merkle::leaf_hash(&body);
        let signer = NoteSigner::rekor_v2("log.example", self.log.clone()).unwrap();
        let checkpoint = Checkpoint { origin: "log.example".into(), size: 1, root, extensions: vec![] };
        TlogEntry {
            log_index: 0,
            log_id: self.root.tlogs[0].log_id.clone(),
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            integrated_time: None,
            inclusion_promise: None,
            inclusion_proof: Some(InclusionProof {
                log_index: 0,
                root_hash: root.to_vec(),
                tree_size: 1,
                hashes: vec![],
                checkpoint: checkpoint.sign(&[signer], u64::try_from(T).unwrap() * 1000).unwrap().to_string(),
            }),
            canonicalized_body: body,
        }
    }

    fn stamp(&self, signature: &[u8]) -> Vec<u8> {
        let responder = Responder::new(self.tsa.0.clone(), oid::SIGSTORE_TSA_POLICY, &self.tsa.1).unwrap();
        let imprint = HashAlgorithm::Sha256.digest(signature);
        let request = TimestampRequest { imprint, policy: None, nonce: None, cert_req: false };
        respond(&responder, &request, at(T), &[3; 20], &self.tsa.1).unwrap()
    }

    pub(crate) fn envelope(&self, payload: &[u8]) -> Envelope {
        let (payload_type, payload) = (IN_TOTO_PAYLOAD_TYPE.to_owned(), payload.to_vec());
        let mut envelope = Envelope { payload_type, payload, signatures: vec![] };
        let sig = self.signing.sign(&envelope.pae()).unwrap();
        envelope.signatures.push(Signature { sig, keyid: String::new() });
        envelope
    }

    /// A signed statement with its log entry and a timestamp.
    pub(crate) fn sign(&self, who: &Who, statement: &Value) -> Bundle {
        self.sign_text(who, &statement.to_string())
    }

    /// The same of any text.
    pub(crate) fn sign_text(&self, who: &Who, text: &str) -> Bundle {
        let envelope = self.envelope(text.as_bytes());
        let content = match who {
            Who::Workflow(name, said) => KeyMaterial::Certificate(self.certificate(name, said)),
            Who::Key => KeyMaterial::PublicKeyHint(String::new()),
        };
        let tlog_entries = vec![self.entry(&envelope, &content)];
        let rfc3161_timestamps = vec![self.stamp(&envelope.signatures[0].sig)];
        Bundle {
            version: BundleVersion::V0_3,
            verification_material: VerificationMaterial { content, tlog_entries, rfc3161_timestamps },
            content: Content::Dsse(envelope),
        }
    }

    /// Roots of a document, in which the key `own` is this world's.
    pub(crate) fn roots(&self, text: &str) -> TrustedBuilders {
        Roots::read(text).unwrap().ready(|_| Ok(vec![self.signing.public_key().clone()])).unwrap()
    }

    pub(crate) fn judge(
        &self,
        bundles: &[Bundle],
        roots: &TrustedBuilders,
        expected: &Expectations,
    ) -> Report {
        let pieces: Vec<Piece> = bundles.iter().map(piece).collect();
        self.judge_pieces(&pieces, roots, expected)
    }

    pub(crate) fn judge_pieces(
        &self,
        pieces: &[Piece],
        roots: &TrustedBuilders,
        expected: &Expectations,
    ) -> Report {
        let material = self.material();
        let verifier = Verifier::new(roots, &material, expected, false).unwrap();
        verifier.verify(&Subject::from_bytes(ARTIFACT), pieces, now())
    }

    /// What comes of one statement by the public builders.
    pub(crate) fn reason(&self, who: &Who, statement: &Value, expected: &Expectations) -> Option<Reason> {
        reason(&self.judge(&[self.sign(who, statement)], &public(), expected))
    }
}

pub(crate) fn piece(bundle: &Bundle) -> Piece {
    Piece { document: None, place: String::new(), bundle: Ok(bundle.clone()) }
}

pub(crate) fn public() -> TrustedBuilders {
    Roots::public().ready(|_| Err("no key".into())).unwrap()
}

pub(crate) fn reason(report: &Report) -> Option<Reason> {
    report.verified().err().map(|refusal| refusal.reason)
}

pub(crate) fn from_shop() -> Expectations {
    Expectations { source: Some("github.com/acme/shop".into()), ..Expectations::default() }
}

/// The artifact as a subject.
pub(crate) fn subject(name: &str) -> Value {
    let (short, long) = (HashAlgorithm::Sha256.digest(ARTIFACT), HashAlgorithm::Sha512.digest(ARTIFACT));
    json!({ "name": name, "digest": { "sha256": short.to_hex(), "sha512": long.to_hex() } })
}

pub(crate) fn statement(kind: &str, predicate: impl Into<Value>) -> Value {
    let predicate = predicate.into();
    json!({ "_type": "https://in-toto.io/Statement/v1", "subject": [subject("shop.tar")], "predicateType": kind, "predicate": predicate })
}

/// Provenance of slsa-github-generator's generic generator.
pub(crate) fn generic() -> Value {
    let git = format!("git+{SHOP}@refs/tags/v1.2.3");
    statement(
        V02,
        json!({ "builder": { "id": GENERATOR },
        "buildType": "https://github.com/slsa-framework/slsa-github-generator/generic@v1",
        "invocation": { "configSource": { "uri": git, "digest": { "sha1": COMMIT }, "entryPoint": ".github/workflows/build.yml" },
            "parameters": {}, "environment": { "github_event_name": "push", "github_ref": "refs/tags/v1.2.3",
                "github_repository_id": "5", "github_repository_owner_id": "6",
                "github_event_payload": { "base_ref": "refs/heads/main" } } },
        "metadata": { "buildInvocationID": "7-1" }, "materials": [{ "uri": git, "digest": { "sha1": COMMIT } }] }),
    )
}

/// Provenance as GitHub's own attestations have it.
pub(crate) fn github(builder: &str) -> Value {
    statement(
        V1,
        json!({ "buildDefinition": { "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": { "workflow": { "ref": "refs/tags/v1.2.3", "repository": SHOP, "path": ".github/workflows/build.yml" } },
            "internalParameters": { "github": { "event_name": "push", "repository_id": "5", "repository_owner_id": "6",
                "runner_environment": "github-hosted" } },
            "resolvedDependencies": [{ "uri": format!("git+{SHOP}@refs/tags/v1.2.3"), "digest": { "gitCommit": COMMIT } }] },
        "runDetails": { "builder": { "id": builder }, "metadata": { "invocationId": RUN } } }),
    )
}

/// Provenance of a builder of one's own.
pub(crate) fn own(builder: &str) -> Value {
    statement(
        V1,
        json!({ "buildDefinition": { "buildType": "https://countersign.dev/buildtypes/recipe/v1",
            "externalParameters": { "source": { "uri": format!("git+{SHOP}"), "ref": "refs/tags/v1.2.3" }, "configPath": "build.toml" },
            "resolvedDependencies": [{ "uri": format!("git+{SHOP}"), "digest": { "gitCommit": COMMIT } }] },
        "runDetails": { "builder": { "id": builder } } }),
    )
}

/// The same with another value at a place.
pub(crate) fn with(mut value: Value, pointer: &str, new: impl Into<Value>) -> Value {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = new.into();
    value
}

impl World {
    /// A signature over the payload alone, without what DSSE puts before it.
    pub(crate) fn signing_of_payload(&self, bundle: &Bundle) -> Vec<u8> {
        self.signing.sign(&bundle.content.envelope().unwrap().payload).unwrap()
    }
}
