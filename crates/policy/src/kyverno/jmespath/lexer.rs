//! Expressions in tokens. An expression is made of text, and of values that were put into it: a value within quotes is
//! text there and cannot end the quotes, and one outside of them can only be a path or an index.

use serde_json::Value;

use super::{Error, MAX_LENGTH};

/// A part of an expression.
#[derive(Debug, Clone)]
pub enum Piece<'a> {
    /// As it was written.
    Text(&'a str),
    /// A value that was put there.
    Hole(Value),
}

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    QuotedName(String),
    Literal(Value),
    Number(i64),
    Dot,
    Star,
    Flatten,
    Filter,
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    Comma,
    Colon,
    At,
    Reference,
    Pipe,
    Or,
    And,
    Not,
    Compare(Comparison),
    End,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

enum Symbol<'a> {
    Char(char),
    Hole(&'a Value),
}

struct Lexer<'a> {
    symbols: Vec<Symbol<'a>>,
    at: usize,
}

/// The tokens, each with its place.
pub(super) fn tokens(pieces: &[Piece<'_>]) -> Result<Vec<(usize, Token)>, Error> {
    let mut symbols = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => symbols.extend(text.chars().map(Symbol::Char)),
            Piece::Hole(value) => symbols.push(Symbol::Hole(value)),
        }
        if symbols.len() > MAX_LENGTH {
            let detail = format!("it is longer than {MAX_LENGTH} characters");
            return Err(Error::Syntax { at: MAX_LENGTH, detail });
        }
    }
    let mut lexer = Lexer { symbols, at: 0 };
    let mut found = Vec::new();
    while let Some(symbol) = lexer.symbols.get(lexer.at) {
        let at = lexer.at;
        lexer.at += 1;
        match symbol {
            Symbol::Char(' ' | '\t' | '\n' | '\r') => {}
            Symbol::Char(first) => {
                let first = *first;
                found.push((at, lexer.token(first)?));
            }
            Symbol::Hole(value) => {
                let after_dot = matches!(found.last(), Some((_, Token::Dot)));
                spliced(value, after_dot, at, &mut found)?;
            }
        }
    }
    found.push((lexer.at, Token::End));
    Ok(found)
}

/// A value outside of quotes: an index, or a path. After a dot, a text that is no path is one key.
fn spliced(value: &Value, after_dot: bool, at: usize, found: &mut Vec<(usize, Token)>) -> Result<(), Error> {
    let detail = match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => {
                found.push((at, Token::Number(number)));
                return Ok(());
            }
            None => format!("a value put here must be a path or a whole number, found {number}"),
        },
        Value::String(path) if is_path(path) => {
            let mut inner = tokens(&[Piece::Text(path)])?;
            inner.pop();
            found.extend(inner.into_iter().map(|(_, token)| (at, token)));
            return Ok(());
        }
        Value::String(key) if after_dot => {
            found.push((at, Token::QuotedName(key.clone())));
            return Ok(());
        }
        _ => "a value put here must be a path; put it into quotes '…' or backticks `…`".to_owned(),
    };
    Err(Error::Syntax { at, detail })
}

/// Names, dots and indexes, and nothing that calls, filters or quotes.
fn is_path(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.[]".contains(c))
}

