//! CUE, which is not evaluated here. Where a policy is a list of comparisons with what stands in it, the CEL that says the
//! same is told, to be put in a policy of one's own.

use std::collections::BTreeMap;

/// The longest policy that is looked at.
const MAX_LEN: usize = 64 * 1024;
/// How deep structures may nest.
const MAX_DEPTH: usize = 16;

/// Why a policy in CUE is not evaluated, and what to write.
pub(super) fn advice(text: &str) -> String {
    let why = "CUE is not evaluated here; write the policy in Rego (type: rego), or as a condition in CEL in a policy of \
               Countersign's own";
    match to_cel(text) {
        Some(cel) => format!("{why}. In CEL, over the statement: {cel}"),
        None => why.to_owned(),
    }
}

/// The CEL that says the same as a policy of plain comparisons.
fn to_cel(text: &str) -> Option<String> {
    if text.len() > MAX_LEN {
        return None;
    }
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, times: BTreeMap::new(), found: Vec::new() };
    reader.imports()?;
    reader.fields("", 0)?;
    (reader.tokens.is_empty() && !reader.found.is_empty()).then(|| reader.found.join(" && "))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// With its quotes: CUE and CEL spell plain texts alike.
    Text(String),
    Number(String),
    Sign(&'static str),
    Line,
}

/// The signs, longer ones first.
const SIGNS: [&str; 14] = ["<=", ">=", "!=", "=~", "!~", "<", ">", "{", "}", "(", ")", ":", ",", "&"];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let length = if first == '\n' {
            found.push(Token::Line);
            1
        } else if first.is_whitespace() {
            first.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            let end = rest.get(1..)?.find('"')? + 2;
            let text = rest.get(..end)?;
            if text.contains(['\\', '\n']) || text == "\"\"" && rest.starts_with("\"\"\"") {
                return None;
            }
            found.push(Token::Text(text.to_owned()));
            end
        } else if word(first) {
            let end = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
            let word = rest.get(..end)?.to_owned();
            found.push(if first.is_ascii_digit() { Token::Number(word) } else { Token::Word(word) });
            end
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
            found.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest.get(length..)?;
    }
    Some(found)
}

struct Reader<'a> {
    tokens: &'a [Token],
    /// Names of times: `before: time.Parse(time.RFC3339, "…")`.
    times: BTreeMap<String, String>,
    found: Vec<String>,
}

impl Reader<'_> {
    fn take(&mut self, sign: &str) -> Option<()> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        matches!(first, Token::Sign(found) if *found == sign).then_some(())
    }

    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn separators(&mut self) {
        while let Some((Token::Line | Token::Sign(","), rest)) = self.tokens.split_first() {
            self.tokens = rest;
        }
    }

    fn imports(&mut self) -> Option<()> {
        loop {
            self.separators();
            match self.tokens {
                [Token::Word(word), Token::Text(package), rest @ ..] if word == "import" => {
                    if package != "\"time\"" {
                        return None;
                    }
                    self.tokens = rest;
                }
                _ => return Some(()),
            }
        }
    }

    fn fields(&mut self, path: &str, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        loop {
            self.separators();
            match self.tokens.first() {
                None | Some(Token::Sign("}")) => return Some(()),
                _ => self.field(path, depth)?,
            }
        }
    }

    fn field(&mut self, path: &str, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let key = self.next()?;
        self.take(":")?;
        if let (Token::Word(name), "", [Token::Word(parse), ..]) = (&key, path, self.tokens)
            && parse == "time.Parse"
        {
            return self.time(name.clone());
        }
        let path = match key {
            Token::Word(name) if name.contains('.') || name.starts_with('_') => return None,
            Token::Word(name) if path.is_empty() => name,
            Token::Word(name) => format!("{path}.{name}"),
            Token::Text(_) if path.is_empty() => return None,
            Token::Text(name) => format!("{path}[{name}]"),
            _ => return None,
        };
        match self.tokens {
            [Token::Sign("{"), ..] => {
                self.take("{")?;
                self.fields(&path, depth + 1)?;
                self.take("}")
            }
            [Token::Word(_) | Token::Text(_), Token::Sign(":"), ..] => self.field(&path, depth + 1),
            _ => self.comparisons(&path),
        }
    }

    fn time(&mut self, name: String) -> Option<()> {
        let [
            _,
            Token::Sign("("),
            Token::Word(format),
            Token::Sign(","),
            Token::Text(time),
            Token::Sign(")"),
            rest @ ..,
        ] = self.tokens
        else {
            return None;
        };
        if format != "time.RFC3339" {
            return None;
        }
        self.times.insert(name, format!("timestamp({time})"));
        self.tokens = rest;
        Some(())
    }

    fn comparisons(&mut self, path: &str) -> Option<()> {
        loop {
            let mut token = self.next()?;
            let operator = match token {
                Token::Sign(sign) => {
                    token = self.next()?;
                    sign
                }
                _ => "==",
            };
            let (left, right) = match &token {
                Token::Word(word) if matches!(word.as_str(), "true" | "false" | "null") => {
                    (path.to_owned(), word.clone())
                }
                Token::Word(name) => (format!("timestamp({path})"), self.times.get(name)?.clone()),
                Token::Text(text) | Token::Number(text) => (path.to_owned(), text.clone()),
                _ => return None,
            };
            self.found.push(match operator {
                "==" | "!=" | "<" | "<=" | ">" | ">=" => format!("{left} {operator} {right}"),
                "=~" => format!("{left}.matches({right})"),
                "!~" => format!("!{left}.matches({right})"),
                _ => return None,
            });
            if !matches!(self.tokens.first(), Some(Token::Sign("&"))) {
                return Some(());
            }
            self.take("&")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_comparisons_have_a_cel() {
        let vulnerabilities = r#"
            import "time"
            before: time.Parse(time.RFC3339, "2022-04-15T17:10:27Z")
            predicateType: "https://cosign.sigstore.dev/attestation/vuln/v1"
            predicate: {
              // who scanned
              scanner: uri: "fakescanner.example.com"
              metadata: { scanStartedOn: <before, "a-b": >=1 & <5 }
              name: =~"^a", ok: true
            }"#;
        assert_eq!(
            to_cel(vulnerabilities).unwrap(),
            "predicateType == \"https://cosign.sigstore.dev/attestation/vuln/v1\" && \
             predicate.scanner.uri == \"fakescanner.example.com\" && \
             timestamp(predicate.metadata.scanStartedOn) < timestamp(\"2022-04-15T17:10:27Z\") && \
             predicate.metadata[\"a-b\"] >= 1 && predicate.metadata[\"a-b\"] < 5 && \
             predicate.name.matches(\"^a\") && predicate.ok == true"
        );
        assert!(advice(vulnerabilities).contains("predicate.ok == true"));
    }

    #[test]
    fn anything_else_has_none_and_is_told_so() {
        for text in [
            "",
            "a: string",
            "a: \"x\" | \"y\"",
            "a: [...]",
            "a: b: c",
            "#A: 1",
            "a?: 1",
            "a: \"\\(b)\"",
            "a: { b: 1",
            "import \"list\"\na: 1",
            "a: <",
            "a: _hidden",
            &"a: {".repeat(100),
            &"a: ".repeat(100),
        ] {
            assert_eq!(to_cel(text), None, "{text}");
            assert!(advice(text).ends_with("Countersign's own"), "{text}");
        }
    }
}
