//! Writing DER: every function gives one complete value.
//!
//! The structures written here are a few hundred bytes, built from the inside out. That is quick enough (a
//! signature costs a hundred times more) and leaves no length to be computed twice.

use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use jiff::tz::Offset;

/// A value of any tag with a one-byte identifier; its content is the parts, joined.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        let significant = bytes.get(zeros..).unwrap_or(&[]);
        // At most eight bytes, so this always fits.
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
        out.extend_from_slice(significant);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

/// SET OF: the elements in the order DER asks for.
pub(crate) fn set_of(mut elements: Vec<Vec<u8>>) -> Vec<u8> {
    elements.sort();
    let parts: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
    tlv(0x31, &parts)
}

pub(crate) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    tlv(0x04, &[bytes])
}

/// A BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], bytes])
}

pub(crate) fn utf8_string(text: &str) -> Vec<u8> {
    tlv(0x0c, &[text.as_bytes()])
}

pub(crate) fn boolean_true() -> Vec<u8> {
    vec![0x01, 0x01, 0xff]
}

pub(crate) fn null() -> Vec<u8> {
    vec![0x05, 0x00]
}

/// A non-negative INTEGER from its big-endian bytes.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    match bytes.get(zeros..) {
        None | Some([]) => tlv(0x02, &[&[0]]),
        Some(value @ [0x80..=0xff, ..]) => tlv(0x02, &[&[0], value]),
        Some(value) => tlv(0x02, &[value]),
    }
}

pub(crate) fn object_identifier(oid: &ObjectIdentifier) -> Vec<u8> {
    tlv(0x06, &[oid.as_bytes()])
}

/// `[n] EXPLICIT` or `[n] IMPLICIT` of something constructed; `n` is below 31.
pub(crate) fn constructed(n: u8, parts: &[&[u8]]) -> Vec<u8> {
    tlv(0xa0 | n, parts)
}

/// `[n] IMPLICIT` of something primitive; `n` is below 31.
pub(crate) fn primitive(n: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x80 | n, &[content])
}

/// GeneralizedTime in whole seconds (RFC 5280 section 4.1.2.5.2). The largest `Timestamp` stands for "no end".
pub(crate) fn generalized_time(time: Timestamp) -> Vec<u8> {
    if time.as_second() == Timestamp::MAX.as_second() {
        return tlv(0x18, &[b"99991231235959Z"]);
    }
    let t = Offset::UTC.to_datetime(time);
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    );
    tlv(0x18, &[text.as_bytes()])
}

/// UTCTime from 1950 to 2049, else GeneralizedTime (RFC 5280 section 4.1.2.5).
pub(crate) fn time(time: Timestamp) -> Vec<u8> {
    let t = Offset::UTC.to_datetime(time);
    if !(1950..2050).contains(&t.year()) {
        return generalized_time(time);
    }
    let text = format!(
        "{:02}{:02}{:02}{:02}{:02}{:02}Z",
        t.year() % 100,
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    );
    tlv(0x17, &[text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use der::Decode as _;
    use der::asn1::{AnyRef, UintRef};
    use proptest::prelude::*;

    use super::*;
    use crate::asn1;

    #[test]
    fn the_last_time_means_no_end() {
        assert_eq!(&time(Timestamp::MAX)[2..], b"99991231235959Z");
        let der = time(Timestamp::MAX);
        let mut cursor = asn1::Cursor::new("t", &der).unwrap();
        assert_eq!(asn1::certificate_time("t", cursor.next().unwrap()), Ok(Timestamp::MAX));
    }

    proptest! {
        #[test]
        fn values_of_any_length_read_back(len in prop_oneof![0_usize..300, 65_530..65_540_usize], tag in 0_u8..0x1e) {
            let content = vec![0x5a; len];
            let der = tlv(tag | 0x80, &[&content]);
            let any = AnyRef::from_der(&der).unwrap();
            prop_assert_eq!(any.value(), content.as_slice());
        }

        #[test]
        fn integers_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let der = unsigned(&bytes);
            let read = UintRef::from_der(&der).unwrap();
            let zeros = bytes.iter().take_while(|b| **b == 0).count();
            let expected: &[u8] = if zeros == bytes.len() { &[0] } else { &bytes[zeros..] };
            prop_assert_eq!(read.as_bytes(), expected);
        }

        #[test]
        fn times_read_back(second in -62_135_596_800_i64..253_402_207_200) {
            let t = Timestamp::from_second(second).unwrap();
            for der in [time(t), generalized_time(t)] {
                let mut cursor = asn1::Cursor::new("t", &der).unwrap();
                prop_assert_eq!(asn1::certificate_time("t", cursor.next().unwrap()).unwrap(), t);
            }
        }

        #[test]
        fn sets_are_written_in_order(mut items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5), 0..6)) {
            let elements: Vec<_> = items.iter().map(|i| octet_string(i)).collect();
            let one = set_of(elements.clone());
            items.reverse();
            let other = set_of(elements.into_iter().rev().collect());
            prop_assert_eq!(one, other);
        }
    }
}
