//! Fulcio's leaves: the precertificate for the CT log, then the same certificate with the log's SCTs
//! (<https://github.com/sigstore/fulcio/blob/main/docs/certificate-specification.md>, RFC 6962 section 3.1).

use countersign_crypto::{PublicKey, Signer, sha256};
use jiff::Timestamp;

use super::{
    DIGITAL_SIGNATURE, Head, IssueError, authority_key_id, check_issuer, extended_key_usage, extension,
    key_usage, sign, subject_key_id, write_tbs,
};
use crate::sct::{Sct, SignedEntry};
use crate::{Certificate, FulcioExtensions, Name, San, oid, write};

/// What a leaf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafProfile {
    /// The key of whoever signs.
    pub public_key: PublicKey,
    /// Who that is.
    pub san: San,
    /// What else is known about it; the issuer is mandatory.
    pub fulcio: FulcioExtensions,
    /// The first valid second.
    pub not_before: Timestamp,
    /// The last valid second.
    pub not_after: Timestamp,
    /// 160 random bits; the top bit is not used.
    pub serial: [u8; 20],
}

/// A precertificate, and all that is needed to make the certificate from it. Signing twice is the cost of a
/// log's promise inside of the certificate.
///
/// ```
/// use countersign_crypto::{KeyPair, KeyType, Signer};
/// use countersign_x509::issue::{AuthorityProfile, LeafProfile, Precertificate, root_ca};
/// use countersign_x509::{Certificate, FulcioExtensions, Name, San};
/// use jiff::Timestamp;
///
/// let ca_key = KeyPair::generate(KeyType::EcdsaP256)?;
/// let ca = root_ca(
///     &AuthorityProfile {
///         subject: Name::new(Some("example"), Some("root")),
///         not_before: Timestamp::from_second(0)?,
///         not_after: Timestamp::from_second(1_000_000)?,
///         serial: [1; 20],
///     },
///     None,
///     &ca_key,
/// )?;
/// let ca = Certificate::from_der(&ca)?;
/// let profile = LeafProfile {
///     public_key: KeyPair::generate(KeyType::EcdsaP256)?.public_key().clone(),
///     san: San::Email("alice@example.com".into()),
///     fulcio: FulcioExtensions { issuer_v2: Some("https://issuer.example".into()), ..Default::default() },
///     not_before: Timestamp::from_second(1000)?,
///     not_after: Timestamp::from_second(1600)?,
///     serial: [7; 20],
/// };
/// let precertificate = Precertificate::build(&profile, &ca, &ca_key)?;
/// // … submit precertificate.der() to a CT log, which signs precertificate.entry() …
/// # let log = KeyPair::generate(KeyType::EcdsaP256)?;
/// # let data = countersign_x509::sct::signed_data(1_000_000, precertificate.entry(), &[])?;
/// # let sct = countersign_x509::sct::Sct {
/// #     log_id: log.public_key().fingerprint(), timestamp_ms: 1_000_000, extensions: vec![],
/// #     scheme: log.scheme(), signature: log.sign(&data)?,
/// # };
/// let certificate = Certificate::from_der(&precertificate.into_certificate(&[sct], &ca_key)?)?;
/// certificate.scts()?[0].verify(&certificate, ca.public_key(), log.public_key())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precertificate {
    der: Vec<u8>,
    tbs_for_sct: Vec<u8>,
    issuer_key: PublicKey,
    issuer_key_hash: [u8; 32],
    head: Vec<u8>,
    extensions: Vec<u8>,
    signature_algorithm: Vec<u8>,
}

impl Precertificate {
    /// Writes and signs the precertificate.
    ///
    /// # Errors
    /// [`IssueError`] when the issuer may not issue it, when there is no issuer in the profile's extensions, or
    /// when the name cannot be written.
    pub fn build(
        profile: &LeafProfile,
        issuer: &Certificate,
        signer: &dyn Signer,
    ) -> Result<Self, IssueError> {
        check_issuer(issuer, signer, profile.not_before, profile.not_after)?;
        if profile.fulcio.issuer().is_none_or(str::is_empty) {
            return Err(IssueError::Missing("the issuer of the identity"));
        }
        let signature_algorithm = signer.scheme().x509_algorithm()?;
        let head = Head {
            serial: &profile.serial,
            issuer: issuer.subject(),
            not_before: profile.not_before,
            not_after: profile.not_after,
            subject: &Name::new(None, None),
            public_key: &profile.public_key,
        }
        .write(&signature_algorithm)?;
        let extensions = extensions(profile, issuer)?;
        let poison = extension(&oid::CT_POISON, true, &write::null());
        let der = sign(&write_tbs(&head, &[&extensions, &poison]), &signature_algorithm, signer)?;
        Ok(Self {
            der,
            tbs_for_sct: write_tbs(&head, &[&extensions]),
            issuer_key: issuer.public_key().clone(),
            issuer_key_hash: sha256(issuer.public_key().spki_der()),
            head,
            extensions,
            signature_algorithm,
        })
    }

