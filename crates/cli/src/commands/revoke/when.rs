//! Times as people write them in a hurry.

use countersign_clock::Timestamp;
use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::failure::Failure;
use crate::out::parse_duration;

/// A time: a fixed one, or one that is counted from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Fixed(Timestamp),
    FromNow(SignedDuration),
}

impl When {
    pub(crate) fn at(self, now: Timestamp) -> Result<Timestamp, Failure> {
        match self {
            Self::Fixed(time) => Ok(time),
            Self::FromNow(length) => now
                .checked_add(length)
                .and_then(|time| Timestamp::from_second(time.as_second()))
                .map_err(|_| Failure::usage("a time: expected one that a calendar has, found one beyond it")),
        }
    }
}

/// A time that may be given as so long ago.
pub(crate) fn past(text: &str) -> Result<When, String> {
    read(text, -1)
}

/// A time that may be given as so long from now.
pub(crate) fn ahead(text: &str) -> Result<When, String> {
    read(text, 1)
}

fn read(text: &str, sign: i32) -> Result<When, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(When::Fixed(time));
    }
    // A day alone: with a time behind it, it would need a zone.
    if text.len() == "2026-11-26".len()
        && let Ok(day) = text.parse::<Date>()
        && let Ok(midnight) = day.to_zoned(TimeZone::UTC)
    {
        return Ok(When::Fixed(midnight.timestamp()));
    }
    let length = match text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()) {
        Some(days) => days.checked_mul(24 * 3600).map(SignedDuration::from_secs),
        None => parse_duration(text).ok().and_then(|length| SignedDuration::try_from(length).ok()),
    };
    match length.and_then(|length| length.checked_mul(sign)) {
        // Plain seconds are not what somebody means here.
        Some(length) if text.ends_with(|c: char| c.is_ascii_alphabetic()) => Ok(When::FromNow(length)),
        _ => Err(format!(
            "expected a time with its zone such as 2026-11-26T01:00:00Z, a day such as 2026-11-26, or a length such as \
             90m, 2h or 3d, found \"{text}\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_days_and_lengths_are_read_and_a_time_without_its_zone_is_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let now = at(1_000_000_000);
        for (text, expected) in [
            ("2001-09-09T01:46:40Z", 1_000_000_000),
            ("2001-09-09T03:46:40+02:00", 1_000_000_000),
            ("2001-09-09", 999_993_600),
            ("2h", 999_992_800),
            ("90m", 999_994_600),
            ("3d", 999_740_800),
        ] {
            assert_eq!(past(text).unwrap().at(now).unwrap(), at(expected), "{text}");
        }
        assert_eq!(ahead("2h").unwrap().at(now).unwrap(), at(1_000_007_200));
        for wrong in ["", "2", "yesterday", "2001-09-09T01:46:40", "2001-13-01", "-2h", "99999999999999999d"]
        {
            assert!(past(wrong).is_err(), "{wrong}");
        }
    }
}
