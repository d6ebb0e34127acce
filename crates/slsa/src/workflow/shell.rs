//! Scripts of shells as commands: enough of the language to tell words that are run from words that are printed, and no more.

use super::At;

/// One command: its words, and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub words: Vec<String>,
    pub line: u64,
}

/// Words in front of a command that are no command.
const PREFIXES: [&str; 19] = [
    "sudo", "env", "exec", "time", "nohup", "command", "if", "then", "else", "elif", "while", "until", "do",
    "!", "{", "xargs", "eval", "retry", "nice",
];

/// The commands of a script, in their order. Texts in quotation marks are one word; commands within `$(…)` count too.
pub(super) fn commands(script: &[At]) -> Vec<Command> {
    let mut reader = Reader::default();
    let mut until: Option<String> = None;
    for at in script {
        // A text that is handed to a command is no command.
        if let Some(end) = &until {
            if at.text.trim() == end {
                until = None;
            }
            continue;
        }
        reader.line(&closed(&at.text), at.line);
        until = here_document(&at.text);
    }
    reader.rest().into_iter().filter_map(bare).collect()
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

/// The word at which a text ends that begins behind this line.
fn here_document(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("<<")?;
    let word = rest.trim_start_matches('-').trim_start();
    if word.starts_with('<') {
        return None;
    }
    let word: String =
        word.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '\'' | '"')).collect();
    let word = word.trim_matches(['\'', '"']).to_owned();
    (!word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit())).then_some(word)
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
                    self.around.push(std::mem::take(&mut self.now));
                    self.within.push('$');
                }
                (_, '`') => self.end_command(),
                (Some('"'), c) => self.now.word.push(c),
                (_, quote @ ('\'' | '"')) => {
                    self.begin(line);
                    self.within.push(quote);
                }
                (_, '(') => {
                    self.end_command();
                    self.within.push('(');
                }
                (within, ')') => {
                    self.end_command();
                    self.within.pop();
                    if within == Some('$') {
                        self.now = self.around.pop().unwrap_or_default();
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
            _ if continued => self.end_word(),
            _ => self.end_command(),
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
    let mut after = false;
    while let Some(word) = words.peek() {
        let prefix = PREFIXES.contains(&word.as_str());
        if prefix || assigns(word) || after && word.starts_with('-') {
            after |= prefix;
            words.next();
        } else {
            break;
        }
    }
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then_some(Command { words, line: command.line })
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
