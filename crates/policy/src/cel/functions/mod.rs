//! The functions of the language. What stands before the dot is the first argument.

mod convert;
mod lists;
pub(super) mod text;
mod time;

use super::Problem;
use super::evaluate::Run;
use super::value::Value;

/// The names of types, which are values.
pub(super) const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// The functions, with the least and the most arguments.
const FUNCTIONS: [(&str, usize, usize); 68] = [
    ("base64.decode", 1, 1),
    ("base64.encode", 1, 1),
    ("bool", 1, 1),
    ("bytes", 1, 1),
    ("charAt", 2, 2),
    ("contains", 2, 2),
    ("distinct", 1, 1),
    ("double", 1, 1),
    ("duration", 1, 1),
    ("dyn", 1, 1),
    ("endsWith", 2, 2),
    ("find", 2, 2),
    ("findAll", 2, 3),
    ("first", 1, 1),
    ("flatten", 1, 1),
    ("getDate", 1, 1),
    ("getDayOfMonth", 1, 1),
    ("getDayOfWeek", 1, 1),
    ("getDayOfYear", 1, 1),
    ("getFullYear", 1, 1),
    ("getHours", 1, 1),
    ("getMilliseconds", 1, 1),
    ("getMinutes", 1, 1),
    ("getMonth", 1, 1),
    ("getSeconds", 1, 1),
    ("hasValue", 1, 1),
    ("indexOf", 2, 3),
    ("int", 1, 1),
    ("isSorted", 1, 1),
    ("join", 1, 2),
    ("last", 1, 1),
    ("lastIndexOf", 2, 3),
    ("lowerAscii", 1, 1),
    ("matches", 2, 2),
    ("math.abs", 1, 1),
    ("math.ceil", 1, 1),
    ("math.floor", 1, 1),
    ("math.greatest", 1, 16),
    ("math.least", 1, 16),
    ("math.round", 1, 1),
    ("max", 1, 1),
    ("min", 1, 1),
    ("now", 0, 0),
    ("optional.none", 0, 0),
    ("optional.of", 1, 1),
    ("optional.ofNonZeroValue", 1, 1),
    ("or", 2, 2),
    ("orValue", 2, 2),
    ("replace", 3, 4),
    ("reverse", 1, 1),
    ("sets.contains", 2, 2),
    ("sets.equivalent", 2, 2),
    ("sets.intersects", 2, 2),
    ("size", 1, 1),
    ("slice", 3, 3),
    ("sort", 1, 1),
    ("split", 2, 3),
    ("startsWith", 2, 2),
    ("string", 1, 1),
    ("substring", 2, 3),
    ("sum", 1, 1),
    ("time.now", 0, 0),
    ("timestamp", 1, 1),
    ("trim", 1, 1),
    ("type", 1, 1),
    ("uint", 1, 1),
    ("upperAscii", 1, 1),
    ("value", 1, 1),
];

/// How many arguments a function takes; `None` if there is none of this name.
pub(super) fn arguments(name: &str) -> Option<(usize, usize)> {
    FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, least, most)| (*least, *most))
}

/// Why a function is not there.
pub(super) fn unknown(name: &str) -> String {
    let asks = ["http", "resource", "globalContext", "Get", "List", "Post"];
    if asks.contains(&name) {
        return format!(
            "{name}() asks the outside, which policies do not do here; take the data from the object"
        );
    }
    format!("there is no function {name}()")
}

/// The value of a function.
///
/// # Errors
/// [`Problem`].
pub(super) fn call(run: &Run<'_>, name: &str, arguments: &[Value]) -> Result<Value, Problem> {
    let found = convert::call(run, name, arguments)
        .or_else(|| text::call(run, name, arguments))
        .or_else(|| lists::call(run, name, arguments))
        .or_else(|| time::call(run, name, arguments));
    found.unwrap_or_else(|| {
        let kinds: Vec<_> = arguments.iter().map(Value::kind).collect();
        Err(format!("there is no {name}() of {}", kinds.join(", ")).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::{Program, Variables};

    #[test]
    fn every_function_that_is_known_is_there() {
        let given = [
            "'a'",
            "1",
            "1.0",
            "[1]",
            "['a']",
            "timestamp('2026-01-01T00:00:00Z')",
            "duration('1s')",
            "optional.of(1)",
        ];
        for (name, least, _) in FUNCTIONS {
            let works = |first: &str| {
                given.iter().any(|second| {
                    let arguments: Vec<&str> = [first, second, "1"].into_iter().take(least).collect();
                    let text = match name {
                        "bool" => "bool('true')".to_owned(),
                        "replace" => "replace('a', 'a', 'b')".to_owned(),
                        "base64.decode" => "base64.decode('YQ==')".to_owned(),
                        "slice" => "slice([1], 0, 1)".to_owned(),
                        "substring" => "substring('a', 0)".to_owned(),
                        _ => format!("{name}({})", arguments.join(", ")),
                    };
                    let program = Program::compile(&text).unwrap();
                    program
                        .run(
                            &Variables::new(jiff::Timestamp::UNIX_EPOCH),
                            &crate::cel::Alone,
                            &crate::kyverno::jmespath::Budget::default(),
                        )
                        .is_ok()
                })
            };
            assert!(given.iter().any(|first| works(first)), "{name}");
        }
    }
}
