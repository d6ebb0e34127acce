//! Names: distinguished names (RFC 5280 section 4.1.2.4) and subject alternative names (section 4.2.1.6).

use std::fmt;

use der::Tag;
use der::asn1::ObjectIdentifier;

use crate::asn1::{Cursor, Tlv, constructed};
use crate::{X509Error, oid, write};

/// How many subject alternative names a certificate may have.
const MAX_SANS: usize = 64;

const WHAT: &str = "name";

/// A distinguished name. Two names are equal when their DER is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name as it stands in the certificate.
    pub der: Vec<u8>,
    /// The first common name.
    pub common_name: Option<String>,
    /// The first organization.
    pub organization: Option<String>,
}

impl Name {
    /// Reads a `Name`.
    ///
    /// # Errors
    /// [`X509Error::Malformed`].
    pub(crate) fn parse(what: &'static str, tlv: Tlv<'_>) -> Result<Self, X509Error> {
        let mut name = Self { der: tlv.raw.to_vec(), common_name: None, organization: None };
        each_attribute(what, tlv.value, |kind, value| {
            let slot = match kind {
                oid::COMMON_NAME => &mut name.common_name,
                oid::ORGANIZATION => &mut name.organization,
                _ => return,
            };
            if slot.is_none() {
                *slot = directory_string(value);
            }
        })?;
        Ok(name)
    }

    /// All attributes in their order: what kind, and the text; `None` for a value that is not text.
    ///
    /// # Errors
    /// [`X509Error::Malformed`]; cannot happen for a name that was read from a certificate.
    pub fn attributes(&self) -> Result<Vec<(ObjectIdentifier, Option<String>)>, X509Error> {
        let mut all = Vec::new();
        let mut outer = Cursor::new(WHAT, &self.der)?;
        let whole = outer.expect(Tag::Sequence)?;
        outer.finish()?;
        each_attribute(WHAT, whole.value, |kind, value| all.push((kind, directory_string(value))))?;
        Ok(all)
    }

    /// A name of an organization and a common name, either of which may be missing, both in UTF-8.
    #[must_use]
    pub fn new(organization: Option<&str>, common_name: Option<&str>) -> Self {
        let part = |kind: &ObjectIdentifier, value: Option<&str>| -> Vec<u8> {
            let Some(value) = value else { return Vec::new() };
            let attribute = write::sequence(&[&write::object_identifier(kind), &write::utf8_string(value)]);
            write::set_of(vec![attribute])
        };
        let organization_der = part(&oid::ORGANIZATION, organization);
        let common_name_der = part(&oid::COMMON_NAME, common_name);
        Self {
            der: write::sequence(&[&organization_der, &common_name_der]),
            common_name: common_name.map(str::to_owned),
            organization: organization.map(str::to_owned),
        }
    }

    /// Whether the name says nothing, as in Fulcio's certificates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.der == [0x30, 0x00]
    }
}

/// `O=…, CN=…`, with control characters escaped.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.organization, &self.common_name) {
            (Some(o), Some(cn)) => write!(f, "O={}, CN={}", Printable(o), Printable(cn)),
            (Some(o), None) => write!(f, "O={}", Printable(o)),
            (None, Some(cn)) => write!(f, "CN={}", Printable(cn)),
            (None, None) if self.is_empty() => f.write_str("(empty name)"),
            (None, None) => f.write_str("(a name without CN and O)"),
        }
    }
}

/// Text from a certificate, for a person: what a terminal would obey (control characters, changes of the writing
/// direction) is escaped, the rest stays as it is.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            match c {
                '\'' | '"' | '\\' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// Goes over the attributes of a `RDNSequence`'s content.
fn each_attribute(
    what: &'static str,
    content: &[u8],
    mut see: impl FnMut(ObjectIdentifier, Tlv<'_>),
) -> Result<(), X509Error> {
    let mut relative_names = Cursor::new(what, content)?;
    while !relative_names.is_finished() {
        let mut attributes = relative_names.inside(Tag::Set)?;
        while !attributes.is_finished() {
            let mut attribute = attributes.sequence()?;
            let kind = attribute.oid()?;
            let value = attribute.next()?;
            attribute.finish()?;
            see(kind, value);
        }
    }
    Ok(())
}

/// The string types of names that are UTF-8 or a part of it. Others (Teletex, BMP) are old and not shown.
fn directory_string(value: Tlv<'_>) -> Option<String> {
    match value.tag {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(value.value.to_vec()).ok()
        }
        _ => None,
    }
}

