//! Evaluating.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::functions;
use super::functions::text::Patterns;
use super::operators;
use super::parser::{Kind, Node};
use super::value::{Key, Value};
use super::{Halt, Host, Problem, Variables};
use crate::kyverno::jmespath::Budget;

/// A value that has a name in a part of the expression.
pub(super) struct Scope<'a> {
    pub(super) name: &'a str,
    pub(super) value: Value,
    pub(super) outer: Option<&'a Self>,
}

/// One evaluation.
pub(super) struct Run<'a> {
    variables: &'a Variables,
    host: &'a dyn Host,
    budget: &'a Budget,
    patterns: Patterns,
}

impl<'a> Run<'a> {
    pub(super) fn new(variables: &'a Variables, host: &'a dyn Host, budget: &'a Budget) -> Self {
        Self { variables, host, budget, patterns: Patterns::default() }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.variables.now
    }

    pub(super) const fn budget(&self) -> &Budget {
        self.budget
    }

    pub(super) const fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Takes a step.
    pub(super) fn step(&self) -> Result<(), Problem> {
        self.steps(1)
    }

    /// Takes some steps.
    pub(super) fn steps(&self, count: usize) -> Result<(), Problem> {
        self.budget.steps(count).map_err(|_| Problem::TooMuch)
    }

    /// Takes some bytes.
    pub(super) fn bytes(&self, count: usize) -> Result<(), Problem> {
        self.budget.bytes(count).map_err(|_| Problem::TooMuch)
    }

    /// Whether two values are equal, which takes as long as they are large.
    pub(super) fn equal(&self, left: &Value, right: &Value) -> Result<bool, Problem> {
        operators::equal(left, right, self.budget)
    }

    /// The value of a part.
    pub(super) fn evaluate(&self, node: &Node, scope: Option<&Scope<'_>>) -> Result<Value, Halt> {
        let at = node.at;
        let halt = |problem| Halt { at, problem };
        self.step().map_err(halt)?;
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Name(name) => self.name(name, scope).map_err(halt),
            Kind::Select { of, field, optional } => {
                if let Some(found) = self.member(of, field, scope) {
                    let found = found.map_err(halt);
                    return if *optional {
                        found.map(|value| Value::Optional(Some(Arc::new(value))))
                    } else {
                        found
                    };
                }
                let of = self.evaluate(of, scope)?;
                select(&of, &Key::Text(field.as_str().into()), *optional).map_err(halt)
            }
            Kind::Has { of, field } => {
                if let Some(found) = self.member(of, field, scope) {
                    return found.map(|_| Value::Bool(true)).map_err(halt);
                }
                let of = self.evaluate(of, scope)?;
                has(&of, field).map(Value::Bool).map_err(halt)
            }
            Kind::Index { of, index, optional } => self.index(of, index, *optional, scope, at),
            Kind::Call { name, arguments } => {
                let arguments = self.all(arguments, scope)?;
                let of_host = self.host.functions().iter().any(|(known, _)| known == name);
                let called = if of_host {
                    self.host.call(name, &arguments)
                } else {
                    functions::call(self, name, &arguments)
                };
                called.map_err(halt)
            }
            Kind::List(items) => self.list(items, scope),
            Kind::Map(entries) => self.map(entries, scope, at),
            Kind::And(parts) => self.junction(parts, false, scope),
            Kind::Or(parts) => self.junction(parts, true, scope),
            Kind::Choose(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.evaluate(if self.truth(condition, scope)? { then } else { otherwise }, scope)
            }
            Kind::Unary { sign, of } => operators::unary(sign, &self.evaluate(of, scope)?).map_err(halt),
            Kind::Binary { sign, left, right } => {
                let (left, right) = both(self.evaluate(left, scope), self.evaluate(right, scope))?;
                operators::binary(sign, &left, &right, self.budget).map_err(halt)
            }
            Kind::Fold { of, over, names, parts } => {
                let of = self.evaluate(of, scope)?;
                self.fold(*over, names, parts, (&of, at), scope)
            }
            Kind::Bind { name, of, over, body } => {
                let of = self.evaluate(of, scope)?;
                self.bind(*over, name, (of, at), body, scope)
            }
        }
    }

    /// A part that has to be true or false.
    pub(super) fn truth(&self, node: &Node, scope: Option<&Scope<'_>>) -> Result<bool, Halt> {
        match self.evaluate(node, scope)? {
            Value::Bool(value) => Ok(value),
            other => {
                let problem = format!("expected true or false, found {}", other.kind()).into();
                Err(Halt { at: node.at, problem })
            }
        }
    }

    /// All parts of `&&` or `||` until one decides. What went wrong before the one that decides does not matter.
    fn junction(&self, parts: &[Node], decides: bool, scope: Option<&Scope<'_>>) -> Result<Value, Halt> {
        let mut wrong: Option<Halt> = None;
        for part in parts {
            match self.truth(part, scope) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(halt) if halt.problem == Problem::TooMuch => return Err(halt),
                Err(halt) => {
                    wrong = Some(match wrong {
                        Some(known) => known.or(halt),
                        None => halt,
                    });
                }
            }
        }
        wrong.map_or(Ok(Value::Bool(!decides)), Err)
    }

    /// The values of all parts. All are evaluated, so that all that is open is asked for at once.
    fn all(&self, nodes: &[Node], scope: Option<&Scope<'_>>) -> Result<Vec<Value>, Halt> {
        let mut values = Vec::with_capacity(nodes.len());
        let mut wrong: Option<Halt> = None;
        for node in nodes {
            match self.evaluate(node, scope) {
                Ok(value) => values.push(value),
                Err(halt) if halt.problem == Problem::TooMuch => return Err(halt),
                Err(halt) => {
                    wrong = Some(match wrong {
                        Some(known) => known.or(halt),
                        None => halt,
                    });
                }
            }
        }
        wrong.map_or(Ok(values), Err)
    }

    fn name(&self, name: &str, scope: Option<&Scope<'_>>) -> Result<Value, Problem> {
        let bound = std::iter::successors(scope, |scope| scope.outer).find(|scope| scope.name == name);
        if let Some(bound) = bound {
            return Ok(bound.value.clone());
        }
        if let Some(value) = self.variables.values.get(name) {
            return Ok(value.clone());
        }
        match functions::TYPES.iter().find(|known| **known == name) {
            Some(known) => Ok(Value::Type(known)),
            None => Err(format!("there is no variable \"{name}\" here").into()),
        }
    }

    /// What a host has behind a name, if the name is the host's and not one of the expression.
    fn member(&self, of: &Node, name: &str, scope: Option<&Scope<'_>>) -> Option<Result<Value, Problem>> {
        let Kind::Name(of) = &of.kind else { return None };
        let bound = std::iter::successors(scope, |scope| scope.outer).any(|scope| scope.name == of);
        if bound || self.variables.values.contains_key(of) { None } else { self.host.member(of, name) }
    }

    fn index(
        &self,
        of: &Node,
        index: &Node,
        optional: bool,
        scope: Option<&Scope<'_>>,
        at: usize,
    ) -> Result<Value, Halt> {
        let halt = |problem| Halt { at, problem };
        if let Kind::Literal(Value::Text(name)) = &index.kind
            && let Some(found) = self.member(of, name, scope)
        {
            return found.map_err(halt);
        }
        let (of, index) = both(self.evaluate(of, scope), self.evaluate(index, scope))?;
        let key = Key::of(&index).ok_or_else(|| halt(format!("{} is no index", index.kind()).into()))?;
        select(&of, &key, optional).map_err(halt)
    }

    fn list(&self, items: &[(Node, bool)], scope: Option<&Scope<'_>>) -> Result<Value, Halt> {
        let mut list = Vec::with_capacity(items.len());
        let mut wrong: Option<Halt> = None;
        for (node, optional) in items {
            match (self.evaluate(node, scope), optional) {
                (Ok(value), false) => list.push(value),
                (Ok(Value::Optional(value)), true) => list.extend(value.map(|value| (*value).clone())),
                (Ok(other), true) => return Err(not_optional(node.at, &other)),
                (Err(halt), _) => {
                    wrong = Some(match wrong {
                        Some(known) => known.or(halt),
                        None => halt,
                    });
                }
            }
        }
        wrong.map_or_else(|| Ok(Value::list(list)), Err)
    }

    fn map(
        &self,
        entries: &[(Node, Node, bool)],
        scope: Option<&Scope<'_>>,
        at: usize,
    ) -> Result<Value, Halt> {
        let mut map = BTreeMap::new();
        for (key, node, optional) in entries {
            let (key, value) = both(self.evaluate(key, scope), self.evaluate(node, scope))?;
            let key = Key::of(&key)
                .ok_or_else(|| Halt { at, problem: format!("{} is no key of a map", key.kind()).into() })?;
            let value = match (value, optional) {
                (value, false) => Some(value),
                (Value::Optional(value), true) => value.map(|value| (*value).clone()),
                (other, true) => return Err(not_optional(node.at, &other)),
            };
            if let Some(value) = value
                && map.insert(key, value).is_some()
            {
                return Err(Halt { at, problem: "a key stands in the map twice".into() });
            }
        }
        Ok(Value::Map(Arc::new(map)))
    }
}

