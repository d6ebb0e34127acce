//! Scalars as protobuf's JSON mapping spells them.

use std::fmt;
use std::marker::PhantomData;

use countersign_crypto::encoding::{base64_decode, base64_encode};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Bytes written as standard base64.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64_encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Base64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base64 string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Base64, E> {
                base64_decode(text).map(Base64).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

/// A non-negative int64: written as a string, read from a string or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Int64(pub u64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Int64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer from 0 to 2^63-1, as a string or a number")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Int64, E> {
                match i64::try_from(value) {
                    Ok(_) => Ok(Int64(value)),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
                }
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Int64, E> {
                u64::try_from(value)
                    .map(Int64)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int64, E> {
                let plain = !text.is_empty() && text.len() <= 19 && text.bytes().all(|b| b.is_ascii_digit());
                match text.parse::<u64>() {
                    Ok(value) if plain => self.visit_u64(value),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A list of at most `N` elements. The element after the last allowed one is never parsed.
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
        struct List<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for List<T, N> {
            type Value = Bounded<T, N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} elements")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Bounded(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while list.len() < N {
                    match seq.next_element()? {
                        Some(element) => list.push(element),
                        None => return Ok(Bounded(list)),
                    }
                }
                match seq.next_element::<de::IgnoredAny>()? {
                    None => Ok(Bounded(list)),
                    Some(_) => Err(de::Error::custom(format_args!("more than {N} elements in a list"))),
                }
            }
        }
        deserializer.deserialize_any(List::<T, N>(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_from_both_spellings_and_written_as_strings() {
        for text in ["\"7\"", "7"] {
            assert_eq!(serde_json::from_str::<Int64>(text).unwrap(), Int64(7));
        }
        assert_eq!(serde_json::to_string(&Int64(7)).unwrap(), "\"7\"");
        for bad in
            ["-1", "\"-1\"", "\"\"", "\"+1\"", "1.0", "\"9223372036854775808\"", "null", "true", "\" 1\""]
        {
            assert!(serde_json::from_str::<Int64>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn v18_lists_stop_at_their_cap_before_the_next_element_is_parsed() {
        assert_eq!(serde_json::from_str::<Bounded<u8, 2>>("[1,2]").unwrap().0, [1, 2]);
        let error = serde_json::from_str::<Bounded<u8, 2>>("[1,2,\"not a number\"]").unwrap_err();
        assert!(error.to_string().contains("more than 2"), "{error}");
        assert!(serde_json::from_str::<Bounded<u8, 2>>("null").unwrap().0.is_empty());
    }
}
