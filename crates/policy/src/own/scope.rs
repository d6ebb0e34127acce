//! In which objects: by namespace and labels.

use super::explain::listed;
use crate::ask::{Ask, Stop};
use crate::kyverno::{LabelSelector, SelectorOperator};
use crate::pattern::Glob;
use crate::read::ReadError;
use crate::request::{Request, labels};

/// The objects that a policy is about. All that is given must hold.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    namespaces: Option<Vec<Glob>>,
    namespace_selector: Option<LabelSelector>,
    object_selector: Option<LabelSelector>,
}

impl Scope {
    /// Reads the fields of a policy.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(
        namespaces: &Option<Vec<String>>,
        namespace_selector: Option<LabelSelector>,
        object_selector: Option<LabelSelector>,
    ) -> Result<Self, ReadError> {
        for (path, selector) in
            [("namespaceSelector", &namespace_selector), ("objectSelector", &object_selector)]
        {
            let Some(selector) = selector else { continue };
            let path = format!("spec.{path}");
            selector.check().map_err(|e| ReadError::new(&path, e))?;
            if *selector == LabelSelector::default() {
                let message = "expected labels, found an empty selector; leave it out to mean every object";
                return Err(ReadError::new(path, message));
            }
        }
        let namespaces =
            namespaces.as_deref().map(|list| namespace_globs(list, "spec.namespaces")).transpose()?;
        Ok(Self { namespaces, namespace_selector, object_selector })
    }

    /// For people, what narrows it.
    pub(super) fn in_words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(namespaces) = &self.namespaces {
            lines.push(format!("in the namespaces {}", listed(namespaces)));
        }
        if let Some(selector) = &self.namespace_selector {
            lines.push(format!("in namespaces with {}", selected(selector)));
        }
        if let Some(selector) = &self.object_selector {
            lines.push(format!("in objects with {}", selected(selector)));
        }
        lines
    }

    /// Whether the policy is about an object.
    ///
    /// # Errors
    /// [`Stop`]: the labels of the namespace are not known. That is not "no".
    pub(super) fn covers(&self, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
        if let Some(namespaces) = &self.namespaces
            && !namespaces.iter().any(|glob| glob.matches(&request.namespace))
        {
            return Ok(false);
        }
        if let Some(selector) = &self.object_selector
            && !selector.matches(&labels(&request.object))
        {
            return Ok(false);
        }
        match &self.namespace_selector {
            None => Ok(true),
            Some(_) if request.namespace.is_empty() => Ok(false),
            Some(selector) => Ok(selector.matches(&*ask.namespace_labels(&request.namespace)?)),
        }
    }
}

/// Patterns of namespaces.
///
/// # Errors
/// [`ReadError`].
pub(super) fn namespace_globs(patterns: &[String], path: &str) -> Result<Vec<Glob>, ReadError> {
    if patterns.is_empty() {
        let message = "expected at least one pattern, found none; leave it out to mean every namespace";
        return Err(ReadError::new(path, message));
    }
    let read = |(index, pattern): (usize, &String)| {
        Glob::wildcard(pattern).map_err(|e| ReadError::new(format!("{path}[{index}]"), e.to_string()))
    };
    patterns.iter().enumerate().map(read).collect()
}

/// A selector of labels, for people.
fn selected(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().map(|(name, value)| format!("the label {name}={value}"));
    let rest = selector.match_expressions.iter().map(|expression| {
        let values = expression.values.join(", ");
        match expression.operator {
            SelectorOperator::In => format!("the label {} as one of {values}", expression.key),
            SelectorOperator::NotIn => format!("the label {} as none of {values}", expression.key),
            SelectorOperator::Exists => format!("the label {}", expression.key),
            SelectorOperator::DoesNotExist => format!("no label {}", expression.key),
        }
    });
    labels.chain(rest).collect::<Vec<_>>().join(" and ")
}
