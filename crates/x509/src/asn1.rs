//! Reading DER: a cursor over values, with the limits checked before anything is parsed.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Header, Reader as _, SliceReader, Tag, TagNumber};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::X509Error;

/// How deep values may be nested. Real certificates and tokens stay under 20.
pub(crate) const MAX_DEPTH: usize = 32;

/// Checks that the bytes are one DER value of at most `limit` bytes whose constructed values hold whole values
/// down to [`MAX_DEPTH`] levels. It walks the bytes once, without recursion.
pub(crate) fn check_limits(what: &'static str, der: &[u8], limit: usize) -> Result<(), X509Error> {
    if der.len() > limit {
        return Err(X509Error::TooLarge { what, limit, found: der.len() });
    }
    let malformed = |e: der::Error| X509Error::malformed(what, e.to_string());
    let mut reader = SliceReader::new(der).map_err(malformed)?;
    // The ends of the values we are inside of, innermost last.
    let mut ends = vec![der.len()];
    loop {
        let position = position(&reader);
        while ends.last() == Some(&position) {
            ends.pop();
        }
        let Some(&end) = ends.last() else { return Ok(()) };
        let header = Header::decode(&mut reader).map_err(malformed)?;
        let length = usize::try_from(header.length()).map_err(malformed)?;
        let start = self::position(&reader);
        let stop = start.checked_add(length).filter(|stop| *stop <= end).ok_or_else(|| {
            X509Error::malformed(what, format!("a value at byte {position} is longer than what holds it"))
        })?;
        if header.tag().is_constructed() {
            if ends.len() > MAX_DEPTH {
                return Err(X509Error::TooDeep { what, limit: MAX_DEPTH });
            }
            ends.push(stop);
        } else {
            reader.read_slice(header.length()).map_err(malformed)?;
        }
    }
}

fn position(reader: &SliceReader<'_>) -> usize {
    usize::try_from(reader.position()).unwrap_or(usize::MAX)
}

/// One value: its tag, its content, and all its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: Tag,
    pub(crate) value: &'a [u8],
    pub(crate) raw: &'a [u8],
}

/// Reads the values in some bytes, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    what: &'static str,
    reader: SliceReader<'a>,
}

impl<'a> Cursor<'a> {
    /// `what` names the structure in errors.
    pub(crate) fn new(what: &'static str, der: &'a [u8]) -> Result<Self, X509Error> {
        let reader = SliceReader::new(der).map_err(|e| X509Error::malformed(what, e.to_string()))?;
        Ok(Self { what, reader })
    }

    fn error(&self, e: &der::Error) -> X509Error {
        X509Error::malformed(self.what, e.to_string())
    }

    /// Whether all values have been read.
    pub(crate) fn is_finished(&self) -> bool {
        self.reader.is_finished()
    }

    /// Fails when something is left.
    pub(crate) fn finish(self) -> Result<(), X509Error> {
        if self.is_finished() {
            Ok(())
        } else {
            Err(X509Error::malformed(self.what, "there are bytes behind the end"))
        }
    }

