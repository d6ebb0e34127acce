//! Evaluating expressions. What stands in the document is borrowed, what is made is owned and was charged.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value};

use super::functions::{Argument, Call};
use super::lexer::Comparison;
use super::parser::Node;
use super::{Budget, Error};

/// One evaluation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) now: Timestamp,
    pub(super) budget: &'a Budget,
    /// The regular expressions that were compiled: the same one is often asked for each item of a list.
    pub(super) regexes: &'a RefCell<BTreeMap<String, Regex>>,
}

type Found<'v> = Result<Cow<'v, Value>, Error>;

const NULL: Cow<'static, Value> = Cow::Owned(Value::Null);

impl Run<'_> {
    /// A value of one's own.
    pub(super) fn own(&self, value: Cow<'_, Value>) -> Result<Value, Error> {
        match value {
            Cow::Owned(value) => Ok(value),
            Cow::Borrowed(value) => self.budget.copy(value),
        }
    }

    /// The same with null in the place of a key that is not there.
    fn or_null<'v>(&self, node: &Node, value: &'v Value) -> Found<'v> {
        match self.evaluate(node, value) {
            Err(Error::UnknownKey(_)) => Ok(NULL),
            other => other,
        }
    }

    pub(super) fn evaluate<'v>(&self, node: &Node, value: &'v Value) -> Found<'v> {
        self.budget.steps(1)?;
        Ok(match node {
            Node::Current => Cow::Borrowed(value),
            Node::Literal(literal) => Cow::Owned(self.budget.copy(literal)?),
            Node::Field(name) => match value {
                Value::Object(fields) => {
                    Cow::Borrowed(fields.get(name).ok_or_else(|| Error::UnknownKey(name.clone()))?)
                }
                _ => NULL,
            },
            Node::Index(index) => {
                value.as_array().and_then(|items| at(items, *index)).map_or(NULL, Cow::Borrowed)
            }
            Node::Slice { start, stop, step } => match value {
                Value::Array(items) => self.slice(items, *start, *stop, step.unwrap_or(1))?,
                _ => NULL,
            },
            Node::Then(first, second) => {
                let first = self.evaluate(first, value)?;
                self.on(first, |value| self.evaluate(second, value))?
            }
            Node::Pipe(first, second) => {
                let first = self.or_null(first, value)?;
                self.on(first, |value| self.or_null(second, value))?
            }
            Node::Or(first, second) => {
                let first = self.or_null(first, value)?;
                if is_true(&first) { first } else { self.or_null(second, value)? }
            }
            Node::And(first, second) => {
                let first = self.or_null(first, value)?;
                if is_true(&first) { self.evaluate(second, value)? } else { first }
            }
            Node::Not(node) => Cow::Owned(Value::Bool(!is_true(&*self.or_null(node, value)?))),
            Node::Compare(comparison, left, right) => {
                let left = self.or_null(left, value)?;
                let right = self.or_null(right, value)?;
                Cow::Owned(self.compare(*comparison, &left, &right)?)
            }
            Node::Each(list, then) => {
                let list = self.or_null(list, value)?;
                let Value::Array(items) = &*list else { return Ok(NULL) };
                Cow::Owned(self.each(items, then, None)?)
            }
            Node::EachValue(object, then) => {
                let object = self.or_null(object, value)?;
                let Value::Object(fields) = &*object else { return Ok(NULL) };
                Cow::Owned(self.each(fields.values(), then, None)?)
            }
            Node::EachWhere { list, condition, then } => {
                let list = self.or_null(list, value)?;
                let Value::Array(items) = &*list else { return Ok(NULL) };
                Cow::Owned(self.each(items, then, Some(condition))?)
            }
            Node::Flatten(list) => {
                let list = self.or_null(list, value)?;
                let Value::Array(items) = &*list else { return Ok(NULL) };
                let mut flat = Vec::new();
                for item in items {
                    match item {
                        Value::Array(inner) => {
                            for item in inner {
                                flat.push(self.budget.copy(item)?);
                            }
                        }
                        other => flat.push(self.budget.copy(other)?),
                    }
                }
                Cow::Owned(Value::Array(flat))
            }
            Node::List(_) | Node::Object(_) if value.is_null() => NULL,
            Node::List(nodes) => {
                let mut list = Vec::new();
                for node in nodes {
                    list.push(self.own(self.or_null(node, value)?)?);
                }
                Cow::Owned(Value::Array(list))
            }
            Node::Object(nodes) => {
                let mut object = Map::new();
                for (name, node) in nodes {
                    self.budget.bytes(name.len())?;
                    object.insert(name.clone(), self.own(self.or_null(node, value)?)?);
                }
                Cow::Owned(Value::Object(object))
            }
            Node::Call(function, nodes) => {
                let mut arguments = Vec::new();
                for node in nodes {
                    arguments.push(match node {
                        Node::Reference(node) => Argument::Reference(node),
                        node => Argument::Value(self.or_null(node, value)?),
                    });
                }
                Cow::Owned(Call { function, arguments: &arguments, run: *self }.result()?)
            }
            // Only functions have a use for it.
            Node::Reference(_) => NULL,
        })
    }

    /// Goes on with a value, wherever it lives.
    fn on<'v>(
        &self,
        value: Cow<'v, Value>,
        then: impl for<'w> FnOnce(&'w Value) -> Result<Cow<'w, Value>, Error>,
    ) -> Found<'v> {
        match value {
            Cow::Borrowed(value) => then(value),
            Cow::Owned(value) => {
                let found = then(&value)?;
                self.own(found).map(Cow::Owned)
            }
        }
    }

    fn each<'i>(
        &self,
        items: impl IntoIterator<Item = &'i Value>,
        then: &Node,
        condition: Option<&Node>,
    ) -> Result<Value, Error> {
        let mut collected = Vec::new();
        for item in items {
            if let Some(condition) = condition
                && !is_true(&*self.or_null(condition, item)?)
            {
                continue;
            }
            let found = self.or_null(then, item)?;
            if !found.is_null() {
                collected.push(self.own(found)?);
            }
        }
        Ok(Value::Array(collected))
    }

    fn slice(
        &self,
        items: &[Value],
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    ) -> Result<Cow<'static, Value>, Error> {
        if step == 0 {
            return Err(Error::ZeroStep);
        }
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let bound =
            |bound: i64| if bound < 0 { bound.saturating_add(length) } else { bound }.clamp(lowest, highest);
        let mut at = start.map_or(if step > 0 { lowest } else { highest }, bound);
        let stop = stop.map_or(if step > 0 { highest } else { lowest }, bound);
        let mut taken = Vec::new();
        while if step > 0 { at < stop } else { at > stop } {
            if let Some(item) = usize::try_from(at).ok().and_then(|at| items.get(at)) {
                taken.push(self.budget.copy(item)?);
            }
            at = at.saturating_add(step);
        }
        Ok(Cow::Owned(Value::Array(taken)))
    }

    fn compare(&self, comparison: Comparison, left: &Value, right: &Value) -> Result<Value, Error> {
        match comparison {
            Comparison::Equal => return Ok(Value::Bool(equal(left, right, self.budget)?)),
            Comparison::NotEqual => return Ok(Value::Bool(!equal(left, right, self.budget)?)),
            _ => {}
        }
        let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else { return Ok(Value::Null) };
        Ok(Value::Bool(match comparison {
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            _ => left >= right,
        }))
    }
}

/// Whether two values are the same; 1 and 1.0 are.
pub(in crate::kyverno) fn equal(left: &Value, right: &Value, budget: &Budget) -> Result<bool, Error> {
    budget.steps(1)?;
    Ok(match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || (left.as_f64().is_some() && left.as_f64() == right.as_f64())
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !equal(left, right, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(left), Value::Object(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (name, left) in left {
                match right.get(name) {
                    Some(right) if equal(left, right, budget)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (left, right) => left == right,
    })
}

fn at(items: &[Value], index: i64) -> Option<&Value> {
    let from_start = |index: i64| usize::try_from(index).ok();
    let index = if index < 0 {
        from_start(index.checked_neg()?).and_then(|back| items.len().checked_sub(back))
    } else {
        from_start(index)
    };
    items.get(index?)
}

/// What counts as true: everything but null, false, and what is empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}
