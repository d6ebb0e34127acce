//! Signed certificate timestamps (RFC 6962 section 3.2): a CT log's promise that it has seen a certificate.

use countersign_crypto::{CryptoError, HashAlgorithm, PublicKey, Scheme, encoding, sha256};

use crate::{Certificate, X509Error, write};

/// How many SCTs a list may hold.
pub const MAX_SCTS: usize = 32;
/// The longest list read, in bytes.
const MAX_LIST_LEN: usize = 32 * 1024;

const WHAT: &str = "SCT list";

/// One signed certificate timestamp, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sct {
    /// SHA-256 of the log's `SubjectPublicKeyInfo`.
    pub log_id: [u8; 32],
    /// When the log took the certificate in, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// Extensions in TLS form; a static-ct log writes its `leaf_index` here.
    pub extensions: Vec<u8>,
    /// How the log signed.
    pub scheme: Scheme,
    /// The log's signature.
    pub signature: Vec<u8>,
}

/// Why an SCT does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SctError {
    /// The key is not that of the log named in the SCT.
    #[error(
        "the SCT is of log {}, expected log {}",
        encoding::hex_encode(found),
        encoding::hex_encode(expected)
    )]
    OtherLog {
        /// The log id that belongs to the key.
        expected: [u8; 32],
        /// The log id in the SCT.
        found: [u8; 32],
    },
    /// The certificate carries no SCT list, so it is not what an embedded SCT is for.
    #[error("the certificate has no embedded SCT list")]
    NotEmbedded,
    /// The signature does not verify.
    #[error("the SCT of log {}: {source}", encoding::hex_encode(log_id))]
    Signature {
        /// The log named in the SCT.
        log_id: [u8; 32],
        /// What the crypto crate says.
        source: CryptoError,
    },
    /// The certificate cannot be taken apart.
    #[error(transparent)]
    Certificate(#[from] X509Error),
}

/// What a log promises to have seen.
#[derive(Debug, Clone, Copy)]
pub enum SignedEntry<'a> {
    /// A certificate, DER.
    Certificate(&'a [u8]),
    /// A precertificate.
    Precertificate {
        /// SHA-256 of the issuing authority's `SubjectPublicKeyInfo`.
        issuer_key_hash: [u8; 32],
        /// The signed part without SCT list and poison ([`Certificate::tbs_for_sct`]).
        tbs: &'a [u8],
    },
}

/// The bytes which a log signs for an SCT: `digitally-signed struct` of RFC 6962 section 3.2. The log's `MerkleTreeLeaf`
/// (section 3.4) has the same bytes, because both begin with version 0 and a type 0.
///
/// # Errors
/// [`X509Error::TooLarge`] when a length does not fit its field.
pub fn signed_data(
    timestamp_ms: u64,
    entry: SignedEntry<'_>,
    extensions: &[u8],
) -> Result<Vec<u8>, X509Error> {
    let (SignedEntry::Certificate(body) | SignedEntry::Precertificate { tbs: body, .. }) = entry;
    let mut out = Vec::with_capacity(body.len() + extensions.len() + 64);
    // Version v1; signature type certificate_timestamp.
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&timestamp_ms.to_be_bytes());
    match entry {
        SignedEntry::Certificate(_) => out.extend_from_slice(&[0, 0]),
        SignedEntry::Precertificate { issuer_key_hash, .. } => {
            out.extend_from_slice(&[0, 1]);
            out.extend_from_slice(&issuer_key_hash);
        }
    }
    let length = u32::try_from(body.len()).ok().filter(|l| *l < 1 << 24).ok_or(X509Error::TooLarge {
        what: "CT log entry",
        limit: (1 << 24) - 1,
        found: body.len(),
    })?;
    out.extend_from_slice(length.to_be_bytes().get(1..).unwrap_or(&[]));
    out.extend_from_slice(body);
    put_u16_vector(&mut out, "SCT extensions", extensions)?;
    Ok(out)
}

