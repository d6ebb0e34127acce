//! Signatures made by notation 1.3.2 with a key on P-384, over an image in an OCI layout, with metadata and an expiry.

use std::collections::BTreeMap;

use countersign_crypto::Digest;
use countersign_notary::{Envelope, Format, Reason, SigningScheme, Subject};
use countersign_x509::Certificate;

use crate::support::{World, statement, store_of};

const DIGEST: &str = "sha256:8b69f7d8e07952056bb62d4b8879779e21dc44a4ae00c0501afa9b9923aa9b8f";
/// A day after they were made.
const THEN: i64 = 1_795_784_000;

fn vectors() -> [(Format, &'static [u8]); 2] {
    [
        (Format::Jws, include_bytes!("../data/notation.jws")),
        (Format::Cose, include_bytes!("../data/notation.cose")),
    ]
}

fn world() -> World {
    let root = Certificate::from_pem(include_str!("../data/notation-root.pem")).unwrap();
    World::new().with(|w| {
        w.subject = Subject::Manifest {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: Digest::parse(DIGEST).unwrap(),
            size: 258,
        };
        w.store = store_of("ca:acme", vec![root]);
        w.now = THEN;
        w.metadata = BTreeMap::from([("build".to_owned(), "42".to_owned())]);
    })
}

#[test]
fn what_notation_signs_verifies() {
    for (format, bytes) in vectors() {
        let report = world().verify(format, bytes);
        let verified = report.verified().unwrap_or_else(|| panic!("{report:#?}"));
        assert_eq!(verified.attributes().scheme, SigningScheme::X509);
        assert!(verified.attributes().expiry.is_some());
        assert!(verified.logged().is_empty());
        assert_eq!(verified.signer().unwrap().subject().common_name.as_deref(), Some("signer"));
        assert!(Envelope::parse(format, bytes).unwrap().agent().unwrap().contains("notation"));
    }
}

#[test]
fn what_notation_signs_is_refused_for_anything_else() {
    for (format, bytes) in vectors() {
        let refused = |world: World| world.verify(format, bytes).rejection().unwrap().reason;
        let other = |size, digest: &str| Subject::Manifest {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: Digest::parse(digest).unwrap(),
            size,
        };
        assert_eq!(refused(world().with(|w| w.subject = other(259, DIGEST))), Reason::ArtifactMismatch);
        let digest = DIGEST.replace("8b69", "8b68");
        assert_eq!(refused(world().with(|w| w.subject = other(258, &digest))), Reason::ArtifactMismatch);
        let wanted = BTreeMap::from([("build".to_owned(), "43".to_owned())]);
        assert_eq!(refused(world().with(|w| w.metadata = wanted)), Reason::MetadataMismatch);
        assert_eq!(refused(world().with(|w| w.now += 11 * 31_536_000)), Reason::SignatureExpired);
        let policy =
            statement(r#"{"level":"strict"}"#, r#"["ca:acme"]"#, r#"["x509.subject:C=US,ST=WA,O=other"]"#);
        assert_eq!(refused(world().with(|w| w.statement = policy)), Reason::IdentityMismatch);
        assert_eq!(
            refused(World::new().with(|w| (w.subject, w.now) = (other(258, DIGEST), THEN))),
            Reason::CertificateUntrusted
        );
    }
}

/// Every byte that can be spoilt, is: none of them leaves a signature of the same artifact that verifies.
#[test]
fn a_spoilt_byte_never_changes_what_is_accepted() {
    let world = world();
    for (format, bytes) in vectors() {
        let whole = Envelope::parse(format, bytes).unwrap();
        for place in 0..bytes.len() {
            let mut spoilt = bytes.to_vec();
            spoilt[place] ^= 1;
            let report = world.verify(format, &spoilt);
            if let Some(verified) = report.verified() {
                // What is not under the signature says nothing that counts: the agent.
                let read = Envelope::parse(format, &spoilt).unwrap();
                assert_eq!(read.payload(), whole.payload(), "byte {place}");
                assert_eq!(verified.attributes(), whole.attributes(), "byte {place}");
                assert_eq!(read.chain(), whole.chain(), "byte {place}");
                assert_ne!(read.agent(), whole.agent(), "byte {place}");
            }
        }
    }
}
