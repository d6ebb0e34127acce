//! Expressions as trees, by operator precedence.

use serde_json::Value;

use super::functions::{self, Function};
use super::lexer::{Comparison, Token};
use super::{Error, MAX_DEPTH};

/// A node of the tree.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Current,
    Field(String),
    Index(i64),
    Slice {
        start: Option<i64>,
        stop: Option<i64>,
        step: Option<i64>,
    },
    Literal(Value),
    /// The second on what the first gives.
    Then(Box<Node>, Box<Node>),
    /// The same, except that a key which is not there is null.
    Pipe(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    /// The second on each item of what the first gives.
    Each(Box<Node>, Box<Node>),
    /// The second on each value of what the first gives.
    EachValue(Box<Node>, Box<Node>),
    /// The second on each item of what the first gives for which the condition holds.
    EachWhere {
        list: Box<Node>,
        condition: Box<Node>,
        then: Box<Node>,
    },
    Flatten(Box<Node>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
    Call(&'static Function, Vec<Node>),
    /// `&…`, for functions that evaluate it themselves.
    Reference(Box<Node>),
}

/// How strongly a token binds what stands before it.
const fn binding(token: &Token) -> u8 {
    match token {
        Token::Pipe => 1,
        Token::Or => 2,
        Token::And => 3,
        Token::Compare(_) => 5,
        Token::Flatten => FLATTEN,
        Token::Star => STAR,
        Token::Filter => FILTER,
        Token::Dot => DOT,
        Token::Not => NOT,
        Token::LeftBrace => 50,
        Token::LeftBracket => 55,
        Token::LeftParen => 60,
        _ => 0,
    }
}

/// What binds weaker ends a projection.
const PROJECTION: u8 = 10;
const FLATTEN: u8 = 9;
const STAR: u8 = 20;
const FILTER: u8 = 21;
const DOT: u8 = 40;
const NOT: u8 = 45;

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

pub(super) fn parse(tokens: Vec<(usize, Token)>) -> Result<Node, Error> {
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let node = parser.expression(0)?;
    parser.expect(&Token::End, "the end")?;
    Ok(node)
}

type Parsed = Result<Node, Error>;

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn peek_second(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |(_, token)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn wrong(&self, expected: &str) -> Error {
        let at = self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(at, _)| *at);
        Error::Syntax { at, detail: format!("expected {expected}, found {}", describe(self.peek())) }
    }

    fn expect(&mut self, wanted: &Token, name: &str) -> Result<(), Error> {
        if self.peek() != wanted {
            return Err(self.wrong(name));
        }
        self.at += 1;
        Ok(())
    }

    /// An expression up to a token that binds no stronger than `right`. Chains count as depth too, because the tree
    /// that they make is as deep.
    fn expression(&mut self, right: u8) -> Parsed {
        let depth = self.depth;
        self.deeper()?;
        let mut node = self.prefix()?;
        while right < binding(self.peek()) {
            self.deeper()?;
            node = self.infix(Box::new(node))?;
        }
        self.depth = depth;
        Ok(node)
    }

    fn deeper(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong(&format!("at most {MAX_DEPTH} levels of nesting")));
        }
        Ok(())
    }

    fn boxed(&mut self, right: u8) -> Result<Box<Node>, Error> {
        self.expression(right).map(Box::new)
    }

    fn prefix(&mut self) -> Parsed {
        let start = self.at;
        match self.next() {
            Token::Literal(value) => Ok(Node::Literal(value)),
            Token::Name(name) if *self.peek() == Token::LeftParen => self.call(&name, start),
            Token::Name(name) => Ok(Node::Field(name)),
            Token::QuotedName(name) if *self.peek() != Token::LeftParen => Ok(Node::Field(name)),
            Token::QuotedName(_) => Err(self.wrong("no call: a function's name stands without quotes")),
            Token::At => Ok(Node::Current),
            Token::Star => {
                let then = self.projected(STAR)?;
                Ok(Node::EachValue(Box::new(Node::Current), then))
            }
            Token::Filter => self.filter(Box::new(Node::Current)),
            Token::Flatten => {
                let then = self.projected(FLATTEN)?;
                Ok(Node::Each(Box::new(Node::Flatten(Box::new(Node::Current))), then))
            }
            Token::LeftBrace => self.object(),
            Token::LeftBracket => match (self.peek(), self.peek_second()) {
                (Token::Number(_) | Token::Colon, _) => {
                    let index = self.index()?;
                    self.project_slice(index, None)
                }
                (Token::Star, Token::RightBracket) => self.each(Box::new(Node::Current)),
                _ => self.list(),
            },
            Token::Reference => Ok(Node::Reference(self.boxed(0)?)),
            Token::Not => Ok(Node::Not(self.boxed(NOT)?)),
            Token::LeftParen => {
                let node = self.expression(0)?;
                self.expect(&Token::RightParen, "\")\"")?;
                Ok(node)
            }
            _ => {
                self.at = start;
                Err(self.wrong("an expression"))
            }
        }
    }

    fn infix(&mut self, left: Box<Node>) -> Parsed {
        let start = self.at;
        match self.next() {
            Token::Dot if *self.peek() == Token::Star => {
                self.at += 1;
                Ok(Node::EachValue(left, self.projected(STAR)?))
            }
            Token::Dot => Ok(Node::Then(left, Box::new(self.after_dot(DOT)?))),
            Token::Pipe => Ok(Node::Pipe(left, self.boxed(1)?)),
            Token::Or => Ok(Node::Or(left, self.boxed(2)?)),
            Token::And => Ok(Node::And(left, self.boxed(3)?)),
            Token::Compare(comparison) => Ok(Node::Compare(comparison, left, self.boxed(5)?)),
            Token::Filter => self.filter(left),
            Token::Flatten => {
                let then = self.projected(FLATTEN)?;
                Ok(Node::Each(Box::new(Node::Flatten(left)), then))
            }
            Token::LeftBracket => match self.peek() {
                Token::Number(_) | Token::Colon => {
                    let index = self.index()?;
                    self.project_slice(index, Some(left))
                }
                _ => self.each(left),
            },
            _ => {
                self.at = start;
                Err(self.wrong("an operator or the end"))
            }
        }
    }

    /// What follows a projection, for each of its items.
    fn projected(&mut self, right: u8) -> Result<Box<Node>, Error> {
        match self.peek() {
            token if binding(token) < PROJECTION => Ok(Box::new(Node::Current)),
            Token::LeftBracket | Token::Filter => self.boxed(right),
            Token::Dot => {
                self.at += 1;
                self.after_dot(right).map(Box::new)
            }
            _ => Err(self.wrong("\".\" or \"[\"")),
        }
    }

    fn after_dot(&mut self, right: u8) -> Parsed {
        match self.peek() {
            Token::Name(_) | Token::QuotedName(_) | Token::Star => self.expression(right),
            Token::LeftBracket => {
                self.at += 1;
                self.list()
            }
            Token::LeftBrace => {
                self.at += 1;
                self.object()
            }
            _ => Err(self.wrong("a name, \"*\", \"[\" or \"{\" after the dot")),
        }
    }

    /// `[*]`, after its bracket.
    fn each(&mut self, left: Box<Node>) -> Parsed {
        self.expect(&Token::Star, "a number, \":\" or \"*\"")?;
        self.expect(&Token::RightBracket, "\"]\"")?;
        Ok(Node::Each(left, self.projected(STAR)?))
    }

    /// `[1]` and `[1:2:3]`, after their bracket.
    fn index(&mut self) -> Parsed {
        if let (Token::Number(number), Token::RightBracket) = (self.peek(), self.peek_second()) {
            let number = *number;
            self.at += 2;
            return Ok(Node::Index(number));
        }
        let mut parts = [None; 3];
        for (position, part) in parts.iter_mut().enumerate() {
            if let Token::Number(number) = self.peek() {
                *part = Some(*number);
                self.at += 1;
            }
            match self.peek() {
                Token::Colon if position < 2 => self.at += 1,
                _ => break,
            }
        }
        self.expect(&Token::RightBracket, "a number, \":\" or \"]\"")?;
        let [start, stop, step] = parts;
        Ok(Node::Slice { start, stop, step })
    }

    fn project_slice(&mut self, index: Node, left: Option<Box<Node>>) -> Parsed {
        let is_slice = matches!(index, Node::Slice { .. });
        let node = match left {
            Some(left) => Node::Then(left, Box::new(index)),
            None => index,
        };
        if is_slice { Ok(Node::Each(Box::new(node), self.projected(STAR)?)) } else { Ok(node) }
    }

    fn filter(&mut self, list: Box<Node>) -> Parsed {
        let condition = self.boxed(0)?;
        self.expect(&Token::RightBracket, "\"]\"")?;
        let then =
            if *self.peek() == Token::Flatten { Box::new(Node::Current) } else { self.projected(FILTER)? };
        Ok(Node::EachWhere { list, condition, then })
    }

    /// `[a, b]`, after its bracket.
    fn list(&mut self) -> Parsed {
        self.separated(&Token::RightBracket, "\",\" or \"]\"").map(Node::List)
    }

    fn separated(&mut self, end: &Token, expected: &str) -> Result<Vec<Node>, Error> {
        let mut nodes = vec![self.expression(0)?];
        while *self.peek() == Token::Comma {
            self.at += 1;
            nodes.push(self.expression(0)?);
        }
        self.expect(end, expected)?;
        Ok(nodes)
    }

    /// `{a: b}`, after its brace.
    fn object(&mut self) -> Parsed {
        let mut fields = Vec::new();
        loop {
            let (Token::Name(name) | Token::QuotedName(name)) = self.peek().clone() else {
                return Err(self.wrong("a name"));
            };
            self.at += 1;
            self.expect(&Token::Colon, "\":\"")?;
            fields.push((name, self.expression(0)?));
            if *self.peek() != Token::Comma {
                break;
            }
            self.at += 1;
        }
        self.expect(&Token::RightBrace, "\",\" or \"}\"")?;
        Ok(Node::Object(fields))
    }

    /// A call, after its name.
    fn call(&mut self, name: &str, start: usize) -> Parsed {
        let at = self.tokens.get(start).map_or(0, |(at, _)| *at);
        self.expect(&Token::LeftParen, "\"(\"")?;
        let arguments = if *self.peek() == Token::RightParen {
            self.at += 1;
            Vec::new()
        } else {
            self.separated(&Token::RightParen, "\",\" or \")\"")?
        };
        let function = functions::find(name)
            .ok_or_else(|| Error::Syntax { at, detail: format!("there is no function {name}()") })?;
        let expected = function.arguments.len();
        let fits = if function.variadic { arguments.len() >= expected } else { arguments.len() == expected };
        if !fits {
            let least = if function.variadic { "at least " } else { "" };
            let found = arguments.len();
            let detail = format!("{name}() takes {least}{expected} arguments, found {found}");
            return Err(Error::Syntax { at, detail });
        }
        Ok(Node::Call(function, arguments))
    }
}

fn describe(token: &Token) -> String {
    let sign = match token {
        Token::Name(name) | Token::QuotedName(name) => return format!("\"{name}\""),
        Token::Literal(_) => return "a literal".to_owned(),
        Token::Number(number) => return number.to_string(),
        Token::End => return "the end".to_owned(),
        Token::Compare(_) => return "a comparison".to_owned(),
        Token::Dot => ".",
        Token::Star => "*",
        Token::Flatten => "[]",
        Token::Filter => "[?",
        Token::LeftBracket => "[",
        Token::RightBracket => "]",
        Token::LeftBrace => "{",
        Token::RightBrace => "}",
        Token::LeftParen => "(",
        Token::RightParen => ")",
        Token::Comma => ",",
        Token::Colon => ":",
        Token::At => "@",
        Token::Reference => "&",
        Token::Pipe => "|",
        Token::Or => "||",
        Token::And => "&&",
        Token::Not => "!",
    };
    format!("\"{sign}\"")
}
