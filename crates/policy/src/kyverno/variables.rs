//! Variables in texts: `{{ expression }}` is replaced by the expression's value.
//!
//! A text that is one variable becomes its value, of whatever type; in a longer text the value is written out. Variables
//! may stand within variables: `{{ keys.data.{{ request.namespace }} }}`. `\{{` is `{{` itself.
//!
//! A value is put in its place once, and never read as an expression, whatever stands in it. Kyverno replaces texts until
//! no braces are left, and pastes values into expressions: whoever writes a label or a predicate can end a quoted text
//! there and go on with an expression of his own.

use serde_json::{Map, Value};

use super::Context;
use super::jmespath::text_of;
use super::jmespath::{self, Budget, Expression, Piece};

/// How deep a document and variables within variables may be nested.
const MAX_DEPTH: usize = 128;
const MAX_NESTED: usize = 8;
/// How long a reference to another field may be, to be known as one.
const MAX_REFERENCE: usize = 256;

/// Why variables could not be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{reason}", if path.is_empty() { "" } else { ": " })]
pub struct VariableError {
    /// Where: `all[0].key`. Empty for a text by itself.
    pub path: String,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Braces that are not closed, or too many.
    #[error("expected }}}} after {{{{ in \"{0}\"; write \\{{{{ for braces that are no variable")]
    Unclosed(String),
    /// The expression has no value.
    #[error("{{{{ {expression} }}}}: {error}")]
    Expression {
        /// The expression, as it was written.
        expression: String,
        /// Why.
        error: jmespath::Error,
    },
    /// `$(…)`.
    #[error(
        "expected no reference to another field, found {0}; write its value here, or \\$( for the signs themselves"
    )]
    Reference(String),
    /// `{{ @ }}`, which has a meaning only where objects are changed.
    #[error(
        "{{{{ @ }}}} has a meaning only in what changes an object; write a path such as request.object.metadata.name"
    )]
    At,
    /// A variable in the place of a key that is no text.
    #[error("expected a text in the place of the key \"{key}\", found {found}")]
    Key {
        /// The key.
        key: String,
        /// What was found.
        found: &'static str,
    },
    /// Two keys are the same after their variables were replaced.
    #[error("the key \"{0}\" is there twice")]
    TwiceKey(String),
    /// Deeper than anything sensible.
    #[error("expected at most {MAX_DEPTH} levels of nesting and {MAX_NESTED} variables within each other")]
    TooDeep,
    /// A condition cannot be evaluated.
    #[error("{0}")]
    Condition(String),
}

impl VariableError {
    pub(super) fn at(path: &str, reason: Reason) -> Self {
        Self { path: path.to_owned(), reason }
    }

    /// The same, further in.
    pub(super) fn within(mut self, path: &str) -> Self {
        let bare = path.is_empty() || self.path.is_empty() || self.path.starts_with('[');
        self.path = format!("{path}{}{}", if bare { "" } else { "." }, self.path);
        self
    }
}

/// Replaces the variables in all texts and keys of a document.
///
/// # Errors
/// [`VariableError`]: a variable without a value is an error, unless its expression has a default (`||`).
pub fn substitute(document: &Value, context: &Context) -> Result<Value, VariableError> {
    Run { context, budget: &Budget::default() }.document(document, "", 0)
}

