//! What a Rego policy may be, before it is compiled: the interpreter bounds how long an evaluation takes, and neither how
//! deep it recurs nor how much one function makes. So both are settled by the text: rules that do not lead back to
//! themselves, and functions whose results are not larger than what they are given by more than a factor.

use std::collections::{BTreeMap, BTreeSet};

/// The longest policy, in bytes.
pub(super) const MAX_LEN: usize = 64 * 1024;
/// How deep brackets may nest: the parser reads each twice, and so what is within n of them 2^n times.
const MAX_NESTING: usize = 8;
/// How long a chain of rules may be, of which each asks the next.
const MAX_CHAIN: usize = 16;
/// The most words and signs of one rule.
const MAX_RULE: usize = 2048;
/// How many operators, fields and indices may follow each other in one expression: each nests what stands before it.
const MAX_OPERATORS: usize = 100;

/// Functions that are there.
const FUNCTIONS: &[&str] = &[
    "abs",
    "all",
    "any",
    "array.concat",
    "array.reverse",
    "array.slice",
    "base64.decode",
    "base64.encode",
    "base64.is_valid",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "indexof",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.is_valid",
    "json.marshal",
    "json.unmarshal",
    "lower",
    "max",
    "min",
    "object.get",
    "object.keys",
    "regex.match",
    "round",
    "set",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "substring",
    "sum",
    "to_number",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "upper",
];

/// Words of the language, behind which a name starts no rule.
const KEYWORDS: &[&str] =
    &["as", "contains", "default", "else", "every", "if", "import", "in", "not", "package", "some", "with"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A name, with what follows it behind dots.
    Name(&'a str),
    /// A text, without its quotes.
    Text(&'a str),
    /// A number.
    Number,
    /// Anything else.
    Sign(char),
}

impl Token<'_> {
    /// Whether an expression may end here.
    fn completes(&self) -> bool {
        match self {
            Self::Name(name) => !KEYWORDS.contains(name),
            Self::Text(_) | Self::Number | Self::Sign(')' | ']' | '}') => true,
            Self::Sign(_) => false,
        }
    }
}

/// Whether a policy may be compiled.
///
/// # Errors
/// In words, what is wrong.
pub(super) fn screen(text: &str) -> Result<(), String> {
    if text.len() > MAX_LEN {
        return Err(format!("expected at most {MAX_LEN} bytes of Rego, found {}", text.len()));
    }
    let tokens = tokens(text)?;
    let rules = rules(&tokens)?;
    expressions(&tokens)?;
    let names: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.name).collect();
    words(&tokens)?;
    calls(&tokens, &names)?;
    acyclic(&rules, &names)
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            c if c.is_whitespace() => c.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' => {
                let end = end_of_text(rest).ok_or("expected the closing quote of a text, found the end")?;
                found.push(Token::Text(rest.get(1..end).unwrap_or_default()));
                end + 1
            }
            '`' => {
                let inside = rest.get(1..).unwrap_or_default();
                let end = inside.find('`').ok_or("expected the closing ` of a text, found the end")?;
                found.push(Token::Text(inside.get(..end).unwrap_or_default()));
                end + 2
            }
            c if c.is_ascii_digit() => {
                found.push(Token::Number);
                rest.find(|c: char| !word(c) && c != '.').unwrap_or(rest.len())
            }
            c if word(c) => {
                let end = rest.find(|c: char| !word(c) && c != '.').unwrap_or(rest.len());
                found.push(Token::Name(rest.get(..end).unwrap_or_default().trim_end_matches('.')));
                end
            }
            '$' | '\\' => return Err(format!("expected Rego as OPA has it, found \"{first}\"")),
            sign => {
                found.push(Token::Sign(sign));
                sign.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(found)
}

/// Where the closing quote is of a text that starts here.
fn end_of_text(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            b'\n' => return None,
            _ => {}
        }
    }
    None
}

/// The first part of a name.
fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

#[derive(Debug, Default)]
struct Rule<'a> {
    /// None for the package and imports.
    name: Option<&'a str>,
    uses: BTreeSet<&'a str>,
    tokens: usize,
}