fn not_optional(at: usize, found: &Value) -> Halt {
    Halt { at, problem: format!("expected an optional value after ?, found {}", found.kind()).into() }
}

fn both(left: Result<Value, Halt>, right: Result<Value, Halt>) -> Result<(Value, Value), Halt> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(left), Err(right)) => Err(left.or(right)),
        (Err(halt), _) | (_, Err(halt)) => Err(halt),
    }
}

/// The field of a map, the item of a list. Of an optional value, an optional.
fn select(of: &Value, key: &Key, optional: bool) -> Result<Value, Problem> {
    let found = match of {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(of)) => return select(of, key, true),
        Value::Map(fields) => fields.get(key).cloned(),
        Value::List(items) => match key {
            Key::Number(index) => usize::try_from(*index).ok().and_then(|index| items.get(index)).cloned(),
            _ => return Err("expected a number as the index of a list".into()),
        },
        // What is not there has no fields either, as far as an optional goes.
        Value::Null if optional => None,
        other => return Err(format!("expected a map or a list, found {}", other.kind()).into()),
    };
    match (found, optional) {
        (Some(value), true) => Ok(Value::Optional(Some(Arc::new(value)))),
        (None, true) => Ok(Value::Optional(None)),
        (Some(value), false) => Ok(value),
        (None, false) => Err(match key {
            Key::Text(name) => {
                format!("there is no \"{name}\"; write ?.{name} or has() if it may be missing")
            }
            Key::Number(index) => format!("there is nothing at index {index}"),
            Key::Bool(key) => format!("there is no \"{key}\""),
        }
        .into()),
    }
}

fn has(of: &Value, field: &str) -> Result<bool, Problem> {
    match of {
        Value::Map(_) => Ok(of.field(field).is_some()),
        Value::Optional(Some(of)) => has(of, field),
        Value::Optional(None) => Ok(false),
        other => Err(format!("expected a map, found {}", other.kind()).into()),
    }
}
