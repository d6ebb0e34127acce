//! Reading a certificate (RFC 5280 section 4) once, into an owned value.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use countersign_crypto::{CryptoError, PublicKey, Scheme, encoding};
use der::Tag;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use crate::asn1::{Cursor, certificate_time, check_limits, constructed, decode_all, primitive};
use crate::name::Printable;
use crate::sct::Sct;
use crate::usage::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use crate::{FulcioExtensions, Name, San, X509Error, oid, write};

/// The largest certificate that is read, in bytes. Real ones have one to three thousand.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;
/// How many extensions a certificate may have.
const MAX_EXTENSIONS: usize = 128;
/// How many certificates a PEM file may hold.
const MAX_PEM_CERTIFICATES: usize = 64;
/// Content of the serial number: 20 bytes (RFC 5280 section 4.1.2.2) and perhaps a zero for the sign.
const MAX_SERIAL_LEN: usize = 21;

const WHAT: &str = "certificate";

#[derive(PartialEq, Eq)]
struct Inner {
    der: Vec<u8>,
    /// Where in `der` the signed part is.
    tbs: Range<usize>,
    serial: Vec<u8>,
    issuer: Name,
    subject: Name,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: PublicKey,
    /// The DER `AlgorithmIdentifier` of the signature.
    signature_algorithm: Vec<u8>,
    signature: Vec<u8>,
    extensions: Extensions,
}

#[derive(Default, PartialEq, Eq)]
struct Extensions {
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<ExtendedKeyUsage>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
    sans: Vec<San>,
    fulcio: FulcioExtensions,
    sct_list: Option<Vec<u8>>,
    /// Where revocation is told, as it stands there: read by those who ask.
    distribution_points: Option<Vec<u8>>,
    authority_information: Option<Vec<u8>>,
    poisoned: bool,
    unknown_critical: Vec<ObjectIdentifier>,
}

/// A certificate: the bytes, and everything in them that is asked for later, read once.
///
/// Reading checks the form only. Whether to believe it is the question of [`crate::chain::verify`]. A clone is
/// cheap, and two certificates are equal when their bytes are.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

impl Certificate {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// [`X509Error`] for more than [`MAX_CERTIFICATE_LEN`] bytes, for anything that is not DER, for a version
    /// other than 3, a key that [`PublicKey`] does not take, an extension that occurs twice or is malformed, and
    /// for bytes behind the end. An unknown signature algorithm or critical extension is no error here: those
    /// are refused when a path is checked.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        check_limits(WHAT, der, MAX_CERTIFICATE_LEN)?;
        let mut outer = Cursor::new(WHAT, der)?;
        let whole = outer.expect(Tag::Sequence)?;
        outer.finish()?;
        let mut parts = Cursor::new(WHAT, whole.value)?;
        let tbs = parts.expect(Tag::Sequence)?;
        let signature_algorithm = parts.expect(Tag::Sequence)?;
        let signature = parts.bits()?;
        parts.finish()?;
        let tbs_start = der.len().saturating_sub(whole.value.len());

        let mut fields = Cursor::new(WHAT, tbs.value)?;
        match fields.optional(constructed(0))? {
            Some(version) if version.value == [0x02, 0x01, 0x02] => {}
            _ => return Err(X509Error::malformed(WHAT, "expected version 3, found another")),
        }
        let serial = fields.unsigned()?;
        if serial.len() > MAX_SERIAL_LEN {
            return Err(X509Error::TooLarge { what: "serial number", limit: 20, found: serial.len() });
        }
        let inner_algorithm = fields.expect(Tag::Sequence)?;
        if inner_algorithm.raw != signature_algorithm.raw {
            return Err(X509Error::malformed(WHAT, "the signed and the outer signature algorithm differ"));
        }
        let issuer = Name::parse(WHAT, fields.expect(Tag::Sequence)?)?;
        let mut validity = fields.sequence()?;
        let not_before = certificate_time(WHAT, validity.next()?)?;
        let not_after = certificate_time(WHAT, validity.next()?)?;
        validity.finish()?;
        let subject = Name::parse(WHAT, fields.expect(Tag::Sequence)?)?;
        let public_key = PublicKey::from_spki_der(fields.expect(Tag::Sequence)?.raw)
            .map_err(X509Error::crypto("certificate's key"))?;
        // Unique identifiers, obsolete and without meaning here.
        fields.optional(primitive(1))?;
        fields.optional(primitive(2))?;
        let extensions = match fields.optional(constructed(3))? {
            Some(tlv) => Extensions::parse(tlv.value)?,
            None => Extensions::default(),
        };
        fields.finish()?;

