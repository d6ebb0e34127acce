//! Reading `TimeStampResp` (RFC 3161 section 2.4.2) and the CMS `SignedData` in it (RFC 5652 section 5.1).
//!
//! Reading keeps the bytes which the signature is over, and checks the form: DER, one signer, each signed
//! attribute once and with one value. Whether to believe it is [`TimestampToken::verify`].

use std::time::Duration;

use countersign_crypto::{CryptoError, Digest, HashAlgorithm, Scheme};
use der::Tag;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use super::{TimestampError, read_strong_hash, request};
use crate::asn1::{
    Cursor, Tlv, check_limits, constructed, decode_all, generalized_time, primitive, significant,
};
use crate::{X509Error, oid};

/// The largest response read, in bytes. Real ones have one to six thousand.
pub const MAX_TOKEN_LEN: usize = 64 * 1024;
/// How many certificates a token may carry.
const MAX_CERTIFICATES: usize = 8;
/// How many signed attributes a token may carry.
const MAX_ATTRIBUTES: usize = 32;
/// How many certificates the signing certificate attribute may name.
const MAX_CERTIFICATE_IDS: usize = 8;

pub(super) const WHAT: &str = "timestamp";

/// What an authority states (`TSTInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TstInfo {
    /// The policy under which it was stamped.
    pub policy: ObjectIdentifier,
    /// The digest of what was stamped.
    pub imprint: Digest,
    /// The timestamp's serial number: the content of a DER INTEGER.
    pub serial: Vec<u8>,
    /// When it was stamped.
    pub gen_time: Timestamp,
    /// How far off the time may be, if the authority says so.
    pub accuracy: Option<Duration>,
    /// The number from the request: the content of a DER INTEGER.
    pub nonce: Option<Vec<u8>>,
    /// The authority's name, a DER `GeneralName`. A hint only.
    pub tsa: Option<Vec<u8>>,
}

/// By what the signer's certificate is found (RFC 5652 section 5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignerId {
    /// Issuer and serial number.
    IssuerAndSerial {
        /// The issuer's name, DER.
        issuer: Vec<u8>,
        /// The serial number, big-endian without leading zeros.
        serial: Vec<u8>,
    },
    /// Subject key identifier.
    KeyId(Vec<u8>),
}

/// A digest of the signer's certificate, and perhaps its issuer and serial number (`ESSCertIDv2`, `ESSCertID`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateId {
    /// `None` is SHA-1, of the older attribute.
    pub(super) algorithm: Option<HashAlgorithm>,
    pub(super) hash: Vec<u8>,
    /// Issuer as `GeneralNames` content, and serial number.
    pub(super) issuer_serial: Option<(Vec<u8>, Vec<u8>)>,
}

/// A timestamp as it was received, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampToken {
    pub(super) info: TstInfo,
    /// The DER `TSTInfo`, which the message digest is of.
    pub(super) content: Vec<u8>,
    /// DER certificates that came along.
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) signer: SignerId,
    pub(super) digest_algorithm: HashAlgorithm,
    /// The signed attributes as the SET OF which the signature is over.
    pub(super) signed_attributes: Vec<u8>,
    pub(super) content_type: ObjectIdentifier,
    pub(super) message_digest: Vec<u8>,
    /// The first entry of each signing certificate attribute: the signer.
    pub(super) signing_certificates: Vec<CertificateId>,
    pub(super) scheme: Result<Scheme, CryptoError>,
    pub(super) signature: Vec<u8>,
}

impl TimestampToken {
    /// Reads a DER `TimeStampResp`.
    ///
    /// # Errors
    /// [`TimestampError::NotGranted`] when the authority refused, [`TimestampError::Malformed`] otherwise.
    pub fn parse(response: &[u8]) -> Result<Self, TimestampError> {
        check_limits(WHAT, response, MAX_TOKEN_LEN)?;
        let mut outer = Cursor::new(WHAT, response)?;
        let mut fields = outer.sequence()?;
        outer.finish()?;
        let mut status = fields.sequence()?;
        match status.unsigned()? {
            // granted, grantedWithMods
            [0 | 1] => {}
            other => {
                let status_number = other.last().copied().unwrap_or_default();
                let text = status.optional(Tag::Sequence)?.and_then(first_text).unwrap_or_default();
                return Err(TimestampError::NotGranted { status: status_number, text });
            }
        }
        let token = fields.expect(Tag::Sequence)?;
        fields.finish()?;
        Ok(Self::parse_content_info(token.raw)?)
    }

    /// Reads a DER `TimeStampToken`: what a response holds, as formats keep it which do not need the answer around it.
    ///
    /// # Errors
    /// [`TimestampError::Malformed`].
    pub fn parse_token(token: &[u8]) -> Result<Self, TimestampError> {
        check_limits(WHAT, token, MAX_TOKEN_LEN)?;
        Ok(Self::parse_content_info(token)?)
    }

