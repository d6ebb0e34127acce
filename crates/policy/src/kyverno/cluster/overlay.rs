//! Patterns over objects: `validate.pattern`. A pattern has the form of the object, with anchors around names and
//! operators in values.
//!
//! | anchor | meaning |
//! |---|---|
//! | `(name)` | only where this fits, what stands beside it must fit too |
//! | `<(name)` | only where this fits, anything in the whole pattern must fit; where it is not there, too |
//! | `=(name)` | if it is there, it must fit |
//! | `^(name)` | for each element of the pattern, one of the list must fit |
//! | `X(name)` | it must not be there |
//!
//! Values: `*` and `?` in texts, `!`, `>`, `>=`, `<`, `<=`, ranges `1-5` and `1!-5`, `&` and `|` between them.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::kyverno::jmespath::Budget;
use crate::kyverno::units::{Duration, Quantity, wildcard};

/// The deepest pattern that is followed.
const MAX_DEPTH: usize = 64;

/// Why a pattern does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Miss {
    /// A condition in it is not given, so that it says nothing here.
    Skipped,
    /// The same, for the whole of the pattern.
    SkippedWholly,
    /// It does not fit: where, what was expected and what was found.
    Differs(String),
}

/// Whether an object fits a pattern.
///
/// # Errors
/// [`Miss`].
pub(super) fn fits(object: &Value, pattern: &Value) -> Result<(), Miss> {
    let budget = Budget::default();
    let mut walk = Walk { path: Vec::new(), budget: &budget };
    let result = walk.value(Some(object), pattern);
    // What was compared after the budget was spent is worth nothing, whatever it says.
    if budget.bytes(1).is_err() {
        return Err(walk.differs("a pattern and an object of sensible sizes", None));
    }
    result
}

struct Walk<'a> {
    path: Vec<String>,
    budget: &'a Budget,
}

/// A name in a pattern, without its anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    None,
    Condition,
    Global,
    IfThere,
    Exists,
    Absent,
}

impl Anchor {
    fn of(key: &str) -> (Self, &str) {
        let inner = |prefix: &str| key.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
        let known = [
            ("<(", Self::Global),
            ("=(", Self::IfThere),
            ("^(", Self::Exists),
            ("X(", Self::Absent),
            ("(", Self::Condition),
        ];
        known.iter().find_map(|(prefix, anchor)| Some((*anchor, inner(prefix)?))).unwrap_or((Self::None, key))
    }
}

