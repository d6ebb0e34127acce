//! Scripts of shells as commands: enough of the language to tell words that are run from words that are printed, and no more.

use std::collections::{HashMap, VecDeque};
use std::iter::Peekable;
use std::str::Chars;

use super::At;

/// One command: its words, and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub words: Vec<String>,
    pub line: u64,
}

/// What stands in front of a command and is none: its options that take a word of their own, and how many words it takes itself.
const PREFIXES: [(&str, &[&str], usize); 27] = [
    ("sudo", &["-u", "-g", "-h", "-p", "-C", "-D", "-r", "-t"], 0),
    ("doas", &["-u", "-C"], 0),
    ("env", &["-u", "-C"], 0),
    ("exec", &["-a"], 0),
    ("time", &["-f", "-o"], 0),
    ("nohup", &[], 0),
    ("command", &[], 0),
    ("builtin", &[], 0),
    ("busybox", &[], 0),
    ("setsid", &[], 0),
    ("stdbuf", &["-i", "-o", "-e"], 0),
    ("ionice", &["-c", "-n"], 0),
    ("timeout", &["-s", "-k"], 1),
    ("chroot", &[], 1),
    ("flock", &["-w", "-E"], 1),
    ("taskset", &[], 1),
    ("xargs", &["-a", "-d", "-E", "-I", "-L", "-n", "-P", "-s"], 0),
    ("retry", &[], 0),
    ("nice", &["-n"], 0),
    ("if", &[], 0),
    ("then", &[], 0),
    ("else", &[], 0),
    ("elif", &[], 0),
    ("while", &[], 0),
    ("until", &[], 0),
    ("do", &[], 0),
    ("!", &[], 0),
];
/// Shells, whose `-c` is a script.
pub(super) const SHELLS: [&str; 6] = ["bash", "sh", "zsh", "dash", "ksh", "ash"];
/// How deep scripts within scripts are read.
const MAX_DEPTH: usize = 4;

/// The commands of a script, in their order. Texts in quotation marks are one word; commands within `$(…)` count too, and those that
/// a shell is given as a word.
pub(super) fn commands(script: &[At]) -> Vec<Command> {
    let mut out = Vec::new();
    read(script, 0, &mut out);
    out
}

fn read(script: &[At], depth: usize, out: &mut Vec<Command>) {
    // A text whose end is nowhere is none, so that nothing is hidden behind what only looks like its beginning.
    let ends: HashMap<&str, usize> =
        script.iter().enumerate().map(|(index, at)| (at.text.trim(), index)).collect();
    let mut reader = Reader::default();
    for (index, at) in script.iter().enumerate() {
        match reader.texts.front() {
            None => reader.line(&closed(&at.text), at.line),
            // A text that is handed to a command is no command; those in it are, unless its end is in quotation marks.
            Some((end, _)) if at.text.trim() == end => reader.end_text(),
            Some((_, true)) => {}
            Some((_, false)) => reader.text(&closed(&at.text), at.line),
        }
        while reader
            .texts
            .front()
            .is_some_and(|(end, _)| ends.get(end.as_str()).is_none_or(|last| *last <= index))
        {
            reader.texts.pop_front();
        }
    }
    for command in reader.rest().into_iter().filter_map(bare) {
        let within = inner(&command).filter(|_| depth < MAX_DEPTH);
        out.push(command);
        if let Some(inner) = within {
            read(&inner, depth + 1, out);
        }
    }
}

/// The script that a command is given as a word, or the command that `find` runs.
fn inner(command: &Command) -> Option<Vec<At>> {
    let (first, rest) = command.words.split_first()?;
    let program = first.rsplit('/').next().unwrap_or(first);
    let text = if SHELLS.contains(&program) || program == "su" {
        let is_script =
            |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
        let at = rest.iter().position(is_script)?;
        rest.get(at + 1)?.clone()
    } else if program == "eval" {
        rest.join(" ")
    } else if first.contains(char::is_whitespace) {
        command.words.join(" ")
    } else if program == "find" {
        let at = rest.iter().position(|word| matches!(word.as_str(), "-exec" | "-execdir" | "-ok"))?;
        // Its words are words already.
        let quoted = |word: &String| format!("'{}'", word.replace('\'', "'\\''"));
        rest.get(at + 1..)?.iter().map(quoted).collect::<Vec<_>>().join(" ")
    } else {
        return None;
    };
    Some(text.lines().map(|text| At { text: text.to_owned(), line: command.line }).collect())
}

/// Expressions of GitHub without the white space in them, so that each is within one word.
fn closed(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${{") {
        let (inside, behind) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(before);
        out.push_str("${{");
        out.extend(
            inside.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\'' | '"' | '|' | '&' | '(' | ')')),
        );
        out.push_str("}}");
        rest = behind;
    }
    out + rest
}