    /// The DER `TimeStampToken` inside of a `TimeStampResp`.
    ///
    /// # Errors
    /// As [`TimestampToken::parse`].
    pub fn token_of(response: &[u8]) -> Result<Vec<u8>, TimestampError> {
        Self::parse(response)?;
        let mut outer = Cursor::new(WHAT, response)?;
        let mut fields = outer.sequence()?;
        fields.expect(Tag::Sequence)?;
        Ok(fields.expect(Tag::Sequence)?.raw.to_vec())
    }

    /// What the authority states. Believe it after [`TimestampToken::verify`] only.
    #[must_use]
    pub fn unverified_info(&self) -> &TstInfo {
        &self.info
    }

    /// By what the token names its signer.
    #[must_use]
    pub fn signer_id(&self) -> &SignerId {
        &self.signer
    }

    /// The certificates that came along, DER. They prove nothing.
    #[must_use]
    pub fn embedded_certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    fn parse_content_info(der: &[u8]) -> Result<Self, X509Error> {
        let mut outer = Cursor::new(WHAT, der)?;
        let mut content_info = outer.sequence()?;
        outer.finish()?;
        expect_oid(&mut content_info, &oid::SIGNED_DATA)?;
        let mut explicit = content_info.inside(constructed(0))?;
        content_info.finish()?;
        let mut signed = explicit.sequence()?;
        explicit.finish()?;

        match signed.unsigned()? {
            [1 | 3 | 4 | 5] => {}
            other => return Err(X509Error::malformed(WHAT, format!("unknown SignedData version {other:?}"))),
        }
        // Digest algorithms: a hint for readers of streams.
        signed.expect(Tag::Set)?;
        let mut encapsulated = signed.sequence()?;
        expect_oid(&mut encapsulated, &oid::TST_INFO)?;
        let mut explicit = encapsulated.inside(constructed(0))?;
        encapsulated.finish()?;
        let content = explicit.octets()?;
        explicit.finish()?;
        let mut certificates = Vec::new();
        if let Some(bag) = signed.optional(constructed(0))? {
            let mut bag = Cursor::new(WHAT, bag.value)?;
            while !bag.is_finished() {
                if certificates.len() == MAX_CERTIFICATES {
                    let what = "certificates in a timestamp";
                    return Err(X509Error::TooMany { what, limit: MAX_CERTIFICATES });
                }
                certificates.push(bag.next()?.raw.to_vec());
            }
        }
        // Revocation lists: not looked at.
        signed.optional(constructed(1))?;
        let mut signers = signed.inside(Tag::Set)?;
        signed.finish()?;
        let mut signer = signers.sequence()?;
        if !signers.is_finished() {
            return Err(X509Error::malformed(WHAT, "expected one signer, found several"));
        }

        check_limits(WHAT, content, MAX_TOKEN_LEN)?;
        let info = TstInfo::parse(content)?;
        signer.unsigned()?;
        let sid = signer_id(signer.next()?)?;
        let digest_algorithm = read_strong_hash(WHAT, &mut signer)?;
        let attributes = signer.expect(constructed(0))?;
        let scheme = signature_scheme(signer.expect(Tag::Sequence)?, digest_algorithm)?;
        let signature = signer.octets()?.to_vec();
        // Unsigned attributes prove nothing.
        signer.optional(constructed(1))?;
        signer.finish()?;
        let parsed = Attributes::parse(attributes.value)?;
        let missing =
            |what: &str| X509Error::malformed(WHAT, format!("the signed attribute {what} is missing"));
        Ok(Self {
            info,
            content: content.to_vec(),
            certificates,
            signer: sid,
            digest_algorithm,
            // The signature is over the SET OF, not over the [0] that stands here (RFC 5652 section 5.4).
            signed_attributes: crate::write::tlv(0x31, &[attributes.value]),
            content_type: parsed.content_type.ok_or_else(|| missing("contentType"))?,
            message_digest: parsed.message_digest.ok_or_else(|| missing("messageDigest"))?,
            signing_certificates: parsed.signing_certificates,
            scheme,
            signature,
        })
    }
}

fn expect_oid(cursor: &mut Cursor<'_>, expected: &ObjectIdentifier) -> Result<(), X509Error> {
    let found = cursor.oid()?;
    if found == *expected {
        Ok(())
    } else {
        Err(X509Error::malformed(WHAT, format!("expected content type {expected}, found {found}")))
    }
}

/// The first text of a `PKIFreeText`.
fn first_text(tlv: Tlv<'_>) -> Option<String> {
    let mut texts = Cursor::new(WHAT, tlv.value).ok()?;
    let text = texts.expect(Tag::Utf8String).ok()?;
    Some(String::from_utf8_lossy(text.value).into_owned())
}

