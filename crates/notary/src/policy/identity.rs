//! Trusted identities: distinguished names (RFC 4514, and the constraints of `trust-store-trust-policy.md`), compared
//! with the subject of the signer's certificate.

use std::collections::BTreeMap;

use countersign_x509::{Certificate, oid};
use der::asn1::ObjectIdentifier;

use super::{ANY, malformed};
use crate::{Reason, Refusal};

const SUBJECT: &str = "x509.subject";
/// What every identity must name.
const MANDATORY: [&str; 3] = ["C", "ST", "O"];
/// The attribute types that have a name.
const TYPES: [(&str, ObjectIdentifier); 11] = [
    ("C", oid::COUNTRY),
    ("ST", oid::STATE),
    ("L", oid::LOCALITY),
    ("O", oid::ORGANIZATION),
    ("OU", oid::ORGANIZATIONAL_UNIT),
    ("CN", oid::COMMON_NAME),
    ("STREET", oid::STREET),
    ("SERIALNUMBER", oid::SERIAL_NUMBER),
    ("POSTALCODE", oid::POSTAL_CODE),
    ("DC", oid::DOMAIN_COMPONENT),
    ("UID", oid::USER_ID),
];

/// A part of a certificate's subject: the attributes it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName(BTreeMap<&'static str, String>);

/// Who may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedIdentities {
    /// Whoever has a certificate of the trust stores.
    Any,
    /// Holders of certificates with one of these names. Identities of kinds that are not known here are left out, and
    /// nobody has them.
    Names(Vec<DistinguishedName>),
}

impl TrustedIdentities {
    pub(super) fn parse(texts: &[String]) -> Result<Self, Refusal> {
        if texts.is_empty() {
            return Err(malformed("at least one trusted identity", "none"));
        }
        if texts.iter().any(|text| text == ANY) {
            return match texts {
                [_] => Ok(Self::Any),
                _ => Err(malformed("trusted identities, or \"*\" alone", format!("{texts:?}"))),
            };
        }
        let mut names: Vec<DistinguishedName> = Vec::new();
        for text in texts {
            let bad =
                || malformed("an identity such as \"x509.subject: C=…, ST=…, O=…\"", format!("{text:?}"));
            let (kind, value) = text.split_once(':').ok_or_else(bad)?;
            if kind != SUBJECT {
                // For a verification plugin, which there is none of here: an identity that nobody has.
                if kind.is_empty() || value.is_empty() {
                    return Err(bad());
                }
                continue;
            }
            let name = DistinguishedName::parse(value)?;
            if names.iter().any(|other| other.overlaps(&name)) {
                return Err(malformed("trusted identities that do not overlap", format!("{text:?}")));
            }
            names.push(name);
        }
        Ok(Self::Names(names))
    }

    /// Whether the holder of this certificate may sign.
    ///
    /// # Errors
    /// [`Reason::IdentityMismatch`].
    pub fn check(&self, leaf: &Certificate) -> Result<(), Refusal> {
        let names = match self {
            Self::Any => return Ok(()),
            Self::Names(names) => names,
        };
        let attributes = leaf.subject().attributes().map_err(|e| {
            Refusal::new(Reason::CertificateMalformed, "a subject that can be read", e.to_string())
        })?;
        let mut subject: BTreeMap<&'static str, Vec<Option<String>>> = BTreeMap::new();
        for (kind, value) in attributes {
            if let Some((name, _)) = TYPES.iter().find(|(_, id)| *id == kind) {
                subject.entry(name).or_default().push(value);
            }
        }
        if names.iter().any(|name| name.is_in(&subject)) {
            return Ok(());
        }
        let expected = names.iter().map(ToString::to_string).collect::<Vec<_>>().join("; or ");
        let expected =
            if expected.is_empty() { "an identity of a kind that is known here".into() } else { expected };
        let found: Vec<String> = subject
            .iter()
            .flat_map(|(name, values)| {
                values.iter().map(move |v| format!("{name}={}", v.as_deref().unwrap_or("?")))
            })
            .collect();
        Err(Refusal::new(Reason::IdentityMismatch, expected, found.join(", ")))
    }
}

impl DistinguishedName {
    /// Reads a name as RFC 4514 writes it, with the constraints of the specification: country, state and organization
    /// must be in it, each attribute once, none with several values.
    ///
    /// # Errors
    /// [`Reason::TrustPolicyMalformed`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut attributes = BTreeMap::new();
        for part in split(text)? {
            let bad = |expected: &str| malformed(format!("{expected} in an identity"), format!("{text:?}"));
            let (name, value) = part.split_once('=').ok_or_else(|| bad("attributes NAME=value"))?;
            let name = if name.trim() == "S" { "ST" } else { name.trim() };
            let Some((name, _)) = TYPES.iter().find(|(known, _)| *known == name) else {
                let known = TYPES.map(|(name, _)| name).join(", ");
                return Err(bad(&format!("attributes of {known}")));
            };
            let value =
                unescape(value).ok_or_else(|| bad("values that are not empty, with RFC 4514's escapes"))?;
            if attributes.insert(*name, value).is_some() {
                return Err(bad(&format!("{name} once")));
            }
        }
        match MANDATORY.iter().find(|name| !attributes.contains_key(**name)) {
            None => Ok(Self(attributes)),
            Some(missing) => Err(malformed(
                format!("country (C), state (ST) and organization (O) in an identity; {missing} is missing"),
                format!("{text:?}"),
            )),
        }
    }

    /// Whether a certificate could have both names.
    fn overlaps(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| a.0.iter().all(|(name, value)| b.0.get(name) == Some(value));
        within(self, other) || within(other, self)
    }

    /// Every attribute is in the subject once, with this value. A type that is there twice could be read in two ways.
    fn is_in(&self, subject: &BTreeMap<&'static str, Vec<Option<String>>>) -> bool {
        self.0.iter().all(|(name, value)| {
            subject.get(name).is_some_and(|found| matches!(found.as_slice(), [Some(only)] if only == value))
        })
    }
}

