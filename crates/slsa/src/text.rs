//! Foreign text in pages: what strangers wrote is text there, and never markup.

/// Whether a character changes the direction of writing, so that a text reads otherwise than it is.
const fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text within HTML and XML, on one line. Characters that neither may hold become a replacement, those that change the
/// direction of writing are shown as `\u{…}`.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c if turns(c) => out.extend(c.escape_unicode()),
            '\u{fffe}' | '\u{ffff}' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

/// Text within a cell of a table of Markdown.
#[must_use]
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            c if turns(c) => out.extend(['\\'].into_iter().chain(c.escape_unicode())),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '`' | '*' | '[' | ']' | '\\' | '_' | '!' | '#' | '~' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// Text within a message of SARIF, in which `[text](target)` would be a link.
#[must_use]
pub fn message(text: &str) -> String {
    text.replace("](", "] (")
}

/// A path as the reference to a file that it is.
#[must_use]
pub fn uri(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.replace('\\', "/")
        .bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        let evil = "<b>|`x`|&\"'\n\u{1b}[31m";
        assert!(!html(evil).contains(['<', '"', '\'', '\n', '\u{1b}']));
        assert_eq!(html("a\u{fffe}b\u{ffff}"), "a\u{fffd}b\u{fffd}", "no XML may hold them");
        assert_eq!(markdown("a|b\n<i>"), "a\\|b &lt;i&gt;");
        assert_eq!(html("evil\u{202e}moc.elpmaxe"), "evil\\u{202e}moc.elpmaxe");
        assert_eq!(markdown("evil\u{2066}x"), "evil\\\\u{2066}x", "a backslash that is one");
        assert_eq!(markdown("![x](y) #1"), "\\!\\[x\\](y) \\#1");
        assert_eq!(message("[x](https://a.example)"), "[x] (https://a.example)");
        assert_eq!(uri("a b\\c:1"), "a%20b/c%3A1");
    }
}