fn signer_id(tlv: Tlv<'_>) -> Result<SignerId, X509Error> {
    if tlv.tag == primitive(0) {
        return Ok(SignerId::KeyId(tlv.value.to_vec()));
    }
    if tlv.tag != Tag::Sequence {
        return Err(X509Error::malformed(WHAT, format!("expected a signer identifier, found {}", tlv.tag)));
    }
    let mut fields = Cursor::new(WHAT, tlv.value)?;
    let issuer = fields.expect(Tag::Sequence)?.raw.to_vec();
    let serial = significant(fields.unsigned()?).to_vec();
    fields.finish()?;
    Ok(SignerId::IssuerAndSerial { issuer, serial })
}

/// How it is signed. Some writers name only the key's algorithm, and the hash elsewhere (RFC 5754 section 3.2).
fn signature_scheme(tlv: Tlv<'_>, digest: HashAlgorithm) -> Result<Result<Scheme, CryptoError>, X509Error> {
    let mut fields = Cursor::new(WHAT, tlv.value)?;
    if fields.oid()? == oid::RSA_ENCRYPTION {
        return Ok(Ok(Scheme::RsaPkcs1(digest)));
    }
    Ok(Scheme::from_x509_algorithm(tlv.raw))
}

impl TstInfo {
    fn parse(der: &[u8]) -> Result<Self, X509Error> {
        let mut outer = Cursor::new(WHAT, der)?;
        let mut fields = outer.sequence()?;
        outer.finish()?;
        if fields.unsigned()? != [1] {
            return Err(X509Error::malformed(WHAT, "expected TSTInfo version 1, found another"));
        }
        let policy = fields.oid()?;
        let mut imprint = fields.sequence()?;
        let algorithm = read_strong_hash(WHAT, &mut imprint)?;
        let digest = Digest::new(algorithm, imprint.octets()?).map_err(X509Error::crypto(WHAT))?;
        imprint.finish()?;
        // Some authorities take the top bit for a part of the number, which makes it negative.
        let serial = request::integer(fields.expect(Tag::Integer)?)?;
        let gen_time = generalized_time(WHAT, fields.expect(Tag::GeneralizedTime)?.value)?;
        let accuracy = fields.optional(Tag::Sequence)?.map(accuracy).transpose()?;
        // Ordering: it says how to compare two timestamps of this authority, which nobody does here.
        if let Some(tlv) = fields.optional(Tag::Boolean)? {
            decode_all::<bool>(WHAT, tlv.raw)?;
        }
        let nonce = fields.optional(Tag::Integer)?.map(request::integer).transpose()?;
        let tsa = fields.optional(constructed(0))?.map(|tlv| tlv.value.to_vec());
        if let Some(extensions) = fields.optional(constructed(1))? {
            refuse_critical(extensions.value)?;
        }
        fields.finish()?;
        Ok(Self { policy, imprint: digest, serial, gen_time, accuracy, nonce, tsa })
    }
}