impl std::fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// The parts between commas that are not escaped. A plus, which joins several values, is refused.
fn split(text: &str) -> Result<Vec<&str>, Refusal> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' | b';' => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            b'+' => return Err(malformed("attributes with one value each", format!("a \"+\" in {text:?}"))),
            b'"' | b'<' | b'>' | 0 => {
                return Err(malformed("special characters escaped with \"\\\"", format!("{text:?}")));
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

/// A value without the spaces around it and with its escapes resolved: `\` before a special character or two digits of
/// hexadecimal. `None` for an empty value, for DER in hexadecimal (`#…`), and for an escape that is none.
fn unescape(raw: &str) -> Option<String> {
    let raw = raw.trim_start_matches(' ').as_bytes();
    if raw.first() == Some(&b'#') {
        return None;
    }
    let mut out = Vec::with_capacity(raw.len());
    // How much of `out` must stay when spaces at the end are taken off.
    let mut kept = 0;
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        if *byte != b'\\' {
            out.push(*byte);
            if *byte != b' ' {
                kept = out.len();
            }
            rest = tail;
            continue;
        }
        rest = match tail {
            [special, tail @ ..] if b" \"#+,;<=>\\".contains(special) => {
                out.push(*special);
                tail
            }
            [high, low, tail @ ..] => {
                let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                out.push(digit(high)? << 4 | digit(low)?);
                tail
            }
            _ => return None,
        };
        kept = out.len();
    }
    out.truncate(kept);
    String::from_utf8(out).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DistinguishedName, Refusal> {
        DistinguishedName::parse(text)
    }

    #[test]
    fn names_are_read_with_their_escapes() {
        for (text, o) in [
            ("C=US, ST=WA, O=acme", "acme"),
            (" C=US,S=WA,O=acme ", "acme"),
            (r"C=US,ST=WA,O=a\, b", "a, b"),
            (r"C=US,ST=WA,O=\ a\ ", " a "),
            (r"C=US,ST=WA,O=a\2cb", "a,b"),
            (r"C=US,ST=WA,O=a\\b", r"a\b"),
            (r"O=a=b;ST=WA;C=US", "a=b"),
            (r"C=US,ST=WA,O=\#a", "#a"),
            (r"C=US,ST=WA,O=a\c3\a9", "aé"),
        ] {
            assert_eq!(parse(text).unwrap().0.get("O").unwrap(), o, "{text}");
        }
    }

    #[test]
    fn names_that_break_a_rule_are_refused() {
        for bad in [
            "",
            "C=US, ST=WA",
            "C=US, O=acme",
            "ST=WA, O=acme",
            "C=US, ST=WA, O=",
            "C=US, ST=WA, O=acme, O=other",
            "C=US, ST=WA, S=WA, O=acme",
            "C=US+ST=WA, O=acme",
            "C=US, ST=WA, O=#04024869",
            r"C=US, ST=WA, O=a\",
            r"C=US, ST=WA, O=a\zz",
            r"C=US, ST=WA, O=a\ff",
            "C=US, ST=WA, O=\"acme\"",
            "c=US, ST=WA, O=acme",
            "C=US, ST=WA, O=acme, X=1",
            "C=US, ST=WA, O=acme,",
            "C US, ST=WA, O=acme",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, Reason::TrustPolicyMalformed, "{bad}");
        }
    }

    #[test]
    fn lists_of_identities_are_checked_as_a_whole() {
        let list = |texts: &[&str]| {
            TrustedIdentities::parse(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
        };
        let (a, b) = ("x509.subject: C=US, ST=WA, O=a", "x509.subject:C=US,ST=WA,O=b");
        assert_eq!(list(&["*"]).unwrap(), TrustedIdentities::Any);
        assert!(matches!(list(&[a, b]).unwrap(), TrustedIdentities::Names(names) if names.len() == 2));
        // Of a kind for a plugin: kept out, and not taken for "anybody".
        assert!(
            matches!(list(&["arn:aws:signer"]).unwrap(), TrustedIdentities::Names(names) if names.is_empty())
        );
        let narrower = format!("{a}, OU=x");
        for bad in [
            &[][..],
            &["*", a],
            &[""],
            &["x509.subject"],
            &["x509.subject:"],
            &[a, a],
            &[a, &narrower],
            &[&narrower, a],
        ] {
            assert!(list(bad).is_err(), "{bad:?}");
        }
    }
}
