//! Certificate revocation lists (RFC 5280 section 5): read, checked against their issuer, asked for one certificate.
//!
//! A list may have a hundred thousand entries, so they stay the bytes they came as, and [`RevocationList::entries_of`]
//! walks over them. What a list says is worth something only after [`RevocationList::verify`]; that it is of the right
//! certificates and not too old is for those who ask ([`RevocationList::covers`], [`RevocationList::next_update`]).

use std::ops::Range;

use countersign_crypto::{CryptoError, Scheme};
use der::Tag;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use crate::asn1::{
    Cursor, certificate_time, check_limits, constructed, generalized_time, primitive, significant,
};
use crate::certificate::raw_extensions;
use crate::name::ia5;
use crate::{Certificate, Name, X509Error, oid};

/// The largest list that is read, in bytes.
pub const MAX_CRL_LEN: usize = 16 << 20;
/// How many addresses an extension may name.
const MAX_ADDRESSES: usize = 64;

const WHAT: &str = "revocation list";

/// Which certificates of its issuer a list is about (`IssuingDistributionPoint`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Scope {
    /// Where this list is published; empty when it does not say so.
    addresses: Vec<String>,
    only_users: bool,
    only_authorities: bool,
    /// Some reasons only, attribute certificates only, certificates of other issuers, or of a place without an address.
    partial: bool,
}

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Since when.
    pub at: Timestamp,
    /// `CRLReason`; 0 when none is given.
    pub reason: u8,
    /// Since when the key is not to be trusted, if it says so.
    pub invalid_since: Option<Timestamp>,
}

impl Revoked {
    /// `certificateHold`: for the time being.
    pub const HOLD: u8 = 6;
    /// `removeFromCRL`: not any more.
    pub const REMOVED: u8 = 8;
}

/// A revocation list as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    tbs: Range<usize>,
    /// The content of `revokedCertificates`.
    entries: Range<usize>,
    issuer: Name,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    number: Option<Vec<u8>>,
    /// Of a list that adds to another: the number of the oldest one it may be added to.
    adds_to: Option<Vec<u8>>,
    has_addition: bool,
    scope: Scope,
    unknown_critical: Option<ObjectIdentifier>,
    scheme: Result<Scheme, CryptoError>,
    signature: Vec<u8>,
}

impl RevocationList {
    /// Reads a DER list.
    ///
    /// # Errors
    /// [`X509Error`] for more than [`MAX_CRL_LEN`] bytes, for anything that is not DER, for another version than 2 and
    /// for bytes behind the end. The entries are read when they are asked for.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        check_limits(WHAT, der, MAX_CRL_LEN)?;
        let mut outer = Cursor::new(WHAT, der)?;
        let whole = outer.expect(Tag::Sequence)?;
        outer.finish()?;
        let mut parts = Cursor::new(WHAT, whole.value)?;
        let tbs = parts.expect(Tag::Sequence)?;
        let algorithm = parts.expect(Tag::Sequence)?.raw;
        let signature = parts.bits()?.to_vec();
        parts.finish()?;

