//! The checklist of a verification as people read it: a line for each check, the facts, and the verdict in its last line.
//! One for all kinds of signatures.

use std::fmt::Write as _;

use countersign_http::text::printable;

use crate::out::Terminal;

/// A checklist as it is written.
#[derive(Debug)]
pub(crate) struct Checklist<'a> {
    terminal: &'a Terminal,
    text: String,
}

impl<'a> Checklist<'a> {
    /// Begins with what was verified.
    pub(crate) fn new(terminal: &'a Terminal, title: &str) -> Self {
        Self { terminal, text: format!("{}\n", terminal.strong(&printable(title))) }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{text}");
    }

    /// A check that holds.
    pub(crate) fn passed(&mut self, name: &str, found: &str) {
        self.line(format_args!("{} {name:<19} {}", self.terminal.yes(), printable(found)));
    }

    /// A check that does not apply.
    pub(crate) fn not_applicable(&mut self, name: &str, found: &str) {
        let found = self.terminal.dim(&printable(found));
        self.line(format_args!("{} {name:<19} {found}", self.terminal.none()));
    }

    /// A check that does not hold, with its code.
    pub(crate) fn failed(&mut self, name: &str, code: &str, note: &str) {
        self.line(format_args!("{} {name:<19} {}{note}", self.terminal.no(), self.terminal.bad(code)));
    }

    /// A check that does not hold only because another does not.
    pub(crate) fn followed(&mut self, name: &str, why: &str) {
        let line = self.terminal.dim(&format!("{name:<19} {why}"));
        self.line(format_args!("{} {line}", self.terminal.dim(self.terminal.no_mark())));
    }

    /// More about the check above.
    pub(crate) fn detail(&mut self, name: &str, text: &str) {
        self.line(format_args!("    {name:<9} {}", printable(text)));
    }

    /// What is known of the whole.
    pub(crate) fn fact(&mut self, name: &str, text: &str) {
        self.line(format_args!("{name:<10} {}", printable(text)));
    }

    /// Ends with the verdict.
    pub(crate) fn verdict(mut self, verdict: &str) -> String {
        self.line(format_args!("{verdict}"));
        self.text
    }
}

/// That there is more evidence than the piece which is shown, when there is.
pub(crate) fn others(count: usize, what: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("one more {what} was looked at and does not fit either (--output json)")),
        _ => Some(format!("{count} more {what}s were looked at and do not fit either (--output json)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Color;

    #[test]
    fn foreign_text_stays_on_its_line() {
        let terminal = Terminal::new(Color::Never, false, false, None);
        let mut list = Checklist::new(&terminal, "a\nVERIFIED");
        list.passed("signature", "x\r\u{1b}[2K");
        list.not_applicable("logs", "\n");
        list.detail("found", "\nVERIFIED");
        list.fact("signed by", "a@b.c\nVERIFIED");
        let text = list.verdict("REJECTED");
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(text.ends_with("\nREJECTED\n") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn one_is_one_and_two_are_two() {
        assert_eq!(others(0, "signature"), None);
        assert!(others(1, "signature").unwrap().starts_with("one more signature was"));
        assert!(others(2, "statement").unwrap().starts_with("2 more statements were"));
    }
}
