//! What an expression says.

use std::collections::BTreeSet;

use super::functions;
use super::lexer::{Token, TokenKind, syntax, tokens};
use super::macros::{self, Macro};
use super::value::Value;
use super::{CelError, MAX_DEPTH};

/// How deep brackets may be nested, which the parser goes through itself.
const MAX_NESTING: usize = 48;

/// A part of an expression.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where it stands, in characters from the start.
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// How many parts within parts it has.
    pub(super) depth: usize,
}

/// What a part is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Literal(Value),
    Name(String),
    Select {
        of: Box<Node>,
        field: String,
        optional: bool,
    },
    /// `has(of.field)`
    Has {
        of: Box<Node>,
        field: String,
    },
    Index {
        of: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    /// A function; what stands before the dot is the first argument.
    Call {
        name: String,
        arguments: Vec<Node>,
    },
    /// Items, and whether each is left out when it is an empty optional.
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Choose(Box<[Node; 3]>),
    Unary {
        sign: &'static str,
        of: Box<Node>,
    },
    Binary {
        sign: &'static str,
        left: Box<Node>,
        right: Box<Node>,
    },
    /// Something over all of a list or map.
    Fold {
        of: Box<Node>,
        over: Macro,
        names: Vec<String>,
        parts: Vec<Node>,
    },
    /// A name for a value, as far as `body` goes. `of` is an optional for all but `cel.bind`.
    Bind {
        name: String,
        of: Box<Node>,
        over: macros::Binding,
        body: Box<Node>,
    },
}

impl Node {
    fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Literal(_) | Kind::Name(_) => Vec::new(),
            Kind::Select { of, .. } | Kind::Has { of, .. } | Kind::Unary { of, .. } => vec![of],
            Kind::Index { of, index, .. } => vec![of, index],
            Kind::Call { arguments: parts, .. } | Kind::And(parts) | Kind::Or(parts) => {
                parts.iter().collect()
            }
            Kind::List(items) => items.iter().map(|(item, _)| item).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|(key, value, _)| [key, value]).collect(),
            Kind::Choose(parts) => parts.iter().collect(),
            Kind::Binary { left, right, .. } => vec![left, right],
            Kind::Fold { of, parts, .. } => std::iter::once(&**of).chain(parts).collect(),
            Kind::Bind { of, body, .. } => vec![of, body],
        }
    }

    /// The names that nothing in the expression gives a meaning to.
    pub(super) fn free_names(&self) -> BTreeSet<&str> {
        let mut free = BTreeSet::new();
        self.collect_names(&mut Vec::new(), &mut free);
        free
    }

    /// Goes through each part once, with the names that have a meaning there.
    fn collect_names<'n>(&'n self, bound: &mut Vec<&'n str>, free: &mut BTreeSet<&'n str>) {
        let (names, within): (Vec<&str>, Vec<&Self>) = match &self.kind {
            Kind::Name(name)
                if !bound.contains(&name.as_str()) && !functions::TYPES.contains(&name.as_str()) =>
            {
                free.insert(name);
                return;
            }
            Kind::Fold { of, names, parts, .. } => {
                of.collect_names(bound, free);
                (names.iter().map(String::as_str).collect(), parts.iter().collect())
            }
            Kind::Bind { name, of, body, .. } => {
                of.collect_names(bound, free);
                (vec![name.as_str()], vec![&**body])
            }
            _ => (Vec::new(), self.children()),
        };
        let outside = bound.len();
        bound.extend(names);
        within.into_iter().for_each(|node| node.collect_names(bound, free));
        bound.truncate(outside);
    }
}

/// Reads an expression in which these functions are known beside those of the language.
///
/// # Errors
/// [`CelError::Syntax`].
pub(super) fn parse(text: &str, host: &'static [(&'static str, usize)]) -> Result<Node, CelError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, next: 0, nesting: 0, host };
    let node = parser.expression()?;
    match parser.peek() {
        TokenKind::End => Ok(node),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

/// Operators by how tightly they bind.
const BINARY: [&[&str]; 3] = [&["<", "<=", ">", ">=", "==", "!=", "in"], &["+", "-"], &["*", "/", "%"]];

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    nesting: usize,
    host: &'static [(&'static str, usize)],
}

