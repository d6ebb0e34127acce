//! What expressions are evaluated on: the request, the policy's own names, a predicate, and the time.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The document that expressions see, and the time they are told.
#[derive(Debug, Clone)]
pub struct Context {
    root: Value,
    now: Timestamp,
}

impl Context {
    /// From a document, such as `{"request": …, "images": …}`. Anything else than an object counts as an empty one.
    #[must_use]
    pub fn new(root: Value, now: Timestamp) -> Self {
        let root = if root.is_object() { root } else { Value::Object(Map::new()) };
        Self { root, now }
    }

    /// The same with a name more. It replaces what had the name before.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        if let Value::Object(names) = &mut self.root {
            names.insert(name.to_owned(), value);
        }
        self
    }

    /// The same with the fields of a predicate beside the names that are there.
    ///
    /// A name that is there stays what it is: whoever signs a predicate does not get to say what the request was, or
    /// what a ConfigMap allows. Kyverno lets the predicate win.
    #[must_use]
    pub fn merged_over(&self, predicate: Value) -> Self {
        let mut context = self.clone();
        if let (Value::Object(names), Value::Object(fields)) = (&mut context.root, predicate) {
            for (name, value) in fields {
                names.entry(name).or_insert(value);
            }
        }
        context
    }

    /// The document.
    #[must_use]
    pub const fn root(&self) -> &Value {
        &self.root
    }

    /// The time of the evaluation.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether an object is being taken away: then `request.object` is not there, and its name means the old one.
    pub(super) fn is_delete(&self) -> bool {
        self.root.pointer("/request/operation").and_then(Value::as_str) == Some("DELETE")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_predicate_does_not_hide_what_is_known() {
        let context = Context::new(json!({"request": {"namespace": "prod"}}), Timestamp::UNIX_EPOCH)
            .with("allowed", json!(["a"]))
            .merged_over(
                json!({"request": {"namespace": "test"}, "allowed": ["evil"], "builder": {"id": "b"}}),
            );
        assert_eq!(
            *context.root(),
            json!({"request": {"namespace": "prod"}, "allowed": ["a"], "builder": {"id": "b"}})
        );
    }

    #[test]
    fn what_is_no_object_adds_no_names() {
        let context = Context::new(json!(["x"]), Timestamp::UNIX_EPOCH).merged_over(json!("text"));
        assert_eq!(*context.root(), json!({}));
    }
}