        Ok(Self(Arc::new(Inner {
            tbs: tbs_start..tbs_start.saturating_add(tbs.raw.len()),
            serial: serial.strip_prefix(&[0]).filter(|s| !s.is_empty()).unwrap_or(serial).to_vec(),
            issuer,
            subject,
            not_before,
            not_after,
            public_key,
            signature_algorithm: signature_algorithm.raw.to_vec(),
            signature: signature.to_vec(),
            extensions,
            der: der.to_vec(),
        })))
    }

    /// Reads a PEM text with exactly one certificate.
    ///
    /// # Errors
    /// As [`Certificate::chain_from_pem`], and for more than one certificate.
    pub fn from_pem(text: &str) -> Result<Self, X509Error> {
        let mut all = Self::chain_from_pem(text)?;
        match (all.pop(), all.len()) {
            (Some(one), 0) => Ok(one),
            (_, more) => Err(X509Error::malformed(
                WHAT,
                format!("expected one certificate, found {}", more.saturating_add(1)),
            )),
        }
    }

    /// Reads all certificates of a PEM text, in their order; at least one.
    ///
    /// # Errors
    /// [`X509Error`] as for [`Certificate::from_der`], and when the text has no certificate, more than 64, or
    /// a block of another label.
    pub fn chain_from_pem(text: &str) -> Result<Vec<Self>, X509Error> {
        let limit = MAX_PEM_CERTIFICATES.saturating_mul(MAX_CERTIFICATE_LEN);
        if text.len() > limit {
            return Err(X509Error::TooLarge { what: "PEM certificates", limit, found: text.len() });
        }
        let blocks = encoding::pem_decode(text).map_err(X509Error::crypto("PEM certificates"))?;
        if blocks.len() > MAX_PEM_CERTIFICATES {
            return Err(X509Error::TooMany { what: "PEM certificates", limit: MAX_PEM_CERTIFICATES });
        }
        let read = |block: &encoding::PemBlock| {
            if block.label == "CERTIFICATE" {
                Self::from_der(&block.der)
            } else {
                Err(X509Error::malformed(
                    "PEM certificates",
                    format!("expected a block \"CERTIFICATE\", found {:?}", block.label),
                ))
            }
        };
        blocks.iter().map(read).collect()
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        encoding::pem_encode("CERTIFICATE", &self.0.der)
    }

    /// All bytes, as they were read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The signed part (`TBSCertificate`), as it was read.
    #[must_use]
    pub fn tbs_der(&self) -> &[u8] {
        self.0.der.get(self.0.tbs.clone()).unwrap_or(&[])
    }

    /// The signed part without SCT list and poison: what a CT log signs (RFC 6962 section 3.2).
    ///
    /// # Errors
    /// [`X509Error::Malformed`]; cannot happen for bytes that were read before.
    pub fn tbs_for_sct(&self) -> Result<Vec<u8>, X509Error> {
        without_ct_extensions(self.tbs_der())
    }

    /// The serial number, big-endian without leading zeros.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// Whom the certificate is about; empty in Fulcio's leaves.
    #[must_use]
    pub fn subject(&self) -> &Name {
        &self.0.subject
    }

    /// Who signed it.
    #[must_use]
    pub fn issuer(&self) -> &Name {
        &self.0.issuer
    }

    /// The first second in which it is valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last second in which it is valid. "No end" is [`Timestamp::MAX`].
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Whether it is valid at this time; both borders count.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        // The last second counts to its end, as it does for those who compare whole seconds.
        self.0.not_before <= at && at.as_second() <= self.0.not_after.as_second()
    }

    /// The key it is for.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// The subject alternative names; several are possible, but Fulcio writes one.
    #[must_use]
    pub fn sans(&self) -> &[San] {
        &self.0.extensions.sans
    }

    /// What Fulcio says about the identity.
    #[must_use]
    pub fn fulcio(&self) -> &FulcioExtensions {
        &self.0.extensions.fulcio
    }

    /// Whether it is a certificate authority's.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.extensions.basic_constraints.is_some_and(|b| b.ca)
    }

    /// The extension of that name.
    #[must_use]
    pub fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.0.extensions.basic_constraints
    }

    /// The extension of that name.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.extensions.key_usage
    }

    /// The extension of that name.
    #[must_use]
    pub fn extended_key_usage(&self) -> Option<&ExtendedKeyUsage> {
        self.0.extensions.extended_key_usage.as_ref()
    }

    /// The extension of that name.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.subject_key_id.as_deref()
    }

    /// The key identifier in the extension of that name.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.authority_key_id.as_deref()
    }

    /// The content of the extension that says where revocation lists are (RFC 5280 section 4.2.1.13).
    pub(crate) fn distribution_points(&self) -> Option<&[u8]> {
        self.0.extensions.distribution_points.as_deref()
    }

    /// The content of the extension that says where the authority answers (RFC 5280 section 4.2.2.1).
    pub(crate) fn authority_information(&self) -> Option<&[u8]> {
        self.0.extensions.authority_information.as_deref()
    }

    /// Critical extensions which this crate does not know. A path with such a certificate is refused.
    #[must_use]
    pub fn unknown_critical_extensions(&self) -> &[ObjectIdentifier] {
        &self.0.extensions.unknown_critical
    }

    /// Whether it is a precertificate, made for a CT log and never valid.
    #[must_use]
    pub fn is_precertificate(&self) -> bool {
        self.0.extensions.poisoned
    }

    /// Whether it names itself as issuer and is signed by its own key.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.0.subject == self.0.issuer && self.verify_signed_by(&self.0.public_key).is_ok()
    }

    /// How it is signed.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for algorithms outside the registry, such as those with SHA-1.
    pub fn signature_scheme(&self) -> Result<Scheme, CryptoError> {
        Scheme::from_x509_algorithm(&self.0.signature_algorithm)
    }

    /// Checks the signature on it with a key; nothing else.
    ///
    /// # Errors
    /// [`CryptoError`].
    pub fn verify_signed_by(&self, key: &PublicKey) -> Result<(), CryptoError> {
        key.verify(self.signature_scheme()?, self.tbs_der(), &self.0.signature)
    }

    pub(crate) fn has_sct_list(&self) -> bool {
        self.0.extensions.sct_list.is_some()
    }

    /// The embedded signed certificate timestamps; none when there is no such extension.
    ///
    /// # Errors
    /// [`X509Error`] for a list that is malformed.
    pub fn scts(&self) -> Result<Vec<Sct>, X509Error> {
        match &self.0.extensions.sct_list {
            Some(list) => Sct::parse_list(list),
            None => Ok(Vec::new()),
        }
    }

    /// A few words that tell this certificate from others, for errors: subject, or alternative name, or serial.
    #[must_use]
    pub fn describe(&self) -> String {
        if let Some(cn) = &self.0.subject.common_name {
            format!("certificate \"{}\"", Printable(cn))
        } else if let Some(san) = self.sans().first() {
            format!("certificate of \"{san}\"")
        } else {
            format!("certificate with serial {}", encoding::hex_encode(self.serial()))
        }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, serial {})", self.describe(), encoding::hex_encode(self.serial()))
    }
}