impl Lexer<'_> {
    fn token(&mut self, first: char) -> Result<Token, Error> {
        let at = self.at - 1;
        Ok(match first {
            '.' => Token::Dot,
            '*' => Token::Star,
            ']' => Token::RightBracket,
            '{' => Token::LeftBrace,
            '}' => Token::RightBrace,
            '(' => Token::LeftParen,
            ')' => Token::RightParen,
            ',' => Token::Comma,
            ':' => Token::Colon,
            '@' => Token::At,
            '[' if self.next_is(']') => Token::Flatten,
            '[' if self.next_is('?') => Token::Filter,
            '[' => Token::LeftBracket,
            '|' if self.next_is('|') => Token::Or,
            '|' => Token::Pipe,
            '&' if self.next_is('&') => Token::And,
            '&' => Token::Reference,
            '=' if self.next_is('=') => Token::Compare(Comparison::Equal),
            '!' if self.next_is('=') => Token::Compare(Comparison::NotEqual),
            '!' => Token::Not,
            '<' if self.next_is('=') => Token::Compare(Comparison::LessOrEqual),
            '<' => Token::Compare(Comparison::Less),
            '>' if self.next_is('=') => Token::Compare(Comparison::GreaterOrEqual),
            '>' => Token::Compare(Comparison::Greater),
            '\'' => Token::Literal(Value::String(self.raw_text(at)?)),
            '"' => Token::QuotedName(self.quoted_name(at)?),
            '`' => Token::Literal(self.json(at)?),
            '-' | '0'..='9' => self.number(first, at)?,
            'a'..='z' | 'A'..='Z' | '_' => self.name(first),
            other => {
                let detail = format!("\"{}\" has no meaning here", other.escape_default());
                return Err(Error::Syntax { at, detail });
            }
        })
    }

    fn next_is(&mut self, wanted: char) -> bool {
        let is = matches!(self.symbols.get(self.at), Some(Symbol::Char(found)) if *found == wanted);
        self.at += usize::from(is);
        is
    }

    fn name(&mut self, first: char) -> Token {
        let mut name = String::from(first);
        while let Some(Symbol::Char(c @ ('a'..='z' | 'A'..='Z' | '0'..='9' | '_'))) =
            self.symbols.get(self.at)
        {
            name.push(*c);
            self.at += 1;
        }
        Token::Name(name)
    }

    fn number(&mut self, first: char, at: usize) -> Result<Token, Error> {
        let mut digits = String::from(first);
        while let Some(Symbol::Char(c @ '0'..='9')) = self.symbols.get(self.at) {
            digits.push(*c);
            self.at += 1;
        }
        let detail = || format!("expected a whole number, found \"{digits}\"");
        digits.parse().map(Token::Number).map_err(|_| Error::Syntax { at, detail: detail() })
    }

    /// `'…'`: everything is itself; `\'` is a quote.
    fn raw_text(&mut self, start: usize) -> Result<String, Error> {
        let mut text = String::new();
        loop {
            match self.symbols.get(self.at) {
                Some(Symbol::Hole(value)) => text.push_str(&text_of(value)),
                Some(Symbol::Char('\'')) => break,
                Some(Symbol::Char('\\'))
                    if matches!(self.symbols.get(self.at + 1), Some(Symbol::Char('\''))) =>
                {
                    text.push('\'');
                    self.at += 1;
                }
                Some(Symbol::Char(c)) => text.push(*c),
                None => return Err(unclosed(start, '\'')),
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(text)
    }

    /// `"…"`: a name, written as a JSON text.
    fn quoted_name(&mut self, start: usize) -> Result<String, Error> {
        let mut json = String::from('"');
        loop {
            match self.symbols.get(self.at) {
                Some(Symbol::Hole(value)) => json.push_str(&escaped(value)),
                Some(Symbol::Char('"')) => break,
                Some(Symbol::Char('\\')) => {
                    json.push('\\');
                    self.at += 1;
                    if let Some(Symbol::Char(c)) = self.symbols.get(self.at) {
                        json.push(*c);
                    } else {
                        return Err(unclosed(start, '"'));
                    }
                }
                Some(Symbol::Char(c)) => json.push(*c),
                None => return Err(unclosed(start, '"')),
            }
            self.at += 1;
        }
        self.at += 1;
        json.push('"');
        serde_json::from_str(&json)
            .map_err(|error| Error::Syntax { at: start, detail: format!("in the quoted name: {error}") })
    }

    /// `` `…` ``: a JSON value; `` \` `` is a backtick.
    fn json(&mut self, start: usize) -> Result<Value, Error> {
        let mut json = String::new();
        let mut in_text = false;
        loop {
            match self.symbols.get(self.at) {
                Some(Symbol::Hole(value)) if in_text => json.push_str(&escaped(value)),
                Some(Symbol::Hole(value)) => json.push_str(&json_of(value, self.at)?),
                Some(Symbol::Char('`')) => break,
                Some(Symbol::Char('\\')) => {
                    self.at += 1;
                    match self.symbols.get(self.at) {
                        Some(Symbol::Char('`')) => json.push('`'),
                        Some(Symbol::Char(c)) => json.extend(['\\', *c]),
                        _ => return Err(unclosed(start, '`')),
                    }
                }
                Some(Symbol::Char(c)) => {
                    in_text ^= *c == '"';
                    json.push(*c);
                }
                None => return Err(unclosed(start, '`')),
            }
            self.at += 1;
        }
        self.at += 1;
        serde_json::from_str(&json).map_err(|error| Error::Syntax {
            at: start,
            detail: format!("expected JSON between the backticks: {error}"),
        })
    }
}

fn unclosed(at: usize, quote: char) -> Error {
    Error::Syntax { at, detail: format!("expected a closing {quote}, found the end") }
}

/// A value as part of a text: a text is itself, anything else its JSON.
pub(in crate::kyverno) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value within the quotes of a JSON text.
fn escaped(value: &Value) -> String {
    let quoted = Value::String(text_of(value)).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// A value as JSON. A text must itself be JSON, one value and no more.
fn json_of(value: &Value, at: usize) -> Result<String, Error> {
    let Value::String(text) = value else { return Ok(value.to_string()) };
    match serde_json::from_str::<Value>(text) {
        Ok(value) => Ok(value.to_string()),
        Err(_) => {
            let detail = "the text put between backticks must be JSON; put it into quotes '…'".to_owned();
            Err(Error::Syntax { at, detail })
        }
    }
}
