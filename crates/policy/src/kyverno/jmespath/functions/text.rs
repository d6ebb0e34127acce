//! Functions over texts.

use countersign_crypto::encoding;
use regex::{NoExpand, Regex, RegexBuilder, Replacer};
use serde_json::Value;

use super::Kind::{Any, Array, Number, Object, Text, Texts};
use super::{Call, Error, Function, Outcome, function};
use crate::kyverno::jmespath::interpret::equal;
use crate::kyverno::jmespath::lexer::text_of;
use crate::kyverno::units::wildcard;

/// What a compiled regular expression may take. Each is charged as if it did, so there are 256 of them at most.
const REGEX_SIZE: usize = 256 << 10;

pub(super) const FUNCTIONS: &[Function] = &[
    function("compare", &[&[Text], &[Text]], compare),
    function("equal_fold", &[&[Text], &[Text]], equal_fold),
    function("replace", &[&[Text], &[Text], &[Text], &[Number]], replace),
    function("replace_all", &[&[Text], &[Text], &[Text]], replace_all),
    function("to_upper", &[&[Text]], |call| Ok(Value::from(call.text(0)?.to_uppercase()))),
    function("to_lower", &[&[Text]], |call| Ok(Value::from(call.text(0)?.to_lowercase()))),
    function("trim", &[&[Text], &[Text]], trim),
    function("trim_prefix", &[&[Text], &[Text]], trim_prefix),
    function("split", &[&[Text], &[Text]], split),
    function("join", &[&[Text], &[Texts]], join),
    function("starts_with", &[&[Text], &[Text]], |call| {
        Ok(Value::Bool(call.text(0)?.starts_with(call.text(1)?)))
    }),
    function("ends_with", &[&[Text], &[Text]], |call| {
        Ok(Value::Bool(call.text(0)?.ends_with(call.text(1)?)))
    }),
    function("regex_match", &[&[Text], &[Text, Number]], regex_match),
    function("regex_replace_all", &[&[Text], &[Text, Number], &[Text, Number]], regex_replace_all),
    function(
        "regex_replace_all_literal",
        &[&[Text], &[Text, Number], &[Text, Number]],
        regex_replace_literal,
    ),
    function("pattern_match", &[&[Text], &[Text, Number]], pattern_match),
    function("label_match", &[&[Object], &[Object]], label_match),
    function("to_boolean", &[&[Text]], to_boolean),
    function("to_string", &[&[Any]], to_string),
    function("truncate", &[&[Text], &[Number]], truncate),
    function("path_canonicalize", &[&[Text]], path_canonicalize),
    function("base64_encode", &[&[Text]], |call| {
        Ok(Value::from(encoding::base64_encode(call.text(0)?.as_bytes())))
    }),
    function("base64_decode", &[&[Text]], base64_decode),
    function("reverse", &[&[Text, Array]], reverse),
];

fn compare(call: &Call<'_>) -> Outcome {
    Ok(Value::from(call.text(0)?.cmp(call.text(1)?) as i8))
}

fn equal_fold(call: &Call<'_>) -> Outcome {
    let folded = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    Ok(Value::Bool(folded(call.text(0)?) == folded(call.text(1)?)))
}

/// `replace(text, old, new, count)`; a negative count is all.
fn replace(call: &Call<'_>) -> Outcome {
    let count = call.number(3)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is not negative"
    )]
    let count = if count < 0.0 { usize::MAX } else { count as usize };
    replaced(call, count)
}

fn replace_all(call: &Call<'_>) -> Outcome {
    replaced(call, usize::MAX)
}

fn replaced(call: &Call<'_>, count: usize) -> Outcome {
    let (text, old, new) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    call.budget().bytes(found.min(count).saturating_mul(new.len()))?;
    Ok(Value::from(text.replacen(old, new, count)))
}

/// `trim(text, characters)`.
fn trim(call: &Call<'_>) -> Outcome {
    let (text, characters) = (call.text(0)?, call.text(1)?);
    call.budget().bytes(text.len().saturating_mul(characters.len().min(64)))?;
    Ok(Value::from(text.trim_matches(|c| characters.contains(c))))
}

fn trim_prefix(call: &Call<'_>) -> Outcome {
    let text = call.text(0)?;
    Ok(Value::from(text.strip_prefix(call.text(1)?).unwrap_or(text)))
}

/// `split(text, separator)`; without a separator, into its characters.
fn split(call: &Call<'_>) -> Outcome {
    let (text, separator) = (call.text(0)?, call.text(1)?);
    let parts: Vec<Value> = if separator.is_empty() {
        call.budget().steps(text.len())?;
        text.chars().map(|c| Value::from(c.to_string())).collect()
    } else {
        call.budget().steps(text.matches(separator).count())?;
        text.split(separator).map(Value::from).collect()
    };
    Ok(Value::Array(parts))
}

