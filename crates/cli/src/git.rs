//! The `git` program, asked with fixed words about a repository of which nobody knows who wrote into it.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use countersign_http::text::printable;

use crate::failure::Failure;

/// The most that is read of one answer, in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// A repository.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    directory: PathBuf,
    /// The person in whose name notes are written, where the repository has none.
    name: Option<String>,
}

/// What git answers.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether it ended well.
    pub(crate) good: bool,
    /// What it printed.
    pub(crate) out: Vec<u8>,
    /// What it said.
    pub(crate) err: String,
}

impl Git {
    pub(crate) fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), name: None }
    }

    /// The same, writing in this name.
    pub(crate) fn writing_as(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Asks. That git ends badly is an answer; that it cannot be run or says too much is not.
    pub(crate) fn ask(&self, arguments: &[&str], input: &[u8]) -> Result<Answer, Failure> {
        let failed = |what: &str, e: std::io::Error| Failure::internal(format!("git: {what}: {e}"));
        let mut command = Command::new("git");
        // Nothing that the repository says is run, fetched or put in the place of what is asked for.
        command
            .args([
                "--no-replace-objects",
                "-c",
                "core.fsmonitor=false",
                "-c",
                "core.hooksPath=/dev/null",
                "-C",
            ])
            .arg(&self.directory)
            .args(arguments)
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(name) = &self.name {
            for role in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{role}_NAME"), name)
                    .env(format!("GIT_{role}_EMAIL"), "countersign@localhost");
            }
        }
        let mut child = command.spawn().map_err(|e| {
            failed("cannot be run", e).next("install git, or put it on the PATH of whoever runs this")
        })?;
        let mut stdin = child.stdin.take();
        let mut stderr = child.stderr.take();
        let (mut out, mut err) = (Vec::new(), String::new());
        let read = std::thread::scope(|scope| {
            scope.spawn(|| {
                // A git that reads no input ends the pipe, which is its business.
                if let Some(mut stdin) = stdin.take() {
                    let _ = stdin.write_all(input);
                }
            });
            let said = scope.spawn(|| {
                let mut text = Vec::new();
                if let Some(stderr) = stderr.as_mut() {
                    let _ = stderr.take(64 << 10).read_to_end(&mut text);
                    let _ = std::io::copy(stderr, &mut std::io::sink());
                }
                String::from_utf8_lossy(&text).into_owned()
            });
            let read =
                child.stdout.take().map_or(Ok(0), |stdout| stdout.take(MAX_ANSWER + 1).read_to_end(&mut out));
            err = said.join().unwrap_or_default();
            read
        });
        read.map_err(|e| failed("its answer cannot be read", e))?;
        if u64::try_from(out.len()).unwrap_or(u64::MAX) > MAX_ANSWER {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::internal(format!(
                "git {}: more than {MAX_ANSWER} bytes",
                printable(&arguments.join(" "))
            )));
        }
        let status = child.wait().map_err(|e| failed("does not end", e))?;
        Ok(Answer { good: status.success(), out, err })
    }

    /// Asks for something that must succeed.
    pub(crate) fn must(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Failure> {
        let answer = self.ask(arguments, input)?;
        if answer.good {
            return Ok(answer.out);
        }
        let what = format!("git {}: {}", arguments.join(" "), answer.err.trim());
        Err(Failure::usage(printable(&what)))
    }

    /// One line that must be there.
    pub(crate) fn line(&self, arguments: &[&str]) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(&self.must(arguments, b"")?).trim().to_owned())
    }

    /// The commit of a name; `None` where there is none.
    pub(crate) fn commit(&self, name: &str) -> Result<Option<String>, Failure> {
        let wanted = format!("{name}^{{commit}}");
        let answer = self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted], b"")?;
        let commit = String::from_utf8_lossy(&answer.out).trim().to_owned();
        Ok((answer.good && is_commit(&commit)).then_some(commit))
    }

    /// Whether one commit is another, or comes before it.
    pub(crate) fn is_ancestor(&self, old: &str, new: &str) -> Result<bool, Failure> {
        Ok(self.ask(&["merge-base", "--is-ancestor", old, new], b"")?.good)
    }

    /// Whether a ref is the name of another one.
    pub(crate) fn is_symbolic(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.ask(&["symbolic-ref", "--quiet", name], b"")?.good)
    }

    /// The note on a commit in the tree of a commit of notes, whatever its folders. Where there are several, no one hides another.
    pub(crate) fn note(&self, notes: &str, commit: &str) -> Result<Option<Vec<u8>>, Failure> {
        let mut found: Option<Vec<u8>> = None;
        for folders in 0..4 {
            let Some((start, rest)) = commit.split_at_checked(folders * 2) else { continue };
            let mut path = String::new();
            for (index, digit) in start.chars().enumerate() {
                path.push(digit);
                if index % 2 == 1 {
                    path.push('/');
                }
            }
            let answer = self.ask(&["cat-file", "blob", &format!("{notes}:{path}{rest}")], b"")?;
            if answer.good {
                let all = found.get_or_insert_default();
                all.extend(answer.out);
                all.push(b'\n');
            }
        }
        Ok(found)
    }

    /// Adds a line to the note on a commit.
    pub(crate) fn append_note(&self, notes: &str, commit: &str, line: &[u8]) -> Result<(), Failure> {
        self.must(&["notes", "--ref", notes, "append", "-F", "-", commit], line).map(drop)
    }
}

/// The name of a commit in full.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}
