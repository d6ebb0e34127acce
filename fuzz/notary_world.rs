//! What both targets for envelopes share: a policy, a store and an artifact, and what must hold of every envelope.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use countersign_crypto::Digest;
use countersign_notary::policy::OciPolicy;
use countersign_notary::{Envelope, Format, Request, StoreName, Subject, TrustStore, annotations, verify};
use countersign_x509::Certificate;

const POLICY: &[u8] = br#"{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],
    "signatureVerification":{"level":"audit"},"trustStores":["ca:acme","tsa:clock"],"trustedIdentities":["*"]}]}"#;
const DIGEST: &str = "sha256:8b69f7d8e07952056bb62d4b8879779e21dc44a4ae00c0501afa9b9923aa9b8f";
const SIGNED: &str = r#""build":"42""#;

struct World {
    policy: OciPolicy,
    store: TrustStore,
    subject: Subject,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let root = include_str!("../crates/notary/tests/data/notation-root.pem");
    let root = Certificate::from_pem(root).expect("a certificate");
    let mut store = TrustStore::new();
    for name in ["ca:acme", "tsa:clock"] {
        store.add(StoreName::parse(name).expect("a name"), vec![root.clone()]).expect("a root");
    }
    let subject = Subject::Manifest {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest: Digest::parse(DIGEST).expect("a digest"),
        size: 258,
    };
    World { policy: OciPolicy::parse(POLICY).expect("a policy"), store, subject }
});

pub(crate) fn check(format: Format, data: &[u8]) {
    let world = &*WORLD;
    let report = verify(&Request {
        subject: &world.subject,
        format,
        envelope: data,
        statement: world.policy.statement_for("a.b/c").expect("a statement for everything"),
        store: &world.store,
        revocation: &[],
        revoked: &[],
        metadata: &BTreeMap::new(),
        enforce_logged: false,
        now: "2026-12-01T00:00:00Z".parse().expect("a time"),
    });
    assert!(!report.checks().is_empty());
    if let Ok(envelope) = Envelope::parse(format, data) {
        assert!(!envelope.chain().is_empty());
        assert!(annotations(&envelope).len() == 2);
    } else {
        assert!(report.verified().is_none());
    }
    // The key is nobody's here, so there is one payload which it has signed.
    if report.verified().is_some_and(|verified| verified.signer().is_some()) {
        let envelope = Envelope::parse(format, data).expect("it was verified");
        assert!(String::from_utf8_lossy(envelope.payload()).contains(SIGNED));
    }
}