impl Walk<'_> {
    fn differs(&self, expected: impl std::fmt::Display, found: Option<&Value>) -> Miss {
        let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        Miss::Differs(format!("/{}: expected {expected}, found {found}", self.path.join("/")))
    }

    fn within(&mut self, name: &str, follow: impl FnOnce(&mut Self) -> Result<(), Miss>) -> Result<(), Miss> {
        if self.path.len() >= MAX_DEPTH {
            return Err(self.differs(format!("at most {MAX_DEPTH} levels"), None));
        }
        self.path.push(name.to_owned());
        let result = follow(self);
        self.path.pop();
        result
    }

    fn value(&mut self, found: Option<&Value>, pattern: &Value) -> Result<(), Miss> {
        match (pattern, found) {
            (Value::Object(pattern), Some(Value::Object(object))) => self.object(object, pattern),
            (Value::Object(_), other) => Err(self.differs("an object", other)),
            (Value::Array(pattern), Some(Value::Array(list))) => self.list(list, pattern),
            (Value::Array(_), other) => Err(self.differs("a list", other)),
            // Anything that is there.
            (Value::String(any), Some(Value::Object(_))) if any == "*" => Ok(()),
            // A pattern of one value fits a list in which each has it.
            (scalar, Some(Value::Array(list))) => list.iter().enumerate().try_for_each(|(index, element)| {
                self.within(&index.to_string(), |walk| walk.value(Some(element), scalar))
            }),
            (scalar, found) if scalar_fits(found, scalar, self.budget) => Ok(()),
            (scalar, found) => Err(self.differs(scalar, found)),
        }
    }

    /// Conditions first, since they decide whether the rest is looked at.
    fn object(&mut self, object: &Map<String, Value>, pattern: &Map<String, Value>) -> Result<(), Miss> {
        let mut others = Vec::new();
        for (key, wanted) in pattern {
            let (anchor, name) = Anchor::of(key);
            let found = member(object, name, self.budget);
            match anchor {
                // What is not there says nothing against the whole, as in Kyverno.
                Anchor::Global if found.is_none() => {}
                Anchor::Condition | Anchor::Global => {
                    let fits = found.is_some() && self.within(name, |walk| walk.value(found, wanted)).is_ok();
                    match (fits, anchor) {
                        (true, _) => {}
                        (false, Anchor::Global) => return Err(Miss::SkippedWholly),
                        (false, _) => return Err(Miss::Skipped),
                    }
                }
                _ => others.push((anchor, name, found, wanted)),
            }
        }
        for (anchor, name, found, wanted) in others {
            self.within(name, |walk| match (anchor, found) {
                (Anchor::IfThere, None) | (Anchor::Absent, None) => Ok(()),
                (Anchor::Absent, Some(_)) => Err(walk.differs("nothing", found)),
                (Anchor::Exists, _) => walk.exists(found, wanted),
                (_, found) => walk.value(found, wanted),
            })?;
        }
        Ok(())
    }

    /// An element of a pattern that is an object is for all elements of the list; else they are taken one by one.
    fn list(&mut self, list: &[Value], pattern: &[Value]) -> Result<(), Miss> {
        let (mut skipped, mut fitted) = (false, false);
        match pattern {
            [] => return Err(self.differs("an element in the pattern's list", None)),
            [wanted @ (Value::Object(_) | Value::String(_))] => {
                for (index, element) in list.iter().enumerate() {
                    match self.within(&index.to_string(), |walk| walk.value(Some(element), wanted)) {
                        Err(Miss::Skipped) => skipped = true,
                        result => {
                            result?;
                            fitted = true;
                        }
                    }
                }
            }
            several => {
                for (index, wanted) in several.iter().enumerate() {
                    self.within(&index.to_string(), |walk| walk.value(list.get(index), wanted))?;
                    fitted = true;
                }
            }
        }
        if skipped && !fitted { Err(Miss::Skipped) } else { Ok(()) }
    }

    fn exists(&mut self, found: Option<&Value>, wanted: &Value) -> Result<(), Miss> {
        let (Some(Value::Array(list)), Value::Array(all)) = (found, wanted) else {
            return Err(self.differs("a list, and a list of patterns for it", found));
        };
        for wanted in all {
            let mut fits = |element| self.within("*", |walk| walk.value(Some(element), wanted)).is_ok();
            if !list.iter().any(&mut fits) {
                return Err(self.differs(format!("an element that fits {wanted}"), found));
            }
        }
        Ok(())
    }
}

/// The member of this name, which may have wildcards, as names of labels and annotations have.
fn member<'a>(object: &'a Map<String, Value>, name: &str, budget: &Budget) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        let wild = name.contains(['*', '?']);
        object.iter().find(|(key, _)| wild && wildcard(name, key, budget)).map(|(_, value)| value)
    })
}

fn scalar_fits(found: Option<&Value>, pattern: &Value, budget: &Budget) -> bool {
    match (pattern, found) {
        (Value::Null, None | Some(Value::Null)) => true,
        (Value::Null, Some(Value::String(text))) => text.is_empty(),
        (Value::Null, Some(Value::Bool(value))) => !value,
        (Value::Null, Some(Value::Number(number))) => number.as_f64() == Some(0.0),
        (Value::String(pattern), Some(found)) => {
            text_of(found).is_some_and(|text| text_fits(&text, pattern, budget))
        }
        (Value::Number(wanted), Some(Value::String(text))) => same_number(text, &wanted.to_string()),
        (Value::Number(wanted), Some(Value::Number(found))) => {
            same_number(&found.to_string(), &wanted.to_string())
        }
        (wanted, Some(found)) => wanted == found,
        (_, None) => false,
    }
}

