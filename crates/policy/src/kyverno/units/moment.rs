//! Times with the zone they were written in, and Go's layouts of them: `2006-01-02T15:04:05Z07:00`.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use super::Duration;

/// A point in time, and how far from UTC it was written.
#[derive(Debug, Clone, Copy)]
pub(in crate::kyverno) struct Moment {
    at: Timestamp,
    offset: Offset,
}

const RFC_3339: &str = "2006-01-02T15:04:05Z07:00";
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// From the year 1, which Go counts from, to 1970.
const EPOCH: i128 = 62_135_596_800 * 1_000_000_000;

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self { at, offset: Offset::UTC }
    }
}

impl Moment {
    /// Reads a time in RFC 3339.
    pub(in crate::kyverno) fn parse(text: &str) -> Option<Self> {
        Self::parse_layout(RFC_3339, text)
    }

    /// Reads a time in one of Go's layouts. A name of a zone, such as `MST`, counts as UTC: what it means depends on the
    /// place, and Go knows only that of the machine it runs on.
    pub(in crate::kyverno) fn parse_layout(layout: &str, text: &str) -> Option<Self> {
        let mut fields = Fields::default();
        let (mut layout, mut text) = (layout, text);
        while !layout.is_empty() {
            let (element, rest) = Element::of(layout)?;
            text = fields.read(&element, text)?;
            layout = rest;
        }
        if text.is_empty() { fields.moment() } else { None }
    }

    /// Seconds since 1970.
    pub(in crate::kyverno) fn of_epoch(seconds: i64) -> Option<Self> {
        Timestamp::from_second(seconds).ok().map(Self::from)
    }

    /// Later by a length of time.
    pub(in crate::kyverno) fn add(self, duration: Duration) -> Option<Self> {
        let at = Timestamp::from_nanosecond(self.at.as_nanosecond() + i128::from(duration.0)).ok()?;
        Some(Self { at, offset: self.offset })
    }

