//! PKCS #11 URIs (RFC 7512), read strictly: `pkcs11:token=ca;object=issuing?module-path=/usr/lib/softhsm/libsofthsm2.so`.
//!
//! Every attribute of the RFC is known here and matched; one that is not known, given twice or malformed is an error,
//! because a part that is ignored would choose another key than the one meant. `pin-value` is refused: a reference
//! stands in process lists, shell histories and logs. No error repeats any part of the URI but attribute names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use countersign_http::text::printable;
use serde::{Deserialize, Serialize};

use crate::KeyError;

/// The longest URI read, in bytes.
const MAX_URI: usize = 4096;
/// The longest `CKA_ID`, in bytes.
const MAX_ID: usize = 255;

/// A property of a library, slot or token by which a URI chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TokenAttribute {
    /// `token`: the token's label.
    Token,
    /// `manufacturer`: the token's.
    Manufacturer,
    /// `model`: the token's.
    Model,
    /// `serial`: the token's.
    Serial,
    /// `slot-description`.
    SlotDescription,
    /// `slot-manufacturer`.
    SlotManufacturer,
    /// `library-description`.
    LibraryDescription,
    /// `library-manufacturer`.
    LibraryManufacturer,
    /// `library-version`, such as `2.6`.
    LibraryVersion,
}

const TOKEN_ATTRIBUTES: [(&str, TokenAttribute); 9] = [
    ("token", TokenAttribute::Token),
    ("manufacturer", TokenAttribute::Manufacturer),
    ("model", TokenAttribute::Model),
    ("serial", TokenAttribute::Serial),
    ("slot-description", TokenAttribute::SlotDescription),
    ("slot-manufacturer", TokenAttribute::SlotManufacturer),
    ("library-description", TokenAttribute::LibraryDescription),
    ("library-manufacturer", TokenAttribute::LibraryManufacturer),
    ("library-version", TokenAttribute::LibraryVersion),
];

impl TokenAttribute {
    fn name(self) -> &'static str {
        TOKEN_ATTRIBUTES.iter().find(|(_, a)| *a == self).map_or("", |(name, _)| name)
    }
}

/// Which token: all of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenMatch {
    /// Properties and the values they must have.
    pub attributes: BTreeMap<TokenAttribute, String>,
    /// The number of the slot. It changes with some modules; the label and the serial do not.
    pub slot: Option<u64>,
}

/// Which key on the token: all of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyMatch {
    /// `object`: the label, `CKA_LABEL`.
    pub label: Option<String>,
    /// `id`: `CKA_ID`, any bytes.
    pub id: Option<Vec<u8>>,
}

/// A PKCS #11 URI which names a key.
///
/// ```
/// use countersign_keys::pkcs11::Pkcs11Uri;
/// let uri = Pkcs11Uri::parse("pkcs11:token=My%20HSM;object=ca?module-path=/usr/lib/hsm.so")?;
/// assert_eq!(uri.key.label.as_deref(), Some("ca"));
/// assert!(Pkcs11Uri::parse("pkcs11:token=t;object=ca?pin-value=1234").is_err());
/// # Ok::<(), countersign_keys::KeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pkcs11Uri {
    /// The token.
    pub token: TokenMatch,
    /// The key on it.
    pub key: KeyMatch,
    /// `type`, when the URI says one: `private` or `public`. Either names the pair.
    pub object_type: Option<ObjectType>,
    /// `module-path`: the library, or the directory of the one called `module-name`.
    pub module_path: Option<PathBuf>,
    /// `module-name`: the library's name without `lib` and `.so`.
    pub module_name: Option<String>,
    /// `pin-source`: a file with the PIN.
    pub pin_source: Option<PathBuf>,
}

/// The half of a pair that a URI names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// `type=private`
    Private,
    /// `type=public`
    Public,
}

fn bad(what: impl fmt::Display) -> KeyError {
    KeyError::Reference(format!("a pkcs11: URI (RFC 7512) {what}"))
}