fn same_number(one: &str, other: &str) -> bool {
    one == other
        || matches!((one.parse::<f64>(), other.parse::<f64>()), (Ok(a), Ok(b)) if a.total_cmp(&b).is_eq())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `a | b & c`: one of the alternatives, in which all parts fit.
fn text_fits(text: &str, pattern: &str, budget: &Budget) -> bool {
    text == pattern
        || pattern
            .split('|')
            .any(|alternative| alternative.split('&').all(|part| operand_fits(text, part.trim(), budget)))
}

fn operand_fits(text: &str, operand: &str, budget: &Budget) -> bool {
    let compared = |wanted: &str, fits: fn(Ordering) -> bool| compare(text, wanted.trim()).is_some_and(fits);
    if let Some(wanted) = operand.strip_prefix(">=") {
        return compared(wanted, Ordering::is_ge);
    }
    if let Some(wanted) = operand.strip_prefix("<=") {
        return compared(wanted, Ordering::is_le);
    }
    if let Some(wanted) = operand.strip_prefix('>') {
        return compared(wanted, Ordering::is_gt);
    }
    if let Some(wanted) = operand.strip_prefix('<') {
        return compared(wanted, Ordering::is_lt);
    }
    if let Some(wanted) = operand.strip_prefix('!') {
        return !equal(text, wanted.trim(), budget);
    }
    if let Some((low, high)) = range(operand, "!-") {
        return compare(text, low).is_some_and(Ordering::is_lt)
            || compare(text, high).is_some_and(Ordering::is_gt);
    }
    if let Some((low, high)) = range(operand, "-") {
        return compare(text, low).is_some_and(Ordering::is_ge)
            && compare(text, high).is_some_and(Ordering::is_le);
    }
    equal(text, operand, budget)
}

/// Both ends of a range of quantities or lengths of time.
fn range<'a>(operand: &'a str, sign: &str) -> Option<(&'a str, &'a str)> {
    let (low, high) = operand.split_once(sign)?;
    compare(low, high).is_some().then_some((low, high))
}

fn equal(text: &str, wanted: &str, budget: &Budget) -> bool {
    wildcard(wanted, text, budget) || compare(text, wanted).is_some_and(Ordering::is_eq)
}