/// Whether variables stand in a document.
#[must_use]
pub fn has_variables(document: &Value) -> bool {
    match document {
        Value::String(text) => {
            parts(text).map_or(true, |parts| parts.iter().any(|part| matches!(part, Part::Variable(_))))
        }
        Value::Array(items) => items.iter().any(has_variables),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| has_variables(&Value::String(key.clone())) || has_variables(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Checks the variables of a document without evaluating them, as far as that can be told: an expression with another
/// variable in it depends on that one's value.
///
/// # Errors
/// [`VariableError`].
pub fn check(document: &Value) -> Result<(), VariableError> {
    match document {
        Value::String(text) => check_parts(&parts(text).map_err(|reason| VariableError::at("", reason))?)
            .map_err(|reason| VariableError::at("", reason)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check(item).map_err(|error| error.within(&format!("[{index}]")))),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            check(&Value::String(key.clone())).map_err(|error| error.within(key))?;
            check(value).map_err(|error| error.within(key))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn check_parts(parts: &[Part]) -> Result<(), Reason> {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Variable(inner) if inner.iter().all(|part| matches!(part, Part::Text(_))) => {
                let text = written(inner);
                expression_of(&[Piece::Text(plain(&text))], &text)?;
            }
            Part::Variable(inner) => check_parts(inner)?,
        }
    }
    Ok(())
}

/// A part of a text.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// What stands between the braces.
    Variable(Vec<Part>),
}

/// A text in its parts. Single braces within a variable belong to its expression and come in pairs.
fn parts(text: &str) -> Result<Vec<Part>, Reason> {
    struct Level {
        parts: Vec<Part>,
        braces: usize,
    }
    let mut levels = vec![Level { parts: Vec::new(), braces: 0 }];
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let deep = levels.len() > 1;
        let Some(level) = levels.last_mut() else { break };
        let push = |parts: &mut Vec<Part>, text: &str| match parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => parts.push(Part::Text(text.to_owned())),
        };
        if let Some(after) = rest.strip_prefix("\\{{") {
            push(&mut level.parts, "{{");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("\\$(") {
            push(&mut level.parts, "$(");
            rest = after;
        } else if !deep && rest.starts_with("$(") && is_reference(rest) {
            let end = rest.find(')').map_or(rest.len(), |end| end + 1);
            return Err(Reason::Reference(rest.get(..end).unwrap_or(rest).to_owned()));
        } else if let Some(after) = rest.strip_prefix("{{") {
            if levels.len() > MAX_NESTED {
                return Err(Reason::TooDeep);
            }
            levels.push(Level { parts: Vec::new(), braces: 0 });
            rest = after;
        } else if deep && level.braces == 0 && rest.starts_with("}}") {
            let inner = levels.pop().map(|level| level.parts).unwrap_or_default();
            if let Some(level) = levels.last_mut() {
                level.parts.push(Part::Variable(inner));
            }
            rest = rest.get(2..).unwrap_or_default();
        } else {
            if deep && character == '{' {
                level.braces += 1;
            } else if deep && character == '}' {
                level.braces =
                    level.braces.checked_sub(1).ok_or_else(|| Reason::Unclosed(text.to_owned()))?;
            }
            push(&mut level.parts, character.encode_utf8(&mut [0; 4]));
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
        }
    }
    match levels.pop() {
        Some(level) if levels.is_empty() => Ok(level.parts),
        _ => Err(Reason::Unclosed(text.to_owned())),
    }
}

/// Whether a text starts with `$(…)` without a space, which is a reference to another field of the policy.
fn is_reference(text: &str) -> bool {
    let end = text.chars().skip(2).take(MAX_REFERENCE).position(|c| c == ')' || c == ' ');
    end.is_some_and(|end| end > 0 && text.chars().nth(end + 2) == Some(')'))
}

/// An expression without the `-` before it, which says that its value is to be taken as it is. It always is here.
fn plain(text: &str) -> &str {
    let text = text.trim_start();
    text.strip_prefix('-').unwrap_or(text)
}

/// Reads an expression.
fn expression_of(pieces: &[Piece<'_>], written: &str) -> Result<Expression, Reason> {
    if written.trim() == "@" {
        return Err(Reason::At);
    }
    Expression::from_pieces(pieces)
        .map_err(|error| Reason::Expression { expression: written.trim().to_owned(), error })
}

/// What stands between the braces, as it was written.
fn written(parts: &[Part]) -> String {
    parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(inner) => format!("{{{{{}}}}}", written(inner)),
        })
        .collect()
}

pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) budget: &'a Budget,
}

impl Run<'_> {
    pub(super) fn document(
        &self,
        document: &Value,
        path: &str,
        depth: usize,
    ) -> Result<Value, VariableError> {
        if depth > MAX_DEPTH {
            return Err(VariableError::at(path, Reason::TooDeep));
        }
        match document {
            Value::String(text) => self.text(text).map_err(|reason| VariableError::at(path, reason)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.document(item, &format!("{path}[{index}]"), depth + 1))
                .collect(),
            Value::Object(fields) => {
                let mut replaced = Map::new();
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    let new = match self.text(key).map_err(|reason| VariableError::at(&path, reason))? {
                        Value::String(new) => new,
                        other => {
                            let found = jmespath::kind_of(&other);
                            let reason = Reason::Key { key: key.clone(), found };
                            return Err(VariableError::at(&path, reason));
                        }
                    };
                    let value = self.document(value, &path, depth + 1)?;
                    if replaced.insert(new.clone(), value).is_some() {
                        return Err(VariableError::at(&path, Reason::TwiceKey(new)));
                    }
                }
                Ok(Value::Object(replaced))
            }
            other => Ok(other.clone()),
        }
    }

    fn text(&self, text: &str) -> Result<Value, Reason> {
        let parts = parts(text)?;
        if let [Part::Variable(inner)] = parts.as_slice() {
            return self.variable(inner);
        }
        let mut replaced = String::new();
        for part in &parts {
            match part {
                Part::Text(text) => replaced.push_str(text),
                Part::Variable(inner) => {
                    let value = text_of(&self.variable(inner)?);
                    self.budget.bytes(value.len()).map_err(|error| self.failed(inner, error))?;
                    replaced.push_str(&value);
                }
            }
        }
        Ok(Value::String(replaced))
    }

    fn failed(&self, inner: &[Part], error: jmespath::Error) -> Reason {
        Reason::Expression { expression: written(inner).trim().to_owned(), error }
    }

    fn variable(&self, inner: &[Part]) -> Result<Value, Reason> {
        let mut texts = Vec::new();
        let mut first = true;
        for part in inner {
            match part {
                Part::Text(text) => {
                    let text = if first { plain(text) } else { text };
                    // When an object is taken away, what it was is all there is.
                    texts.push(Ok(if self.context.is_delete() {
                        text.replace("request.object", "request.oldObject")
                    } else {
                        text.to_owned()
                    }));
                }
                Part::Variable(inner) => texts.push(Err(self.variable(inner)?)),
            }
            first = false;
        }
        let pieces: Vec<Piece<'_>> = texts
            .iter()
            .map(|text| match text {
                Ok(text) => Piece::Text(text),
                Err(value) => Piece::Hole(value.clone()),
            })
            .collect();
        let written = written(inner);
        expression_of(&pieces, &written)?
            .search(self.context.root(), self.context.now(), self.budget)
            .map_err(|error| self.failed(inner, error))
    }
}

#[cfg(test)]
mod tests;
