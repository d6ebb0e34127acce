//! `validate`: what an object must look like, or must not; for each element of a list too.

use std::cell::Cell;

use serde_json::Value;

use super::context::{Names, check_conditions, substituted, text, unusable};
use super::overlay::{Miss, fits};
use super::schema::{Deny, ForEach, Validate};
use crate::ask::{Ask, Stop};
use crate::kyverno::Context;
use crate::kyverno::conditions::Conditions;
use crate::read::ReadError;

/// The most elements of a list, and of all lists within lists of a rule together: each is seen with the whole request.
const MAX_ELEMENTS: usize = 1024;
/// How deep lists may nest.
const MAX_DEPTH: usize = 4;

/// What is asked of an object.
#[derive(Debug, Clone)]
pub(super) struct Check {
    asked: Asked,
    message: String,
}

/// One of these.
#[derive(Debug, Clone)]
enum Asked {
    /// One of the patterns must fit.
    Patterns(Vec<Value>),
    /// These must not hold.
    Deny(Conditions),
    /// The same of each element.
    Each(Vec<Each>),
}

/// What is asked of the elements of a list.
#[derive(Debug, Clone)]
struct Each {
    list: String,
    /// Whether patterns are over the element; else over the whole object.
    element_scope: bool,
    names: Names,
    preconditions: Option<Conditions>,
    asked: Asked,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds.
    Pass,
    /// It says nothing of this object.
    Skip,
    /// It does not hold, and why.
    Fail(String),
}

impl Check {
    /// Reads `validate` of a policy in this namespace.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(written: &Validate, namespace: &str, path: &str) -> Result<Self, ReadError> {
        let unsupported = [
            (written.cel.is_some(), "cel", "write the rule with deny or pattern"),
            (written.assert.is_some(), "assert", "write the rule with deny or pattern"),
            (
                written.pod_security.is_some(),
                "podSecurity",
                "it is not about images; keep it in another policy",
            ),
            (written.manifests.is_some(), "manifests", "signed manifests are not verified here"),
        ];
        if let Some((_, field, advice)) = unsupported.into_iter().find(|(is_there, ..)| *is_there) {
            return Err(ReadError::new(
                format!("{path}.{field}"),
                format!("expected no such rule: {advice}"),
            ));
        }
        let parts = Parts {
            pattern: written.pattern.as_ref(),
            any_pattern: &written.any_pattern,
            deny: written.deny.as_ref(),
            foreach: &written.foreach,
        };
        Ok(Self { asked: parts.read(namespace, path, 0)?, message: written.message.clone() })
    }

    /// Checks an object.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn evaluate(&self, object: &Value, context: &Context, ask: &Ask<'_>) -> Result<Verdict, Stop> {
        let run = Run { ask, left: Cell::new(MAX_ELEMENTS) };
        match self.asked.evaluate(object, context, &run, 0)? {
            Verdict::Fail(why) if !self.message.is_empty() => {
                // A message whose variables have no value is still a message.
                let message = text(&self.message, context).unwrap_or_else(|_| self.message.clone());
                Ok(Verdict::Fail(format!("{} ({why})", message.trim())))
            }
            verdict => Ok(verdict),
        }
    }
}

/// One evaluation.
struct Run<'a> {
    ask: &'a Ask<'a>,
    /// How many elements may still be looked at.
    left: Cell<usize>,
}

/// What `validate` and `foreach` have in common.
struct Parts<'a> {
    pattern: Option<&'a Value>,
    any_pattern: &'a [Value],
    deny: Option<&'a Deny>,
    foreach: &'a [ForEach],
}

impl Parts<'_> {
    fn read(&self, namespace: &str, path: &str, depth: usize) -> Result<Asked, ReadError> {
        match (self.pattern, self.any_pattern, self.deny, self.foreach) {
            (Some(pattern), [], None, []) => Ok(Asked::Patterns(vec![pattern.clone()])),
            (None, patterns @ [_, ..], None, []) => Ok(Asked::Patterns(patterns.to_vec())),
            (None, [], Some(deny), []) => {
                check_conditions(&deny.conditions, &format!("{path}.deny.conditions"))?;
                Ok(Asked::Deny(deny.conditions.clone()))
            }
            (None, [], None, foreach @ [_, ..]) if depth < MAX_DEPTH => {
                let read = |(index, each)| {
                    Each::read(each, namespace, &format!("{path}.foreach[{index}]"), depth + 1)
                };
                Ok(Asked::Each(foreach.iter().enumerate().map(read).collect::<Result<_, _>>()?))
            }
            (None, [], None, [_, ..]) => {
                Err(ReadError::new(path, format!("expected at most {MAX_DEPTH} levels of foreach")))
            }
            _ => {
                let message = "expected one of pattern, anyPattern, deny and foreach, and only one";
                Err(ReadError::new(path, message))
            }
        }
    }
}

