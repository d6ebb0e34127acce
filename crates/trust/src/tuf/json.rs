//! JSON as TUF knows it, and the canonical form that is signed.
//!
//! The canonical form is OLPC's (securesystemslib and python-tuf, go-securesystemslib's cjson): object keys
//! sorted by code point, no white space, only `"` and `\` escaped in strings (a line break stays a line break),
//! integers only. It is not RFC 8785. A document here cannot hold what has no canonical form: fractions,
//! integers beyond 64 bits and doubled keys are refused when read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::TufError;

/// The members of an object, in canonical order.
pub type Object = BTreeMap<String, Json>;

/// A JSON value without fractions and doubled keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Object),
}

impl Json {
    /// Reads a document. Nesting is limited to 128 levels.
    ///
    /// # Errors
    /// [`TufError::Json`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TufError> {
        serde_json::from_slice(bytes).map_err(|e| TufError::Json(e.to_string()))
    }

    /// The canonical form: what is hashed for a key id and what is signed.
    ///
    /// ```
    /// use countersign_trust::tuf::json::Json;
    /// let json = Json::parse(br#"{"b": [1, "x\ny\"\\"], "a": null}"#)?;
    /// assert_eq!(json.canonical(), b"{\"a\":null,\"b\":[1,\"x\ny\\\"\\\\\"]}");
    /// # Ok::<(), countersign_trust::tuf::TufError>(())
    /// ```
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Bool(true) => out.extend(b"true"),
            Self::Bool(false) => out.extend(b"false"),
            Self::Integer(i) => out.extend(i.to_string().bytes()),
            Self::String(s) => write_string(s, out),
            Self::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => write_object(members, out),
        }
    }

    /// The document as it is published: indented, with a final line break. Parsing it gives the same value.
    #[must_use]
    pub fn pretty(&self) -> Vec<u8> {
        // Writing a value of strings, integers and such into memory cannot fail.
        let mut out = serde_json::to_vec_pretty(self).unwrap_or_default();
        out.push(b'\n');
        out
    }
}

/// The canonical form of an object at hand.
pub(crate) fn canonical_object(members: &Object) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(members, &mut out);
    out
}

fn write_object(members: &Object, out: &mut Vec<u8>) {
    out.push(b'{');
    // UTF-8 bytes sort as code points do, so the map's order is the canonical one.
    for (i, (key, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        value.write(out);
    }
    out.push(b'}');
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl<const N: usize> From<[(&str, Json); N]> for Json {
    fn from(members: [(&str, Json); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// An unsigned number; those beyond `i64`, which have no canonical form in every client, become the largest.
impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Integer(i) => serializer.serialize_i64(*i),
            Self::String(s) => serializer.serialize_str(s),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON with whole numbers of at most 63 bits")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Integer(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
                i64::try_from(value)
                    .map(Json::Integer)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::String(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::String(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut members = Object::new();
                while let Some((key, value)) = map.next_entry::<String, Json>()? {
                    if members.insert(key, value).is_some() {
                        return Err(de::Error::custom("an object has the same key twice"));
                    }
                }
                Ok(Json::Object(members))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(Json::Integer),
            any::<String>().prop_map(Json::String),
            Just(Json::String("\u{0}\n\r\t\u{7f}\"\\\u{10ffff}/é".into())),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                proptest::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Json::Object),
            ]
        })
    }

    /// Reads the canonical form, which is not JSON when a string holds a control character.
    fn read_canonical(text: &mut std::iter::Peekable<std::vec::IntoIter<char>>) -> Json {
        fn word(text: &mut std::iter::Peekable<std::vec::IntoIter<char>>) -> String {
            let mut out = String::new();
            while let Some(c) = text.next_if(|c| c.is_ascii_alphanumeric() || *c == '-') {
                out.push(c);
            }
            out
        }
        match text.peek().unwrap() {
            '"' => {
                text.next();
                let mut out = String::new();
                loop {
                    match text.next().unwrap() {
                        '"' => return Json::String(out),
                        '\\' => out.push(text.next().unwrap()),
                        c => out.push(c),
                    }
                }
            }
            '[' => {
                text.next();
                let mut items = Vec::new();
                while text.next_if_eq(&']').is_none() {
                    items.push(read_canonical(text));
                    text.next_if_eq(&',');
                }
                Json::Array(items)
            }
            '{' => {
                text.next();
                let mut members = Object::new();
                while text.next_if_eq(&'}').is_none() {
                    let Json::String(key) = read_canonical(text) else { panic!("a key") };
                    assert_eq!(text.next(), Some(':'));
                    members.insert(key, read_canonical(text));
                    text.next_if_eq(&',');
                }
                Json::Object(members)
            }
            _ => match word(text).as_str() {
                "null" => Json::Null,
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                number => Json::Integer(number.parse().unwrap()),
            },
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_says_everything_and_only_once(value in json()) {
            let canonical = String::from_utf8(value.canonical()).unwrap();
            let mut chars = canonical.chars().collect::<Vec<_>>().into_iter().peekable();
            prop_assert_eq!(read_canonical(&mut chars), value);
            prop_assert_eq!(chars.next(), None);
        }

        #[test]
        fn what_is_published_is_read_back(value in json()) {
            prop_assert_eq!(Json::parse(&value.pretty()).unwrap(), value);
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Json::parse(&bytes);
        }
    }

    #[test]
    fn what_has_no_canonical_form_is_refused() {
        for bad in [
            &b"1.5"[..],
            b"1.0",
            b"1e3",
            b"9223372036854775808",
            b"{\"a\":1,\"a\":1}",
            b"{\"a\":1,\"\\u0061\":2}",
            b"[1] x",
            b"",
            b"\"\xff\"",
        ] {
            assert!(Json::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
        assert!(Json::parse(&deep).is_err());
    }

    #[test]
    fn keys_sort_by_code_point_not_by_utf16() {
        let json = Json::parse("{\"\u{ffff}\":1,\"\u{10000}\":2,\"B\":3,\"a\":4}".as_bytes()).unwrap();
        let canonical = String::from_utf8(json.canonical()).unwrap();
        assert_eq!(canonical, "{\"B\":3,\"a\":4,\"\u{ffff}\":1,\"\u{10000}\":2}");
    }
}
