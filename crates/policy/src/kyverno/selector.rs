//! Label selectors, as Kubernetes has them; Kyverno allows wildcards in `matchLabels`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::jmespath::Budget;
use super::units::wildcard;

/// The longest pattern. Labels and annotations have at most 256 KiB, so matching them stays below a [`Budget`].
const MAX_PATTERN: usize = 255;

/// A selector of labels. All that stands in it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that must be there, by name and value; both may have wildcards.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// What else must hold of labels.
    #[serde(default)]
    pub match_expressions: Vec<Expression>,
}

/// What must hold of one label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: SelectorOperator,
    /// With what.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SelectorOperator {
    /// It is there, with one of the values.
    In,
    /// It is not there with one of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether it can be used.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.match_labels.iter().try_for_each(|(name, value)| check_pattern(name, value))?;
        for expression in &self.match_expressions {
            let listed = matches!(expression.operator, SelectorOperator::In | SelectorOperator::NotIn);
            if listed == expression.values.is_empty() {
                let wanted = if listed { "at least one value" } else { "no values" };
                return Err(format!("expected {wanted} with {:?}", expression.operator));
            }
        }
        Ok(())
    }

    /// Whether these labels are selected. An empty selector selects everything, as in Kubernetes.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(name, value)| has(labels, name, value))
            && self.match_expressions.iter().all(|expression| {
                let found = labels.get(&expression.key);
                let listed = found.is_some_and(|value| expression.values.contains(value));
                match expression.operator {
                    SelectorOperator::In => listed,
                    SelectorOperator::NotIn => !listed,
                    SelectorOperator::Exists => found.is_some(),
                    SelectorOperator::DoesNotExist => found.is_none(),
                }
            })
    }
}

/// Whether name and value can be used as patterns.
///
/// # Errors
/// In words, what is wrong.
pub(super) fn check_pattern(name: &str, value: &str) -> Result<(), String> {
    match [name, value].into_iter().find(|pattern| pattern.len() > MAX_PATTERN) {
        None => Ok(()),
        Some(long) => Err(format!("expected a pattern of at most {MAX_PATTERN} bytes, found {}", long.len())),
    }
}

/// Whether one of the entries has this name and this value, both of which may have wildcards.
pub(super) fn has(entries: &BTreeMap<String, String>, name: &str, value: &str) -> bool {
    let fits = |pattern: &str, text: &str| wildcard(pattern, text, &Budget::default());
    entries.iter().any(|(key, found)| fits(name, key) && fits(value, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let selector: LabelSelector = serde_json::from_str(selector).unwrap();
        selector.check().unwrap();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        selector.matches(&labels)
    }

    #[test]
    fn each_part_alone_makes_the_answer_no() {
        let labels = [("app", "web"), ("empty", "")];
        for (selector, expected) in [
            ("{}", true),
            (r#"{"matchLabels":{"app":"web","empty":""}}"#, true),
            (r#"{"matchLabels":{"app":"w*"}}"#, true),
            (r#"{"matchLabels":{"a*":"web"}}"#, true),
            (r#"{"matchLabels":{"app":"we"}}"#, false),
            (r#"{"matchLabels":{"app":"","empty":""}}"#, false),
            (r#"{"matchLabels":{"ap":"web"}}"#, false),
            (r#"{"matchExpressions":[{"key":"app","operator":"In","values":["web","db"]}]}"#, true),
            (r#"{"matchExpressions":[{"key":"app","operator":"In","values":["db"]}]}"#, false),
            (r#"{"matchExpressions":[{"key":"other","operator":"NotIn","values":["db"]}]}"#, true),
            (r#"{"matchExpressions":[{"key":"app","operator":"NotIn","values":["web"]}]}"#, false),
            (r#"{"matchExpressions":[{"key":"other","operator":"Exists"}]}"#, false),
            (r#"{"matchExpressions":[{"key":"app","operator":"DoesNotExist"}]}"#, false),
        ] {
            assert_eq!(selects(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn a_comparison_with_nothing_and_a_pattern_without_end_are_refused() {
        for selector in [
            r#"{"matchExpressions":[{"key":"app","operator":"In"}]}"#,
            r#"{"matchExpressions":[{"key":"app","operator":"Exists","values":["x"]}]}"#,
            &format!(r#"{{"matchLabels":{{"app":"{}"}}}}"#, "*a".repeat(MAX_PATTERN)),
        ] {
            assert!(serde_json::from_str::<LabelSelector>(selector).unwrap().check().is_err(), "{selector}");
        }
    }
}