/// Which is more, if both are lengths of time or both quantities.
fn compare(one: &str, other: &str) -> Option<Ordering> {
    if let (Some(one), Some(other)) = (Quantity::parse(one), Quantity::parse(other)) {
        return Some(one.nanos.cmp(&other.nanos));
    }
    let (one, other) = (Duration::parse(one)?, Duration::parse(other)?);
    Some(one.0.cmp(&other.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: &Value) -> Value {
        json!({"kind": "Pod", "spec": spec})
    }

    fn images(names: &[&str]) -> Value {
        pod(
            &json!({"containers": names.iter().map(|name| json!({"name": "c", "image": name})).collect::<Vec<_>>()}),
        )
    }

    #[test]
    fn every_image_must_fit_in_every_list_that_is_there() {
        let image = json!([{"image": "eu.foo.io/* | bar.io/*"}]);
        let pattern = json!({"spec": {"=(initContainers)": image, "containers": image}});
        assert_eq!(fits(&images(&["eu.foo.io/a", "bar.io/b"]), &pattern), Ok(()));
        for wrong in [
            images(&["eu.foo.io/a", "docker.io/b"]),
            images(&["eu.foo.io.evil.example/a"]),
            pod(&json!({"containers": [{"image": "bar.io/b"}], "initContainers": [{"image": "evil.io/b"}]})),
            pod(&json!({})),
        ] {
            assert!(matches!(fits(&wrong, &pattern), Err(Miss::Differs(_))), "{wrong}");
        }
    }

    #[test]
    fn each_anchor_alone_decides() {
        let differs = |found: Result<(), Miss>| matches!(found, Err(Miss::Differs(_)));
        let pull = json!({"spec": {"containers": [{"(image)": "*:latest", "imagePullPolicy": "Always"}]}});
        let with = |image: &str, policy: &str| {
            pod(&json!({"containers": [{"image": image, "imagePullPolicy": policy}]}))
        };
        assert_eq!(fits(&with("a:latest", "Always"), &pull), Ok(()));
        assert!(differs(fits(&with("a:latest", "Never"), &pull)));
        assert_eq!(fits(&with("a:v1", "Never"), &pull), Err(Miss::Skipped));
        let absent = json!({"spec": {"X(hostPath)": "null"}});
        assert_eq!(fits(&pod(&json!({})), &absent), Ok(()));
        assert!(differs(fits(&pod(&json!({"hostPath": "/"})), &absent)));
        let exists = json!({"spec": {"^(containers)": [{"image": "proxy/*"}]}});
        assert_eq!(fits(&images(&["a/b", "proxy/c"]), &exists), Ok(()));
        assert!(differs(fits(&images(&["a/b"]), &exists)));
        let both = json!({"spec": {"^(containers)": [{"image": "proxy/*"}, {"image": "log/*"}]}});
        assert_eq!(fits(&images(&["log/b", "a/b", "proxy/c"]), &both), Ok(()));
        assert!(differs(fits(&images(&["proxy/c", "a/b"]), &both)), "each of the pattern's must be there");
        let global = json!({"spec": {"<(hostNetwork)": true, "containers": [{"image": "a/*"}]}});
        let on = |network: bool, image: &str| {
            pod(&json!({"hostNetwork": network, "containers": [{"image": image}]}))
        };
        assert_eq!(fits(&on(false, "b/b"), &global), Err(Miss::SkippedWholly));
        assert!(differs(fits(&on(true, "b/b"), &global)));
        assert_eq!(fits(&on(true, "a/b"), &global), Ok(()));
        assert!(differs(fits(&images(&["b/b"]), &global)), "what is not there excuses nothing");
        assert!(differs(fits(&images(&["b/b"]), &json!({"spec": {"containers": []}}))));
        let there = json!({"spec": {"securityContext": "*"}});
        assert_eq!(fits(&pod(&json!({"securityContext": {"runAsUser": 1}})), &there), Ok(()));
        assert!(differs(fits(&pod(&json!({})), &there)));
    }

    #[test]
    fn values_have_operators() {
        for (found, pattern, expected) in [
            (json!("a"), json!("a"), true),
            (json!("a"), json!("!a"), false),
            (json!("b"), json!("!a & !c"), true),
            (json!("c"), json!("!a & !c"), false),
            (json!("img@sha256:0"), json!("*@sha256:*"), true),
            (json!(5), json!(">4"), true),
            (json!(4), json!(">4"), false),
            (json!("512Mi"), json!("<=1Gi"), true),
            (json!("2Gi"), json!("<=1Gi"), false),
            (json!(3), json!("1-5"), true),
            (json!(6), json!("1-5"), false),
            (json!(6), json!("1!-5"), true),
            (json!("2h"), json!("<30m"), false),
            (json!(true), json!(true), true),
            (json!(false), json!(true), false),
            (json!("1"), json!(1), true),
            (json!(""), json!("?*"), false),
            (json!(["a", "b"]), json!("?"), true),
            (json!(["a", "bb"]), json!("?"), false),
            (Value::Null, Value::Null, true),
            (json!("x"), Value::Null, false),
        ] {
            assert_eq!(fits(&found, &pattern).is_ok(), expected, "{found} {pattern}");
        }
    }
}