    /// How long after another it is. What does not fit is the longest there is.
    pub(in crate::kyverno) fn since(self, earlier: Self) -> Duration {
        let nanos = self.at.as_nanosecond() - earlier.at.as_nanosecond();
        Duration(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Down to a multiple of a length of time since the year 1. Nothing changes for one that is not positive.
    pub(in crate::kyverno) fn truncate(self, to: Duration) -> Option<Self> {
        if to.0 <= 0 {
            return Some(self);
        }
        let nanos = self.at.as_nanosecond();
        let at = nanos - (nanos + EPOCH).rem_euclid(i128::from(to.0));
        Some(Self { at: Timestamp::from_nanosecond(at).ok()?, offset: self.offset })
    }

    /// The same time, written in UTC.
    pub(in crate::kyverno) const fn utc(self) -> Self {
        Self { at: self.at, offset: Offset::UTC }
    }

    /// The point in time.
    pub(in crate::kyverno) const fn timestamp(self) -> Timestamp {
        self.at
    }

    /// In RFC 3339, to the second, in the zone it was written in.
    pub(in crate::kyverno) fn rfc_3339(self) -> String {
        let local = self.offset.to_datetime(self.at);
        let written = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let minutes = self.offset.seconds() / 60;
        if minutes == 0 {
            return format!("{written}Z");
        }
        let sign = if minutes < 0 { '-' } else { '+' };
        format!("{written}{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }

    /// Minute, hour, day, month and day of the week, as cron has them.
    pub(in crate::kyverno) fn cron(self) -> String {
        let local = self.offset.to_datetime(self.at);
        let weekday = local.weekday().to_sunday_zero_offset();
        format!("{} {} {} {} {weekday}", local.minute(), local.hour(), local.day(), local.month())
    }
}

/// An element of a layout.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Element<'l> {
    Year { digits: usize },
    Month { padded: bool },
    MonthName { long: bool },
    Day { padded: bool },
    DayOfYear,
    DayName { long: bool },
    Hour,
    HourOfTwelve { padded: bool },
    AfterNoon { upper: bool },
    Minute { padded: bool },
    Second { padded: bool },
    Fraction { digits: usize, exact: bool },
    Zone { z: bool, colon: bool, parts: usize },
    ZoneName,
    Text(&'l str),
}

/// Elements by how they are written; where one is the start of another, the longer one stands first.
const ELEMENTS: &[(&str, Element<'static>)] = &[
    ("January", Element::MonthName { long: true }),
    ("Jan", Element::MonthName { long: false }),
    ("Monday", Element::DayName { long: true }),
    ("Mon", Element::DayName { long: false }),
    ("MST", Element::ZoneName),
    ("2006", Element::Year { digits: 4 }),
    ("002", Element::DayOfYear),
    ("01", Element::Month { padded: true }),
    ("02", Element::Day { padded: true }),
    ("03", Element::HourOfTwelve { padded: true }),
    ("04", Element::Minute { padded: true }),
    ("05", Element::Second { padded: true }),
    ("06", Element::Year { digits: 2 }),
    ("15", Element::Hour),
    ("_2", Element::Day { padded: false }),
    ("1", Element::Month { padded: false }),
    ("2", Element::Day { padded: false }),
    ("3", Element::HourOfTwelve { padded: false }),
    ("4", Element::Minute { padded: false }),
    ("5", Element::Second { padded: false }),
    ("PM", Element::AfterNoon { upper: true }),
    ("pm", Element::AfterNoon { upper: false }),
    ("-07:00:00", Element::Zone { z: false, colon: true, parts: 3 }),
    ("-070000", Element::Zone { z: false, colon: false, parts: 3 }),
    ("-07:00", Element::Zone { z: false, colon: true, parts: 2 }),
    ("-0700", Element::Zone { z: false, colon: false, parts: 2 }),
    ("-07", Element::Zone { z: false, colon: false, parts: 1 }),
    ("Z07:00:00", Element::Zone { z: true, colon: true, parts: 3 }),
    ("Z070000", Element::Zone { z: true, colon: false, parts: 3 }),
    ("Z07:00", Element::Zone { z: true, colon: true, parts: 2 }),
    ("Z0700", Element::Zone { z: true, colon: false, parts: 2 }),
    ("Z07", Element::Zone { z: true, colon: false, parts: 1 }),
];

impl<'l> Element<'l> {
    /// The first element of a layout, and the rest of it.
    fn of(layout: &'l str) -> Option<(Self, &'l str)> {
        if let Some(digits) = layout.strip_prefix(['.', ',']) {
            let kind = digits.chars().next();
            let run = digits.find(|c| Some(c) != kind).unwrap_or(digits.len());
            let rest = digits.get(run..)?;
            if matches!(kind, Some('0' | '9')) && !rest.starts_with(|c: char| c.is_ascii_digit()) {
                return Some((Element::Fraction { digits: run, exact: kind == Some('0') }, rest));
            }
        }
        // "_2006" is an underscore and a year; a short name goes on in small letters only if it is something else.
        for (written, element) in ELEMENTS.iter().filter(|_| !layout.starts_with("_2006")) {
            let Some(rest) = layout.strip_prefix(written) else { continue };
            let short =
                matches!(element, Element::MonthName { long: false } | Element::DayName { long: false });
            if !(short && rest.starts_with(|c: char| c.is_ascii_lowercase())) {
                return Some((*element, rest));
            }
        }
        let end = layout.chars().next()?.len_utf8();
        Some((Element::Text(layout.get(..end)?), layout.get(end..)?))
    }
}

/// What was read.
#[derive(Debug, Default)]
struct Fields {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    after_noon: Option<bool>,
    minute: i8,
    second: i8,
    nanos: i32,
    offset: i32,
}

impl Fields {
    /// Reads an element from the start of a text, and gives the rest.
    fn read<'t>(&mut self, element: &Element<'_>, text: &'t str) -> Option<&'t str> {
        let (value, rest): (i16, &str);
        match element {
            Element::Text(wanted) => return text.strip_prefix(wanted),
            Element::Year { digits } => {
                (value, rest) = number(text, *digits, *digits)?;
                let century = if value >= 69 { 1900 } else { 2000 };
                self.year = Some(if *digits == 4 { value } else { century + value });
            }
            Element::Month { padded } => {
                (value, rest) = number(text, 1 + usize::from(*padded), 2)?;
                self.month = Some(i8::try_from(value).ok()?);
            }
            Element::MonthName { long } => {
                let (at, after) = name(text, &MONTHS, *long)?;
                (value, rest) = (at, after);
                self.month = Some(i8::try_from(value + 1).ok()?);
            }
            Element::Day { padded } => {
                let text = if *padded { text } else { text.strip_prefix(' ').unwrap_or(text) };
                (value, rest) = number(text, 1 + usize::from(*padded), 2)?;
                self.day = Some(i8::try_from(value).ok()?);
            }
            Element::DayOfYear => {
                (value, rest) = number(text, 3, 3)?;
                self.day_of_year = Some(value);
            }
            Element::DayName { long } => (_, rest) = name(text, &DAYS, *long)?,
            Element::Hour => {
                (value, rest) = number(text, 1, 2)?;
                self.hour = i8::try_from(value).ok()?;
            }
            Element::HourOfTwelve { padded } => {
                (value, rest) = number(text, 1 + usize::from(*padded), 2)?;
                self.hour = i8::try_from(value).ok().filter(|hour| *hour <= 12)?;
            }
            Element::AfterNoon { upper } => {
                let (after, before) = if *upper { ("PM", "AM") } else { ("pm", "am") };
                self.after_noon = Some(text.starts_with(after));
                return text.strip_prefix(after).or_else(|| text.strip_prefix(before));
            }
            Element::Minute { padded } => {
                (value, rest) = number(text, 1 + usize::from(*padded), 2)?;
                self.minute = i8::try_from(value).ok()?;
            }
            Element::Second { padded } => {
                let (seconds, after) = number(text, 1 + usize::from(*padded), 2)?;
                self.second = i8::try_from(seconds).ok()?;
                // Seconds may have a fraction whether or not the layout says so.
                rest = self.fraction(after).unwrap_or(after);
            }
            // What is there was read with the seconds; three places may be asked for.
            Element::Fraction { digits, exact } => {
                let places = 10_i32.checked_pow(9_u32.saturating_sub(u32::try_from(*digits).ok()?))?;
                return (!exact || self.nanos % places == 0).then_some(text);
            }
            Element::Zone { z, colon, parts } => return self.zone(text, *z, *colon, *parts),
            Element::ZoneName => {
                let letters = text.bytes().take_while(u8::is_ascii_uppercase).count();
                return text.get(letters..).filter(|_| (3..=4).contains(&letters));
            }
        }
        Some(rest)
    }

    fn fraction<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let digits = text.strip_prefix(['.', ','])?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (digits, rest) = digits.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?;
        self.nanos = format!("{:0<9}", digits.get(..digits.len().min(9))?).parse().ok()?;
        Some(rest)
    }

    fn zone<'t>(&mut self, text: &'t str, z: bool, colon: bool, parts: usize) -> Option<&'t str> {
        if z && let Some(rest) = text.strip_prefix('Z') {
            return Some(rest);
        }
        let (sign, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+')?),
        };
        let mut seconds = 0;
        for part in 0..parts {
            if part > 0 && colon {
                rest = rest.strip_prefix(':')?;
            }
            let (value, after) = number(rest, 2, 2)?;
            if value > if part == 0 { 24 } else { 60 } {
                return None;
            }
            seconds = seconds * 60 + i32::from(value);
            rest = after;
        }
        self.offset = sign * seconds * 60_i32.checked_pow(u32::try_from(3 - parts).ok()?)?;
        Some(rest)
    }

    fn moment(&self) -> Option<Moment> {
        let year = self.year.unwrap_or(0);
        let date = match self.day_of_year {
            Some(day) if self.month.is_none() && self.day.is_none() => {
                Date::new(year, 1, 1).ok()?.with().day_of_year(day).build().ok()?
            }
            Some(_) => return None,
            None => Date::new(year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?,
        };
        let hour = match self.after_noon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let local = date.to_datetime(Time::new(hour, self.minute, self.second, self.nanos).ok()?);
        let offset = Offset::from_seconds(self.offset).ok()?;
        Some(Moment { at: offset.to_timestamp(local).ok()?, offset })
    }
}

/// A number of so many digits at least and at most.
fn number(text: &str, least: usize, most: usize) -> Option<(i16, &str)> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(digits).filter(|(digits, _)| digits.len() >= least)?;
    Some((digits.parse().ok()?, rest))
}

/// One of some names, or the start of one, and which.
fn name<'t>(text: &'t str, names: &[&str], long: bool) -> Option<(i16, &'t str)> {
    names.iter().zip(0..).find_map(|(name, at)| {
        let name = if long { name } else { name.get(..3)? };
        let (start, rest) = text.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some((at, rest))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layouts_are_read_as_go_does() {
        for (layout, text, expected) in [
            ("2006-01-02T15:04:05Z07:00", "2023-02-01T10:00:00Z", "2023-02-01T10:00:00Z"),
            ("2006-01-02T15:04:05Z07:00", "2023-02-01T10:00:00+05:30", "2023-02-01T10:00:00+05:30"),
            ("2006-01-02T15:04:05Z07:00", "2023-02-01T10:00:00.123456789-08:00", "2023-02-01T10:00:00-08:00"),
            ("2006-01-02", "2023-02-01", "2023-02-01T00:00:00Z"),
            ("Mon Jan 02 15:04:05 -0700 2006", "Fri Jun 22 17:45:00 +0100 2022", "2022-06-22T17:45:00+01:00"),
            ("Mon Jan _2 15:04:05 2006", "Mon Jan  2 15:04:05 2006", "2006-01-02T15:04:05Z"),
            ("Mon Jan _2 15:04:05 MST 2006", "Mon Jan 12 15:04:05 UTC 2006", "2006-01-12T15:04:05Z"),
            ("02 Jan 06 15:04 MST", "02 Jan 06 15:04 GMT", "2006-01-02T15:04:00Z"),
            ("02 Jan 06 15:04 MST", "02 Jan 06 15:04 CEST", "2006-01-02T15:04:00Z"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Monday, 02-Jan-70 15:04:05 UTC", "1970-01-02T15:04:05Z"),
            ("3:04PM", "1:05PM", "0000-01-01T13:05:00Z"),
            ("3:04 pm", "12:05 am", "0000-01-01T00:05:00Z"),
            ("2006-002", "2024-366", "2024-12-31T00:00:00Z"),
            ("2006-01-02 15:04:05.000", "2023-02-01 10:00:00.250", "2023-02-01T10:00:00Z"),
            ("January 2, 2006", "December 25, 2023", "2023-12-25T00:00:00Z"),
            ("Z07 2006", "-03 2020", "2020-01-01T00:00:00-03:00"),
        ] {
            let found = Moment::parse_layout(layout, text).map(Moment::rfc_3339);
            assert_eq!(found.as_deref(), Some(expected), "{text} as {layout}");
        }
    }

    #[test]
    fn what_does_not_fit_the_layout_is_none() {
        for (layout, text) in [
            ("2006-01-02T15:04:05Z07:00", ""),
            ("2006-01-02T15:04:05Z07:00", "2023-02-01"),
            ("2006-01-02T15:04:05Z07:00", "2023-02-30T10:00:00Z"),
            ("2006-01-02T15:04:05Z07:00", "2023-13-01T10:00:00Z"),
            ("2006-01-02T15:04:05Z07:00", "2023-02-01T25:00:00Z"),
            ("2006-01-02T15:04:05Z07:00", "2023-02-01T10:00:00"),
            ("2006-01-02T15:04:05Z07:00", "2023-02-01T10:00:00Zx"),
            ("2006-01-02T15:04:05Z07:00", "2023-02-01T10:00:00+99:00"),
            ("2006-01-02 MST", "2023-02-01 cet"),
            ("2006-01-02 MST", "2023-02-01 +01"),
            ("2006", "20x6"),
            ("Jan 2006", "Foo 2020"),
        ] {
            assert!(Moment::parse_layout(layout, text).is_none(), "{text} as {layout}");
        }
    }

    #[test]
    fn times_are_cut_to_multiples() {
        let cut = |text, to| {
            Moment::parse(text).unwrap().truncate(Duration::parse(to).unwrap()).unwrap().rfc_3339()
        };
        assert_eq!(cut("2023-02-01T10:42:31Z", "1h"), "2023-02-01T10:00:00Z");
        assert_eq!(cut("2023-02-01T10:42:31Z", "24h"), "2023-02-01T00:00:00Z");
        assert_eq!(cut("2023-02-01T10:42:31+02:00", "1m"), "2023-02-01T10:42:00+02:00");
        assert_eq!(cut("2023-02-01T10:42:31Z", "0s"), "2023-02-01T10:42:31Z");
        assert_eq!(cut("1969-12-31T23:59:31Z", "1h"), "1969-12-31T23:00:00Z");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fall_over(layout in "[-0-9:.,TZJanMoPpmS _]{0,24}", text in "[-0-9:.,+TZJanMoPpm ]{0,24}") {
            if let Some(moment) = Moment::parse_layout(&layout, &text) {
                moment.rfc_3339();
                moment.cron();
            }
        }
    }
}
