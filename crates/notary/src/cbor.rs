//! CBOR (RFC 8949), as much of it as COSE envelopes need, in one spelling: the shortest form of every number and length,
//! definite lengths, integers or texts as keys and each key once. Anything else is refused.
//!
//! Limits hold before memory is taken: the length by the caller, the depth and the number of values here.

use std::fmt;

/// How deep values may be nested; an envelope needs five levels.
const MAX_DEPTH: usize = 8;
/// How many values there may be in all.
const MAX_VALUES: usize = 4096;

/// Why bytes are not what is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CborError(String);

fn error(text: impl Into<String>) -> CborError {
    CborError(text.into())
}

/// A value; strings stay where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Self>),
    Map(Map<'a>),
    Tagged(u64, Box<Self>),
    /// True, false, null, floating point: they stand in no place that is looked at, so they are kept unread.
    Simple,
}

/// A key of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label<'a> {
    Integer(i64),
    Text(&'a str),
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A map, in the order it was written in, each key once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Map<'a>(Vec<(Label<'a>, Value<'a>)>);

impl<'a> Map<'a> {
    pub(crate) fn get(&self, label: Label<'_>) -> Option<&Value<'a>> {
        self.0.iter().find(|(own, _)| *own == label).map(|(_, value)| value)
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = Label<'a>> {
        self.0.iter().map(|(label, _)| *label)
    }
}

/// Reads one value which must fill the bytes.
pub(crate) fn read(bytes: &[u8]) -> Result<Value<'_>, CborError> {
    let mut reader = Reader { rest: bytes, values: 0 };
    let value = reader.value(0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(error("there are bytes behind the end")) }
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| error("a length beyond the end"))?;
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| error("the bytes end within a value"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The major type, and the number that belongs to it in its shortest form.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let &[first] = self.take(1)? else { return Err(error("the bytes end within a value")) };
        let (major, short) = (first >> 5, first & 0x1f);
        let (width, least) = match short {
            0..24 => return Ok((major, u64::from(short))),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err(error("an indefinite or reserved length")),
        };
        let number = self.take(width)?.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        // Behind the major type 7 stand floating point numbers, whose bytes are no length.
        if major < 7 && number < least {
            return Err(error("a number that is not in its shortest form"));
        }
        Ok((major, number))
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, CborError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(error(format!("more than {MAX_VALUES} values")));
        }
        if depth > MAX_DEPTH {
            return Err(error(format!("values nested more than {MAX_DEPTH} deep")));
        }
        let (major, number) = self.head()?;
        let integer = || i64::try_from(number).map_err(|_| error("an integer of more than 63 bits"));
        Ok(match major {
            0 => Value::Integer(integer()?),
            1 => Value::Integer(-1 - integer()?),
            2 => Value::Bytes(self.take(number)?),
            3 => {
                let text =
                    std::str::from_utf8(self.take(number)?).map_err(|_| error("a text that is not UTF-8"))?;
                Value::Text(text)
            }
            // Items are read one by one, so a count that is a lie runs into the end and takes no memory.
            4 => {
                let mut items = Vec::new();
                for _ in 0..number {
                    items.push(self.value(depth + 1)?);
                }
                Value::List(items)
            }
            5 => {
                let mut pairs: Vec<(Label<'a>, Value<'a>)> = Vec::new();
                for _ in 0..number {
                    let label = match self.value(depth + 1)? {
                        Value::Integer(number) => Label::Integer(number),
                        Value::Text(text) => Label::Text(text),
                        _ => return Err(error("a key that is neither an integer nor a text")),
                    };
                    if pairs.iter().any(|(other, _)| *other == label) {
                        return Err(error(format!("the key {label} occurs twice")));
                    }
                    pairs.push((label, self.value(depth + 1)?));
                }
                Value::Map(Map(pairs))
            }
            6 => Value::Tagged(number, Box::new(self.value(depth + 1)?)),
            _ => Value::Simple,
        })
    }
}