impl Parser<'_> {
    fn peek(&self) -> &TokenKind {
        self.tokens.get(self.next).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or_else(|| self.tokens.last()).map_or(0, |token| token.at)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), TokenKind::Sign(found) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.next += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&format!("\"{sign}\""))) }
    }

    fn unexpected(&self, expected: &str) -> CelError {
        let found = match self.peek() {
            TokenKind::Literal(value) => value.kind().to_owned(),
            TokenKind::Smallest => "a number".to_owned(),
            TokenKind::Name(name) | TokenKind::Quoted(name) => format!("\"{name}\""),
            TokenKind::Sign(sign) => format!("\"{sign}\""),
            TokenKind::End => "the end".to_owned(),
        };
        syntax(self.at(), format!("expected {expected}, found {found}"))
    }

    fn node(at: usize, kind: Kind) -> Result<Node, CelError> {
        let mut node = Node { at, kind, depth: 0 };
        node.depth = 1 + node.children().iter().map(|child| child.depth).max().unwrap_or(0);
        if node.depth > MAX_DEPTH {
            return Err(syntax(at, format!("expected at most {MAX_DEPTH} parts within parts")));
        }
        Ok(node)
    }

    /// The one way into itself.
    fn expression(&mut self) -> Result<Node, CelError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(syntax(
                self.at(),
                format!("expected at most {MAX_NESTING} brackets within brackets"),
            ));
        }
        let node = self.choice()?;
        self.nesting -= 1;
        Ok(node)
    }

    fn choice(&mut self) -> Result<Node, CelError> {
        let condition = self.junction("||")?;
        let at = self.at();
        if !self.take("?") {
            return Ok(condition);
        }
        let then = self.junction("||")?;
        self.expect(":")?;
        let otherwise = self.expression()?;
        Self::node(at, Kind::Choose(Box::new([condition, then, otherwise])))
    }

    /// `||`, and within it `&&`.
    fn junction(&mut self, sign: &str) -> Result<Node, CelError> {
        let at = self.at();
        let part = |parser: &mut Self| {
            if sign == "||" { parser.junction("&&") } else { parser.binary(0) }
        };
        let first = part(self)?;
        let mut parts = vec![first];
        while self.take(sign) {
            parts.push(part(self)?);
        }
        match (parts.pop(), parts.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                parts.extend(last);
                Self::node(at, if sign == "||" { Kind::Or(parts) } else { Kind::And(parts) })
            }
        }
    }

    fn binary(&mut self, level: usize) -> Result<Node, CelError> {
        let Some(signs) = BINARY.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let at = self.at();
            let found = match self.peek() {
                TokenKind::Sign(sign) if signs.contains(sign) => *sign,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.binary(level + 1)?;
            left =
                Self::node(at, Kind::Binary { sign: found, left: Box::new(left), right: Box::new(right) })?;
        }
    }

    fn unary(&mut self) -> Result<Node, CelError> {
        let mut signs = Vec::new();
        while let TokenKind::Sign(sign @ ("!" | "-")) = self.peek() {
            signs.push((self.at(), *sign));
            self.next += 1;
        }
        let mut node = match (self.peek(), signs.last()) {
            (TokenKind::Smallest, Some((at, "-"))) => {
                let node = Self::node(*at, Kind::Literal(Value::Int(i64::MIN)))?;
                self.next += 1;
                signs.pop();
                self.members(node)?
            }
            _ => {
                let node = self.primary()?;
                self.members(node)?
            }
        };
        for (at, sign) in signs.into_iter().rev() {
            node = Self::node(at, Kind::Unary { sign, of: Box::new(node) })?;
        }
        Ok(node)
    }

    /// What follows after a dot or in brackets.
    fn members(&mut self, mut node: Node) -> Result<Node, CelError> {
        loop {
            let at = self.at();
            node = if self.take(".") {
                let optional = self.take("?");
                self.member(node, optional, at)?
            } else if self.take("[") {
                let optional = self.take("?");
                let index = Box::new(self.expression()?);
                self.expect("]")?;
                Self::node(at, Kind::Index { of: Box::new(node), index, optional })?
            } else {
                return Ok(node);
            };
        }
    }

    fn member(&mut self, of: Node, optional: bool, at: usize) -> Result<Node, CelError> {
        let (field, quoted) = match self.peek() {
            TokenKind::Name(name) => (name.clone(), false),
            TokenKind::Quoted(name) => (name.clone(), true),
            _ => return Err(self.unexpected("the name of a field or function")),
        };
        self.next += 1;
        if quoted || optional || !self.take("(") {
            return Self::node(at, Kind::Select { of: Box::new(of), field, optional });
        }
        // `math.least(…)` is a function by its whole name, unless it is a macro of lists.
        let space = match &of.kind {
            Kind::Name(space) => Some(format!("{space}.{field}")),
            _ => None,
        };
        if let Some(name) = space.filter(|name| name == macros::BIND || self.function(name).is_some()) {
            return self.call(name, None, at);
        }
        self.call(field, Some(of), at)
    }

    fn primary(&mut self) -> Result<Node, CelError> {
        let at = self.at();
        let token = self.peek().clone();
        match token {
            TokenKind::Literal(value) => {
                self.next += 1;
                Self::node(at, Kind::Literal(value))
            }
            TokenKind::Name(name) => {
                self.next += 1;
                if self.take("(") { self.call(name, None, at) } else { Self::node(at, Kind::Name(name)) }
            }
            TokenKind::Sign("(") => {
                self.next += 1;
                let node = self.expression()?;
                self.expect(")")?;
                Ok(node)
            }
            TokenKind::Sign("[") => {
                self.next += 1;
                let mut items = Vec::new();
                while !self.is("]") {
                    let optional = self.take("?");
                    items.push((self.expression()?, optional));
                    if !self.take(",") {
                        break;
                    }
                }
                self.expect("]")?;
                Self::node(at, Kind::List(items))
            }
            TokenKind::Sign("{") => {
                self.next += 1;
                let mut entries = Vec::new();
                while !self.is("}") {
                    let optional = self.take("?");
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?, optional));
                    if !self.take(",") {
                        break;
                    }
                }
                self.expect("}")?;
                Self::node(at, Kind::Map(entries))
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    /// How many arguments a function takes.
    fn function(&self, name: &str) -> Option<(usize, usize)> {
        let of_host = self.host.iter().find(|(known, _)| *known == name).map(|(_, count)| (*count, *count));
        of_host.or_else(|| functions::arguments(name))
    }

    /// A call, after its opening bracket.
    fn call(&mut self, name: String, of: Option<Node>, at: usize) -> Result<Node, CelError> {
        let mut arguments = Vec::new();
        while !self.is(")") {
            arguments.push(self.expression()?);
            if !self.take(",") {
                break;
            }
        }
        self.expect(")")?;
        let (name, of, mut arguments) = match macros::expand(&name, of, arguments, at)? {
            macros::Expanded::Kind(kind) => return Self::node(at, kind),
            macros::Expanded::Not(of, arguments) => (name, of, arguments),
        };
        if let Some(of) = of {
            arguments.insert(0, of);
        }
        let Some((least, most)) = self.function(&name) else {
            return Err(syntax(at, functions::unknown(&name)));
        };
        if !(least..=most).contains(&arguments.len()) {
            let count = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let found = arguments.len();
            return Err(syntax(
                at,
                format!(
                    "expected {count} arguments of {name}(), what stands before the dot included, found {found}"
                ),
            ));
        }
        Self::node(at, Kind::Call { name, arguments })
    }
}