        let mut fields = Cursor::new(WHAT, tbs.value)?;
        if fields.unsigned()? != [1] {
            return Err(X509Error::malformed(WHAT, "expected version 2, found another"));
        }
        if fields.expect(Tag::Sequence)?.raw != algorithm {
            return Err(X509Error::malformed(WHAT, "the signed and the outer signature algorithm differ"));
        }
        let issuer = Name::parse(WHAT, fields.expect(Tag::Sequence)?)?;
        let this_update = certificate_time(WHAT, fields.next()?)?;
        let next_update = match fields.optional(Tag::UtcTime)? {
            Some(tlv) => Some(tlv),
            None => fields.optional(Tag::GeneralizedTime)?,
        };
        let next_update = next_update.map(|tlv| certificate_time(WHAT, tlv)).transpose()?;
        let entries = fields.optional(Tag::Sequence)?.map_or(&[][..], |tlv| tlv.value);
        let mut list = Self {
            tbs: range_in(der, tbs.raw),
            entries: range_in(der, entries),
            issuer,
            this_update,
            next_update,
            number: None,
            adds_to: None,
            has_addition: false,
            scope: Scope::default(),
            unknown_critical: None,
            scheme: Scheme::from_x509_algorithm(algorithm),
            signature,
            der: der.to_vec(),
        };
        if let Some(explicit) = fields.optional(constructed(0))? {
            list.read_extensions(explicit.value)?;
        }
        fields.finish()?;
        Ok(list)
    }

    fn read_extensions(&mut self, explicit: &[u8]) -> Result<(), X509Error> {
        for extension in raw_extensions(explicit)? {
            let integer = || -> Result<Vec<u8>, X509Error> {
                let mut cursor = Cursor::new(WHAT, extension.value)?;
                let number = significant(cursor.unsigned()?).to_vec();
                cursor.finish()?;
                Ok(number)
            };
            match extension.oid {
                oid::CRL_NUMBER => self.number = Some(integer()?),
                oid::DELTA_CRL_INDICATOR => self.adds_to = Some(integer()?),
                oid::FRESHEST_CRL => self.has_addition = true,
                oid::ISSUING_DISTRIBUTION_POINT => self.scope = Scope::parse(extension.value)?,
                other if extension.critical => self.unknown_critical = Some(other),
                _ => {}
            }
        }
        Ok(())
    }

    /// Who wrote it.
    #[must_use]
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// When it was written.
    #[must_use]
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When the next one will be there at the latest; from then on this one is too old.
    #[must_use]
    pub fn next_update(&self) -> Option<Timestamp> {
        self.next_update
    }

    /// Whether there is, somewhere, a list that adds to this one.
    #[must_use]
    pub fn has_addition(&self) -> bool {
        self.has_addition
    }

    /// Whether it is itself one that only adds to another.
    #[must_use]
    pub fn is_addition(&self) -> bool {
        self.adds_to.is_some()
    }

    /// Whether it may be added to that list: newer, of the same issuer and scope, and reaching back to it.
    #[must_use]
    pub fn adds_to(&self, base: &Self) -> bool {
        let (Some(reach), Some(own), Some(number)) = (&self.adds_to, &self.number, &base.number) else {
            return false;
        };
        !base.is_addition()
            && self.issuer.der == base.issuer.der
            && self.scope == base.scope
            && order(own) > order(number)
            && order(reach) <= order(number)
    }

    /// Checks that this authority wrote it: by name, key usage cRLSign and signature; and that nothing in it is
    /// critical which is not known here.
    ///
    /// # Errors
    /// [`X509Error::Malformed`], [`X509Error::Unsupported`], [`X509Error::Crypto`].
    pub fn verify(&self, authority: &Certificate) -> Result<(), X509Error> {
        if self.issuer.der != authority.subject().der {
            return Err(X509Error::malformed(
                WHAT,
                format!("it is of {}, not of {}", self.issuer, authority.subject()),
            ));
        }
        if authority.key_usage().is_some_and(|usage| !usage.crl_sign()) {
            let detail = format!("{} has no key usage cRLSign", authority.describe());
            return Err(X509Error::malformed(WHAT, detail));
        }
        if let Some(extension) = self.unknown_critical {
            return Err(X509Error::Unsupported {
                what: WHAT,
                detail: format!("critical extension {extension}"),
            });
        }
        let scheme = self.scheme.clone().map_err(X509Error::crypto(WHAT))?;
        let tbs = self.der.get(self.tbs.clone()).unwrap_or(&[]);
        authority.public_key().verify(scheme, tbs, &self.signature).map_err(X509Error::crypto(WHAT))
    }

    /// Whether its silence says something about this certificate: it is of the certificate's kind and, when it names
    /// where it is published, of a place that the certificate names too.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] for a certificate whose extension does not parse.
    pub fn covers(&self, certificate: &Certificate) -> Result<bool, X509Error> {
        let scope = &self.scope;
        let kind = if certificate.is_ca() { !scope.only_users } else { !scope.only_authorities };
        if scope.partial || !kind {
            return Ok(false);
        }
        if scope.addresses.is_empty() {
            return Ok(true);
        }
        let named = distribution_points(certificate)?.unwrap_or_default();
        Ok(named.iter().any(|address| scope.addresses.contains(address)))
    }

    /// All entries for this serial number, in their order.
    ///
    /// # Errors
    /// [`X509Error`] for entries that do not parse, or have a critical extension which is not known here.
    pub fn entries_of(&self, serial: &[u8]) -> Result<Vec<Revoked>, X509Error> {
        let mut found = Vec::new();
        let mut list = Cursor::new(WHAT, self.der.get(self.entries.clone()).unwrap_or(&[]))?;
        while !list.is_finished() {
            let mut fields = list.sequence()?;
            if significant(fields.unsigned()?) == serial {
                found.push(entry(fields)?);
            }
        }
        Ok(found)
    }
}

fn entry(mut fields: Cursor<'_>) -> Result<Revoked, X509Error> {
    let mut revoked = Revoked { at: certificate_time(WHAT, fields.next()?)?, reason: 0, invalid_since: None };
    if let Some(extensions) = fields.optional(Tag::Sequence)? {
        for extension in raw_extensions(extensions.raw)? {
            let mut cursor = Cursor::new(WHAT, extension.value)?;
            match extension.oid {
                oid::CRL_REASON => match cursor.expect(Tag::Enumerated)?.value {
                    [reason] => revoked.reason = *reason,
                    _ => return Err(X509Error::malformed(WHAT, "a reason out of range")),
                },
                oid::INVALIDITY_DATE => {
                    let time = cursor.expect(Tag::GeneralizedTime)?.value;
                    revoked.invalid_since = Some(generalized_time(WHAT, time)?);
                }
                other if extension.critical => {
                    return Err(X509Error::Unsupported {
                        what: WHAT,
                        detail: format!("critical extension {other}"),
                    });
                }
                _ => {}
            }
        }
    }
    fields.finish()?;
    Ok(revoked)
}