    /// The precertificate, for `add-pre-chain`.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The signed part without the poison, for the SCT.
    #[must_use]
    pub fn tbs_for_sct(&self) -> &[u8] {
        &self.tbs_for_sct
    }

    /// SHA-256 of the issuer's `SubjectPublicKeyInfo`, for the SCT.
    #[must_use]
    pub const fn issuer_key_hash(&self) -> [u8; 32] {
        self.issuer_key_hash
    }

    /// What a log signs and puts into its tree.
    #[must_use]
    pub fn entry(&self) -> SignedEntry<'_> {
        SignedEntry::Precertificate { issuer_key_hash: self.issuer_key_hash, tbs: &self.tbs_for_sct }
    }

    /// Writes and signs the certificate: the same, with the SCTs instead of the poison.
    ///
    /// # Errors
    /// [`IssueError::Missing`] without an SCT, [`IssueError::OtherKey`] with another key than before.
    pub fn into_certificate(self, scts: &[Sct], signer: &dyn Signer) -> Result<Vec<u8>, IssueError> {
        if scts.is_empty() {
            return Err(IssueError::Missing("a signed certificate timestamp"));
        }
        if *signer.public_key() != self.issuer_key {
            return Err(IssueError::OtherKey { issuer: "of the precertificate".into() });
        }
        let list = extension(&oid::SCT_LIST, false, &Sct::extension_value(scts)?);
        sign(&write_tbs(&self.head, &[&self.extensions, &list]), &self.signature_algorithm, signer)
    }
}

/// All extensions but poison and SCT list, joined, in Fulcio's order.
fn extensions(profile: &LeafProfile, issuer: &Certificate) -> Result<Vec<u8>, IssueError> {
    let mut out = [
        key_usage(&DIGITAL_SIGNATURE),
        extended_key_usage(&oid::CODE_SIGNING, false),
        subject_key_id(&profile.public_key),
        authority_key_id(issuer),
        // Critical, because the subject is empty (RFC 5280 section 4.2.1.6).
        extension(&oid::SUBJECT_ALT_NAME, true, &write::sequence(&[&profile.san.to_der()?])),
    ]
    .concat();
    for (kind, value) in profile.fulcio.to_der() {
        out.extend_from_slice(&write::sequence(&[&kind, &write::octet_string(&value)]));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written from the fields of a real Fulcio certificate is that certificate, byte for byte.
    #[test]
    fn a_real_fulcio_leaf_is_written_again_to_the_byte() {
        let real = Certificate::from_der(include_bytes!("../../tests/data/fulcio_leaf.der")).unwrap();
        let profile = LeafProfile {
            public_key: real.public_key().clone(),
            san: real.sans()[0].clone(),
            fulcio: real.fulcio().clone(),
            not_before: real.not_before(),
            not_after: real.not_after(),
            serial: real.serial().try_into().unwrap(),
        };
        let algorithm = real.signature_scheme().unwrap().x509_algorithm().unwrap();
        let head = Head {
            serial: &profile.serial,
            issuer: real.issuer(),
            not_before: profile.not_before,
            not_after: profile.not_after,
            subject: real.subject(),
            public_key: &profile.public_key,
        }
        .write(&algorithm)
        .unwrap();
        // The issuer's certificate is not at hand; its key identifier is in the leaf.
        let ours = extensions(&profile, &real).unwrap();
        let own_id = real.subject_key_id().unwrap();
        let issuer_id = real.authority_key_id().unwrap();
        assert_eq!(own_id, super::super::key_id(real.public_key()), "SHA-1 of the key's bits");
        let at =
            ours.windows(24).position(|w| w[..4] == [0x30, 0x16, 0x80, 0x14] && &w[4..] == own_id).unwrap();
        let ours = [&ours[..at + 4], issuer_id, &ours[at + 24..]].concat();
        assert_eq!(write_tbs(&head, &[&ours]), real.tbs_for_sct().unwrap());
        let list = extension(&oid::SCT_LIST, false, &Sct::extension_value(&real.scts().unwrap()).unwrap());
        assert_eq!(write_tbs(&head, &[&ours, &list]), real.tbs_der());
    }
}
