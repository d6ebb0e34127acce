//! `TimeStampReq` (RFC 3161 section 2.4.1).

use countersign_crypto::{Digest, HashAlgorithm};
use der::Tag;
use der::asn1::ObjectIdentifier;

use super::{MAX_OID_LEN, hash_of, read_hash, write_imprint};
use crate::asn1::{Cursor, Tlv, check_limits, constructed, decode_all};
use crate::{X509Error, write};

/// The largest request read, in bytes. Real ones have 50 to 100.
pub const MAX_REQUEST_LEN: usize = 4 * 1024;
/// The largest nonce read, in bytes. Clients send 8.
pub const MAX_NONCE_LEN: usize = 32;

const WHAT: &str = "timestamp request";

/// A request for a timestamp.
///
/// ```
/// use countersign_crypto::HashAlgorithm;
/// use countersign_x509::timestamp::TimestampRequest;
/// let request = TimestampRequest {
///     imprint: HashAlgorithm::Sha256.digest(b"a signature"),
///     policy: None,
///     nonce: Some(vec![0x52, 0x71]),
///     cert_req: true,
/// };
/// assert_eq!(TimestampRequest::parse(&request.encode()?)?, request);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRequest {
    /// The digest of what is to be stamped.
    pub imprint: Digest,
    /// The policy asked for; `None` leaves it to the authority.
    pub policy: Option<ObjectIdentifier>,
    /// A number the answer must repeat: the content of a DER INTEGER (two's complement, shortest form).
    pub nonce: Option<Vec<u8>>,
    /// Whether the answer shall contain the authority's certificate.
    pub cert_req: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not DER, or not a request.
    #[error(transparent)]
    Malformed(#[from] X509Error),
    /// A hash other than SHA-256, SHA-384 and SHA-512.
    #[error("expected an imprint by sha256, sha384 or sha512, found hash algorithm {oid}")]
    WeakHash {
        /// The hash's OID.
        oid: String,
    },
    /// An imprint whose length does not fit its hash.
    #[error("a {algorithm} imprint has {expected} bytes, found {found}")]
    ImprintLength {
        /// The hash.
        algorithm: HashAlgorithm,
        /// The length of its digests in bytes.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// The request has extensions; none is supported.
    #[error("the request has extensions, which are not supported")]
    Extensions,
}

impl TimestampRequest {
    /// Reads a DER request.
    ///
    /// # Errors
    /// [`RequestError`]; also for a version other than 1, a nonce of more than [`MAX_NONCE_LEN`] bytes, more than
    /// [`MAX_REQUEST_LEN`] bytes at all, and bytes behind the end.
    pub fn parse(der: &[u8]) -> Result<Self, RequestError> {
        check_limits(WHAT, der, MAX_REQUEST_LEN)?;
        let mut outer = Cursor::new(WHAT, der)?;
        let mut fields = outer.sequence()?;
        outer.finish()?;
        if fields.unsigned()? != [1] {
            return Err(X509Error::malformed(WHAT, "expected version 1, found another").into());
        }
        let mut imprint = fields.sequence()?;
        let kind = read_hash(WHAT, &mut imprint)?;
        let digest = imprint.octets()?;
        imprint.finish()?;
        let policy = match fields.optional(Tag::ObjectIdentifier)? {
            Some(tlv) if tlv.value.len() > MAX_OID_LEN => {
                let (what, found) = ("policy identifier", tlv.value.len());
                return Err(X509Error::TooLarge { what, limit: MAX_OID_LEN, found }.into());
            }
            Some(tlv) => Some(decode_all(WHAT, tlv.raw)?),
            None => None,
        };
        let nonce = fields.optional(Tag::Integer)?.map(integer).transpose()?;
        let cert_req = match fields.optional(Tag::Boolean)? {
            Some(tlv) => decode_all(WHAT, tlv.raw)?,
            None => false,
        };
        let extensions = fields.optional(constructed(0))?;
        fields.finish()?;
        if extensions.is_some() {
            return Err(RequestError::Extensions);
        }
        let algorithm = hash_of(&kind).ok_or_else(|| RequestError::WeakHash { oid: kind.to_string() })?;
        let imprint = Digest::new(algorithm, digest).map_err(|_| RequestError::ImprintLength {
            algorithm,
            expected: algorithm.output_len(),
            found: digest.len(),
        })?;
        Ok(Self { imprint, policy, nonce, cert_req })
    }

    /// Writes the request in DER.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] when the nonce is not the content of an INTEGER.
    pub fn encode(&self) -> Result<Vec<u8>, X509Error> {
        let policy = self.policy.as_ref().map(write::object_identifier).unwrap_or_default();
        let nonce = match &self.nonce {
            Some(content) => {
                let der = write::tlv(0x02, &[content]);
                let mut cursor = Cursor::new(WHAT, &der)?;
                integer(cursor.expect(Tag::Integer)?)?;
                der
            }
            None => Vec::new(),
        };
        let cert_req = if self.cert_req { write::boolean_true() } else { Vec::new() };
        Ok(write::sequence(&[
            &write::unsigned(&[1]),
            &write_imprint(WHAT, &self.imprint)?,
            &policy,
            &nonce,
            &cert_req,
        ]))
    }
}

/// The content of an INTEGER of any sign, in its shortest form and not too long.
pub(super) fn integer(tlv: Tlv<'_>) -> Result<Vec<u8>, X509Error> {
    let (what, limit, found) = ("INTEGER of a timestamp", MAX_NONCE_LEN, tlv.value.len());
    if found > limit {
        return Err(X509Error::TooLarge { what, limit, found });
    }
    match tlv.value {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => {
            Err(X509Error::malformed(what, "it is not in its shortest form"))
        }
        content => Ok(content.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::encoding::{base64_decode, hex_decode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_of_real_clients_are_read_and_written_alike() {
        let cosign =
            base64_decode("MDYCAQEwMTANBglghkgBZQMEAgEFAAQgAcIztyW8CNHTOYl0aHDoU/Z9Nrtw8DzS2OFVxVFK8js=")
                .unwrap();
        let request = TimestampRequest::parse(&cosign).unwrap();
        assert_eq!((&request.policy, &request.nonce, request.cert_req), (&None, &None, false));
        assert_eq!(request.imprint.algorithm(), HashAlgorithm::Sha256);
        assert_eq!(request.encode().unwrap(), cosign);

        let python = base64_decode(
            "MEMCAQEwMTANBglghkgBZQMEAgEFAAQgL+1Mhvf8AykrDWm6EW+w5e8oxSD7TzDXdQQoUGKRPnUCCFJyZd257pDfAQH/",
        )
        .unwrap();
        let request = TimestampRequest::parse(&python).unwrap();
        assert_eq!(request.nonce.as_deref(), Some(&hex_decode("527265ddb9ee90df").unwrap()[..]));
        assert!(request.cert_req);
        assert_eq!(request.encode().unwrap(), python);
    }

    /// Builds a request from raw parts.
    fn raw(version: u8, hash: &[u8], digest: &[u8], rest: &[&[u8]]) -> Vec<u8> {
        let algorithm = write::sequence(&[&write::tlv(0x06, &[hash]), &write::null()]);
        let imprint = write::sequence(&[&algorithm, &write::octet_string(digest)]);
        write::sequence(&[&write::unsigned(&[version]), &imprint, &rest.concat()])
    }

    const SHA256: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

    #[test]
    fn weak_hashes_wrong_lengths_and_extensions_are_told_apart() {
        let sha1 = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
        assert!(matches!(
            TimestampRequest::parse(&raw(1, &sha1, &[0; 20], &[])),
            Err(RequestError::WeakHash { .. })
        ));
        assert!(matches!(
            TimestampRequest::parse(&raw(1, &SHA256, &[0; 20], &[])),
            Err(RequestError::ImprintLength { expected: 32, found: 20, .. })
        ));
        let extension = write::constructed(0, &[]);
        assert_eq!(
            TimestampRequest::parse(&raw(1, &SHA256, &[0; 32], &[&extension])),
            Err(RequestError::Extensions)
        );
        assert!(TimestampRequest::parse(&raw(2, &SHA256, &[0; 32], &[])).is_err(), "version");
        assert!(TimestampRequest::parse(&raw(1, &SHA256, &[0; 32], &[])).is_ok());
    }

    #[test]
    fn s05_long_object_identifiers_are_refused_before_they_are_read() {
        let policy = write::tlv(0x06, &[&[1; 3000]]);
        assert!(TimestampRequest::parse(&raw(1, &SHA256, &[0; 32], &[&policy])).is_err());
        assert!(TimestampRequest::parse(&raw(1, &[1; 3000], &[0; 32], &[])).is_err());
        let large = write::tlv(0x06, &[&vec![1; 10_000_000]]);
        assert!(matches!(
            TimestampRequest::parse(&raw(1, &SHA256, &[0; 32], &[&large])),
            Err(RequestError::Malformed(X509Error::TooLarge { .. }))
        ));
    }

    #[test]
    fn v26_loose_requests_are_refused() {
        let good = raw(1, &SHA256, &[0; 32], &[]);
        assert!(TimestampRequest::parse(&[good.as_slice(), &[0]].concat()).is_err(), "bytes behind the end");
        for (name, part) in [
            ("a true of 1", &[0x01, 0x01, 0x01][..]),
            ("a nonce with a superfluous zero", &[0x02, 0x02, 0x00, 0x01]),
            ("an empty nonce", &[0x02, 0x00]),
            ("fields out of order", &[0x01, 0x01, 0xff, 0x02, 0x01, 0x01]),
            ("an unknown field", &[0x04, 0x00]),
        ] {
            assert!(TimestampRequest::parse(&raw(1, &SHA256, &[0; 32], &[part])).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn requests_read_back(
            algorithm in 0..3_usize,
            data in any::<u64>(),
            nonce in proptest::option::of(any::<u64>()),
            cert_req: bool,
            policy: bool,
        ) {
            let request = TimestampRequest {
                imprint: HashAlgorithm::ALL[algorithm].digest(&data.to_be_bytes()),
                policy: policy.then_some(crate::oid::SIGSTORE_TSA_POLICY),
                nonce: nonce.map(|n| write::unsigned(&n.to_be_bytes())[2..].to_vec()),
                cert_req,
            };
            prop_assert_eq!(TimestampRequest::parse(&request.encode().unwrap()).unwrap(), request);
        }
    }
}
