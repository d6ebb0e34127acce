//! Quantities of Kubernetes: `500m`, `1Gi`, `2e3`, to the billionth.

use std::fmt;

/// An amount in billionths, and how it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kyverno) struct Quantity {
    /// In billionths.
    pub(in crate::kyverno) nanos: i128,
    /// How it was written, and is written again.
    pub(in crate::kyverno) scale: Scale,
}

/// The units of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kyverno) enum Scale {
    /// `Ki`, `Mi` and so on.
    Binary,
    /// `m`, `k`, `M` and so on.
    Decimal,
    /// `e3`.
    Exponent,
}

const NANO: i128 = 1_000_000_000;
/// The largest amount, as Kubernetes has it.
const MOST: i128 = i64::MAX as i128 * NANO;
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// From 10^-9 to 10^18.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

impl Quantity {
    /// An amount, no larger than Kubernetes has it.
    pub(in crate::kyverno) fn new(nanos: i128, scale: Scale) -> Self {
        Self { nanos: nanos.clamp(-MOST, MOST), scale }
    }

    /// Reads one. What is smaller than a billionth is rounded up, what is too large is the largest.
    pub(in crate::kyverno) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 64 {
            return None;
        }
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|digit| digit - b'0').collect();
        let fraction = i32::try_from(fraction.len()).ok()?;
        let (binary, exponent, scale) = unit(suffix)?;
        let nanos = amount(&digits, exponent - fraction + 9, binary);
        Some(Self::new(if negative { -nanos } else { nanos }, scale))
    }

    /// As a number.
    #[expect(clippy::cast_precision_loss, reason = "an approximation is asked for")]
    pub(in crate::kyverno) fn number(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// As a whole number, if it is one.
    pub(in crate::kyverno) fn whole(self) -> Option<i128> {
        (self.nanos % NANO == 0).then_some(self.nanos / NANO)
    }

    /// Of a whole number.
    pub(in crate::kyverno) fn of_whole(number: i128, scale: Scale) -> Self {
        Self::new(number.saturating_mul(NANO), scale)
    }
}

/// The unit: a power of 1024, a power of ten, and which kind it is.
fn unit(suffix: &str) -> Option<(u32, i32, Scale)> {
    if let Some(at) = BINARY.iter().skip(1).position(|unit| *unit == suffix) {
        return Some((u32::try_from(at).ok()? + 1, 0, Scale::Binary));
    }
    if let Some(at) = DECIMAL.iter().position(|unit| *unit == suffix) {
        return Some((0, i32::try_from(at).ok()? * 3 - 9, Scale::Decimal));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((0, exponent.parse().ok()?, Scale::Exponent))
}

/// Digits times a power of ten times a power of 1024, rounded up; saturates.
fn amount(digits: &[u8], exponent: i32, binary: u32) -> i128 {
    let binary = 1024_i128.pow(binary);
    let mut value: i128 = 0;
    let mut power = exponent;
    let mut lost = false;
    let mut digits = digits.iter();
    for digit in digits.by_ref() {
        match value.checked_mul(10).and_then(|value| value.checked_add(i128::from(*digit))) {
            Some(next) if next < i128::MAX / binary => value = next,
            _ => {
                // No more places fit; those that are left only say how large it is.
                lost |= *digit != 0;
                power = power.saturating_add(1);
            }
        }
    }
    if value == 0 && !lost {
        return 0;
    }
    let mut product = value.saturating_mul(binary);
    while power > 0 && product <= MOST {
        product = product.saturating_mul(10);
        power -= 1;
    }
    while power < 0 && product > 0 {
        lost |= product % 10 != 0;
        product /= 10;
        power += 1;
    }
    product.saturating_add(i128::from(lost))
}

/// In the largest unit that leaves a whole number.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nanos.unsigned_abs() < 1024 * NANO.unsigned_abs();
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.scale == Scale::Binary && !small {
            let (mut whole, mut unit) = (self.nanos / NANO, 0);
            if self.nanos % NANO != 0 {
                whole += self.nanos.signum();
            }
            while whole % 1024 == 0 && unit + 1 < BINARY.len() {
                whole /= 1024;
                unit += 1;
            }
            return write!(f, "{whole}{}", BINARY.get(unit).unwrap_or(&""));
        }
        let (mut count, mut unit) = (self.nanos, 0);
        while count % 1000 == 0 && unit + 1 < DECIMAL.len() {
            count /= 1000;
            unit += 1;
        }
        match (self.scale, unit) {
            (Scale::Exponent, 3) => write!(f, "{count}"),
            (Scale::Exponent, unit) => write!(f, "{count}e{}", i32::try_from(unit).unwrap_or(0) * 3 - 9),
            _ => write!(f, "{count}{}", DECIMAL.get(unit).unwrap_or(&"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_and_written_as_kubernetes_does() {
        for (text, written) in [
            ("1", "1"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500", "1500"),
            ("1000", "1k"),
            ("1Gi", "1Gi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("2e3", "2e3"),
            ("2E3", "2e3"),
            ("1E", "1E"),
            ("100n", "100n"),
            ("-1k", "-1k"),
            ("+1k", "1k"),
            (".5", "500m"),
            ("5.", "5"),
            ("0", "0"),
            ("0Gi", "0"),
            ("0.1n", "1n"),
            ("1e100", "9223372036854775807"),
            ("1e-100", "1e-9"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in
            ["", "-", ".", "Gi", "1gi", "1 Gi", "1.2.3", "1e", "1e+", "one", "1kk", "0x1", "1h", "1Ki1"]
        {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(nanos in -(1_i128 << 90)..(1_i128 << 90)) {
            let quantity = Quantity::new(nanos, Scale::Decimal);
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Some(quantity));
        }

        #[test]
        fn no_text_makes_it_fall_over(text in "[-+0-9.eEKMGTPikmun]{0,24}") {
            Quantity::parse(&text);
        }
    }
}
