//! Small pieces of markup.

use crate::escaped;

/// A row of a table of facts. The name is markup, the value is text.
#[must_use]
pub fn fact(name: &str, value: &str) -> String {
    fact_of(name, &format!("<bdi>{}</bdi>", escaped(value)))
}

/// The same with a value that is markup.
#[must_use]
pub fn fact_of(name: &str, markup: &str) -> String {
    format!("<div><dt>{name}</dt><dd>{markup}</dd></div>\n")
}

/// Text of several lines, within a `pre` or a field.
#[must_use]
pub fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(escaped).collect();
    lines.join("\n")
}
