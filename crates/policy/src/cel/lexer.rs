//! The text of an expression in tokens.

use super::value::Value;
use super::{CelError, MAX_LENGTH};

/// A token, and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

/// What a token is.
#[derive(Debug, Clone)]
pub(super) enum TokenKind {
    /// A number, text, bytes; `true`, `false`, `null`.
    Literal(Value),
    /// A whole number without a sign that is one too large, and is right after a minus only.
    Smallest,
    /// A name.
    Name(String),
    /// A name in backticks, which is a field only.
    Quoted(String),
    /// A sign, `in` among them.
    Sign(&'static str),
    /// The end.
    End,
}

/// Longer ones first.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "+", "-", "*", "/",
    "%", "!", "<", ">", "=",
];

/// Cuts an expression into tokens; the last one is the end.
///
/// # Errors
/// [`CelError::Syntax`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, CelError> {
    // No more characters are looked at than are allowed.
    let characters: Vec<char> = text.chars().take(MAX_LENGTH + 1).collect();
    if characters.len() > MAX_LENGTH {
        return Err(syntax(MAX_LENGTH, format!("expected at most {MAX_LENGTH} characters")));
    }
    let mut lexer = Lexer { characters: &characters, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let kind = lexer.token()?;
        let ends = matches!(kind, TokenKind::End);
        tokens.push(Token { at, kind });
        if ends {
            return Ok(tokens);
        }
    }
}

pub(super) fn syntax(at: usize, detail: impl Into<String>) -> CelError {
    CelError::Syntax { at, detail: detail.into() }
}