/// Seconds, milliseconds and microseconds, each of which may be missing.
fn accuracy(tlv: Tlv<'_>) -> Result<Duration, X509Error> {
    let bad = || X509Error::malformed(WHAT, "an accuracy out of range");
    let number = |content: &[u8]| -> Result<u64, X509Error> {
        if matches!(content, [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..]) || content.len() > 5 {
            return Err(bad());
        }
        Ok(content.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let mut fields = Cursor::new(WHAT, tlv.value)?;
    let seconds = fields.optional(Tag::Integer)?.map_or(Ok(0), |t| number(t.value))?;
    let millis = fields.optional(primitive(0))?.map_or(Ok(0), |t| number(t.value))?;
    let micros = fields.optional(primitive(1))?.map_or(Ok(0), |t| number(t.value))?;
    fields.finish()?;
    if millis > 999 || micros > 999 {
        return Err(bad());
    }
    Ok(Duration::from_secs(seconds) + Duration::from_micros(millis * 1000 + micros))
}

/// No extension of `TSTInfo` is known here, so none may be critical.
fn refuse_critical(extensions: &[u8]) -> Result<(), X509Error> {
    let mut list = Cursor::new(WHAT, extensions)?;
    while !list.is_finished() {
        let mut fields = list.sequence()?;
        let kind = fields.oid()?;
        if let Some(tlv) = fields.optional(Tag::Boolean)?
            && decode_all::<bool>(WHAT, tlv.raw)?
        {
            return Err(X509Error::Unsupported { what: WHAT, detail: format!("critical extension {kind}") });
        }
        fields.octets()?;
        fields.finish()?;
    }
    Ok(())
}

#[derive(Default)]
struct Attributes {
    content_type: Option<ObjectIdentifier>,
    message_digest: Option<Vec<u8>>,
    signing_certificates: Vec<CertificateId>,
}

impl Attributes {
    /// Reads the content of the SET OF. It must be in DER's order: the signature is over these bytes, and a
    /// reader who puts them in order first would check others.
    fn parse(content: &[u8]) -> Result<Self, X509Error> {
        let mut all = Self::default();
        let mut seen: Vec<ObjectIdentifier> = Vec::new();
        let mut previous: &[u8] = &[];
        let mut list = Cursor::new(WHAT, content)?;
        while !list.is_finished() {
            if seen.len() == MAX_ATTRIBUTES {
                return Err(X509Error::TooMany { what: "signed attributes", limit: MAX_ATTRIBUTES });
            }
            let attribute = list.expect(Tag::Sequence)?;
            if attribute.raw <= previous {
                return Err(X509Error::malformed(WHAT, "the signed attributes are not in DER's order"));
            }
            previous = attribute.raw;
            let mut fields = Cursor::new(WHAT, attribute.value)?;
            let kind = fields.oid()?;
            let mut values = fields.inside(Tag::Set)?;
            fields.finish()?;
            if seen.contains(&kind) {
                return Err(X509Error::malformed(WHAT, format!("the signed attribute {kind} occurs twice")));
            }
            seen.push(kind);
            match kind {
                oid::CONTENT_TYPE => all.content_type = Some(values.oid()?),
                oid::MESSAGE_DIGEST => all.message_digest = Some(values.octets()?.to_vec()),
                oid::SIGNING_CERTIFICATE_V2 => {
                    all.signing_certificates.push(certificate_id(&mut values, true)?)
                }
                oid::SIGNING_CERTIFICATE => {
                    all.signing_certificates.push(certificate_id(&mut values, false)?)
                }
                _ => continue,
            }
            if !values.is_finished() {
                let detail = format!("the signed attribute {kind} has several values");
                return Err(X509Error::malformed(WHAT, detail));
            }
        }
        Ok(all)
    }
}

/// The first certificate named in `SigningCertificateV2` (RFC 5035) or `SigningCertificate` (RFC 2634).
fn certificate_id(values: &mut Cursor<'_>, v2: bool) -> Result<CertificateId, X509Error> {
    let mut fields = values.sequence()?;
    let mut ids = fields.sequence()?;
    fields.optional(Tag::Sequence)?;
    fields.finish()?;
    let mut first = None;
    let mut count = 0;
    while !ids.is_finished() {
        count += 1;
        if count > MAX_CERTIFICATE_IDS {
            return Err(X509Error::TooMany { what: "signing certificates", limit: MAX_CERTIFICATE_IDS });
        }
        let tlv = ids.expect(Tag::Sequence)?;
        if first.is_some() {
            continue;
        }
        let mut id = Cursor::new(WHAT, tlv.value)?;
        let mut ahead = id.clone();
        let algorithm = match (v2, ahead.optional(Tag::Sequence)?) {
            (false, _) => None,
            (true, None) => Some(HashAlgorithm::Sha256),
            (true, Some(_)) => Some(read_strong_hash(WHAT, &mut id)?),
        };
        let hash = id.octets()?.to_vec();
        let issuer_serial = match id.optional(Tag::Sequence)? {
            Some(tlv) => {
                let mut pair = Cursor::new(WHAT, tlv.value)?;
                let issuer = pair.expect(Tag::Sequence)?.value.to_vec();
                let serial = significant(pair.unsigned()?).to_vec();
                pair.finish()?;
                Some((issuer, serial))
            }
            None => None,
        };
        id.finish()?;
        first = Some(CertificateId { algorithm, hash, issuer_serial });
    }
    first.ok_or_else(|| X509Error::malformed(WHAT, "the signing certificate attribute names no certificate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v26_an_accuracy_has_one_spelling_and_its_parts_a_range() {
        let read = |content: &[u8]| {
            let der = crate::write::sequence(&[content]);
            accuracy(Cursor::new("t", &der).unwrap().next().unwrap())
        };
        assert_eq!(read(&[]), Ok(Duration::ZERO));
        let all = [0x02, 1, 2, 0x80, 2, 0x03, 0xe7, 0x81, 1, 5];
        assert_eq!(read(&all), Ok(Duration::from_micros(2_999_005)));
        for bad in [
            &[0x02, 0][..],
            &[0x02, 1, 0x80],
            &[0x02, 2, 0, 1],
            &[0x80, 2, 0x03, 0xe8],
            &[0x81, 2, 0x03, 0xe8],
            &[0x02, 6, 1, 0, 0, 0, 0, 0],
            &[0x81, 1, 1, 0x80, 1, 1],
        ] {
            assert!(read(bad).is_err(), "{bad:02x?}");
        }
    }
}