/// One extension: its OID, whether it is critical, its content, and all its bytes.
pub(crate) struct RawExtension<'a> {
    pub(crate) oid: ObjectIdentifier,
    pub(crate) critical: bool,
    pub(crate) value: &'a [u8],
    raw: &'a [u8],
}

pub(crate) fn raw_extensions(explicit: &[u8]) -> Result<Vec<RawExtension<'_>>, X509Error> {
    const WHAT: &str = "certificate extension";
    let mut outer = Cursor::new(WHAT, explicit)?;
    let mut list = outer.sequence()?;
    outer.finish()?;
    let mut out: Vec<RawExtension<'_>> = Vec::new();
    while !list.is_finished() {
        if out.len() == MAX_EXTENSIONS {
            return Err(X509Error::TooMany { what: WHAT, limit: MAX_EXTENSIONS });
        }
        let tlv = list.expect(Tag::Sequence)?;
        let mut fields = Cursor::new(WHAT, tlv.value)?;
        let oid = fields.oid()?;
        let critical = match fields.optional(Tag::Boolean)? {
            Some(tlv) => decode_all(WHAT, tlv.raw)?,
            None => false,
        };
        let value = fields.octets()?;
        fields.finish()?;
        if out.iter().any(|e| e.oid == oid) {
            return Err(X509Error::malformed(WHAT, format!("{oid} occurs twice")));
        }
        out.push(RawExtension { oid, critical, value, raw: tlv.raw });
    }
    Ok(out)
}

