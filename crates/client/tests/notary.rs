//! The Notary Project's signatures beside images in a layout: found, judged, and counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use countersign_client::ClientError;
use countersign_client::notary::{
    Asked, ImageVerification, Signing, read_certificates, sign_image, verify_image,
};
use countersign_crypto::KeyPair;
use countersign_crypto::encoding::pem_decode;
use countersign_notary::policy::{OciPolicy, Statement};
use countersign_notary::{Format, Reason, StoreName, TrustStore};
use countersign_registry::descriptor::media_type;
use countersign_registry::{Descriptor, Layout, Manifest, Name, Reference, Store};
use jiff::Timestamp;

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/notary").join(name)
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn signing(format: Format) -> Signing {
    let pem = std::fs::read_to_string(data("signer.key")).unwrap();
    let key = KeyPair::from_pkcs8(&pem_decode(&pem).unwrap().pop().unwrap().der).unwrap();
    Signing {
        format,
        signer: Arc::new(key),
        chain: read_certificates(&data("chain.pem")).unwrap(),
        metadata: BTreeMap::new(),
        expiry: None,
        timestamp: None,
        now: now(),
    }
}

fn statement(level: &str) -> Statement {
    let trust = match level {
        "skip" => "",
        _ => r#","trustStores":["ca:acme"],"trustedIdentities":["*"]"#,
    };
    let document = format!(
        r#"{{"version":"1.0","trustPolicies":[{{"name":"all","registryScopes":["a.b/c"],
        "signatureVerification":{{"level":"{level}"}}{trust}}}]}}"#
    );
    OciPolicy::parse(document.as_bytes()).unwrap().statement_for("a.b/c").unwrap().clone()
}

/// A layout in a folder of its own.
struct Bench {
    layout: Layout,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("layout")).unwrap();
        Self { layout, _folder: folder }
    }

    /// Puts an image that differs from others by a word, under a tag.
    async fn put(&self, word: &str, tag: &str) -> Descriptor {
        let config = word.as_bytes().to_vec();
        let descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
        self.layout.put_blob(&descriptor, &config.clone().into()).await.unwrap();
        let document = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": { "mediaType": media_type::OCI_CONFIG, "digest": descriptor.digest.to_string(), "size": descriptor.size },
            "layers": [] });
        let bytes = serde_json::to_vec(&document).unwrap();
        let manifest = Manifest::parse("test", Some(media_type::OCI_MANIFEST), bytes).unwrap();
        self.layout.put_manifest(&named(tag), &manifest).await.unwrap();
        manifest.descriptor
    }

    async fn sign(&self, tag: &str, format: Format) {
        sign_image(&self.layout, &self.layout, &named(tag), &signing(format)).await.unwrap();
    }

    async fn verify(
        &self,
        name: &Name,
        statement: &Statement,
        max_signatures: usize,
    ) -> Result<ImageVerification, ClientError> {
        let mut store = TrustStore::new();
        let root = read_certificates(&data("root.pem")).unwrap();
        store.add(StoreName::parse("ca:acme").unwrap(), root).unwrap();
        let asked = Asked {
            statement,
            store: &store,
            revocation: &[],
            revoked: &[],
            metadata: &BTreeMap::new(),
            enforce_logged: false,
            max_signatures,
            now: now(),
        };
        verify_image(&self.layout, &self.layout, name, &asked).await
    }
}

fn named(tag: &str) -> Name {
    Reference::parse(&format!("a.b/c:{tag}")).unwrap().name()
}

#[tokio::test]
async fn one_good_signature_among_others_is_enough() {
    let bench = Bench::new();
    bench.put("image", "v1").await;
    let strict = statement("strict");
    let unsigned = bench.verify(&named("v1"), &strict, 100).await.unwrap().report();
    assert_eq!(unsigned.rejection().unwrap().reason, Reason::NoSignature);
    bench.sign("v1", Format::Jws).await;
    bench.sign("v1", Format::Cose).await;
    let found = bench.verify(&named("v1"), &strict, 100).await.unwrap();
    assert_eq!(found.pieces.len(), 2);
    assert_eq!(found.report().verified().unwrap().target().digest, found.image.digest);
}

/// The tag is resolved once: what it names later has no part in the answer, and brings no signature along.
#[tokio::test]
async fn v54_a_signature_does_not_follow_a_tag_that_is_moved() {
    let bench = Bench::new();
    let signed = bench.put("image", "v1").await;
    bench.sign("v1", Format::Jws).await;
    bench.put("another image", "v1").await;
    let strict = statement("strict");
    let moved = bench.verify(&named("v1"), &strict, 100).await.unwrap();
    assert_ne!(moved.image.digest, signed.digest);
    assert_eq!(moved.report().rejection().unwrap().reason, Reason::NoSignature);
    let pinned = bench.verify(&Name::Digest(signed.digest), &strict, 100).await.unwrap();
    assert!(pinned.report().verified().is_some());
}

#[tokio::test]
async fn v55_more_signatures_than_are_looked_at_are_an_error_and_no_verdict() {
    let bench = Bench::new();
    bench.put("image", "v1").await;
    for _ in 0..3 {
        // ECDSA signs the same in another way each time, so these are three.
        bench.sign("v1", Format::Jws).await;
    }
    let strict = statement("strict");
    assert_eq!(bench.verify(&named("v1"), &strict, 3).await.unwrap().pieces.len(), 3);
    let error = bench.verify(&named("v1"), &strict, 2).await.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
}

#[tokio::test]
async fn a_policy_that_skips_looks_for_nothing() {
    let bench = Bench::new();
    bench.put("image", "v1").await;
    let report = bench.verify(&named("v1"), &statement("skip"), 0).await.unwrap().report();
    assert!(report.verified().is_none() && report.rejection().is_none());
    let missing = bench.verify(&named("v2"), &statement("strict"), 100).await.unwrap_err();
    assert_eq!(missing.exit_code(), 1, "an image that is not there is not an unsigned one");
}