fn put_u16_vector(out: &mut Vec<u8>, what: &'static str, bytes: &[u8]) -> Result<(), X509Error> {
    let too_large = |_| X509Error::TooLarge { what, limit: usize::from(u16::MAX), found: bytes.len() };
    out.extend_from_slice(&u16::try_from(bytes.len()).map_err(too_large)?.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// TLS `SignatureAndHashAlgorithm` (RFC 5246 section 7.4.1.4.1, RFC 8446 section 4.2.3).
const ALGORITHMS: [([u8; 2], Scheme); 10] = [
    ([4, 3], Scheme::Ecdsa(HashAlgorithm::Sha256)),
    ([5, 3], Scheme::Ecdsa(HashAlgorithm::Sha384)),
    ([6, 3], Scheme::Ecdsa(HashAlgorithm::Sha512)),
    ([4, 1], Scheme::RsaPkcs1(HashAlgorithm::Sha256)),
    ([5, 1], Scheme::RsaPkcs1(HashAlgorithm::Sha384)),
    ([6, 1], Scheme::RsaPkcs1(HashAlgorithm::Sha512)),
    ([8, 4], Scheme::RsaPss(HashAlgorithm::Sha256)),
    ([8, 5], Scheme::RsaPss(HashAlgorithm::Sha384)),
    ([8, 6], Scheme::RsaPss(HashAlgorithm::Sha512)),
    ([8, 7], Scheme::Ed25519),
];

/// TLS `DigitallySigned`: algorithm and signature. Logs answer with it in JSON.
///
/// # Errors
/// [`X509Error::Unsupported`] for Ed25519ph, which TLS has no name for; [`X509Error::TooLarge`].
pub fn digitally_signed(scheme: Scheme, signature: &[u8]) -> Result<Vec<u8>, X509Error> {
    let (bytes, _) = ALGORITHMS
        .iter()
        .find(|(_, s)| *s == scheme)
        .ok_or_else(|| X509Error::Unsupported { what: "SCT", detail: scheme.to_string() })?;
    let mut out = bytes.to_vec();
    put_u16_vector(&mut out, "SCT signature", signature)?;
    Ok(out)
}

/// Reads what [`digitally_signed`] writes.
///
/// # Errors
/// [`X509Error`] for an unknown algorithm, a wrong length or bytes behind the end.
pub fn parse_digitally_signed(bytes: &[u8]) -> Result<(Scheme, Vec<u8>), X509Error> {
    let mut rest = bytes;
    let algorithm = take_array::<2>(&mut rest)?;
    let (_, scheme) =
        ALGORITHMS.iter().find(|(b, _)| *b == algorithm).ok_or_else(|| X509Error::Unsupported {
            what: "SCT",
            detail: format!("TLS algorithm {}", encoding::hex_encode(&algorithm)),
        })?;
    let signature = take_u16_vector(&mut rest)?;
    if !rest.is_empty() {
        return Err(X509Error::malformed("SCT", "there are bytes behind the signature"));
    }
    Ok((*scheme, signature.to_vec()))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], X509Error> {
    let (head, tail) =
        rest.split_at_checked(len).ok_or_else(|| X509Error::malformed(WHAT, "it ends too early"))?;
    *rest = tail;
    Ok(head)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], X509Error> {
    take(rest, N)?.try_into().map_err(|_| X509Error::malformed(WHAT, "it ends too early"))
}

fn take_u16_vector<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], X509Error> {
    let len = usize::from(u16::from_be_bytes(take_array(rest)?));
    take(rest, len)
}

impl Sct {
    /// Reads one SCT in TLS form.
    ///
    /// # Errors
    /// [`X509Error`] for another version, an unknown algorithm, wrong lengths, bytes behind the end.
    pub fn parse(bytes: &[u8]) -> Result<Self, X509Error> {
        let mut rest = bytes;
        let [version] = take_array(&mut rest)?;
        if version != 0 {
            return Err(X509Error::Unsupported { what: "SCT", detail: format!("version {version}") });
        }
        let log_id = take_array(&mut rest)?;
        let timestamp_ms = u64::from_be_bytes(take_array(&mut rest)?);
        let extensions = take_u16_vector(&mut rest)?.to_vec();
        let (scheme, signature) = parse_digitally_signed(rest)?;
        Ok(Self { log_id, timestamp_ms, extensions, scheme, signature })
    }

    /// Writes the SCT in TLS form.
    ///
    /// # Errors
    /// As [`digitally_signed`].
    pub fn encode(&self) -> Result<Vec<u8>, X509Error> {
        let mut out = vec![0];
        out.extend_from_slice(&self.log_id);
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        put_u16_vector(&mut out, "SCT extensions", &self.extensions)?;
        out.extend_from_slice(&digitally_signed(self.scheme, &self.signature)?);
        Ok(out)
    }

    /// Reads a `SignedCertificateTimestampList` (RFC 6962 section 3.3), the content of the OCTET STRING in the
    /// extension.
    ///
    /// # Errors
    /// [`X509Error`] for anything malformed, an empty list, more than [`MAX_SCTS`].
    pub fn parse_list(bytes: &[u8]) -> Result<Vec<Self>, X509Error> {
        if bytes.len() > MAX_LIST_LEN {
            return Err(X509Error::TooLarge { what: WHAT, limit: MAX_LIST_LEN, found: bytes.len() });
        }
        let mut outer = bytes;
        let mut list = take_u16_vector(&mut outer)?;
        if !outer.is_empty() {
            return Err(X509Error::malformed(WHAT, "there are bytes behind the end"));
        }
        let mut out = Vec::new();
        while !list.is_empty() {
            if out.len() == MAX_SCTS {
                return Err(X509Error::TooMany { what: WHAT, limit: MAX_SCTS });
            }
            out.push(Self::parse(take_u16_vector(&mut list)?)?);
        }
        if out.is_empty() {
            return Err(X509Error::malformed(WHAT, "the list is empty"));
        }
        Ok(out)
    }

    /// Writes a list, as [`Sct::parse_list`] reads it.
    ///
    /// # Errors
    /// As [`Sct::encode`].
    pub fn encode_list(scts: &[Self]) -> Result<Vec<u8>, X509Error> {
        let mut body = Vec::new();
        for sct in scts {
            put_u16_vector(&mut body, WHAT, &sct.encode()?)?;
        }
        let mut out = Vec::with_capacity(body.len() + 2);
        put_u16_vector(&mut out, WHAT, &body)?;
        Ok(out)
    }

    /// The content of the certificate extension: the list in a DER OCTET STRING.
    pub(crate) fn extension_value(scts: &[Self]) -> Result<Vec<u8>, X509Error> {
        Ok(write::octet_string(&Self::encode_list(scts)?))
    }

    /// Checks that a log has promised to have seen this certificate. The SCT is meant to be one of those
    /// embedded in `leaf`. `issuer_key` is the key of the authority which issued the leaf: take it from the
    /// verified path ([`crate::chain::VerifiedChain::issuer`]), never by looking up a name.
    ///
    /// # Errors
    /// [`SctError`].
    pub fn verify(
        &self,
        leaf: &Certificate,
        issuer_key: &PublicKey,
        log_key: &PublicKey,
    ) -> Result<(), SctError> {
        if !leaf.has_sct_list() {
            return Err(SctError::NotEmbedded);
        }
        let tbs = leaf.tbs_for_sct()?;
        let entry = SignedEntry::Precertificate { issuer_key_hash: sha256(issuer_key.spki_der()), tbs: &tbs };
        self.verify_entry(entry, log_key)
    }

    /// Checks an SCT that was delivered beside the certificate.
    ///
    /// # Errors
    /// [`SctError`].
    pub fn verify_detached(&self, leaf: &Certificate, log_key: &PublicKey) -> Result<(), SctError> {
        self.verify_entry(SignedEntry::Certificate(leaf.der()), log_key)
    }

    fn verify_entry(&self, entry: SignedEntry<'_>, log_key: &PublicKey) -> Result<(), SctError> {
        let expected = log_key.fingerprint();
        if self.log_id != expected {
            return Err(SctError::OtherLog { expected, found: self.log_id });
        }
        let data = signed_data(self.timestamp_ms, entry, &self.extensions)?;
        log_key
            .verify(self.scheme, &data, &self.signature)
            .map_err(|source| SctError::Signature { log_id: self.log_id, source })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_sct() -> impl Strategy<Value = Sct> {
        let bytes = |n| proptest::collection::vec(any::<u8>(), 0..n);
        (any::<[u8; 32]>(), any::<u64>(), bytes(20), 0..ALGORITHMS.len(), bytes(80)).prop_map(
            |(log_id, timestamp_ms, extensions, algorithm, signature)| Sct {
                log_id,
                timestamp_ms,
                extensions,
                scheme: ALGORITHMS[algorithm].1,
                signature,
            },
        )
    }

    proptest! {
        #[test]
        fn lists_read_back(scts in proptest::collection::vec(any_sct(), 1..5)) {
            let bytes = Sct::encode_list(&scts).unwrap();
            prop_assert_eq!(Sct::parse_list(&bytes).unwrap(), scts);
        }

        #[test]
        fn a_list_cut_short_or_made_longer_is_refused(sct in any_sct(), cut in 0_usize..100) {
            let bytes = Sct::encode_list(&[sct]).unwrap();
            prop_assert!(Sct::parse_list(&bytes[..bytes.len().saturating_sub(cut + 1)]).is_err());
            prop_assert!(Sct::parse_list(&[bytes, vec![0]].concat()).is_err());
        }
    }

    #[test]
    fn empty_lists_other_versions_and_unknown_algorithms_are_refused() {
        assert!(Sct::parse_list(&[0, 0]).is_err());
        assert!(Sct::parse_list(&[]).is_err());
        let sct = Sct {
            log_id: [7; 32],
            timestamp_ms: 1,
            extensions: vec![],
            scheme: Scheme::ECDSA_SHA256,
            signature: vec![1],
        };
        let mut bytes = sct.encode().unwrap();
        bytes[0] = 1;
        assert!(Sct::parse(&bytes).is_err());
        let mut bytes = sct.encode().unwrap();
        bytes[43] = 2;
        assert!(Sct::parse(&bytes).is_err(), "a hash of TLS number 2, SHA-1");
        assert!(Sct { scheme: Scheme::Ed25519ph, ..sct }.encode().is_err());
    }
}
