//! What the specification asks of certificates (`signature-specification.md`, "Certificate Requirements"), apart from any
//! trust store: one whole chain in order, each certificate made for its place.
//!
//! Only basic constraints, key usage and extended key usage are honoured; the specification says that other extensions
//! must not be evaluated, critical or not. `ignored_extensions` names those that are critical, so that a report can.

use countersign_x509::{Certificate, oid};
use jiff::Timestamp;

use crate::{Algorithm, Reason, Refusal};

/// Purposes which a signer's certificate must not have.
const FOREIGN: [(der::asn1::ObjectIdentifier, &str); 6] = [
    (oid::ANY_EXTENDED_KEY_USAGE, "any"),
    (oid::SERVER_AUTH, "server authentication"),
    (oid::CLIENT_AUTH, "client authentication"),
    (oid::EMAIL_PROTECTION, "protection of e-mail"),
    (oid::TIME_STAMPING, "time stamping"),
    (oid::OCSP_SIGNING, "OCSP signing"),
];

/// What the first certificate of a chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    CodeSigning,
    TimeStamping,
}

/// Checks the chain of an envelope: the signer's certificate first, the root last, each issued by the next.
///
/// # Errors
/// [`Reason::CertificateChain`], [`Reason::CertificateUsage`], [`Reason::AlgorithmUnsupported`].
pub fn check_code_signing(chain: &[Certificate]) -> Result<(), Refusal> {
    check(chain, Use::CodeSigning)
}

/// Checks the chain of a timestamp authority likewise.
///
/// # Errors
/// As [`check_code_signing`].
pub(crate) fn check_time_stamping(chain: &[Certificate]) -> Result<(), Refusal> {
    check(chain, Use::TimeStamping)
}

/// The critical extensions in a chain which are not evaluated, in words.
pub(crate) fn ignored_extensions(chain: &[Certificate]) -> Vec<String> {
    chain
        .iter()
        .flat_map(|certificate| {
            let describe = certificate.describe();
            certificate.unknown_critical_extensions().iter().map(move |id| format!("{id} in {describe}"))
        })
        .collect()
}

/// Checks that each certificate of a chain is valid at a time.
pub(crate) fn check_valid(chain: &[Certificate], at: Timestamp) -> Result<(), Refusal> {
    match chain.iter().find(|certificate| !certificate.is_valid_at(at)) {
        None => Ok(()),
        Some(certificate) => {
            let (from, to) = (certificate.not_before(), certificate.not_after());
            let expected = format!("a time from {from} to {to}, while {} is valid", certificate.describe());
            Err(Refusal::new(Reason::CertificateNotValid, expected, at.to_string()))
        }
    }
}

fn check(chain: &[Certificate], purpose: Use) -> Result<(), Refusal> {
    let broken = |expected: &str, found: String| Err(Refusal::new(Reason::CertificateChain, expected, found));
    let Some((root, below)) = chain.split_last() else {
        return broken("a certificate chain", "none".into());
    };
    for (number, certificate) in chain.iter().enumerate() {
        certificate.signature_scheme().map_err(|e| {
            let found = format!("{}: {e}", certificate.describe());
            Refusal::new(Reason::AlgorithmUnsupported, "certificates signed with SHA-2", found)
        })?;
        match number {
            0 => check_leaf(certificate, purpose)?,
            // Between an authority and the leaf stand all others before it.
            n => check_authority(certificate, n - 1, purpose)?,
        }
    }
    if !root.is_self_signed() {
        return broken(
            "a chain up to its root, which signs itself",
            format!("{} as the last", root.describe()),
        );
    }
    if let Some(early) = below.iter().find(|certificate| certificate.is_self_signed()) {
        return broken(
            "one root, at the end",
            format!("{}, which signs itself, before it", early.describe()),
        );
    }
    for (certificate, issuer) in chain.iter().zip(chain.iter().skip(1)) {
        let issued = certificate.issuer().der == issuer.subject().der
            && certificate.verify_signed_by(issuer.public_key()).is_ok();
        if !issued {
            let found = format!("{} followed by {}", certificate.describe(), issuer.describe());
            return broken("each certificate followed by its issuer", found);
        }
    }
    Ok(())
}

fn usage(certificate: &Certificate, expected: impl Into<String>, found: &str) -> Refusal {
    Refusal::new(Reason::CertificateUsage, expected, format!("{found} in {}", certificate.describe()))
}

fn check_leaf(leaf: &Certificate, purpose: Use) -> Result<(), Refusal> {
    if leaf.is_ca() {
        return Err(usage(leaf, "a signer's certificate", "basic constraints of an authority"));
    }
    if leaf.is_precertificate() {
        return Err(usage(leaf, "a certificate", "the mark of a precertificate, which is never valid,"));
    }
    let Some(key) = leaf.key_usage() else {
        return Err(usage(leaf, "key usage digitalSignature", "no key usage"));
    };
    if purpose == Use::CodeSigning && !key.critical {
        return Err(usage(leaf, "a critical key usage", "one that is not critical"));
    }
    if !key.digital_signature() {
        return Err(usage(leaf, "key usage digitalSignature", "a key usage without it"));
    }
    if let Some(other) = key.names().find(|name| !["digitalSignature", "contentCommitment"].contains(name)) {
        return Err(usage(leaf, "key usage digitalSignature only", other));
    }
    let purposes = leaf.extended_key_usage();
    match purpose {
        Use::CodeSigning => {
            let foreign = |(id, _): &&(_, _)| purposes.is_some_and(|p| p.lists(id));
            if let Some((_, name)) = FOREIGN.iter().find(foreign) {
                let found = format!("the extended key usage {name}");
                return Err(usage(leaf, "extended key usage code signing or none", &found));
            }
        }
        Use::TimeStamping => {
            if !purposes.is_some_and(|p| p.critical && p.is_only(&oid::TIME_STAMPING)) {
                return Err(usage(leaf, "extended key usage time stamping, critical and alone", "another"));
            }
        }
    }
    let key = leaf.public_key().key_type();
    if Algorithm::of_key(key).is_none() {
        let expected = "an RSA key of 2048, 3072 or 4096 bits or one on P-256, P-384 or P-521";
        let found = format!("a key of type {key} in {}", leaf.describe());
        return Err(Refusal::new(Reason::AlgorithmUnsupported, expected, found));
    }
    Ok(())
}

fn check_authority(authority: &Certificate, below: usize, purpose: Use) -> Result<(), Refusal> {
    match authority.basic_constraints() {
        Some(constraints) if constraints.ca && constraints.critical => {
            if constraints.path_len.is_some_and(|limit| usize::from(limit) < below) {
                let expected = format!("a path length that has room for {below} authorities");
                return Err(usage(authority, expected, "a smaller one"));
            }
        }
        Some(constraints) if constraints.ca => {
            return Err(usage(authority, "critical basic constraints", "ones that are not critical"));
        }
        _ => return Err(usage(authority, "basic constraints of an authority", "none such")),
    }
    match authority.key_usage() {
        None => Err(usage(authority, "key usage keyCertSign", "no key usage")),
        Some(key) if purpose == Use::CodeSigning && !key.critical => {
            Err(usage(authority, "a critical key usage", "one that is not critical"))
        }
        Some(key) if !key.key_cert_sign() => Err(usage(authority, "key usage keyCertSign", "one without it")),
        Some(_) => Ok(()),
    }
}