/// The mark of a text within what is open.
const TEXT: char = '<';

/// The word at which a text ends that begins behind this line, from behind the `<<`; and whether it stands in quotation marks.
fn here_document(chars: &mut Peekable<Chars<'_>>) -> Option<(String, bool)> {
    chars.next_if_eq(&'-');
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
    let (mut word, mut quoted) = (String::new(), false);
    while let Some(c) =
        chars.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\'' | '"' | '\\'))
    {
        match c {
            '\'' | '"' | '\\' => quoted = true,
            c => word.push(c),
        }
    }
    (!word.is_empty()).then_some((word, quoted))
}

/// A command that is not read to its end.
#[derive(Default)]
struct Open {
    words: Vec<String>,
    word: String,
    /// Whether a word has begun, which may be empty so far.
    begun: bool,
    line: u64,
}

#[derive(Default)]
struct Reader {
    found: Vec<Command>,
    now: Open,
    /// The commands around this one, which it gives a word.
    around: Vec<Open>,
    /// The quotation marks and parentheses that are open: `$` for `$(`.
    within: Vec<char>,
    /// The texts that follow: their ends, and whether nothing in them is a command.
    texts: VecDeque<(String, bool)>,
}

impl Reader {
    fn line(&mut self, text: &str, line: u64) {
        let mut chars = text.chars().peekable();
        let mut continued = false;
        while let Some(c) = chars.next() {
            match (self.within.last().copied(), c) {
                (Some('\''), '\'') | (Some('"'), '"') => drop(self.within.pop()),
                (Some('\''), c) => self.now.word.push(c),
                (_, '\\') => match chars.next() {
                    Some(next) => self.push(next, line),
                    None => continued = true,
                },
                (_, '$') if chars.peek() == Some(&'(') => {
                    chars.next();
                    // It stands for a word of the command around it, or for a piece of one.
                    self.push('$', line);
                    self.open('$');
                }
                (Some('`'), '`') => self.close(),
                (_, '`') => {
                    self.push('$', line);
                    self.open('`');
                }
                (Some(TEXT), _) => {}
                (Some('"'), c) => self.now.word.push(c),
                (_, quote @ ('\'' | '"')) => {
                    self.begin(line);
                    self.within.push(quote);
                }
                (_, '(') => {
                    self.end_command();
                    self.within.push('(');
                }
                (Some('`'), ')') => self.end_command(),
                (_, ')') => self.close(),
                (_, '<') if chars.peek() == Some(&'<') => {
                    chars.next();
                    let expands = self.now.word.rfind("${") > self.now.word.rfind('}');
                    self.end_word();
                    // Three are a word; within two parentheses they are arithmetic, within braces a value.
                    let counts = self.within.ends_with(&['$', '(']) || self.within.ends_with(&['(', '(']);
                    if chars.next_if_eq(&'<').is_none() && !counts && !expands {
                        self.texts.extend(here_document(&mut chars));
                    }
                }
                (_, ';' | '&' | '|') => self.end_command(),
                (_, '#') if !self.now.begun => break,
                (_, c) if c.is_whitespace() => self.end_word(),
                (_, c) => self.push(c, line),
            }
        }
        match self.within.last() {
            Some('\'' | '"') => self.now.word.push('\n'),
            Some(&TEXT) => self.now = Open::default(),
            _ if continued => self.end_word(),
            _ => self.end_command(),
        }
    }

    /// A line of a text, in which commands are what is within `$(…)`.
    fn text(&mut self, text: &str, line: u64) {
        if !self.within.contains(&TEXT) {
            self.within.push(TEXT);
        }
        self.line(text, line);
    }

    fn end_text(&mut self) {
        self.texts.pop_front();
        while self.within.contains(&TEXT) {
            self.close();
        }
    }

    /// A command begins that gives the one around it a word.
    fn open(&mut self, mark: char) {
        self.around.push(std::mem::take(&mut self.now));
        self.within.push(mark);
    }

    /// What was opened last ends.
    fn close(&mut self) {
        self.end_command();
        if matches!(self.within.pop(), Some('$' | '`')) {
            self.now = self.around.pop().unwrap_or_default();
        }
    }

    fn begin(&mut self, line: u64) {
        if self.now.words.is_empty() && !self.now.begun {
            self.now.line = line;
        }
        self.now.begun = true;
    }

    fn push(&mut self, c: char, line: u64) {
        self.begin(line);
        self.now.word.push(c);
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.now.begun) {
            self.now.words.push(std::mem::take(&mut self.now.word));
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.now.words.is_empty() {
            self.found.push(Command { words: std::mem::take(&mut self.now.words), line: self.now.line });
        }
    }

