//! Arithmetic on numbers, quantities and lengths of time. A text is a quantity if it can be one: `30m` is 0.03, not half an
//! hour.

use serde_json::Value;

use super::Kind::{Any, Array, Number};
use super::{Call, Error, Function, Outcome, function, whole};
use crate::kyverno::units::{Duration, Quantity};

pub(super) const FUNCTIONS: &[Function] = &[
    function("add", &[&[Any], &[Any]], |call| add(call, call.operand(0)?, call.operand(1)?)?.value(call)),
    function("sum", &[&[Array]], sum),
    function("subtract", &[&[Any], &[Any]], subtract),
    function("multiply", &[&[Any], &[Any]], multiply),
    function("divide", &[&[Any], &[Any]], divide),
    function("modulo", &[&[Any], &[Any]], modulo),
    function("round", &[&[Number], &[Number]], round),
];

/// What is calculated with.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Number(f64),
    Quantity(Quantity),
    Duration(Duration),
}

impl Operand {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_f64().map(Self::Number),
            Value::String(text) => Quantity::parse(text)
                .map(Self::Quantity)
                .or_else(|| Duration::parse(text).map(Self::Duration)),
            _ => None,
        }
    }

    fn value(self, call: &Call<'_>) -> Outcome {
        match self {
            Self::Number(number) => call.numeric(number),
            Self::Quantity(quantity) => Ok(Value::from(quantity.to_string())),
            Self::Duration(duration) => Ok(Value::from(duration.to_string())),
        }
    }
}

impl Call<'_> {
    fn operand(&self, position: usize) -> Result<Operand, Error> {
        Operand::of(self.value(position)?).ok_or_else(|| {
            self.expected(position, "a number, a quantity such as 1Gi, or a length of time such as 1h")
        })
    }

    fn mismatch(&self) -> Error {
        self.error(
            "expected two values that go together, found a number, a quantity and a length of time mixed",
        )
    }

    fn zero(&self) -> Error {
        self.error("expected a divisor other than 0")
    }

    fn too_large(&self) -> Error {
        self.error("the result is too large")
    }

    fn seconds(&self, seconds: f64) -> Outcome {
        let nanos = seconds * 1e9;
        if !nanos.is_finite() || nanos.abs() >= 9.2e18 {
            return Err(self.too_large());
        }
        #[expect(clippy::cast_possible_truncation, reason = "it was compared with the largest")]
        Operand::Duration(Duration(nanos as i64)).value(self)
    }

    /// A quantity times or over a number is calculated in billionths.
    fn scaled(&self, quantity: Quantity, by: impl Fn(i128, i128) -> Option<i128>, number: f64) -> Outcome {
        let text = number.to_string();
        let factor = Quantity::parse(&text)
            .filter(|factor| factor.nanos != 0 || number == 0.0)
            .ok_or_else(|| self.error(format!("cannot calculate with {text}")))?;
        let nanos = by(quantity.nanos, factor.nanos).ok_or_else(|| self.too_large())?;
        Operand::Quantity(Quantity::new(nanos, quantity.scale)).value(self)
    }
}

const NANO: i128 = 1_000_000_000;

fn add(call: &Call<'_>, left: Operand, right: Operand) -> Result<Operand, Error> {
    Ok(match (left, right) {
        (Operand::Number(left), Operand::Number(right)) => Operand::Number(left + right),
        (Operand::Quantity(left), Operand::Quantity(right)) => {
            let scale = if left.nanos == 0 { right.scale } else { left.scale };
            Operand::Quantity(Quantity::new(left.nanos + right.nanos, scale))
        }
        (Operand::Duration(left), Operand::Duration(right)) => {
            Operand::Duration(Duration(left.0.checked_add(right.0).ok_or_else(|| call.too_large())?))
        }
        _ => return Err(call.mismatch()),
    })
}

/// The sum of a list with at least one item; of one item, the item.
fn sum(call: &Call<'_>) -> Outcome {
    let items = call.list(0)?;
    let (first, rest) =
        items.split_first().ok_or_else(|| call.error("expected at least one item, found none"))?;
    if rest.is_empty() {
        return call.budget().copy(first);
    }
    let operand = |value| {
        Operand::of(value)
            .ok_or_else(|| call.error("expected a list of numbers, quantities or lengths of time"))
    };
    let mut total = operand(first)?;
    for item in rest {
        total = add(call, total, operand(item)?)?;
    }
    total.value(call)
}