    /// The next value, whatever it is.
    pub(crate) fn next(&mut self) -> Result<Tlv<'a>, X509Error> {
        let raw = self.reader.tlv_bytes().map_err(|e| self.error(&e))?;
        let any = AnyRef::from_der(raw).map_err(|e| self.error(&e))?;
        Ok(Tlv { tag: der::Tagged::tag(&any), value: any.value(), raw })
    }

    /// The next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: Tag) -> Result<Tlv<'a>, X509Error> {
        let tlv = self.next()?;
        if tlv.tag == tag {
            Ok(tlv)
        } else {
            Err(X509Error::malformed(self.what, format!("expected {tag}, found {}", tlv.tag)))
        }
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: Tag) -> Result<Option<Tlv<'a>>, X509Error> {
        if self.is_finished() || Tag::peek(&self.reader).map_err(|e| self.error(&e))? != tag {
            return Ok(None);
        }
        self.next().map(Some)
    }

    /// A cursor inside the next value, which must be a SEQUENCE.
    pub(crate) fn sequence(&mut self) -> Result<Self, X509Error> {
        self.inside(Tag::Sequence)
    }

    /// A cursor inside the next value, which must have this tag.
    pub(crate) fn inside(&mut self, tag: Tag) -> Result<Self, X509Error> {
        let tlv = self.expect(tag)?;
        Self::new(self.what, tlv.value)
    }

    /// The next value as a type of the `der` crate.
    pub(crate) fn decode<T: der::Decode<'a, Error = der::Error>>(&mut self) -> Result<T, X509Error> {
        self.reader.decode().map_err(|e: der::Error| self.error(&e))
    }

    /// The next value as an object identifier.
    pub(crate) fn oid(&mut self) -> Result<ObjectIdentifier, X509Error> {
        self.decode()
    }

    /// The next value as the content of an OCTET STRING.
    pub(crate) fn octets(&mut self) -> Result<&'a [u8], X509Error> {
        Ok(self.expect(Tag::OctetString)?.value)
    }

    /// The next value as the content of a BIT STRING of whole bytes.
    pub(crate) fn bits(&mut self) -> Result<&'a [u8], X509Error> {
        match self.expect(Tag::BitString)?.value.split_first() {
            Some((0, bits)) => Ok(bits),
            _ => Err(X509Error::malformed(self.what, "expected a bit string of whole bytes")),
        }
    }

    /// The next value as a non-negative INTEGER: its content as written, which may begin with a zero byte.
    pub(crate) fn unsigned(&mut self) -> Result<&'a [u8], X509Error> {
        let tlv = self.expect(Tag::Integer)?;
        match tlv.value {
            [] => Err(X509Error::malformed(self.what, "an INTEGER has no content")),
            [0, second, ..] if *second < 0x80 => {
                Err(X509Error::malformed(self.what, "an INTEGER is not in its shortest form"))
            }
            [0x80..=0xff, ..] => {
                Err(X509Error::malformed(self.what, "expected a positive INTEGER, found a negative"))
            }
            value => Ok(value),
        }
    }
}

/// A positive INTEGER's content without the zero byte for the sign.
pub(crate) fn significant(content: &[u8]) -> &[u8] {
    content.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(content)
}

/// `[n]`, holding other values.
pub(crate) const fn constructed(n: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(n) }
}

/// `[n] IMPLICIT` of something primitive.
pub(crate) const fn primitive(n: u32) -> Tag {
    Tag::ContextSpecific { constructed: false, number: TagNumber(n) }
}

/// Reads one value which must fill the bytes.
pub(crate) fn decode_all<'a, T: der::Decode<'a, Error = der::Error>>(
    what: &'static str,
    der: &'a [u8],
) -> Result<T, X509Error> {
    T::from_der(der).map_err(|e| X509Error::malformed(what, e.to_string()))
}

/// UTCTime or GeneralizedTime of a certificate (RFC 5280 section 4.1.2.5): UTC, with seconds.
pub(crate) fn certificate_time(what: &'static str, tlv: Tlv<'_>) -> Result<Timestamp, X509Error> {
    match (tlv.tag, tlv.value) {
        (Tag::UtcTime, [y1, y2, rest @ ..]) => {
            let century: &[u8] = if *y1 < b'5' { b"20" } else { b"19" };
            time(what, &[century, &[*y1, *y2], rest].concat())
        }
        (Tag::GeneralizedTime, value) => time(what, value),
        (tag, _) => Err(X509Error::malformed(what, format!("expected a time, found {tag}"))),
    }
}

/// GeneralizedTime as RFC 3161 section 2.4.2 writes it: UTC, with seconds and perhaps a fraction.
pub(crate) fn generalized_time(what: &'static str, value: &[u8]) -> Result<Timestamp, X509Error> {
    let bad = || X509Error::malformed(what, "a time is not in the form YYYYMMDDhhmmss[.f]Z");
    let (whole, fraction) = match value.iter().position(|b| *b == b'.') {
        None => return time(what, value),
        Some(dot) => value.split_at_checked(dot).ok_or_else(bad)?,
    };
    // ".5Z": at least one digit, no zero at the end (DER), at most nanoseconds.
    let digits = fraction.strip_prefix(b".").and_then(|f| f.strip_suffix(b"Z")).ok_or_else(bad)?;
    if digits.is_empty()
        || digits.len() > 9
        || digits.ends_with(b"0")
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return Err(bad());
    }
    let mut nanos = 0_i64;
    for i in 0..9 {
        nanos = nanos * 10 + i64::from(digits.get(i).copied().unwrap_or(b'0') - b'0');
    }
    let seconds = time(what, &[whole, b"Z"].concat())?;
    seconds.checked_add(jiff::SignedDuration::from_nanos(nanos)).map_err(|_| bad())
}

