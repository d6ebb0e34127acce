//! What goes over all of a list or map, and names for values: `all`, `exists`, `map`, `cel.bind` and the like.

use std::sync::Arc;

use super::evaluate::{Run, Scope};
use super::lexer::syntax;
use super::parser::{Kind, Node};
use super::value::{Key, Value};
use super::{CelError, Halt, Problem};

/// The name that is a macro though a dot stands in it.
pub(super) const BIND: &str = "cel.bind";

/// What is done over all of a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// Into a list, as far as the filter holds.
    Map,
    /// Into a map with the same keys, as far as the filter holds.
    TransformMap,
}

/// What gets a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// A value.
    Bind,
    /// What is in an optional; the result is optional.
    OptMap,
    /// The same; the body is an optional itself.
    OptFlatMap,
}

/// What came of a call.
pub(super) enum Expanded {
    /// It is a macro.
    Kind(Kind),
    /// It is not.
    Not(Option<Node>, Vec<Node>),
}

/// Makes a macro of a call, if it is one.
///
/// # Errors
/// [`CelError::Syntax`].
pub(super) fn expand(
    name: &str,
    of: Option<Node>,
    arguments: Vec<Node>,
    at: usize,
) -> Result<Expanded, CelError> {
    let count = arguments.len();
    let of = match (name, of) {
        ("has", None) => return has(arguments, at).map(Expanded::Kind),
        (BIND, None) => {
            let [name, of, body] = exactly(arguments, at)?;
            return bind(&name, of, Binding::Bind, body).map(Expanded::Kind);
        }
        (_, None) => return Ok(Expanded::Not(None, arguments)),
        (_, Some(of)) => of,
    };
    let (over, names) = match (name, count) {
        ("optMap" | "optFlatMap", _) => {
            let over = if name == "optMap" { Binding::OptMap } else { Binding::OptFlatMap };
            let [name, body] = exactly(arguments, at)?;
            return bind(&name, of, over, body).map(Expanded::Kind);
        }
        ("all", 2 | 3) => (Macro::All, count - 1),
        ("exists", 2 | 3) => (Macro::Exists, count - 1),
        ("exists_one" | "existsOne", 2 | 3) => (Macro::ExistsOne, count - 1),
        ("filter", 2) => (Macro::Filter, 1),
        ("map", 2 | 3) => (Macro::Map, 1),
        ("transformList", 3 | 4) => (Macro::Map, 2),
        ("transformMap", 3 | 4) => (Macro::TransformMap, 2),
        _ => return Ok(Expanded::Not(Some(of), arguments)),
    };
    let mut arguments = arguments.into_iter();
    let names = arguments.by_ref().take(names).map(|node| variable(&node)).collect::<Result<_, _>>()?;
    Ok(Expanded::Kind(Kind::Fold { of: Box::new(of), over, names, parts: arguments.collect() }))
}

fn exactly<const N: usize>(arguments: Vec<Node>, at: usize) -> Result<[Node; N], CelError> {
    let found = arguments.len();
    arguments.try_into().map_err(|_| syntax(at, format!("expected {N} arguments, found {found}")))
}

fn variable(node: &Node) -> Result<String, CelError> {
    match &node.kind {
        Kind::Name(name) => Ok(name.clone()),
        _ => Err(syntax(node.at, "expected a name for the value")),
    }
}

fn bind(name: &Node, of: Node, over: Binding, body: Node) -> Result<Kind, CelError> {
    Ok(Kind::Bind { name: variable(name)?, of: Box::new(of), over, body: Box::new(body) })
}

fn has(arguments: Vec<Node>, at: usize) -> Result<Kind, CelError> {
    let [argument] = exactly(arguments, at)?;
    match argument.kind {
        Kind::Select { of, field, optional: false } => Ok(Kind::Has { of, field }),
        _ => Err(syntax(argument.at, "expected the field of something, as in has(a.b)")),
    }
}