    /// What was open when the script ended.
    fn rest(mut self) -> Vec<Command> {
        self.end_command();
        while let Some(around) = self.around.pop() {
            self.now = around;
            self.end_command();
        }
        self.found
    }
}

/// A command without what stands in front of it: variables, `sudo` and its options, words of the language.
fn bare(command: Command) -> Option<Command> {
    let assigns = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let mut words = command.words.into_iter().peekable();
    let (mut options, mut own): (Option<&[&str]>, usize) = (None, 0);
    while let Some(word) = words.peek() {
        if let (Some(valued), true) = (options, word.starts_with('-')) {
            let takes = valued.contains(&word.as_str());
            words.next();
            if takes {
                words.next();
            }
        } else if own > 0 {
            own -= 1;
            words.next();
        } else if let Some((_, valued, count)) = PREFIXES.iter().find(|(name, ..)| is_program(word, name)) {
            (options, own) = (Some(*valued), *count);
            words.next();
        } else if matches!(word.as_str(), "{" | "coproc") || assigns(word) {
            words.next();
        } else {
            break;
        }
    }
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then_some(Command { words, line: command.line })
}

/// Whether a word is a program, wherever that is.
fn is_program(word: &str, name: &str) -> bool {
    word.rsplit('/').next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(script: &str) -> Vec<(u64, String)> {
        let lines: Vec<At> =
            script.lines().zip(1..).map(|(text, line)| At { text: text.to_owned(), line }).collect();
        commands(&lines).into_iter().map(|command| (command.line, command.words.join(" "))).collect()
    }

    #[test]
    fn commands_are_told_from_texts() {
        let script = "# curl a\necho \"x; curl b\" && curl c\nX=$(wget d) Y=1 sudo -E apt-get install e | tee 'f; g'\n\
                      cat <<EOF > h\ncurl i\nEOF\nif [ 1 ]; then curl \\\n  j; fi\necho \"k $(curl l)\"";
        let found = read(script);
        let has = |line, text: &str| found.contains(&(line, text.to_owned()));
        assert!(has(2, "curl c"), "{found:?}");
        assert!(has(3, "wget d"), "{found:?}");
        assert!(has(3, "apt-get install e"), "{found:?}");
        assert!(has(7, "curl j"), "{found:?}");
        assert!(has(9, "curl l"), "{found:?}");
        for not in ["curl a", "curl b", "curl i", "g"] {
            assert!(!found.iter().any(|(_, text)| text == not), "{not} in {found:?}");
        }
    }

    #[test]
    fn nothing_hides_a_command() {
        for script in [
            "echo \"a << EOF\"\ncurl x",
            "# cat <<EOF\ncurl x",
            "a=$((1<<b))\ncurl x",
            "((a<<=b))\ncurl x",
            "cat <<EOF\ncurl x",
            "cat <<E'O'F\nEOF\ncurl x",
            "cat <<EOF\na \"'$(curl x)\nEOF",
            "cat <<EOF\na `curl x`\nEOF",
            "cat <<A <<'B'\n$(\nA\n'\nB\ncurl x",
            "echo \"`curl x`\"",
            "a `b \"$(curl x)\"`",
            "bash -c \"true; curl x\"",
            "sudo -u root sh -euxc 'curl x'",
            "sh -c \"sh -c 'curl x'\"",
            "eval \"curl x\"",
            "env -S \"curl x\"",
            "echo ${a:-<<EOF}\ncurl x\nEOF",
            "find . -name a -exec curl x ';'",
            "timeout -k 1 10 curl x",
            "nice -n 10 /usr/bin/env A=1 curl x",
            "ls | xargs -n 1 -I {} curl x",
        ] {
            let found = self::read(script);
            assert!(found.iter().any(|(_, text)| text.starts_with("curl x")), "{script}: {found:?}");
        }
        let quoted = self::read("cat <<'EOF'\n$(curl x)\nEOF\necho");
        assert!(!quoted.iter().any(|(_, text)| text == "curl x"), "{quoted:?}");
    }

    #[test]
    fn an_expression_is_one_word() {
        let found = read("make A=${{ matrix.a || 'x y' }} B=1");
        assert_eq!(found, [(1, "make A=${{matrix.axy}} B=1".to_owned())]);
    }

    #[test]
    fn texts_over_lines_and_open_ends_do_no_harm() {
        assert_eq!(read("echo 'a\ncurl b\n'\ncurl c").last(), Some(&(4, "curl c".to_owned())));
        for odd in ["'", "\"", "$(", "))", "\\", "<<", "<<<x", "${{", "`", "a <<'B"] {
            read(odd);
        }
    }
}