struct Lexer<'a> {
    characters: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &[char] {
        self.characters.get(self.at..).unwrap_or_default()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, wanted)| self.peek(ahead) == Some(wanted))
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let taken: String = self.rest().iter().take_while(|c| wanted(**c)).collect();
        self.at += taken.chars().count();
        taken
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{c}'));
            if !self.starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<TokenKind, CelError> {
        let Some(first) = self.peek(0) else { return Ok(TokenKind::End) };
        let number = first.is_ascii_digit()
            || (first == '.' && self.peek(1).is_some_and(|second| second.is_ascii_digit()));
        if number {
            return self.number();
        }
        if let Some(prefix) = self.text_prefix() {
            return self.text(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(match name.as_str() {
                "true" => TokenKind::Literal(Value::Bool(true)),
                "false" => TokenKind::Literal(Value::Bool(false)),
                "null" => TokenKind::Literal(Value::Null),
                "in" => TokenKind::Sign("in"),
                _ => TokenKind::Name(name),
            });
        }
        if first == '`' {
            let start = self.at;
            self.at += 1;
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c));
            if name.is_empty() || self.peek(0) != Some('`') {
                return Err(syntax(start, "expected the name of a field between backticks"));
            }
            self.at += 1;
            return Ok(TokenKind::Quoted(name));
        }
        let sign = SIGNS.iter().find(|sign| self.starts_with(sign));
        let sign = sign.filter(|sign| **sign != "=").ok_or_else(|| {
            let hint = if first == '=' { "; write == to compare" } else { "" };
            syntax(self.at, format!("found \"{}\"{hint}", first.escape_default()))
        })?;
        self.at += sign.len();
        Ok(TokenKind::Sign(sign))
    }

    fn number(&mut self) -> Result<TokenKind, CelError> {
        let start = self.at;
        let wrong = |text: &str| syntax(start, format!("expected a number, found {text}"));
        if self.starts_with("0x") || self.starts_with("0X") {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            let number = u64::from_str_radix(&digits, 16).map_err(|_| wrong(&digits))?;
            return self.whole(number, start);
        }
        let mut text = self.take_while(|c| c.is_ascii_digit());
        let mut whole = true;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            whole = false;
            text = format!("{text}.{}", self.take_while(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            self.at += 1;
            whole = false;
            let sign = self.take_while(|c| matches!(c, '+' | '-'));
            text = format!("{text}e{sign}{}", self.take_while(|c| c.is_ascii_digit()));
        }
        if whole {
            let number = text.parse().map_err(|_| wrong(&text))?;
            return self.whole(number, start);
        }
        let number: f64 = text.parse().map_err(|_| wrong(&text))?;
        Ok(TokenKind::Literal(Value::Double(number)))
    }

    fn whole(&mut self, number: u64, start: usize) -> Result<TokenKind, CelError> {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return Ok(TokenKind::Literal(Value::Uint(number)));
        }
        match i64::try_from(number) {
            Ok(number) => Ok(TokenKind::Literal(Value::Int(number))),
            Err(_) if number == i64::MIN.unsigned_abs() => Ok(TokenKind::Smallest),
            Err(_) => Err(syntax(start, format!("expected a number of 64 bits, found {number}"))),
        }
    }

    /// What stands before a quotation mark: whether it is raw, and whether it is bytes.
    fn text_prefix(&self) -> Option<Prefix> {
        let mut prefix = Prefix { length: 0, raw: false, bytes: false };
        loop {
            match self.peek(prefix.length)? {
                '"' | '\'' => return Some(prefix),
                'r' | 'R' if !prefix.raw => prefix.raw = true,
                'b' | 'B' if !prefix.bytes => prefix.bytes = true,
                _ => return None,
            }
            prefix.length += 1;
        }
    }

    fn text(&mut self, prefix: Prefix) -> Result<TokenKind, CelError> {
        let start = self.at;
        self.at += prefix.length;
        let unfinished = || syntax(start, "expected a text, found no end of it");
        let mark = self.peek(0).ok_or_else(unfinished)?;
        let triple = self.peek(1) == Some(mark) && self.peek(2) == Some(mark);
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let character = self.peek(0).ok_or_else(unfinished)?;
            let ends = (0..width).all(|ahead| self.peek(ahead) == Some(mark));
            if ends {
                self.at += width;
                break;
            }
            if !triple && matches!(character, '\n' | '\r') {
                return Err(unfinished());
            }
            self.at += 1;
            if character == '\\' && !prefix.raw {
                self.escape(prefix.bytes, &mut bytes)?;
            } else {
                bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        Ok(TokenKind::Literal(if prefix.bytes {
            Value::Bytes(bytes.into())
        } else {
            Value::text(&String::from_utf8(bytes).map_err(|_| syntax(start, "expected a text in UTF-8"))?)
        }))
    }

    /// What follows a backslash.
    fn escape(&mut self, of_bytes: bool, to: &mut Vec<u8>) -> Result<(), CelError> {
        let start = self.at;
        let wrong = || {
            syntax(
                start,
                "expected one of \\\\ \\\" \\' \\` \\? \\a \\b \\f \\n \\r \\t \\v \\x \\u \\U or digits",
            )
        };
        let letter = self.peek(0).ok_or_else(wrong)?;
        self.at += 1;
        let code = match letter {
            '\\' | '"' | '\'' | '`' | '?' => u32::from(letter),
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            'x' | 'X' => self.digits(2, 16).ok_or_else(wrong)?,
            'u' if !of_bytes => self.digits(4, 16).ok_or_else(wrong)?,
            'U' if !of_bytes => self.digits(8, 16).ok_or_else(wrong)?,
            '0'..='3' => {
                self.at -= 1;
                self.digits(3, 8).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        if of_bytes {
            to.push(u8::try_from(code).map_err(|_| wrong())?);
        } else {
            let character = char::from_u32(code).ok_or_else(wrong)?;
            to.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let text: String = self.rest().get(..count)?.iter().collect();
        self.at += count;
        if text.starts_with('+') { None } else { u32::from_str_radix(&text, radix).ok() }
    }
}

#[derive(Clone, Copy)]
struct Prefix {
    length: usize,
    raw: bool,
    bytes: bool,
}
