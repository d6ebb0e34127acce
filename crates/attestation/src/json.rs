//! JSON from outside: size and depth are checked before anything is parsed, lists are cut off at their cap
//! while they are read, and the types here take the spellings which protobuf's JSON mapping allows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use countersign_crypto::encoding;
use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How deep arrays and objects may stand in each other.
pub const MAX_DEPTH: usize = 128;

/// Why a JSON text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Larger than the reader takes.
    #[error("the JSON has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// The size found in bytes.
        found: usize,
    },
    /// Nested more than [`MAX_DEPTH`] deep.
    #[error("the JSON is nested more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Not JSON, or not of the shape expected. The text says where and what was expected.
    #[error("{0}")]
    Shape(String),
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Shape(error.to_string())
    }
}

/// Reads a JSON text of at most `max_len` bytes and [`MAX_DEPTH`] levels.
///
/// ```
/// use countersign_attestation::json;
/// let list: Vec<u8> = json::from_slice(b"[1,2]", 100)?;
/// assert_eq!(list, [1, 2]);
/// assert!(json::from_slice::<Vec<u8>>(b"[1,2]", 3).is_err());
/// # Ok::<(), json::JsonError>(())
/// ```
///
/// # Errors
/// [`JsonError`]; anything behind the value is an error too.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], max_len: usize) -> Result<T, JsonError> {
    check(bytes, max_len)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Checks size and depth only, in one pass over the bytes.
///
/// # Errors
/// [`JsonError::TooLarge`] and [`JsonError::TooDeep`].
pub fn check(bytes: &[u8], max_len: usize) -> Result<(), JsonError> {
    if bytes.len() > max_len {
        return Err(JsonError::TooLarge { limit: max_len, found: bytes.len() });
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep { limit: MAX_DEPTH });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Takes `null` for an absent member, as protobuf's JSON mapping does.
///
/// # Errors
/// Those of the value's own type.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Bytes in base64 with padding, written in the standard alphabet. The URL-safe one is read too, as DSSE's protocol and
/// protobuf's JSON mapping demand; and line breaks are left out, as Go's decoder does: bundles with them exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encoding::base64_encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Base64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes in base64")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Base64, E> {
                let mut text = Cow::Borrowed(text);
                if text.contains(['\r', '\n']) {
                    text = text.replace(['\r', '\n'], "").into();
                }
                // One text is in one alphabet.
                if text.contains(['-', '_']) && !text.contains(['+', '/']) {
                    text = text.replace('-', "+").replace('_', "/").into();
                }
                encoding::base64_decode(&text).map(Base64).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A 64-bit integer: written as a string, read as a string or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Int64(pub i64);

/// An index or a size: an [`Int64`] which is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Index(pub u64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Int64::deserialize(deserializer)?.0;
        u64::try_from(value)
            .map(Index)
            .map_err(|_| de::Error::custom(format!("expected an index or size of 0 or more, found {value}")))
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntVisitor;
        impl Visitor<'_> for IntVisitor {
            type Value = Int64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 64-bit integer, as a string or a number")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Int64, E> {
                Ok(Int64(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Int64, E> {
                i64::try_from(value).map(Int64).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int64, E> {
                // One spelling: "+1", "01" and "-0" are other texts for numbers that have one.
                match text.parse::<i64>() {
                    Ok(value) if value.to_string() == text => Ok(Int64(value)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(IntVisitor)
    }
}

/// A list of at most `N` items. Reading stops with an error at the item after the last allowed one, before
/// that item is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded<T, const N: usize>(pub Vec<T>);

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Serialize, const N: usize> Serialize for Bounded<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Bounded<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for ListVisitor<T, N> {
            type Value = Bounded<T, N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < N {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Bounded(items)),
                    }
                }
                // Whatever comes now is refused unread, whatever it is.
                match seq.next_element::<Refused>() {
                    Ok(None) => Ok(Bounded(items)),
                    _ => Err(de::Error::custom(format!("more than {N} items in a list"))),
                }
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// Stands where an item too many would be read; reading it fails at once.
struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("one item too many"))
    }
}

/// An object used as a map from names to values, at most `N` of them, each name once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueMap<T, const N: usize>(pub BTreeMap<String, T>);

impl<T, const N: usize> Default for UniqueMap<T, N> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Serialize, const N: usize> Serialize for UniqueMap<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for UniqueMap<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for PairsVisitor<T, N> {
            type Value = UniqueMap<T, N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {N} members")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if out.len() == N {
                        return Err(de::Error::custom(format!("more than {N} members in an object")));
                    }
                    let value = map.next_value()?;
                    if out.insert(name, value).is_some() {
                        return Err(de::Error::custom("the same member twice in an object"));
                    }
                }
                Ok(UniqueMap(out))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