impl Scope {
    fn parse(value: &[u8]) -> Result<Self, X509Error> {
        let mut outer = Cursor::new(WHAT, value)?;
        let mut fields = outer.sequence()?;
        outer.finish()?;
        let mut scope = Self::default();
        if let Some(point) = fields.optional(constructed(0))? {
            read_addresses(point.value, &mut scope.addresses)?;
            // A part of the certificates, under a name that cannot be compared here.
            scope.partial = scope.addresses.is_empty();
        }
        scope.only_users = flag(&mut fields, 1)?;
        scope.only_authorities = flag(&mut fields, 2)?;
        // A set of reasons, whichever they are.
        let some_reasons = fields.optional(primitive(3))?.is_some();
        let indirect = flag(&mut fields, 4)?;
        let attributes = flag(&mut fields, 5)?;
        scope.partial |= some_reasons || indirect || attributes;
        fields.finish()?;
        Ok(scope)
    }
}

/// `[n] IMPLICIT BOOLEAN`, false when it is not there.
fn flag(fields: &mut Cursor<'_>, n: u32) -> Result<bool, X509Error> {
    match fields.optional(primitive(n))?.map(|tlv| tlv.value) {
        None | Some([0]) => Ok(false),
        Some([0xff]) => Ok(true),
        Some(_) => Err(X509Error::malformed(WHAT, "a BOOLEAN that is neither true nor false")),
    }
}

/// Reads the addresses of a `DistributionPointName`, if it has any: a directory's name is none, and a name relative to
/// the issuer's neither.
fn read_addresses(content: &[u8], into: &mut Vec<String>) -> Result<(), X509Error> {
    let mut choice = Cursor::new(WHAT, content)?;
    let names = choice.next()?;
    choice.finish()?;
    if names.tag != constructed(0) {
        return Ok(());
    }
    let mut names = Cursor::new(WHAT, names.value)?;
    while !names.is_finished() {
        let name = names.next()?;
        if name.tag != primitive(6) {
            continue;
        }
        if into.len() == MAX_ADDRESSES {
            return Err(X509Error::TooMany { what: "addresses of revocation lists", limit: MAX_ADDRESSES });
        }
        into.push(ia5(WHAT, name.value)?);
    }
    Ok(())
}

/// Where a certificate says that its revocation list is; `None` when it has no such extension.
///
/// # Errors
/// [`X509Error::Malformed`], [`X509Error::TooMany`].
pub fn distribution_points(certificate: &Certificate) -> Result<Option<Vec<String>>, X509Error> {
    let Some(value) = certificate.distribution_points() else { return Ok(None) };
    let mut addresses = Vec::new();
    let mut outer = Cursor::new(WHAT, value)?;
    let mut points = outer.sequence()?;
    outer.finish()?;
    while !points.is_finished() {
        let mut point = points.sequence()?;
        if let Some(name) = point.optional(constructed(0))? {
            read_addresses(name.value, &mut addresses)?;
        }
    }
    Ok(Some(addresses))
}

/// Whether a certificate names a place that answers by OCSP.
///
/// # Errors
/// [`X509Error::Malformed`].
pub fn names_ocsp(certificate: &Certificate) -> Result<bool, X509Error> {
    let Some(value) = certificate.authority_information() else { return Ok(false) };
    let mut outer = Cursor::new("authority information", value)?;
    let mut descriptions = outer.sequence()?;
    outer.finish()?;
    let mut found = false;
    while !descriptions.is_finished() {
        found |= descriptions.sequence()?.oid()? == oid::OCSP;
    }
    Ok(found)
}

/// Where a part lies in the whole it was read from.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    if part.is_empty() { 0..0 } else { start..start.saturating_add(part.len()) }
}

/// Numbers without leading zeros compare by their length first.
fn order(number: &[u8]) -> (usize, &[u8]) {
    (number.len(), number)
}

/// Reads the lists of a file: DER, or PEM with blocks `X509 CRL`; at least one.
///
/// # Errors
/// [`X509Error`] as for [`RevocationList::from_der`], and for a block of another label.
pub fn from_file(bytes: &[u8]) -> Result<Vec<RevocationList>, X509Error> {
    // In PEM a list is a third longer.
    let limit = 2 * MAX_CRL_LEN;
    if bytes.len() > limit {
        return Err(X509Error::TooLarge { what: WHAT, limit, found: bytes.len() });
    }
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN ")) else {
        return Ok(vec![RevocationList::from_der(bytes)?]);
    };
    let blocks = countersign_crypto::encoding::pem_decode(text).map_err(X509Error::crypto(WHAT))?;
    let read = |block: &countersign_crypto::encoding::PemBlock| {
        if block.label == "X509 CRL" {
            return RevocationList::from_der(&block.der);
        }
        let detail = format!("expected a block \"X509 CRL\", found {:?}", block.label);
        Err(X509Error::malformed(WHAT, detail))
    };
    blocks.iter().map(read).collect()
}