/// The rules: outside of brackets, a name directly behind something complete can only start the next one.
fn rules<'a>(tokens: &[Token<'a>]) -> Result<Vec<Rule<'a>>, String> {
    let mut rules: Vec<Rule<'a>> = Vec::new();
    let (mut depth, mut complete, mut names_next) = (0_usize, true, false);
    let mut before = None;
    for token in tokens {
        let starts = matches!(token, Token::Name(name) if depth == 0 && complete
            && !matches!(*name, "if" | "in" | "else" | "contains" | "as" | "with"));
        if starts {
            rules.push(Rule::default());
            names_next = true;
        }
        if let Some(rule) = rules.last_mut() {
            rule.tokens += 1;
            if rule.tokens > MAX_RULE {
                return Err(format!(
                    "expected rules of at most {MAX_RULE} words and signs, found a longer one"
                ));
            }
            match token {
                Token::Name("default") if names_next => {}
                Token::Name("package" | "import") if names_next => names_next = false,
                Token::Name(name) if names_next => {
                    rule.name = Some(first(name));
                    names_next = false;
                }
                // What stands behind a dot is a field, and not a rule.
                Token::Name(name) if before != Some(Token::Sign('.')) => {
                    rule.uses.insert(first(name));
                }
                _ => {}
            }
        }
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => {
                depth = depth.checked_sub(1).ok_or("expected an opening bracket before a closing one")?;
            }
            _ => {}
        }
        complete = token.completes();
        before = Some(*token);
    }
    Ok(rules)
}