/// Any JSON, with each member of an object given once: of two, one reader would take the first and another the last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UniqueValue(pub serde_json::Value);

impl UniqueValue {
    /// Whether it is `null`, which is absent.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl Serialize for UniqueValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UniqueValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyVisitor;
        impl<'de> Visitor<'de> for AnyVisitor {
            type Value = serde_json::Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(serde_json::Value::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(value.into())
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(value.into())
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(value.into())
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(value.into())
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text.into())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(UniqueValue(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(items.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = serde_json::Map::new();
                while let Some((name, UniqueValue(value))) = map.next_entry::<String, UniqueValue>()? {
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(format!("the member {name:?} twice in an object")));
                    }
                    members.insert(name, value);
                }
                Ok(members.into())
            }
        }
        deserializer.deserialize_any(AnyVisitor).map(Self)
    }
}

/// Whether a map need not be written.
pub(crate) fn no_members<T, const N: usize>(map: &UniqueMap<T, N>) -> bool {
    map.0.is_empty()
}

/// Whether a list need not be written.
pub(crate) fn no_items<T, const N: usize>(list: &Bounded<T, N>) -> bool {
    list.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_depth_are_checked_before_parsing() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert_eq!(from_slice::<()>(deep.as_bytes(), 1000), Err(JsonError::TooDeep { limit: MAX_DEPTH }));
        assert_eq!(
            from_slice::<()>(b"    null", 7),
            Err(JsonError::TooLarge { limit: 7, found: 8 }),
            "not parsed at all"
        );
        let text = format!("\"{}\\\"[[\"", "[".repeat(500));
        assert!(from_slice::<String>(text.as_bytes(), 1000).is_ok(), "brackets in a string are no depth");
    }

    #[test]
    fn integers_are_read_as_string_or_number_and_have_one_spelling() {
        for (text, value) in
            [("5", 5), ("\"5\"", 5), ("\"-1\"", -1), ("-1", -1), ("\"9223372036854775807\"", i64::MAX)]
        {
            assert_eq!(from_slice::<Int64>(text.as_bytes(), 100).unwrap(), Int64(value));
        }
        for bad in ["\"+5\"", "\"05\"", "\" 5\"", "\"\"", "5.0", "1e3", "9223372036854775808", "true", "[]"] {
            assert!(from_slice::<Int64>(bad.as_bytes(), 100).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Int64(7)).unwrap(), "\"7\"");
        assert!(from_slice::<Index>(b"\"-1\"", 100).is_err());
        assert_eq!(from_slice::<Index>(b"\"1\"", 100).unwrap(), Index(1));
    }

    #[test]
    fn base64_is_read_in_either_alphabet_and_written_in_one() {
        let read = |text: &str| from_slice::<Base64>(format!("\"{text}\"").as_bytes(), 100).map(|b| b.0);
        for text in ["+/+/+w==", "-_-_-w==", "+/+/\\n+w==\\r\\n"] {
            assert_eq!(read(text).unwrap(), [0xfb, 0xff, 0xbf, 0xfb], "{text}");
        }
        assert_eq!(serde_json::to_string(&Base64(vec![0xfb, 0xff, 0xbf, 0xfb])).unwrap(), "\"+/+/+w==\"");
        for bad in ["+_+_+w==", "-_-_-w", "-_-_-x==", "-_ -_-w=="] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bounded_list_stops_before_the_item_too_many() {
        assert_eq!(from_slice::<Bounded<u8, 2>>(b"[1,2]", 100).unwrap().0, [1, 2]);
        let error = from_slice::<Bounded<u8, 2>>(b"[1,2,\"not even a number\"]", 100).unwrap_err();
        assert!(error.to_string().contains("more than 2 items"), "{error}");
    }

    #[test]
    fn a_member_given_twice_is_refused() {
        assert!(from_slice::<UniqueMap<u8, 4>>(br#"{"a":1,"b":2}"#, 100).is_ok());
        assert!(from_slice::<UniqueMap<u8, 4>>(br#"{"a":1,"a":2}"#, 100).is_err());
        assert!(from_slice::<UniqueMap<u8, 1>>(br#"{"a":1,"b":2}"#, 100).is_err());
    }

    #[test]
    fn any_json_is_read_as_it_is_and_a_member_twice_at_any_depth_is_refused() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"x",{"b":{}}],"c":[]}"#;
        let read: UniqueValue = from_slice(text.as_bytes(), 100).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(from_slice::<UniqueValue>(br#"{"a":[{"b":1,"b":1}]}"#, 100).is_err());
    }
}