impl Pkcs11Uri {
    /// Reads a URI which names a key: `object`, `id` or both must be there.
    ///
    /// # Errors
    /// [`KeyError::Reference`] saying which attribute is wrong, without its value.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let uri = Self::parse_any(text)?;
        if uri.key.label.is_none() && uri.key.id.is_none() {
            return Err(bad("must name the key with object= (its label), id= or both"));
        }
        // Written, what stands plain here may be encoded; it must be read back then too.
        if uri.to_string().len() > MAX_URI {
            return Err(bad(format_args!("has at most {MAX_URI} bytes with its values encoded")));
        }
        Ok(uri)
    }

    fn parse_any(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_URI {
            return Err(bad(format_args!("has at most {MAX_URI} bytes")));
        }
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| bad("begins with pkcs11:"))?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let mut uri = Self {
            token: TokenMatch::default(),
            key: KeyMatch::default(),
            object_type: None,
            module_path: None,
            module_name: None,
            pin_source: None,
        };
        for (name, value) in attributes(path, ';', PATH_CHARS)? {
            uri.path_attribute(name, value)?;
        }
        for (name, value) in attributes(query.unwrap_or_default(), '&', QUERY_CHARS)? {
            uri.query_attribute(name, value)?;
        }
        Ok(uri)
    }

    fn path_attribute(&mut self, name: &str, value: Vec<u8>) -> Result<(), KeyError> {
        if let Some((_, attribute)) = TOKEN_ATTRIBUTES.iter().find(|(known, _)| *known == name) {
            self.token.attributes.insert(*attribute, utf8(name, value)?);
            return Ok(());
        }
        match name {
            "object" => self.key.label = Some(utf8(name, value)?),
            "id" if value.len() > MAX_ID => {
                return Err(bad(format_args!("has an id of at most {MAX_ID} bytes")));
            }
            "id" => self.key.id = Some(value),
            "slot-id" => {
                let text = utf8(name, value)?;
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let number = text.parse().ok().filter(|_| digits);
                self.token.slot = Some(number.ok_or_else(|| bad("has a decimal number as slot-id"))?);
            }
            "type" => {
                self.object_type = Some(match value.as_slice() {
                    b"private" => ObjectType::Private,
                    b"public" => ObjectType::Public,
                    _ => return Err(bad("that names a key has type=private, type=public or no type")),
                });
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    fn query_attribute(&mut self, name: &str, value: Vec<u8>) -> Result<(), KeyError> {
        match name {
            "pin-source" => {
                let text = utf8(name, value)?;
                let path =
                    Path::new(text.strip_prefix("file://").or(text.strip_prefix("file:")).unwrap_or(&text));
                if !path.is_absolute() {
                    return Err(bad("has an absolute path, or file: and one, as pin-source"));
                }
                self.pin_source = Some(path.to_owned());
            }
            "module-path" => {
                let path = PathBuf::from(utf8(name, value)?);
                if !path.is_absolute() {
                    return Err(bad("has an absolute path as module-path"));
                }
                self.module_path = Some(path);
            }
            "module-name" => {
                let text = utf8(name, value)?;
                if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                {
                    return Err(bad("has letters, digits, dots, dashes and underscores in module-name"));
                }
                self.module_name = Some(text);
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }
}

fn unknown(name: &str) -> KeyError {
    bad(format_args!("has no attribute \"{}\" at this place", printable(name)))
}

fn utf8(name: &str, value: Vec<u8>) -> Result<String, KeyError> {
    match String::from_utf8(value) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(bad(format_args!("has text in UTF-8 as {name}"))),
    }
}

/// What may stand in values as it is, besides letters, digits and `-._~` (RFC 7512 section 2.3).
const PATH_CHARS: &[u8] = b":[]@!$'()*+,=&";
const QUERY_CHARS: &[u8] = b":[]@!$'()*+,=/?|";

/// Splits a part into its attributes, each given once, and decodes their values.
fn attributes<'a>(
    part: &'a str,
    separator: char,
    extra: &[u8],
) -> Result<BTreeMap<&'a str, Vec<u8>>, KeyError> {
    let mut found = BTreeMap::new();
    if part.is_empty() {
        return Ok(found);
    }
    for attribute in part.split(separator) {
        let (name, value) =
            attribute.split_once('=').ok_or_else(|| bad("is made of attributes of the form name=value"))?;
        if name == "pin-value" {
            return Err(bad(
                "must not hold the PIN (pin-value): process lists, histories and logs would show it. Put it into \
                 COSIGN_PKCS11_PIN, or into a file named by pin-source, and change it if others may have seen it",
            ));
        }
        if found.insert(name, decode(name, value, extra)?).is_some() {
            return Err(bad(format_args!("has each attribute once; \"{}\" is there twice", printable(name))));
        }
    }
    Ok(found)
}

fn decode(name: &str, value: &str, extra: &[u8]) -> Result<Vec<u8>, KeyError> {
    let wrong = || {
        bad(format_args!("has the value of \"{}\" percent-encoded where it is not plain", printable(name)))
    };
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || {
                    let digit = char::from(bytes.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                let (high, low) = digit().zip(digit()).ok_or_else(wrong)?;
                high << 4 | low
            }
            plain if is_unreserved(plain) || extra.contains(&plain) => plain,
            _ => return Err(wrong()),
        });
    }
    Ok(decoded)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn encode(f: &mut fmt::Formatter<'_>, value: &[u8], extra: &[u8]) -> fmt::Result {
    for &byte in value {
        if is_unreserved(byte) || extra.contains(&byte) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// Writes the URI in one form: token, slot, object, id, type, then where the module and the PIN are.
impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "pkcs11:";
        let mut next = || std::mem::replace(&mut separator, ";");
        for (attribute, value) in &self.token.attributes {
            write!(f, "{}{}=", next(), attribute.name())?;
            encode(f, value.as_bytes(), b":")?;
        }
        if let Some(slot) = self.token.slot {
            write!(f, "{}slot-id={slot}", next())?;
        }
        if let Some(label) = &self.key.label {
            write!(f, "{}object=", next())?;
            encode(f, label.as_bytes(), b":")?;
        }
        if let Some(id) = &self.key.id {
            // Every byte encoded, as the RFC advises for identifiers.
            write!(f, "{}id=", next())?;
            id.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
        }
        if let Some(object_type) = self.object_type {
            let name = if object_type == ObjectType::Private { "private" } else { "public" };
            write!(f, "{}type={name}", next())?;
        }
        f.write_str(if separator == ";" { "" } else { separator })?;
        let mut separator = "?";
        let mut text = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| {
            write!(f, "{}{name}=", std::mem::replace(&mut separator, "&"))?;
            encode(f, value.as_bytes(), b":/")
        };
        if let Some(path) = &self.module_path {
            text(f, "module-path", &path.to_string_lossy())?;
        }
        if let Some(name) = &self.module_name {
            text(f, "module-name", name)?;
        }
        if let Some(path) = &self.pin_source {
            text(f, "pin-source", &path.to_string_lossy())?;
        }
        Ok(())
    }
}