impl Run<'_> {
    /// Goes over all of a list or map.
    pub(super) fn fold(
        &self,
        over: Macro,
        names: &[String],
        parts: &[Node],
        (of, at): (&Value, usize),
        scope: Option<&Scope<'_>>,
    ) -> Result<Value, Halt> {
        let halt = |problem| Halt { at, problem };
        // Taken before the items are copied, and for each of them.
        let count = match of {
            Value::List(items) => items.len(),
            Value::Map(fields) => fields.len(),
            _ => 0,
        };
        self.steps(count).map_err(halt)?;
        let items = items(of, names.len() == 2).map_err(halt)?;
        let (filter, last) = match parts {
            [filter, last] => (Some(filter), last),
            [last] => (None, last),
            _ => return Err(halt("expected one or two expressions".into())),
        };
        let mut made = Vec::new();
        // What went wrong is told unless what remains decides; and all that is open is asked for at once.
        let mut wrong: Option<Halt> = None;
        for (first, second) in items {
            let (key, item) = (first.clone(), second.clone().unwrap_or_else(|| first.clone()));
            let evaluated = self.with_names(names, first, second, scope, |scope| {
                if let Some(filter) = filter
                    && !self.truth(filter, scope)?
                {
                    return Ok(None);
                }
                match over {
                    Macro::Map | Macro::TransformMap => self.evaluate(last, scope).map(Some),
                    _ => self.truth(last, scope).map(|holds| Some(Value::Bool(holds))),
                }
            });
            match (over, evaluated) {
                (_, Err(found)) if found.problem == Problem::TooMuch => return Err(found),
                (_, Err(found)) => {
                    wrong = Some(match wrong {
                        Some(known) => known.or(found),
                        None => found,
                    });
                }
                (_, Ok(None)) => {}
                (Macro::All, Ok(Some(Value::Bool(false)))) => return Ok(Value::Bool(false)),
                (Macro::Exists, Ok(Some(Value::Bool(true)))) => return Ok(Value::Bool(true)),
                (Macro::All | Macro::Exists, Ok(_)) => {}
                (Macro::ExistsOne | Macro::Filter, Ok(Some(value))) => {
                    if matches!(value, Value::Bool(true)) {
                        made.push((key, item));
                    }
                }
                (Macro::Map | Macro::TransformMap, Ok(Some(value))) => made.push((key, value)),
            }
        }
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        Ok(match over {
            Macro::All => Value::Bool(true),
            Macro::Exists => Value::Bool(false),
            Macro::ExistsOne => Value::Bool(made.len() == 1),
            Macro::Filter | Macro::Map => Value::list(made.into_iter().map(|(_, value)| value)),
            Macro::TransformMap => {
                let entries = made.into_iter().filter_map(|(key, value)| Some((Key::of(&key)?, value)));
                Value::Map(Arc::new(entries.collect()))
            }
        })
    }

    fn with_names<T>(
        &self,
        names: &[String],
        first: Value,
        second: Option<Value>,
        scope: Option<&Scope<'_>>,
        body: impl FnOnce(Option<&Scope<'_>>) -> T,
    ) -> T {
        match (names, second) {
            ([one, two], Some(second)) => {
                let outer = Scope { name: one, value: first, outer: scope };
                body(Some(&Scope { name: two, value: second, outer: Some(&outer) }))
            }
            ([name, ..], _) => body(Some(&Scope { name, value: first, outer: scope })),
            ([], _) => body(scope),
        }
    }

    /// Gives a value a name.
    pub(super) fn bind(
        &self,
        over: Binding,
        name: &str,
        (of, at): (Value, usize),
        body: &Node,
        scope: Option<&Scope<'_>>,
    ) -> Result<Value, Halt> {
        let value = match (over, of) {
            (Binding::Bind, value) => value,
            (_, Value::Optional(None)) => return Ok(Value::Optional(None)),
            (_, Value::Optional(Some(value))) => (*value).clone(),
            (_, other) => {
                let problem = format!("expected an optional value, found {}", other.kind()).into();
                return Err(Halt { at, problem });
            }
        };
        let made = self.evaluate(body, Some(&Scope { name, value, outer: scope }))?;
        Ok(match over {
            Binding::OptMap => Value::Optional(Some(Arc::new(made))),
            Binding::Bind | Binding::OptFlatMap => made,
        })
    }
}

/// What a list or map is gone over by: items, or indices and items; keys, or keys and values.
fn items(of: &Value, both: bool) -> Result<Vec<(Value, Option<Value>)>, Problem> {
    Ok(match (of, both) {
        (Value::List(items), false) => items.iter().map(|item| (item.clone(), None)).collect(),
        (Value::List(items), true) => {
            let numbered = (0_i64..).zip(items.iter());
            numbered.map(|(index, item)| (Value::Int(index), Some(item.clone()))).collect()
        }
        (Value::Map(fields), false) => fields.keys().map(|key| (key.value(), None)).collect(),
        (Value::Map(fields), true) => {
            fields.iter().map(|(key, value)| (key.value(), Some(value.clone()))).collect()
        }
        (other, _) => return Err(format!("expected a list or a map, found {}", other.kind()).into()),
    })
}