/// A subject alternative name: whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum San {
    /// An e-mail address (`rfc822Name`).
    Email(String),
    /// A URI.
    Uri(String),
    /// A DNS name.
    Dns(String),
    /// A name of another kind whose value is a UTF8String; Fulcio's user names are such, and no others are names here.
    OtherName {
        /// What kind of name.
        oid: ObjectIdentifier,
        /// The name.
        value: String,
    },
    /// Any other form. It is listed so that a count of the names is true.
    Other {
        /// The whole `GeneralName`, DER.
        der: Vec<u8>,
    },
}

impl San {
    /// Fulcio's `user!domain` (OID 1.3.6.1.4.1.57264.1.7).
    #[must_use]
    pub const fn username(value: String) -> Self {
        Self::OtherName { oid: oid::FULCIO_USERNAME, value }
    }

    /// An IP address, as servers that are reached without a name have it.
    #[must_use]
    pub fn ip(address: core::net::IpAddr) -> Self {
        let der = match address {
            core::net::IpAddr::V4(address) => write::primitive(7, &address.octets()),
            core::net::IpAddr::V6(address) => write::primitive(7, &address.octets()),
        };
        Self::Other { der }
    }

    /// The name as text, by which an identity is told; `None` for a form that is not text, and for an otherName that is
    /// not Fulcio's: whatever it means, it is not the name of who signed.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Email(s) | Self::Uri(s) | Self::Dns(s) => Some(s),
            Self::OtherName { oid, value } => (*oid == oid::FULCIO_USERNAME).then_some(value),
            Self::Other { .. } => None,
        }
    }

    /// Reads `GeneralNames`.
    pub(crate) fn parse_all(der: &[u8]) -> Result<Vec<Self>, X509Error> {
        const WHAT: &str = "subject alternative name";
        let mut outer = Cursor::new(WHAT, der)?;
        let mut names = outer.sequence()?;
        outer.finish()?;
        let mut out = Vec::new();
        while !names.is_finished() {
            if out.len() == MAX_SANS {
                return Err(X509Error::TooMany { what: WHAT, limit: MAX_SANS });
            }
            out.push(Self::parse(WHAT, names.next()?)?);
        }
        if out.is_empty() {
            return Err(X509Error::malformed(WHAT, "the extension holds no name"));
        }
        Ok(out)
    }

    fn parse(what: &'static str, tlv: Tlv<'_>) -> Result<Self, X509Error> {
        Ok(match tlv.tag {
            Tag::ContextSpecific { constructed: false, number } => match number.value() {
                1 => Self::Email(ia5(what, tlv.value)?),
                2 => Self::Dns(ia5(what, tlv.value)?),
                6 => Self::Uri(ia5(what, tlv.value)?),
                _ => Self::Other { der: tlv.raw.to_vec() },
            },
            tag if tag == constructed(0) => {
                let mut other = Cursor::new(what, tlv.value)?;
                let oid = other.oid()?;
                let mut value = other.inside(constructed(0))?;
                other.finish()?;
                let text = value.next()?;
                value.finish()?;
                match (text.tag, std::str::from_utf8(text.value)) {
                    (Tag::Utf8String, Ok(text)) => Self::OtherName { oid, value: text.to_owned() },
                    (Tag::Utf8String, Err(_)) => {
                        return Err(X509Error::malformed(what, "an otherName is not UTF-8"));
                    }
                    _ => Self::Other { der: tlv.raw.to_vec() },
                }
            }
            _ => Self::Other { der: tlv.raw.to_vec() },
        })
    }

    /// Writes the `GeneralName`.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] when an e-mail address, URI or DNS name is empty or has characters outside of
    /// printable ASCII, which the format cannot carry.
    pub(crate) fn to_der(&self) -> Result<Vec<u8>, X509Error> {
        const WHAT: &str = "subject alternative name";
        Ok(match self {
            Self::Email(s) => write::primitive(1, ia5(WHAT, s.as_bytes())?.as_bytes()),
            Self::Dns(s) => write::primitive(2, ia5(WHAT, s.as_bytes())?.as_bytes()),
            Self::Uri(s) => write::primitive(6, ia5(WHAT, s.as_bytes())?.as_bytes()),
            Self::OtherName { oid, value } if !value.is_empty() => write::constructed(
                0,
                &[&write::object_identifier(oid), &write::constructed(0, &[&write::utf8_string(value)])],
            ),
            Self::OtherName { .. } => return Err(X509Error::malformed(WHAT, "the name is empty")),
            Self::Other { der } => der.clone(),
        })
    }
}