fn join(call: &Call<'_>) -> Outcome {
    let (glue, parts) = (call.text(0)?, call.list(1)?);
    let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
    let length =
        parts.iter().fold(parts.len().saturating_mul(glue.len()), |sum, part| sum.saturating_add(part.len()));
    call.budget().bytes(length)?;
    Ok(Value::from(parts.join(glue)))
}

/// The regular expression in the first argument, compiled once in an evaluation.
fn regex(call: &Call<'_>) -> Result<Regex, Error> {
    let text = call.text(0)?;
    if let Some(regex) = call.run.regexes.borrow().get(text) {
        return Ok(regex.clone());
    }
    call.budget().bytes(REGEX_SIZE)?;
    let regex =
        RegexBuilder::new(text).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build().map_err(
            |error| call.error(format!("expected a regular expression, found \"{text}\": {error}")),
        )?;
    call.run.regexes.borrow_mut().insert(text.to_owned(), regex.clone());
    Ok(regex)
}

/// `regex_match(expression, text)`: anywhere in the text, unless it has anchors.
fn regex_match(call: &Call<'_>) -> Outcome {
    Ok(Value::Bool(regex(call)?.is_match(&call.text_or_number(1)?)))
}

/// `regex_replace_all(expression, text, replacement)`; `$1` and `${name}` are groups.
fn regex_replace_all(call: &Call<'_>) -> Outcome {
    let replacement = call.text_or_number(2)?;
    regex_replaced(call, replacement.as_ref(), usize::MAX)
}

fn regex_replace_literal(call: &Call<'_>) -> Outcome {
    let replacement = call.text_or_number(2)?;
    regex_replaced(call, NoExpand(&replacement), usize::MAX)
}

/// As the library replaces, except that it stops when there is too much.
fn regex_replaced(call: &Call<'_>, mut replacement: impl Replacer, limit: usize) -> Outcome {
    let text = call.text_or_number(1)?;
    let (mut replaced, mut end) = (String::new(), 0);
    for found in regex(call)?.captures_iter(&text).take(limit) {
        let Some(whole) = found.get(0) else { continue };
        let before = replaced.len();
        replaced.push_str(text.get(end..whole.start()).unwrap_or_default());
        replacement.replace_append(&found, &mut replaced);
        call.budget().bytes(replaced.len() - before)?;
        call.budget().steps(1)?;
        end = whole.end();
    }
    replaced.push_str(text.get(end..).unwrap_or_default());
    Ok(Value::from(replaced))
}

fn pattern_match(call: &Call<'_>) -> Outcome {
    let matches = wildcard(call.text(0)?, &call.text_or_number(1)?, call.budget());
    call.budget().bytes(1)?;
    Ok(Value::Bool(matches))
}

/// `label_match(wanted, labels)`: all that is wanted is there.
fn label_match(call: &Call<'_>) -> Outcome {
    let labels = call.object(1)?;
    for (name, wanted) in call.object(0)? {
        match labels.get(name) {
            Some(found) if equal(found, wanted, call.budget())? => {}
            _ => return Ok(Value::Bool(false)),
        }
    }
    Ok(Value::Bool(true))
}

fn to_boolean(call: &Call<'_>) -> Outcome {
    match call.text(0)?.to_lowercase().as_str() {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        other => Err(call.error(format!("expected \"true\" or \"false\", found \"{other}\""))),
    }
}

fn to_string(call: &Call<'_>) -> Outcome {
    let value = call.value(0)?;
    call.budget().value(value)?;
    Ok(Value::from(text_of(value)))
}

/// `truncate(text, length)`, in characters.
fn truncate(call: &Call<'_>) -> Outcome {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is not negative"
    )]
    let length = call.number(1)?.max(0.0) as usize;
    Ok(Value::from(call.text(0)?.chars().take(length).collect::<String>()))
}

/// The shortest path that means the same; `..` at the root stays there.
fn path_canonicalize(call: &Call<'_>) -> Outcome {
    let path = call.text(0)?;
    if path.is_empty() {
        return Ok(Value::from(""));
    }
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => {
                parts.pop();
            }
            ("..", None) if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    Ok(Value::from(match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }))
}

fn base64_decode(call: &Call<'_>) -> Outcome {
    let bytes = encoding::base64_decode(call.text(0)?)
        .map_err(|error| call.error(format!("expected base64, found something else: {error}")))?;
    String::from_utf8(bytes)
        .map(Value::from)
        .map_err(|_| call.error("expected UTF-8 text in base64, found other bytes"))
}

fn reverse(call: &Call<'_>) -> Outcome {
    match call.value(0)? {
        Value::String(text) => Ok(Value::from(text.chars().rev().collect::<String>())),
        other => {
            let mut items = call.budget().copy(other)?;
            if let Value::Array(items) = &mut items {
                items.reverse();
            }
            Ok(items)
        }
    }
}