/// `YYYYMMDDhhmmssZ`.
fn time(what: &'static str, text: &[u8]) -> Result<Timestamp, X509Error> {
    let bad = || X509Error::malformed(what, "a time is not in the form YYYYMMDDhhmmssZ");
    let [y1, y2, y3, y4, rest @ ..] = text else { return Err(bad()) };
    let [mo1, mo2, d1, d2, h1, h2, mi1, mi2, s1, s2, b'Z'] = rest else { return Err(bad()) };
    let two = |a: &u8, b: &u8| -> Result<i8, X509Error> {
        if a.is_ascii_digit() && b.is_ascii_digit() {
            i8::try_from((a - b'0') * 10 + (b - b'0')).map_err(|_| bad())
        } else {
            Err(bad())
        }
    };
    let year = i16::from(two(y1, y2)?) * 100 + i16::from(two(y3, y4)?);
    let civil =
        DateTime::new(year, two(mo1, mo2)?, two(d1, d2)?, two(h1, h2)?, two(mi1, mi2)?, two(s1, s2)?, 0)
            .map_err(|_| bad())?;
    // 99991231235959Z means "no end" (RFC 5280 section 4.1.2.5) and is just outside of Timestamp's range.
    Ok(Offset::UTC.to_timestamp(civil).unwrap_or(if year > 0 { Timestamp::MAX } else { Timestamp::MIN }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v26_nesting_beyond_the_limit_is_refused_without_recursion() {
        let mut der = vec![0x30, 0x00];
        for _ in 0..MAX_DEPTH - 1 {
            der = crate::write::tlv(0x30, &[&der]);
        }
        assert_eq!(check_limits("t", &der, 1 << 20), Ok(()));
        der = crate::write::tlv(0x30, &[&der]);
        assert_eq!(check_limits("t", &der, 1 << 20), Err(X509Error::TooDeep { what: "t", limit: MAX_DEPTH }));
        let deep: Vec<u8> = [0x30, 0x84, 0x7f, 0xff, 0xff, 0xff].repeat(100_000);
        assert!(check_limits("t", &deep, 1 << 20).is_err());
    }

    #[test]
    fn v26_loose_encodings_are_refused() {
        for (name, der) in [
            ("length in long form", &[0x30, 0x81, 0x03, 0x02, 0x01, 0x01][..]),
            ("indefinite length", &[0x30, 0x80, 0x00, 0x00]),
            ("inner value too long", &[0x30, 0x03, 0x02, 0x02, 0x01]),
            ("inner value reaches beyond its holder", &[0x30, 0x04, 0x30, 0x01, 0x02, 0x00]),
            ("empty", &[]),
        ] {
            let result = check_limits("t", der, 64);
            assert!(result.is_err() || der.is_empty(), "{name}: {result:?}");
        }
        assert!(decode_all::<bool>("t", &[0x01, 0x01, 0x01]).is_err(), "a true is 0xff");
        // 1.3.6.1.4.1.(2^32 + 57264): must not come out as 57264.
        let wide = [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x90, 0x80, 0x83, 0xbf, 0x30];
        assert!(decode_all::<ObjectIdentifier>("t", &wide).is_err());
        let mut cursor = Cursor::new("t", &[0x02, 0x02, 0x00, 0x01]).unwrap();
        assert!(cursor.unsigned().is_err(), "an integer with a superfluous zero");
    }

    #[test]
    fn times_are_read_in_their_one_form() {
        let t = |s: &str| generalized_time("t", s.as_bytes());
        assert_eq!(t("19700101000001Z").unwrap().as_second(), 1);
        assert_eq!(t("19700101000001.25Z").unwrap().as_millisecond(), 1250);
        assert_eq!(t("99991231235959Z").unwrap(), Timestamp::MAX);
        for bad in
            ["19700101000001", "19700101000001.Z", "19700101000001.50Z", "19700101000001+0100", "1970Z", ""]
        {
            assert!(t(bad).is_err(), "{bad}");
        }
        let utc =
            |s: &'static str| certificate_time("t", Tlv { tag: Tag::UtcTime, value: s.as_bytes(), raw: &[] });
        assert_eq!(utc("700101000000Z").unwrap().as_second(), 0);
        assert_eq!(utc("490101000000Z").unwrap().to_string(), "2049-01-01T00:00:00Z");
        assert!(utc("7001010000Z").is_err(), "without seconds");
    }
}