impl FromStr for Pkcs11Uri {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_attribute_is_read_and_written_back() {
        let text = "pkcs11:token=The%20Software%20PKCS%2311;manufacturer=Snake%20Oil;model=1.0;serial=42;\
                    slot-description=a;slot-manufacturer=b;library-description=c;library-manufacturer=d;\
                    library-version=2.6;slot-id=7;object=my-key;id=%69%00%FF;type=private\
                    ?module-path=/usr/lib/hsm.so&module-name=hsm&pin-source=file:/run/pin";
        let uri = Pkcs11Uri::parse(text).unwrap();
        assert_eq!(uri.token.attributes.len(), 9);
        assert_eq!(uri.token.attributes[&TokenAttribute::Token], "The Software PKCS#11");
        assert_eq!((uri.token.slot, uri.key.id.as_deref()), (Some(7), Some(&b"i\0\xff"[..])));
        assert_eq!(uri.pin_source.as_deref(), Some(Path::new("/run/pin")));
        assert_eq!(uri.module_name.as_deref(), Some("hsm"));
        assert_eq!(Pkcs11Uri::parse(&uri.to_string()).unwrap(), uri);
    }

    #[test]
    fn every_mistake_is_named() {
        for (text, word) in [
            ("pkcs12:object=a", "begins with pkcs11:"),
            ("pkcs11:", "must name the key"),
            ("pkcs11:token=t", "must name the key"),
            ("pkcs11:object", "name=value"),
            ("pkcs11:object=a;", "name=value"),
            ("pkcs11:object=a;;token=t", "name=value"),
            ("pkcs11:object=a;object=b", "twice"),
            ("pkcs11:object=a;colour=red", "no attribute \"colour\""),
            ("pkcs11:object=a;module-path=m", "no attribute \"module-path\""),
            ("pkcs11:object=a?token=t", "no attribute \"token\""),
            ("pkcs11:object=a;x-vendor=1", "no attribute"),
            ("pkcs11:object=a b", "percent-encoded"),
            ("pkcs11:object=a%2", "percent-encoded"),
            ("pkcs11:object=a%zz", "percent-encoded"),
            ("pkcs11:object=a/b", "percent-encoded"),
            ("pkcs11:object=%ff", "UTF-8"),
            ("pkcs11:object=%00", "UTF-8"),
            ("pkcs11:object=a;slot-id=-1", "decimal"),
            ("pkcs11:object=a;slot-id=+1", "decimal"),
            ("pkcs11:object=a;slot-id=", "decimal"),
            ("pkcs11:object=a;type=cert", "type=private"),
            ("pkcs11:object=a?module-path=m.so", "absolute"),
            ("pkcs11:object=a?module-name=../m", "letters"),
            ("pkcs11:object=a?pin-source=|cat", "absolute"),
            ("pkcs11:object=a?pin-source=file:pin", "absolute"),
        ] {
            let error = Pkcs11Uri::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let long = format!("pkcs11:object={}", "a".repeat(MAX_URI));
        assert!(Pkcs11Uri::parse(&long).unwrap_err().to_string().contains("at most"));
        let longer_when_written = format!("pkcs11:object={}", "=".repeat(MAX_URI / 2));
        assert!(Pkcs11Uri::parse(&longer_when_written).is_err());
        let id = format!("pkcs11:id={}", "%00".repeat(MAX_ID + 1));
        assert!(Pkcs11Uri::parse(&id).unwrap_err().to_string().contains("at most"));
    }

    /// R21: the PIN never stands in a reference, and the refusal does not repeat it.
    #[test]
    fn r21_a_pin_in_the_uri_is_refused_and_not_repeated() {
        for text in [
            "pkcs11:token=t;object=a?pin-value=834719",
            "pkcs11:token=t;object=a?pin-value=834719&pin-value=834719",
            "pkcs11:token=t;object=a?module-path=x&pin-value=834719",
            "pkcs11:token=t;object=a?pin-value=834719%",
            "pkcs11:token=t;object=a;pin-value=834719",
        ] {
            let error = Pkcs11Uri::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("834719"), "{error}");
        }
        for text in ["pkcs11:object=a?pin-value=834719", "pkcs11:object=a;pin-value=834719"] {
            let error = Pkcs11Uri::parse(text).unwrap_err().to_string();
            assert!(error.contains("COSIGN_PKCS11_PIN"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(label in "\\PC{0,20}", id in proptest::collection::vec(any::<u8>(), 0..20), token in "\\PC{0,20}") {
            let uri = Pkcs11Uri {
                token: TokenMatch { attributes: [(TokenAttribute::Token, token)].into(), slot: None },
                key: KeyMatch { label: Some(label), id: Some(id) },
                object_type: None,
                module_path: None,
                module_name: None,
                pin_source: None,
            };
            prop_assert_eq!(Pkcs11Uri::parse(&uri.to_string()).unwrap(), uri);
        }

        #[test]
        fn any_text_gets_an_answer(text in "\\PC{0,60}") {
            let _ = Pkcs11Uri::parse(&format!("pkcs11:{text}"));
        }
    }
}