impl Each {
    fn read(written: &ForEach, namespace: &str, path: &str, depth: usize) -> Result<Self, ReadError> {
        if written.patch_strategic_merge.is_some() {
            let message = "expected pattern, anyPattern, deny or foreach: a check changes nothing";
            return Err(ReadError::new(format!("{path}.patchStrategicMerge"), message));
        }
        if let Some(conditions) = &written.preconditions {
            check_conditions(conditions, &format!("{path}.preconditions"))?;
        }
        let parts = Parts {
            pattern: written.pattern.as_ref(),
            any_pattern: &written.any_pattern,
            deny: written.deny.as_ref(),
            foreach: &written.foreach,
        };
        Ok(Self {
            list: written.list.clone(),
            element_scope: written.element_scope.unwrap_or(true),
            names: Names::read(&written.context, namespace, &format!("{path}.context"))?,
            preconditions: written.preconditions.clone(),
            asked: parts.read(namespace, path, depth)?,
        })
    }

    fn evaluate(
        &self,
        object: &Value,
        context: &Context,
        run: &Run<'_>,
        depth: usize,
    ) -> Result<Verdict, Stop> {
        let mut passed = false;
        for (index, element) in elements(&self.list, context)?.into_iter().enumerate() {
            let left = run.left.get().checked_sub(1).ok_or_else(|| {
                unusable(format!(
                    "{}: expected at most {MAX_ELEMENTS} elements in all lists together",
                    self.list
                ))
            })?;
            run.left.set(left);
            let context = self.names.load(with_element(context, &element, index, depth), run.ask)?;
            if !holds(self.preconditions.as_ref(), &context)? {
                continue;
            }
            let scope = if self.element_scope && element.is_object() { &element } else { object };
            match self.asked.evaluate(scope, &context, run, depth + 1)? {
                Verdict::Pass => passed = true,
                Verdict::Skip => {}
                Verdict::Fail(why) => {
                    let shown =
                        match element.get("image").or_else(|| element.get("name")).and_then(Value::as_str) {
                            Some(name) => name.to_owned(),
                            None => format!("element {index} of {}", self.list),
                        };
                    return Ok(Verdict::Fail(format!("{shown}: {why}")));
                }
            }
        }
        Ok(if passed { Verdict::Pass } else { Verdict::Skip })
    }
}

impl Asked {
    fn evaluate(
        &self,
        object: &Value,
        context: &Context,
        run: &Run<'_>,
        depth: usize,
    ) -> Result<Verdict, Stop> {
        match self {
            Self::Patterns(patterns) => one_fits(object, patterns, context),
            Self::Deny(conditions) => {
                let outcome = conditions.hold(context).map_err(|e| unusable(e.to_string()))?;
                Ok(if outcome.holds { Verdict::Fail(outcome.because.join("; ")) } else { Verdict::Pass })
            }
            Self::Each(each) => {
                let mut verdict = Verdict::Skip;
                for each in each {
                    match each.evaluate(object, context, run, depth)? {
                        fail @ Verdict::Fail(_) => return Ok(fail),
                        Verdict::Pass => verdict = Verdict::Pass,
                        Verdict::Skip => {}
                    }
                }
                Ok(verdict)
            }
        }
    }
}

/// What an object looks like says nothing against taking it away.
fn one_fits(object: &Value, patterns: &[Value], context: &Context) -> Result<Verdict, Stop> {
    if context.is_delete() {
        return Ok(Verdict::Skip);
    }
    let mut misses = Vec::new();
    let mut skipped = false;
    for pattern in patterns {
        match fits(object, &substituted(pattern, context)?) {
            Ok(()) => return Ok(Verdict::Pass),
            Err(Miss::Skipped | Miss::SkippedWholly) => skipped = true,
            Err(Miss::Differs(why)) => misses.push(why),
        }
    }
    // As in Kyverno: one that says nothing here does not make up for one that does not fit.
    let only_skipped = skipped && misses.is_empty();
    Ok(if only_skipped { Verdict::Skip } else { Verdict::Fail(misses.join("; or ")) })
}

/// Whether conditions hold; none ask for nothing.
///
/// # Errors
/// [`Stop::CouldNot`].
pub(super) fn holds(conditions: Option<&Conditions>, context: &Context) -> Result<bool, Stop> {
    conditions.map_or(Ok(true), |conditions| {
        conditions.hold(context).map(|outcome| outcome.holds).map_err(|e| unusable(e.to_string()))
    })
}

/// The elements of the list that an expression names. What is not there has none.
///
/// # Errors
/// [`Stop::CouldNot`] for what is no list, and for one that is too long.
pub(super) fn elements(list: &str, context: &Context) -> Result<Vec<Value>, Stop> {
    let expression = format!("{{{{ ({list}) || `[]` }}}}");
    match substituted(&Value::String(expression), context)? {
        Value::Array(elements) if elements.len() > MAX_ELEMENTS => Err(unusable(format!(
            "{list}: expected at most {MAX_ELEMENTS} elements, found {}",
            elements.len()
        ))),
        Value::Array(elements) => Ok(elements.into_iter().filter(|element| !element.is_null()).collect()),
        other => Err(unusable(format!("{list}: expected a list, found {other}"))),
    }
}

/// The context within a list: the element under its plain name, and under that of its level.
pub(super) fn with_element(context: &Context, element: &Value, index: usize, depth: usize) -> Context {
    context
        .clone()
        .with("element", element.clone())
        .with("elementIndex", index.into())
        .with(&format!("element{depth}"), element.clone())
        .with(&format!("elementIndex{depth}"), index.into())
}
