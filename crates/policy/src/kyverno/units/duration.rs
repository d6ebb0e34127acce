//! Lengths of time as Go writes them: `168h`, `1h30m`, `-1.5s`, to the nanosecond.

use std::fmt;

/// A length of time in nanoseconds. It may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duration(pub(crate) i64);

const SECOND: i64 = 1_000_000_000;

impl Duration {
    /// Reads one; `0` needs no unit, everything else does.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Some(Self(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let factor: i128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return None,
            };
            total = total.checked_add(scaled(number, factor)?)?;
            rest = tail;
        }
        i64::try_from(if negative { -total } else { total }).ok().map(Self)
    }

    /// Of a number of seconds. Kyverno takes whole ones.
    pub(in crate::kyverno) fn of_seconds(seconds: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and the product is checked")]
        let seconds = seconds as i64;
        seconds.checked_mul(SECOND).map(Self)
    }

    /// In seconds.
    #[expect(clippy::cast_precision_loss, reason = "as Go rounds")]
    pub(in crate::kyverno) fn seconds(self) -> f64 {
        (self.0 / SECOND) as f64 + (self.0 % SECOND) as f64 / 1e9
    }
}

/// A number with a fraction times a factor, cut to a whole one.
fn scaled(number: &str, factor: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        text.bytes().try_fold(0_i128, |sum, digit| {
            let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit)
        })
    };
    let whole = digits(whole)?.checked_mul(factor)?;
    // What is beyond the twelfth place is less than a nanosecond of any unit's.
    let fraction = fraction.get(..fraction.len().min(15)).unwrap_or_default();
    let part = digits(fraction)?.checked_mul(factor)? / 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_add(part)
}

/// As Go writes it: `168h0m0s`, `1.5s`, `20ms`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let second = SECOND.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < second {
            let (unit, name) = match nanos {
                1_000_000.. => (1_000_000, "ms"),
                1_000.. => (1_000, "µs"),
                _ => (1, "ns"),
            };
            return write!(f, "{}{name}", decimal(nanos, unit));
        }
        let minutes = nanos / second / 60;
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        write!(f, "{}s", decimal(nanos - minutes * 60 * second, second))
    }
}

fn decimal(count: u64, unit: u64) -> String {
    let (whole, rest) = (count / unit, count % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written_as_go_does() {
        for (text, written) in [
            ("168h", "168h0m0s"),
            ("1h30m", "1h30m0s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            (".5s", "500ms"),
            ("-2m", "-2m0s"),
            ("+2m", "2m0s"),
            ("1500us", "1.5ms"),
            ("1µs", "1µs"),
            ("15ns", "15ns"),
            ("0", "0s"),
            ("-0", "0s"),
            ("0h", "0s"),
            ("2562047h47m16.854775807s", "2562047h47m16.854775807s"),
        ] {
            assert_eq!(Duration::parse(text).unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_none() {
        for text in ["", "1", "-", "h", "1d", "1h ", "1.2.3s", ".s", "9999999999h", "1h-2m", "one", "1e3s"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(nanos: i64) {
            prop_assert_eq!(Duration::parse(&Duration(nanos).to_string()), Some(Duration(nanos)));
        }

        #[test]
        fn no_text_makes_it_fall_over(text in "[-+0-9.a-zµ]{0,24}") {
            Duration::parse(&text);
        }
    }
}