fn head(major: u8, number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let (short, width) = match number {
        // Below 24 the number fits beside the major type.
        0..24 => return vec![major << 5 | bytes.last().copied().unwrap_or_default()],
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    let mut out = vec![major << 5 | short];
    out.extend_from_slice(bytes.get(8 - width..).unwrap_or(&bytes));
    out
}

pub(crate) fn integer(number: i64) -> Vec<u8> {
    match u64::try_from(number) {
        Ok(number) => head(0, number),
        // -1 - n of a negative number is never negative.
        Err(_) => head(1, u64::try_from(-1 - number).unwrap_or_default()),
    }
}

pub(crate) fn bytes(content: &[u8]) -> Vec<u8> {
    [head(2, content.len() as u64), content.to_vec()].concat()
}

pub(crate) fn text(content: &str) -> Vec<u8> {
    [head(3, content.len() as u64), content.as_bytes().to_vec()].concat()
}

pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

/// A map, its keys in the order of their bytes (RFC 8949 section 4.2.1).
pub(crate) fn map(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    pairs.sort();
    let mut out = head(5, pairs.len() as u64);
    for (key, value) in pairs {
        out.extend(key);
        out.extend(value);
    }
    out
}

pub(crate) fn tagged(tag: u64, value: &[u8]) -> Vec<u8> {
    [head(6, tag), value.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(value: &Value<'_>) -> Vec<u8> {
        match value {
            Value::Integer(number) => integer(*number),
            Value::Bytes(content) => bytes(content),
            Value::Text(content) => text(content),
            Value::List(items) => list(&items.iter().map(write).collect::<Vec<_>>()),
            Value::Map(Map(pairs)) => map(pairs
                .iter()
                .map(|(label, value)| {
                    let label = match label {
                        Label::Integer(number) => integer(*number),
                        Label::Text(content) => text(content),
                    };
                    (label, write(value))
                })
                .collect()),
            Value::Tagged(tag, value) => tagged(*tag, &write(value)),
            Value::Simple => vec![0xf6],
        }
    }

    proptest! {
        #[test]
        fn numbers_and_strings_read_back(number: i64, content in proptest::collection::vec(any::<u8>(), 0..300), words in "\\PC{0,40}") {
            let content = content.as_slice();
            let value = Value::List(vec![
                Value::Integer(number),
                Value::Bytes(content),
                Value::Tagged(number.unsigned_abs(), Box::new(Value::Text(&words))),
            ]);
            let written = write(&value);
            prop_assert_eq!(read(&written).unwrap(), value);
        }

        #[test]
        fn what_is_read_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = read(&bytes) {
                // But for the order of keys, which is the signer's, and for values that are kept unread.
                fn plain(value: &Value<'_>) -> bool {
                    match value {
                        Value::List(items) => items.iter().all(plain),
                        Value::Tagged(_, value) => plain(value),
                        Value::Map(_) | Value::Simple => false,
                        _ => true,
                    }
                }
                if plain(&value) {
                    prop_assert_eq!(write(&value), bytes);
                }
            }
        }
    }

    #[test]
    fn v26_loose_encodings_are_refused() {
        for (name, bytes) in [
            ("empty", &[][..]),
            ("a number in a longer form", &[0x18, 0x17]),
            ("a longer form of two bytes", &[0x19, 0x00, 0xff]),
            ("a length in a longer form", &[0x58, 0x01, 0x00]),
            ("indefinite bytes", &[0x5f, 0x41, 0x00, 0xff]),
            ("an indefinite list", &[0x9f, 0x00, 0xff]),
            ("an indefinite map", &[0xbf, 0x00, 0x00, 0xff]),
            ("a reserved length", &[0x1c]),
            ("bytes behind the end", &[0x00, 0x00]),
            ("a string that is cut off", &[0x43, 0x00]),
            ("a text that is not UTF-8", &[0x61, 0xff]),
            ("a key twice", &[0xa2, 0x01, 0x00, 0x01, 0x00]),
            ("a key that is a list", &[0xa1, 0x80, 0x00]),
            ("an integer beyond 63 bits", &[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("a negative integer beyond 63 bits", &[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert!(read(bytes).is_err(), "{name}");
        }
        assert_eq!(
            read(&[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Ok(Value::Integer(i64::MIN))
        );
    }

    #[test]
    fn v26_depth_and_lying_counts_cost_nothing() {
        let deep = |levels: usize| [vec![0x81; levels], vec![0x00]].concat();
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        assert!(read(&deep(MAX_DEPTH + 1)).is_err());
        assert!(read(&deep(1_000_000)).is_err(), "lists");
        assert!(read(&[vec![0xc1; 1_000_000], vec![0x00]].concat()).is_err(), "tags");
        for major in [0x40, 0x60, 0x80, 0xa0] {
            assert!(
                read(&[major | 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err(),
                "{major:x}"
            );
        }
        let many = [vec![0x99, 0xff, 0xff], vec![0x00; 0xffff]].concat();
        assert!(read(&many).unwrap_err().to_string().contains("values"));
    }
}