/// Brackets and expressions may not nest deep.
fn expressions(tokens: &[Token<'_>]) -> Result<(), String> {
    let mut levels = vec![0_usize];
    let mut complete = false;
    for token in tokens {
        if levels.len() > MAX_NESTING + 1 {
            return Err(format!("expected brackets nested at most {MAX_NESTING} deep"));
        }
        let Some(level) = levels.last_mut() else {
            return Err("expected an opening bracket before a closing one".into());
        };
        match token {
            Token::Sign(',' | ';') => *level = 0,
            // An index or a call of what stands before, or a bracket of its own.
            Token::Sign('(' | '[' | '{') => {
                *level = if complete { *level + 1 } else { *level };
                levels.push(0);
            }
            Token::Sign(')' | ']' | '}') => drop(levels.pop()),
            Token::Sign(_) => *level += 1,
            // Behind something complete, this starts the next expression.
            Token::Name(name) => *level = if complete { 0 } else { *level } + name.matches('.').count(),
            Token::Text(_) | Token::Number if complete => *level = 0,
            Token::Text(_) | Token::Number => {}
        }
        if levels.last().is_some_and(|level| *level > MAX_OPERATORS) {
            return Err(format!("expected at most {MAX_OPERATORS} operators and fields in one expression"));
        }
        complete = token.completes();
    }
    Ok(())
}

/// Words with which a policy would reach beyond itself.
fn words(tokens: &[Token<'_>]) -> Result<(), String> {
    let mut before = None;
    for token in tokens {
        if let Token::Name(name) = token {
            let field = before == Some(Token::Sign('.'));
            match first(name) {
                "data" if !field => {
                    return Err("expected rules by their names, found \"data\": there is no data beside the input, which \
                                is input"
                        .into());
                }
                "with" if !field => return Err("expected no \"with\": the input is what was verified".into()),
                _ => {}
            }
        }
        before = Some(*token);
    }
    Ok(())
}

/// Calls must be of functions that are known.
fn calls(tokens: &[Token<'_>], rules: &BTreeSet<&str>) -> Result<(), String> {
    for (at, token) in tokens.iter().enumerate() {
        let (Token::Name(name), Some(Token::Sign('('))) = (token, tokens.get(at + 1)) else { continue };
        if KEYWORDS.contains(name) && *name != "contains" || rules.contains(name) {
            continue;
        }
        if !FUNCTIONS.contains(name) {
            return Err(format!(
                "expected a function of the policy, or one of {}, found {name}: functions that reach outside, read a \
                 clock or make much of little are not there",
                FUNCTIONS.join(", ")
            ));
        }
        let plain = |text: &str| {
            text.split('%')
                .skip(1)
                .all(|verb| verb.is_empty() || verb.starts_with(|c: char| c.is_alphabetic()))
        };
        if *name == "sprintf" && !matches!(tokens.get(at + 2), Some(Token::Text(format)) if plain(format)) {
            return Err(
                "sprintf: expected a format that stands there, with verbs without a width (%s, %d, %v)"
                    .into(),
            );
        }
    }
    Ok(())
}

/// Rules may not lead back to themselves, and not be asked in long chains.
fn acyclic(rules: &[Rule<'_>], names: &BTreeSet<&str>) -> Result<(), String> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        if let Some(name) = rule.name {
            uses.entry(name).or_default().extend(rule.uses.intersection(names));
        }
    }
    for _ in 0..MAX_CHAIN {
        let settled: BTreeSet<&str> =
            uses.iter().filter(|(_, used)| used.is_empty()).map(|(name, _)| *name).collect();
        uses.retain(|name, _| !settled.contains(name));
        for used in uses.values_mut() {
            used.retain(|name| !settled.contains(name));
        }
    }
    match uses.keys().next() {
        None => Ok(()),
        Some(_) => {
            let left: Vec<&str> = uses.keys().copied().collect();
            Err(format!(
                "expected rules that do not lead back to themselves, in chains of at most {MAX_CHAIN}, found {}; a local \
                 variable must not have the name of a rule either",
                left.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bounded_is_let_through() {
        for text in [
            "package sigstore\ndefault isCompliant = false\nisCompliant { input.a == 1 }",
            "package sigstore\nimport future.keywords\nisCompliant if { every x in input.l { f(x) == 1 } }\nf(x) = y { y := x + 1 }",
            "package sigstore\nimport rego.v1\nisCompliant if some x in input.l\nok if input.data.x == 1",
            "package sigstore\nisCompliant[response] { m := \"not # a comment\"; response := {\"result\": true, \"error\": m} }",
            "package sigstore # data with http.send(\nisCompliant { sprintf(\"%s %d%%\", [\"a\", 1]) == `data(` }",
            "package sigstore\nnames[n] { n := input.l[_].n }\nisCompliant { count(names) == 2 }",
        ] {
            assert_eq!(screen(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_could_recur_grow_or_reach_outside_is_refused() {
        for (text, expected) in [
            ("f(x) = y { y := f(x) }", "lead back"),
            ("a { b }\nb { c }\nc { a }", "lead back"),
            ("a { b } b { c } c { b }", "lead back"),
            ("a if\n a", "lead back"),
            ("a = 1 b = c c = b", "lead back"),
            ("isCompliant { not isCompliant }", "lead back"),
            ("a { data.sigstore[\"a\"] }", "data"),
            ("import data.x", "data"),
            ("a { data [\"x\"] }", "data"),
            ("a { input.x with input as 1 }", "with"),
            ("a { http.send({}) }", "http.send"),
            ("a { opa.runtime() }", "opa.runtime"),
            ("a { time.now_ns() > 1 }", "time.now_ns"),
            ("a { numbers.range(1, 1000000000) }", "numbers.range"),
            ("a { replace(input.a, \"\", input.a) }", "replace"),
            ("a { sprintf(\"%1000000000d\", [1]) }", "width"),
            ("a { sprintf(\"%*d\", [1000000000, 1]) }", "width"),
            ("a { sprintf(input.f, [1]) }", "width"),
            ("a { $\"{b}\" }", "found"),
            ("a { \"open }", "closing"),
            ("a { ] } }", "opening"),
        ] {
            let error = screen(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(screen(&"[".repeat(1000)).unwrap_err().contains("deep"));
        assert!(screen(&format!("a {{ {} }}", "1 ".repeat(5000))).unwrap_err().contains("longer"));
        assert!(screen(&" ".repeat(MAX_LEN + 1)).unwrap_err().contains("bytes"));
        for (unit, end) in [("1 + ", "1"), ("1 + [1, 2][0] + ", "1"), ("a == ", "1"), ("- ", "1")] {
            let text = format!("a {{ {}{end} }}", unit.repeat(MAX_OPERATORS + 1));
            assert!(screen(&text).unwrap_err().contains("operators"), "{text}");
        }
        assert!(screen(&format!("a {{ input{} }}", "[0]".repeat(101))).unwrap_err().contains("operators"));
        assert!(screen(&format!("a {{ input{} }}", ".a".repeat(101))).unwrap_err().contains("operators"));
        assert!(screen(&format!("a {{ input[0]{} }}", ".a".repeat(101))).unwrap_err().contains("operators"));
        let many = "input.a == 1\n".repeat(200);
        assert_eq!(screen(&format!("a {{ {many} }}")), Ok(()), "expressions below each other");
        let chain: String = (0..=MAX_CHAIN).map(|i| format!("r{i} {{ r{} }}\n", i + 1)).collect();
        assert!(screen(&format!("{chain} r{} = 1", MAX_CHAIN + 1)).unwrap_err().contains("chains"));
    }
}
