//! Is a log entry of this very signature? Its body must name the same signature, the same key or certificate, and
//! the digest of the same artifact or statement.

use countersign_bundle::rekor::{BodyV1, DsseSignatureV1, HashedRekordV2, Verifier};
use countersign_bundle::{Content, TlogEntry};
use countersign_crypto::{Digest, HashAlgorithm, PublicKey, Scheme, encoding};

use crate::report::Failure;
use crate::{Reason, Subject};

/// What the signature of the bundle is to be verified with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder<'a> {
    /// The leaf certificate, DER, and the key in it.
    Certificate(&'a [u8], &'a PublicKey),
    /// A required key.
    Key(&'a PublicKey),
}

impl<'a> Holder<'a> {
    pub(crate) const fn public_key(self) -> &'a PublicKey {
        match self {
            Self::Certificate(_, key) | Self::Key(key) => key,
        }
    }

    fn is_pem(self, pem: &str) -> bool {
        let Ok(blocks) = encoding::pem_decode(pem) else { return false };
        match (self, blocks.as_slice()) {
            (Self::Certificate(der, _), [block]) => block.label == "CERTIFICATE" && block.der == der,
            (Self::Key(key), [block]) => block.label == "PUBLIC KEY" && block.der == key.spki_der(),
            _ => false,
        }
    }

    fn is_verifier(self, verifier: &Verifier) -> bool {
        match (self, verifier) {
            (Self::Certificate(der, _), Verifier::Certificate(found)) => der == found,
            (Self::Key(key), Verifier::PublicKey(found)) => key.spki_der() == found,
            _ => false,
        }
    }
}

/// Whether the entry is of the kind which Rekor v2 logs.
pub(crate) fn is_v2(entry: &TlogEntry) -> bool {
    entry.kind == HashedRekordV2::KIND && entry.version == HashedRekordV2::VERSION
}

/// The scheme a Rekor v2 entry says it was signed with. A hint: the signature is verified with it all the same.
pub(crate) fn logged_scheme(entries: &[TlogEntry]) -> Option<Scheme> {
    entries
        .iter()
        .filter(|e| is_v2(e))
        .find_map(|e| HashedRekordV2::parse_body(&e.canonicalized_body).ok())
        .map(|body| body.key_details.scheme)
}

/// The key, as SPKI, which the first entry that can be read says was signed with, if that is a bare key. A hint likewise.
pub(crate) fn logged_key(entries: &[TlogEntry]) -> Option<Vec<u8>> {
    let key_of = |pem: &str| match encoding::pem_decode(pem).ok()?.as_slice() {
        [block] if block.label == "PUBLIC KEY" => Some(block.der.clone()),
        _ => None,
    };
    entries.iter().find_map(|entry| {
        if is_v2(entry) {
            return match HashedRekordV2::parse_body(&entry.canonicalized_body).ok()?.verifier {
                Verifier::PublicKey(key) => Some(key),
                Verifier::Certificate(_) => None,
            };
        }
        match BodyV1::parse(&entry.kind, &entry.version, &entry.canonicalized_body).ok()? {
            BodyV1::HashedRekord { verifier_pem, .. } => key_of(&verifier_pem),
            BodyV1::Dsse { signatures, .. } | BodyV1::Intoto { signatures, .. } => {
                signatures.iter().find_map(|signature| key_of(&signature.verifier_pem))
            }
            _ => None,
        }
    })
}