impl Extensions {
    fn parse(explicit: &[u8]) -> Result<Self, X509Error> {
        let mut all = Self::default();
        for RawExtension { oid: kind, critical, value, .. } in raw_extensions(explicit)? {
            match kind {
                oid::BASIC_CONSTRAINTS => {
                    all.basic_constraints = Some(BasicConstraints::parse(critical, value)?)
                }
                oid::KEY_USAGE => all.key_usage = Some(KeyUsage::parse(critical, value)?),
                oid::EXTENDED_KEY_USAGE => {
                    all.extended_key_usage = Some(ExtendedKeyUsage::parse(critical, value)?);
                }
                oid::SUBJECT_KEY_ID => {
                    let mut cursor = Cursor::new("subject key identifier", value)?;
                    all.subject_key_id = Some(cursor.octets()?.to_vec());
                    cursor.finish()?;
                }
                oid::AUTHORITY_KEY_ID => all.authority_key_id = authority_key_id(value)?,
                oid::SUBJECT_ALT_NAME => all.sans = San::parse_all(value)?,
                oid::SCT_LIST => {
                    let mut cursor = Cursor::new("SCT list", value)?;
                    all.sct_list = Some(cursor.octets()?.to_vec());
                    cursor.finish()?;
                }
                oid::CT_POISON => all.poisoned = true,
                other => {
                    match other {
                        oid::CRL_DISTRIBUTION_POINTS => all.distribution_points = Some(value.to_vec()),
                        oid::AUTHORITY_INFORMATION => all.authority_information = Some(value.to_vec()),
                        _ => {}
                    }
                    if !all.fulcio.read(&other, value)? && critical {
                        all.unknown_critical.push(other);
                    }
                }
            }
        }
        Ok(all)
    }
}

/// The `keyIdentifier` in an `AuthorityKeyIdentifier`; the other two fields are not looked at.
fn authority_key_id(value: &[u8]) -> Result<Option<Vec<u8>>, X509Error> {
    let mut outer = Cursor::new("authority key identifier", value)?;
    let mut fields = outer.sequence()?;
    outer.finish()?;
    Ok(fields.optional(primitive(0))?.map(|tlv| tlv.value.to_vec()))
}

/// Takes SCT list and poison out of a `TBSCertificate`. All other bytes stay as they are.
pub(crate) fn without_ct_extensions(tbs: &[u8]) -> Result<Vec<u8>, X509Error> {
    let mut outer = Cursor::new(WHAT, tbs)?;
    let whole = outer.expect(Tag::Sequence)?;
    outer.finish()?;
    let mut fields = Cursor::new(WHAT, whole.value)?;
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut kept: Option<Vec<u8>> = None;
    while !fields.is_finished() {
        let field = fields.next()?;
        if field.tag == constructed(3) {
            let extensions = raw_extensions(field.value)?;
            let rest: Vec<&[u8]> = extensions
                .iter()
                .filter(|e| e.oid != oid::SCT_LIST && e.oid != oid::CT_POISON)
                .map(|e| e.raw)
                .collect();
            kept = Some(write::constructed(3, &[&write::sequence(&rest)]));
        } else {
            parts.push(field.raw);
        }
    }
    if let Some(extensions) = &kept {
        parts.push(extensions);
    }
    Ok(write::sequence(&parts))
}