fn subtract(call: &Call<'_>) -> Outcome {
    match (call.operand(0)?, call.operand(1)?) {
        (Operand::Number(left), Operand::Number(right)) => call.numeric(left - right),
        (Operand::Quantity(left), Operand::Quantity(right)) => {
            let scale = if left.nanos == 0 { right.scale } else { left.scale };
            Operand::Quantity(Quantity::new(left.nanos - right.nanos, scale)).value(call)
        }
        (Operand::Duration(left), Operand::Duration(right)) => {
            let nanos = left.0.checked_sub(right.0).ok_or_else(|| call.too_large())?;
            Operand::Duration(Duration(nanos)).value(call)
        }
        _ => Err(call.mismatch()),
    }
}

fn multiply(call: &Call<'_>) -> Outcome {
    match (call.operand(0)?, call.operand(1)?) {
        (Operand::Number(left), Operand::Number(right)) => call.numeric(left * right),
        (Operand::Quantity(quantity), Operand::Number(number))
        | (Operand::Number(number), Operand::Quantity(quantity)) => call.scaled(
            quantity,
            |nanos, factor| {
                let product = nanos.checked_mul(factor)?;
                Some(product / NANO + if product % NANO == 0 { 0 } else { product.signum() })
            },
            number,
        ),
        (Operand::Duration(duration), Operand::Number(number))
        | (Operand::Number(number), Operand::Duration(duration)) => call.seconds(duration.seconds() * number),
        _ => Err(call.mismatch()),
    }
}

fn divide(call: &Call<'_>) -> Outcome {
    match (call.operand(0)?, call.operand(1)?) {
        (_, Operand::Number(0.0)) => Err(call.zero()),
        (Operand::Number(left), Operand::Number(right)) => call.numeric(left / right),
        (Operand::Quantity(left), Operand::Quantity(right)) => {
            if right.nanos == 0 {
                return Err(call.zero());
            }
            call.numeric(left.number() / right.number())
        }
        (Operand::Quantity(quantity), Operand::Number(number)) => call.scaled(
            quantity,
            |nanos, divisor| {
                if let Some(exact) = divided_as_written(nanos, divisor) {
                    return Some(exact);
                }
                nanos.checked_mul(NANO)?.checked_div(divisor)
            },
            number,
        ),
        (Operand::Duration(left), Operand::Duration(right)) => {
            if right.0 == 0 {
                return Err(call.zero());
            }
            call.numeric(left.seconds() / right.seconds())
        }
        (Operand::Duration(duration), Operand::Number(number)) => call.seconds(duration.seconds() / number),
        _ => Err(call.mismatch()),
    }
}

/// Kyverno keeps as many places in a quotient as the finer of the two had, and cuts the rest off.
fn divided_as_written(nanos: i128, divisor: i128) -> Option<i128> {
    let places = |nanos: i128| (0..=9).find(|places| nanos % 10_i128.pow(9 - places) == 0).unwrap_or(9);
    let unit = 10_i128.pow(9 - places(nanos).max(places(divisor)));
    let quotient = nanos.checked_mul(NANO)?.checked_div(divisor)?;
    Some(quotient / unit * unit)
}

fn modulo(call: &Call<'_>) -> Outcome {
    let fraction = || call.error("expected whole numbers, found a fraction");
    match (call.operand(0)?, call.operand(1)?) {
        (Operand::Number(left), Operand::Number(right)) => {
            let (left, right) = (whole(left).ok_or_else(fraction)?, whole(right).ok_or_else(fraction)?);
            Ok(Value::from(left.checked_rem(right).ok_or_else(|| call.zero())?))
        }
        (Operand::Quantity(left), Operand::Quantity(right)) => {
            let rest = left.whole().ok_or_else(fraction)?.checked_rem(right.whole().ok_or_else(fraction)?);
            let rest = rest.ok_or_else(|| call.zero())?;
            Operand::Quantity(Quantity::of_whole(rest, left.scale)).value(call)
        }
        (Operand::Duration(left), Operand::Duration(right)) => {
            let rest = left.0.checked_rem(right.0).ok_or_else(|| call.zero())?;
            Operand::Duration(Duration(rest)).value(call)
        }
        _ => Err(call.mismatch()),
    }
}

/// `round(number, places)`, half away from zero.
fn round(call: &Call<'_>) -> Outcome {
    let places = call.whole(1)?;
    let places = i32::try_from(places)
        .ok()
        .filter(|places| (0..=300).contains(places))
        .ok_or_else(|| call.error(format!("expected 0 to 300 places, found {places}")))?;
    let shift = 10_f64.powi(places);
    let shifted = call.number(0)? * shift;
    // A number with so many digits has no more places to round.
    if !shifted.is_finite() { call.numeric(call.number(0)?) } else { call.numeric(shifted.round() / shift) }
}