/// Compares an entry with the bundle it stands in.
pub(crate) fn verify_binding(
    entry: &TlogEntry,
    content: &Content,
    holder: Holder<'_>,
    subject: &Subject<'_>,
) -> Result<(), Failure> {
    let malformed = |found: String| {
        let expected = "an entry of a supported kind that fits the bundle";
        Failure::new(Reason::LogEntryMalformed, expected, found)
    };
    if is_v2(entry) {
        // The body must be exactly what these values make, so comparing the values is comparing the leaf.
        let body =
            HashedRekordV2::parse_body(&entry.canonicalized_body).map_err(|e| malformed(e.to_string()))?;
        same_signature(&body.signature, content)?;
        same_key(holder.is_verifier(&body.verifier))?;
        if body.key_details.key_type != holder.public_key().key_type() {
            return same_key(false);
        }
        return same_digest(signed_digest(content, subject, body.digest.algorithm()), &body.digest);
    }
    let body = BodyV1::parse(&entry.kind, &entry.version, &entry.canonicalized_body)
        .map_err(|e| malformed(e.to_string()))?;
    match (&body, content.envelope()) {
        (BodyV1::HashedRekord { digest, signature, verifier_pem }, None) => {
            same_signature(signature, content)?;
            same_key(holder.is_pem(verifier_pem))?;
            same_digest(signed_digest(content, subject, digest.algorithm()), digest)
        }
        (BodyV1::Dsse { payload_hash, signatures, .. }, Some(envelope)) => {
            one_signature(signatures, content, holder)?;
            same_digest(Some(payload_hash.algorithm().digest(&envelope.payload)), payload_hash)
        }
        (BodyV1::Intoto { payload_type, payload_hash, signatures, .. }, Some(envelope)) => {
            one_signature(signatures, content, holder)?;
            if *payload_type != envelope.payload_type {
                return Err(Failure::new(
                    Reason::EntryDigestMismatch,
                    format!("payload type {}", envelope.payload_type),
                    payload_type.clone(),
                ));
            }
            same_digest(Some(payload_hash.algorithm().digest(&envelope.payload)), payload_hash)
        }
        (_, Some(_)) => {
            Err(malformed(format!("{} {}, which does not log statements", entry.kind, entry.version)))
        }
        (_, None) => Err(malformed(format!("{} {}, which logs statements only", entry.kind, entry.version))),
    }
}

/// The digest of what the signature covers, if it can be had.
fn signed_digest(content: &Content, subject: &Subject<'_>, algorithm: HashAlgorithm) -> Option<Digest> {
    match content {
        Content::Dsse(envelope) | Content::StoredDsse { envelope, .. } => {
            Some(algorithm.digest(&envelope.pae()))
        }
        Content::SimpleSigning { payload, .. } => Some(algorithm.digest(payload)),
        Content::MessageSignature { .. } => subject.digest(algorithm),
    }
}

fn one_signature(
    signatures: &[DsseSignatureV1],
    content: &Content,
    holder: Holder<'_>,
) -> Result<(), Failure> {
    let [signature] = signatures else {
        return Err(Failure::new(
            Reason::EntrySignatureMismatch,
            "the one signature of the bundle",
            format!("{} signatures", signatures.len()),
        ));
    };
    same_signature(&signature.signature, content)?;
    same_key(holder.is_pem(&signature.verifier_pem))
}

fn same_signature(found: &[u8], content: &Content) -> Result<(), Failure> {
    if found == content.signature() {
        return Ok(());
    }
    Err(Failure::new(Reason::EntrySignatureMismatch, "the signature of the bundle", "another signature"))
}

fn same_key(same: bool) -> Result<(), Failure> {
    if same {
        return Ok(());
    }
    Err(Failure::new(
        Reason::EntryKeyMismatch,
        "the key or certificate of the signer",
        "another key or certificate",
    ))
}

fn same_digest(own: Option<Digest>, logged: &Digest) -> Result<(), Failure> {
    match own {
        Some(own) if own == *logged => Ok(()),
        Some(own) => Err(Failure::new(Reason::EntryDigestMismatch, own.to_string(), logged.to_string())),
        None => Err(Failure::new(
            Reason::DigestUnavailable,
            format!("the artifact's {} digest", logged.algorithm()),
            "other digests only",
        )),
    }
}

/// The artifact's digest which a signature over it by this scheme covers; any that can be had, if it was signed whole.
pub(crate) fn digest_signed_by(scheme: Option<Scheme>, subject: &Subject<'_>) -> Option<Digest> {
    match scheme.and_then(Scheme::hash) {
        Some(hash) => subject.digest(hash),
        None => HashAlgorithm::ALL.into_iter().find_map(|a| subject.digest(a)),
    }
}
