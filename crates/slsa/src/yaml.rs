//! YAML of strangers with the line on which each value begins. A line is of use to people only when it is the right one, so
//! whoever shows one looks whether what is said stands there: [`Lines`].

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// The largest text read, in bytes.
pub const MAX_TEXT: usize = 1 << 20;
/// The most values and ends of values, those that aliases stand for included.
const MAX_EVENTS: usize = 100_000;
/// The most text in values, that for which aliases stand included, in bytes.
const MAX_VALUES: usize = 8 * MAX_TEXT;

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct YamlError(String);

impl YamlError {
    /// What was expected and found.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A value, and the line on which it begins.
#[derive(Debug)]
pub struct Node(Spanned<Value>);

/// What a node is.
#[derive(Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// A truth value or a number, as it is written.
    Plain(String),
    /// A list.
    List(Vec<Node>),
    /// Names and their values, in their order.
    Map(Vec<(String, Node)>),
    /// Nothing.
    Null,
}

impl Node {
    /// Reads one document.
    ///
    /// ```
    /// use countersign_slsa::yaml::Node;
    /// let node = Node::read("on: push\njobs:\n  a: {runs-on: x}\n")?;
    /// let job = node.get("jobs").and_then(|jobs| jobs.get("a")).expect("the job");
    /// assert_eq!((job.line(), job.text("runs-on")), (3, Some("x")));
    /// # Ok::<(), countersign_slsa::yaml::YamlError>(())
    /// ```
    ///
    /// # Errors
    /// [`YamlError`]: limits, what is no YAML, a name given twice.
    pub fn read(text: &str) -> Result<Self, YamlError> {
        if text.len() > MAX_TEXT {
            return Err(YamlError(format!("expected at most {MAX_TEXT} bytes, found {}", text.len())));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_events: MAX_EVENTS, max_total_scalar_bytes: MAX_VALUES } };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|e| YamlError(format!("expected YAML: {e}")))
    }

    /// What it is.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The line on which it begins, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.0.referenced.line()
    }

    /// Whether it is written here, and not where an alias points to.
    #[must_use]
    pub fn is_written_here(&self) -> bool {
        self.0.referenced.line() == self.0.defined.line()
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.fields().iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The names and values of a map; nothing for anything else.
    #[must_use]
    pub fn fields(&self) -> &[(String, Self)] {
        match self.value() {
            Value::Map(fields) => fields,
            _ => &[],
        }
    }

    /// The items of a list; nothing for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self.value() {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// What it says, if it is a text, a number or a truth value.
    #[must_use]
    pub fn scalar(&self) -> Option<&str> {
        match self.value() {
            Value::Text(text) | Value::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// What the value of a name says.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.scalar()
    }
}

/// The lines of a file, to find out where something stands.
#[derive(Debug)]
pub struct Lines<'a>(Vec<&'a str>);

impl<'a> Lines<'a> {
    /// Of a text.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self(text.split('\n').collect())
    }

    /// The first line from this one on, and not after `last`, that is a text; or else in which it stands.
    #[must_use]
    pub fn find(&self, from: u64, last: u64, text: &str) -> Option<u64> {
        self.whole(from, last, text).or_else(|| self.holding(from, last, text))
    }

    /// The first line from this one on, and not after `last`, in which a text stands.
    pub(crate) fn holding(&self, from: u64, last: u64, text: &str) -> Option<u64> {
        let text = text.trim();
        let holds = |(line, _): &(&str, u64)| !text.is_empty() && line.contains(text);
        self.between(from, last).find(holds).map(|(_, number)| number)
    }

    /// The first line from this one on, and not after `last`, that is a text.
    pub(crate) fn whole(&self, from: u64, last: u64, text: &str) -> Option<u64> {
        let text = text.trim();
        let is = |(line, _): &(&str, u64)| !text.is_empty() && line.trim() == text;
        self.between(from, last).find(is).map(|(_, number)| number)
    }

    /// The lines from one to another, with their numbers.
    fn between(&self, from: u64, last: u64) -> impl Iterator<Item = (&'a str, u64)> {
        let from = from.max(1);
        let end = usize::try_from(last).unwrap_or(usize::MAX).min(self.0.len());
        let lines = usize::try_from(from - 1).ok().and_then(|start| self.0.get(start..end));
        lines.unwrap_or_default().iter().copied().zip(from..)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut fields: Vec<(String, Node)> = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Value::Map(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_lines_and_their_spelling() {
        let text = "a: true\nb:\n  - x\n  - |\n    one\n    two\non: 3\nn:\n";
        let node = Node::read(text).unwrap();
        assert_eq!(node.text("a"), Some("true"));
        assert_eq!(node.text("on"), Some("3"));
        assert_eq!(node.text("n"), None);
        let items = node.get("b").unwrap().items();
        assert_eq!(items[0].line(), 3);
        assert_eq!(items[1].scalar(), Some("one\ntwo\n"));
        let lines = Lines::of(text);
        assert_eq!(lines.find(4, 6, "two"), Some(6));
        assert_eq!(lines.find(4, 5, "two"), None);
        assert_eq!(lines.find(1, 9, " "), None);
    }

    #[test]
    fn what_is_too_much_or_no_yaml_is_an_error() {
        assert!(Node::read(&" ".repeat(MAX_TEXT + 1)).is_err());
        assert!(Node::read(&"[".repeat(100_000)).is_err());
        assert!(Node::read("a: 1\na: 2\n").is_err(), "a name twice");
        assert!(Node::read("a: [").is_err());
        let bomb = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)
        });
        assert!(Node::read(&bomb).is_err(), "aliases of aliases");
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(100));
        assert!(Node::read(&long).is_err(), "many aliases of a long text");
    }
}
