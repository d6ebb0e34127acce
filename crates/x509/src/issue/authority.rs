//! The long-lived certificates of an instance: root, intermediate, timestamping leaf; and those of TLS servers.

use countersign_crypto::{PublicKey, Signer};
use jiff::Timestamp;

use super::{
    DIGITAL_SIGNATURE, Head, IssueError, KEY_CERT_SIGN_AND_CRL_SIGN, authority_key_id, check_issuer,
    extended_key_usage, extension, key_usage, sign, subject_key_id, write_tbs,
};
use crate::chain::Purpose;
use crate::{Certificate, Name, San, oid, write};

/// What such a certificate says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityProfile {
    /// Its name; not empty.
    pub subject: Name,
    /// The first valid second.
    pub not_before: Timestamp,
    /// The last valid second.
    pub not_after: Timestamp,
    /// 160 random bits; the top bit is not used.
    pub serial: [u8; 20],
}

/// Writes a root, signed by itself: key usage keyCertSign and cRLSign, no extended key usage. `path_len` is how
/// many authorities may stand between it and a leaf; `None` sets no limit.
///
/// # Errors
/// [`IssueError`].
pub fn root_ca(
    profile: &AuthorityProfile,
    path_len: Option<u8>,
    signer: &dyn Signer,
) -> Result<Vec<u8>, IssueError> {
    let extensions = [
        key_usage(&KEY_CERT_SIGN_AND_CRL_SIGN),
        basic_constraints(path_len),
        subject_key_id(signer.public_key()),
    ];
    write_certificate(profile, &profile.subject, signer.public_key(), &extensions, signer)
}

/// Writes an intermediate authority which issues leaves of one purpose and no further authorities.
///
/// # Errors
/// [`IssueError`], also when the issuer's path length leaves no room for it.
pub fn intermediate_ca(
    profile: &AuthorityProfile,
    public_key: &PublicKey,
    purpose: Purpose,
    issuer: &Certificate,
    signer: &dyn Signer,
) -> Result<Vec<u8>, IssueError> {
    check_issuer(issuer, signer, profile.not_before, profile.not_after)?;
    if issuer.basic_constraints().is_some_and(|b| b.path_len == Some(0)) {
        let expected = "a path length that has room for an intermediate";
        return Err(IssueError::Issuer { issuer: issuer.describe(), expected });
    }
    let extensions = [
        key_usage(&KEY_CERT_SIGN_AND_CRL_SIGN),
        extended_key_usage(&purpose.oid(), false),
        basic_constraints(Some(0)),
        subject_key_id(public_key),
        authority_key_id(issuer),
    ];
    write_certificate(profile, issuer.subject(), public_key, &extensions, signer)
}

/// Writes a timestamp authority's own certificate: key usage digitalSignature, extended key usage time stamping,
/// critical and alone (RFC 3161 section 2.3).
///
/// # Errors
/// [`IssueError`].
pub fn tsa_leaf(
    profile: &AuthorityProfile,
    public_key: &PublicKey,
    issuer: &Certificate,
    signer: &dyn Signer,
) -> Result<Vec<u8>, IssueError> {
    check_issuer(issuer, signer, profile.not_before, profile.not_after)?;
    let extensions = [
        key_usage(&DIGITAL_SIGNATURE),
        extended_key_usage(&oid::TIME_STAMPING, true),
        subject_key_id(public_key),
        authority_key_id(issuer),
    ];
    write_certificate(profile, issuer.subject(), public_key, &extensions, signer)
}

/// Writes the certificate of a TLS server under these names: key usage digitalSignature, extended key usage server
/// authentication (RFC 5280 section 4.2.1.12).
///
/// # Errors
/// [`IssueError`], also without a name.
pub fn server_leaf(
    profile: &AuthorityProfile,
    names: &[San],
    public_key: &PublicKey,
    issuer: &Certificate,
    signer: &dyn Signer,
) -> Result<Vec<u8>, IssueError> {
    check_issuer(issuer, signer, profile.not_before, profile.not_after)?;
    if names.is_empty() {
        return Err(IssueError::Missing("a name of the server"));
    }
    let names = names.iter().map(San::to_der).collect::<Result<Vec<_>, _>>()?;
    let extensions = [
        key_usage(&DIGITAL_SIGNATURE),
        extended_key_usage(&oid::SERVER_AUTH, false),
        subject_key_id(public_key),
        authority_key_id(issuer),
        extension(&oid::SUBJECT_ALT_NAME, false, &write::sequence(&[&names.concat()])),
    ];
    write_certificate(profile, issuer.subject(), public_key, &extensions, signer)
}

fn basic_constraints(path_len: Option<u8>) -> Vec<u8> {
    let limit = path_len.map(|n| write::unsigned(&[n])).unwrap_or_default();
    extension(&oid::BASIC_CONSTRAINTS, true, &write::sequence(&[&write::boolean_true(), &limit]))
}

fn write_certificate(
    profile: &AuthorityProfile,
    issuer: &Name,
    public_key: &PublicKey,
    extensions: &[Vec<u8>],
    signer: &dyn Signer,
) -> Result<Vec<u8>, IssueError> {
    if profile.subject.is_empty() {
        return Err(IssueError::Missing("a subject"));
    }
    let signature_algorithm = signer.scheme().x509_algorithm()?;
    let head = Head {
        serial: &profile.serial,
        issuer,
        not_before: profile.not_before,
        not_after: profile.not_after,
        subject: &profile.subject,
        public_key,
    }
    .write(&signature_algorithm)?;
    sign(&write_tbs(&head, &[&extensions.concat()]), &signature_algorithm, signer)
}
