//! Claim templates: the part of Go's `text/template` that CI provider definitions use, and nothing else.
//!
//! `{{ .claim }}`, `{{ index . "claim" }}`, `eq` and `ne` of two values, `{{ if }}…{{ else }}…{{ end }}`,
//! parentheses and string literals. Everything else is refused when the configuration is loaded, with its position.
//! A text without `{{` is the name of a claim. As in Go with `missingkey=error`, `.claim` fails when there is no such
//! claim, while `index` then gives the empty string.

use std::borrow::Cow;

/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 4096;
/// The longest result, in bytes: more does not belong into a certificate.
const MAX_RESULT: usize = 2048;
/// How deep `if` blocks and parentheses may be nested.
const MAX_DEPTH: usize = 16;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {template:?}, position {position}: {problem}")]
pub struct TemplateError {
    /// The template.
    pub template: String,
    /// Where in it, in bytes from its start.
    pub position: usize,
    /// What was expected and what was found.
    pub problem: String,
}

/// Where a template gets its values from.
pub(crate) trait Values {
    /// The value under this name as text; `None` when there is none.
    ///
    /// The error is a text for the log, for a value which has no text form.
    fn get(&self, name: &str) -> Result<Option<Cow<'_, str>>, String>;
}

/// A template, checked.
///
/// ```
/// use countersign_ca::config::Template;
/// assert!(Template::parse(r#"{{ .url }}/{{ if eq .kind "tag" }}tags{{ else }}heads{{ end }}"#).is_ok());
/// let error = Template::parse("{{ .url | html }}").unwrap_err();
/// assert_eq!(error.position, 8);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Output(Expr),
    If { condition: Expr, then: Vec<Node>, otherwise: Vec<Node> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expr {
    Field(String),
    Index(String),
    Literal(String),
    Compare { equal: bool, left: Box<Expr>, right: Box<Expr> },
}

impl Expr {
    const fn is_boolean(&self) -> bool {
        matches!(self, Self::Compare { .. })
    }
}

impl Template {
    /// Reads and checks a template.
    ///
    /// # Errors
    /// [`TemplateError`] for anything outside the subset named in the module's head.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser { text, at: 0 };
        if text.len() > MAX_TEMPLATE {
            return Err(parser.error(format!("expected at most {MAX_TEMPLATE} bytes, found {}", text.len())));
        }
        if text.trim().is_empty() {
            return Err(parser.error("expected a template, found nothing".into()));
        }
        if !text.contains("{{") {
            return Ok(Self { nodes: vec![Node::Output(Expr::Field(text.to_owned()))] });
        }
        let (nodes, stop) = parser.nodes(0)?;
        match stop {
            Stop::Eof => Ok(Self { nodes }),
            Stop::Else | Stop::End => Err(parser.error("\"else\" or \"end\" without an \"if\"".into())),
        }
    }

    /// Fills the template in.
    pub(crate) fn render(&self, values: &dyn Values) -> Result<String, String> {
        let mut out = String::new();
        render(&self.nodes, values, &mut out)?;
        Ok(out)
    }
}

fn render(nodes: &[Node], values: &dyn Values, out: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Output(expr) => out.push_str(&evaluate(expr, values)?),
            Node::If { condition, then, otherwise } => {
                let value = evaluate(condition, values)?;
                let holds = if condition.is_boolean() { value == "true" } else { !value.is_empty() };
                render(if holds { then } else { otherwise }, values, out)?;
            }
        }
        if out.len() > MAX_RESULT {
            return Err(format!("the result has more than {MAX_RESULT} bytes"));
        }
    }
    Ok(())
}

fn evaluate<'a>(expr: &'a Expr, values: &'a dyn Values) -> Result<Cow<'a, str>, String> {
    match expr {
        Expr::Field(name) => values.get(name)?.ok_or_else(|| format!("there is no claim \"{name}\"")),
        Expr::Index(name) => Ok(values.get(name)?.unwrap_or_default()),
        Expr::Literal(text) => Ok(Cow::Borrowed(text)),
        Expr::Compare { equal, left, right } => {
            let same = evaluate(left, values)? == evaluate(right, values)?;
            Ok(Cow::Borrowed(if same == *equal { "true" } else { "false" }))
        }
    }
}