/// The name's text, with control characters escaped.
impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Some(text) => Printable(text).fmt(f),
            None => f.write_str("(a name that is not text)"),
        }
    }
}

/// An IA5String without control characters: a name with a NUL or an escape sequence in it is an attack.
pub(crate) fn ia5(what: &'static str, value: &[u8]) -> Result<String, X509Error> {
    if value.is_empty() {
        return Err(X509Error::malformed(what, "the name is empty"));
    }
    match std::str::from_utf8(value) {
        Ok(text) if value.iter().all(|b| (0x20..0x7f).contains(b)) => Ok(text.to_owned()),
        _ => Err(X509Error::malformed(what, "a name has characters outside of printable ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(der: &[u8]) -> Result<Vec<San>, X509Error> {
        San::parse_all(&write::sequence(&[der]))
    }

    proptest! {
        #[test]
        fn names_read_back(text in "[ -~]{1,80}", other in "\\PC{1,40}") {
            for san in [
                San::Email(text.clone()),
                San::Uri(text.clone()),
                San::Dns(text.clone()),
                San::username(other.clone()),
            ] {
                prop_assert_eq!(read(&san.to_der().unwrap()).unwrap(), vec![san]);
            }
        }

        #[test]
        fn distinguished_names_read_back(o in proptest::option::of("\\PC{1,40}"), cn in proptest::option::of("\\PC{1,40}")) {
            let name = Name::new(o.as_deref(), cn.as_deref());
            let mut cursor = Cursor::new("t", &name.der).unwrap();
            prop_assert_eq!(Name::parse("t", cursor.next().unwrap()).unwrap(), name);
        }
    }

    #[test]
    fn s15_control_characters_in_names_are_refused_or_escaped() {
        for text in ["", "a\0b", "\x1b[2J", "a\nb", "é"] {
            assert!(San::Email(text.into()).to_der().is_err(), "{text:?}");
            assert!(read(&write::primitive(1, text.as_bytes())).is_err(), "{text:?}");
        }
        let name = Name::new(None, Some("\u{1b}[2Jx\u{202e}"));
        assert!(name.to_string().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{name}");
        assert_eq!(San::Email("o'brien@example.com".into()).to_string(), "o'brien@example.com");
    }

    /// A user principal name, say, is written by whoever runs a directory; it must not pass for an e-mail address.
    #[test]
    fn an_other_name_that_is_not_fulcios_names_nobody() {
        let upn = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.3");
        let san = San::OtherName { oid: upn, value: "alice@example.com".into() };
        assert_eq!(read(&san.to_der().unwrap()).unwrap(), std::slice::from_ref(&san));
        assert_eq!(san.as_text(), None);
        assert_eq!(San::username("alice!example.com".into()).as_text(), Some("alice!example.com"));
    }

    #[test]
    fn names_of_other_forms_are_counted() {
        let ip = write::primitive(7, &[127, 0, 0, 1]);
        let email = San::Email("a@b.c".into()).to_der().unwrap();
        assert_eq!(read(&[ip.clone(), email].concat()).unwrap().len(), 2);
        assert_eq!(read(&ip).unwrap()[0].as_text(), None);
        assert!(San::parse_all(&[0x30, 0]).is_err(), "an empty list");
    }
}
