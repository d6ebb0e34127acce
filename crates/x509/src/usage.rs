//! What a certificate says its key is for: key usage, extended key usage, basic constraints.

use der::Tag;
use der::asn1::ObjectIdentifier;

use crate::X509Error;
use crate::asn1::{Cursor, decode_all};

/// How many key purposes a certificate may list.
const MAX_PURPOSES: usize = 64;

/// The names of the bits of a key usage, bit 0 first (RFC 5280 section 4.2.1.3).
const USAGES: [&str; 9] = [
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

/// What a key may do (RFC 5280 section 4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// Bit 0 of the extension is the highest bit here.
    bits: u16,
    /// Whether the extension is marked critical.
    pub critical: bool,
}

impl KeyUsage {
    const fn bit(self, n: u16) -> bool {
        self.bits & (0x8000 >> n) != 0
    }
    /// The names of all that the key may do, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..).zip(USAGES).filter(move |(n, _)| self.bit(*n)).map(|(_, name)| name)
    }
    /// Bit 0: sign anything but certificates and revocation lists.
    #[must_use]
    pub const fn digital_signature(self) -> bool {
        self.bit(0)
    }
    /// Bit 1: sign what the signer must not deny later; once called nonRepudiation.
    #[must_use]
    pub const fn content_commitment(self) -> bool {
        self.bit(1)
    }
    /// Bit 5: sign certificates.
    #[must_use]
    pub const fn key_cert_sign(self) -> bool {
        self.bit(5)
    }
    /// Bit 6: sign revocation lists.
    #[must_use]
    pub const fn crl_sign(self) -> bool {
        self.bit(6)
    }

    pub(crate) fn parse(critical: bool, value: &[u8]) -> Result<Self, X509Error> {
        const WHAT: &str = "key usage";
        let bits: der::asn1::BitStringRef<'_> = decode_all(WHAT, value)?;
        // Bits behind the end are zero in DER. Who looks at them would see another usage than who does not.
        let behind = (1_u8 << bits.unused_bits()) - 1;
        if bits.raw_bytes().last().is_some_and(|last| last & behind != 0) {
            return Err(X509Error::malformed(WHAT, "expected zeros behind the last bit"));
        }
        let bits = match bits.raw_bytes() {
            [a] => u16::from_be_bytes([*a, 0]),
            [a, b] => u16::from_be_bytes([*a, *b]),
            _ => return Err(X509Error::malformed(WHAT, "expected one to nine bits")),
        };
        Ok(Self { bits, critical })
    }
}

/// For which purposes a key may be used (RFC 5280 section 4.2.1.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedKeyUsage {
    /// Whether the extension is marked critical.
    pub critical: bool,
    /// The purposes; at least one.
    pub purposes: Vec<ObjectIdentifier>,
}

impl ExtendedKeyUsage {
    /// Whether this purpose is listed by name; "any purpose" does not count.
    #[must_use]
    pub fn lists(&self, purpose: &ObjectIdentifier) -> bool {
        self.purposes.contains(purpose)
    }

    /// Whether this purpose and no other is listed.
    #[must_use]
    pub fn is_only(&self, purpose: &ObjectIdentifier) -> bool {
        self.purposes.as_slice() == [*purpose]
    }

    pub(crate) fn parse(critical: bool, value: &[u8]) -> Result<Self, X509Error> {
        const WHAT: &str = "extended key usage";
        let mut outer = Cursor::new(WHAT, value)?;
        let mut list = outer.sequence()?;
        outer.finish()?;
        let mut purposes = Vec::new();
        while !list.is_finished() {
            if purposes.len() == MAX_PURPOSES {
                return Err(X509Error::TooMany { what: WHAT, limit: MAX_PURPOSES });
            }
            purposes.push(list.oid()?);
        }
        if purposes.is_empty() {
            return Err(X509Error::malformed(WHAT, "no purpose is listed"));
        }
        Ok(Self { critical, purposes })
    }
}

/// Whether the subject may issue certificates (RFC 5280 section 4.2.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasicConstraints {
    /// Whether the extension is marked critical.
    pub critical: bool,
    /// Whether the subject is a certificate authority.
    pub ca: bool,
    /// How many further authorities may stand between it and a leaf; `None` is no limit.
    pub path_len: Option<u8>,
}

impl BasicConstraints {
    pub(crate) fn parse(critical: bool, value: &[u8]) -> Result<Self, X509Error> {
        const WHAT: &str = "basic constraints";
        let mut outer = Cursor::new(WHAT, value)?;
        let mut fields = outer.sequence()?;
        outer.finish()?;
        let ca = match fields.optional(Tag::Boolean)? {
            Some(tlv) => decode_all(WHAT, tlv.raw)?,
            None => false,
        };
        let path_len = match fields.is_finished() {
            true => None,
            false => Some(match fields.unsigned()? {
                [n] | [0, n] => *n,
                // Longer than any path that would be followed.
                _ => u8::MAX,
            }),
        };
        fields.finish()?;
        if path_len.is_some() && !ca {
            return Err(X509Error::malformed(WHAT, "a path length without being an authority"));
        }
        Ok(Self { critical, ca, path_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v26_bits_behind_the_end_of_a_key_usage_are_refused() {
        let parse = |value: &[u8]| KeyUsage::parse(true, value);
        assert!(parse(&[0x03, 2, 2, 0x04]).unwrap().key_cert_sign());
        // One bit long, and keyCertSign behind it.
        assert!(parse(&[0x03, 2, 7, 0x84]).is_err());
        assert!(parse(&[0x03, 2, 7, 0x80]).unwrap().digital_signature());
        assert_eq!(parse(&[0x03, 3, 7, 0x80, 0x80]).unwrap().names().last(), Some("decipherOnly"));
        for bad in [&[0x03, 1, 0][..], &[0x03, 2, 8, 0], &[0x03, 4, 0, 0, 0, 0], &[0x04, 2, 0, 0x80]] {
            assert!(parse(bad).is_err(), "{bad:02x?}");
        }
    }
}