enum Stop {
    Eof,
    Else,
    End,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, problem: String) -> TemplateError {
        TemplateError { template: self.text.chars().take(200).collect(), position: self.at, problem }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Takes this token if it comes next. A word must not go on behind it.
    fn take(&mut self, token: &str) -> bool {
        let Some(behind) = self.rest().strip_prefix(token) else { return false };
        let word = token.starts_with(|c: char| c.is_ascii_alphabetic());
        if word && behind.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return false;
        }
        self.at += token.len();
        true
    }

    fn found(&self) -> String {
        match self.rest().chars().next() {
            Some(c) => format!("found {c:?}"),
            None => "found the end".into(),
        }
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        self.skip_space();
        if self.take("}}") { Ok(()) } else { Err(self.error(format!("expected \"}}}}\", {}", self.found()))) }
    }

    /// Text and actions up to the end, or up to an `else` or `end` which belongs to the caller.
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let Some(open) = self.rest().find("{{") else {
                if !self.rest().is_empty() {
                    nodes.push(Node::Text(self.rest().to_owned()));
                }
                self.at = self.text.len();
                return Ok((nodes, Stop::Eof));
            };
            if open > 0 {
                nodes.push(Node::Text(self.rest().get(..open).unwrap_or_default().to_owned()));
            }
            self.at += open + 2;
            if self.rest().starts_with(['-', '/']) {
                return Err(self.error("trim markers and comments are not supported".into()));
            }
            self.skip_space();
            if self.take("end") {
                self.close()?;
                return Ok((nodes, Stop::End));
            }
            if self.take("else") {
                self.close()?;
                return Ok((nodes, Stop::Else));
            }
            if self.take("if") {
                nodes.push(self.conditional(depth + 1)?);
            } else {
                let expr = self.expression(0)?;
                self.close()?;
                nodes.push(Node::Output(expr));
            }
        }
    }

    fn conditional(&mut self, depth: usize) -> Result<Node, TemplateError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("\"if\" is nested deeper than {MAX_DEPTH}")));
        }
        let condition = self.expression(0)?;
        self.close()?;
        let (then, stop) = self.nodes(depth)?;
        let (otherwise, stop) = match stop {
            Stop::Else => self.nodes(depth)?,
            other => (Vec::new(), other),
        };
        match stop {
            Stop::End => Ok(Node::If { condition, then, otherwise }),
            _ => Err(self.error("expected {{end}} for an \"if\"".into())),
        }
    }

    fn expression(&mut self, depth: usize) -> Result<Expr, TemplateError> {
        self.skip_space();
        if self.take("index") {
            self.skip_space();
            if !self.take(".") {
                return Err(self.error(format!("expected \".\" after \"index\", {}", self.found())));
            }
            self.skip_space();
            return Ok(Expr::Index(self.literal()?));
        }
        for (name, equal) in [("eq", true), ("ne", false)] {
            if self.take(name) {
                let left = self.term(depth)?;
                let right = self.term(depth)?;
                if left.is_boolean() != right.is_boolean() {
                    return Err(self.error(format!("\"{name}\" compares a truth value with a text")));
                }
                return Ok(Expr::Compare { equal, left: Box::new(left), right: Box::new(right) });
            }
        }
        self.term(depth)
    }

    fn term(&mut self, depth: usize) -> Result<Expr, TemplateError> {
        self.skip_space();
        if depth > MAX_DEPTH {
            return Err(self.error(format!("parentheses are nested deeper than {MAX_DEPTH}")));
        }
        if self.take("(") {
            let inner = self.expression(depth + 1)?;
            self.skip_space();
            if !self.take(")") {
                return Err(self.error(format!("expected \")\", {}", self.found())));
            }
            return Ok(inner);
        }
        if self.rest().starts_with('.') {
            let name: String =
                self.rest().chars().skip(1).take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(self.error("expected the name of a claim after \".\"".into()));
            }
            self.at += 1 + name.len();
            if self.rest().starts_with('.') {
                return Err(self.error("claims inside claims are not supported".into()));
            }
            return Ok(Expr::Field(name));
        }
        if self.rest().starts_with(['"', '`']) {
            return Ok(Expr::Literal(self.literal()?));
        }
        Err(self.error(format!(
            "expected .claim, index . \"claim\", eq, ne, a string or \"(\", {}",
            self.found()
        )))
    }

    fn literal(&mut self) -> Result<String, TemplateError> {
        let mut chars = self.rest().char_indices();
        let quote = match chars.next() {
            Some((_, c @ ('"' | '`'))) => c,
            _ => return Err(self.error(format!("expected a string, {}", self.found()))),
        };
        let mut value = String::new();
        while let Some((offset, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += offset + 1;
                    return Ok(value);
                }
                '\\' if quote == '"' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => return Err(self.error("only \\\" and \\\\ may be escaped in a string".into())),
                },
                '\n' if quote == '"' => break,
                c => value.push(c),
            }
        }
        Err(self.error("a string does not end".into()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Values for BTreeMap<&str, &str> {
        fn get(&self, name: &str) -> Result<Option<Cow<'_, str>>, String> {
            Ok(BTreeMap::get(self, name).map(|v| Cow::Borrowed(*v)))
        }
    }

    fn fill(template: &str, values: &[(&'static str, &'static str)]) -> Result<String, String> {
        Template::parse(template).unwrap().render(&values.iter().copied().collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn the_forms_of_real_providers_are_filled_in() {
        let claims =
            [("url", "https://x"), ("ref", "main"), ("type", "branch"), ("a/b-c", "v"), ("empty", "")];
        for (template, expected) in [
            ("ref", "main"),
            ("{{ .url }}/{{.ref}}", "https://x/main"),
            (r#"refs/{{if eq .type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}"#, "refs/heads/main"),
            (r#"refs/{{if ne .type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}"#, "refs/tags/main"),
            (r#"{{index . "a/b-c"}}"#, "v"),
            (r#"{{(index . "a/b-c")}}"#, "v"),
            (r#"{{index . "none"}}"#, ""),
            (r#"{{if eq (index . "a/b-c") "v"}}yes{{ else }}""{{end}}"#, "yes"),
            (r#"{{if eq (index . "none") "v"}}yes{{ else }}""{{end}}"#, "\"\""),
            ("{{if .empty}}a{{end}}b", "b"),
            ("{{if .ref}}a{{if .empty}}x{{else}}y{{end}}{{end}}b", "ayb"),
            (r#"{{eq "a" "a"}}{{ne `a` "a"}}"#, "truefalse"),
            (r#"{{if eq (eq .ref "main") (ne .ref "x")}}t{{end}}"#, "t"),
            (r#"{{"\"\\"}}}}"#, "\"\\}}"),
        ] {
            assert_eq!(fill(template, &claims).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn a_claim_that_is_missing_is_an_error_and_not_empty() {
        for template in ["sha", "{{ .sha }}", "{{if .sha}}{{end}}", r#"{{if eq .sha "1"}}{{end}}"#] {
            assert!(fill(template, &[]).unwrap_err().contains("\"sha\""), "{template}");
        }
        // A branch not taken asks for nothing.
        assert_eq!(fill("{{if .a}}{{else}}{{.b}}{{end}}x", &[("a", "1")]).unwrap(), "x");
    }

    #[test]
    fn everything_else_is_refused_with_its_position() {
        for (template, position) in [
            ("", 0),
            ("{{", 2),
            ("{{}}", 2),
            ("{{ . }}", 3),
            ("{{.a.b}}", 4),
            ("{{.a | html}}", 5),
            ("{{- .a}}", 2),
            ("{{/* c */}}", 2),
            ("{{$x := .a}}", 2),
            ("{{range .a}}{{end}}", 2),
            ("{{with .a}}{{end}}", 2),
            ("{{template \"x\"}}", 2),
            ("{{define \"x\"}}{{end}}", 2),
            ("{{printf \"%s\" .a}}", 2),
            ("{{len .a}}", 2),
            ("{{and .a .b}}", 2),
            ("{{indexer . \"a\"}}", 2),
            ("{{index .a \"b\"}}", 9),
            ("{{index . .a}}", 10),
            ("{{eq .a}}", 7),
            ("{{eq .a .b .c}}", 11),
            ("{{if .a}}", 9),
            ("{{if .a}}{{else}}", 17),
            ("{{if .a}}{{else if .b}}{{end}}", 16),
            ("{{if .a}}{{else}}{{else}}{{end}}", 25),
            ("{{end}}", 7),
            ("a{{else}}b", 9),
            ("{{(.a}}", 5),
            ("{{\"a}}", 2),
            ("{{\"\\n\"}}", 2),
            ("{{eq (eq .a .b) \"true\"}}", 22),
            ("{{.1a}}", 2),
            ("{{.é}}", 2),
            ("{{.a", 4),
            ("{{1}}", 2),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert_eq!(error.position, position, "{error}");
        }
    }

    #[test]
    fn nesting_and_sizes_are_bounded() {
        assert!(Template::parse(&"{{if .a}}".repeat(400)).unwrap_err().problem.contains("deeper"));
        assert!(
            Template::parse(&format!("{{{{{}", "(".repeat(4000))).unwrap_err().problem.contains("deeper")
        );
        assert!(Template::parse(&"{{.a}}".repeat(1000)).unwrap_err().problem.contains("at most"));
        let long: &'static str = "x".repeat(2000).leak();
        assert!(fill("{{.a}}{{.a}}", &[("a", long)]).unwrap_err().contains("more than"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[{}()\"`.a-c |\\\\é]{0,40}") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.render(&BTreeMap::from([("a", "1")]));
            }
        }
    }
}
