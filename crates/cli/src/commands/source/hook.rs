//! `countersign source hook`: what git runs on the server. Before a push is let in, it is judged; afterwards it is written down.
//!
//! Two hooks, because git lets none of them write a ref while what was pushed is still on trial.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_slsa::source::push::{ATTESTATIONS, MAX_CHANGES, REVIEWS};
use countersign_slsa::source::{Change, Push, Refusal};
use jiff::Timestamp;

use super::notes;
use super::received::PostReceive;
use super::settings::Settings;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::git::{Git, is_commit};
use crate::out::{Terminal, say};

/// The most that git tells of one push, in bytes.
const MAX_INPUT: u64 = 1 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign source hook pre-receive --settings /srv/git/source.yaml --actor \"$REMOTE_USER\"
  countersign source hook post-receive --settings source.yaml --actor \"$REMOTE_USER\" --key s.key")]
pub(super) struct HookCommand {
    #[command(subcommand)]
    hook: Hook,
}

#[derive(Debug, Subcommand)]
enum Hook {
    PreReceive(PreReceive),
    PostReceive(Box<PostReceive>),
}

impl HookCommand {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.hook {
            Hook::PreReceive(hook) => hook.run(),
            Hook::PostReceive(hook) => hook.run(terminal),
        }
    }
}

/// What both hooks take.
#[derive(Debug, Args)]
pub(super) struct HookArgs {
    /// What is protected, and who the people are
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,
    /// Who pushes, as the server has made sure of it: the name of one of the people
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// The repository; else the one in which git runs the hook
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
}

impl HookArgs {
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        Settings::read(&self.settings)
    }

    /// Who pushes. A server that hands on an empty name knows nobody.
    pub(super) fn actor(&self) -> Option<String> {
        self.actor.clone().filter(|actor| !actor.is_empty())
    }

    pub(super) fn git(&self) -> Git {
        Git::at(&self.repository)
    }

    pub(super) fn repository(&self) -> &Path {
        &self.repository
    }

    /// What is wrong with a push, by what git says of it.
    pub(super) fn judge(
        &self,
        lines: &[Line],
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Vec<Refusal>, Failure> {
        let git = self.git();
        // Reviews may come with the change that they are of. Those that are here already count too: what was may be claimed of
        // any ref, and git finds that out only when each of them changes on its own.
        let mut noted = vec![REVIEWS];
        noted.extend(lines.iter().find(|line| line.name == REVIEWS).and_then(|line| line.new.as_deref()));
        let mut changes = Vec::with_capacity(lines.len());
        for line in lines {
            let mut change = Change {
                name: line.name.clone(),
                old: line.old.clone(),
                new: line.new.clone(),
                symbolic: git.is_symbolic(&line.name)?,
                ..Change::default()
            };
            let (protected, reviews) = (settings.rules.is_protected(&line.name), line.name == REVIEWS);
            if let (Some(old), Some(new), true) = (&line.old, &line.new, protected || reviews) {
                change.fast_forward = git.is_ancestor(old, new)?;
                if reviews && change.fast_forward {
                    change.lost = notes::lost(&git, old, new)?;
                }
            }
            if let (Some(new), true) = (&line.new, protected) {
                change.authors = authors(&git, line, settings)?;
                change.reviews = notes::reviews(&git, &noted, new, settings, now)?;
            }
            changes.push(change);
        }
        Ok(settings.rules.judge(&Push { actor: self.actor(), changes }))
    }
}

/// Judge a push: history only grows, tags stay, two people agree to each change of a protected branch
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign source hook pre-receive --settings /srv/git/source.yaml --actor \"$REMOTE_USER\"")]
struct PreReceive {
    #[command(flatten)]
    hook: HookArgs,
}

impl PreReceive {
    fn run(&self) -> Outcome {
        let settings = self.hook.settings()?;
        let refused = self.hook.judge(&lines()?, &settings, SystemClock.now())?;
        for refusal in &refused {
            say(&printable(&format!("refused: {refusal}")));
        }
        Ok(if refused.is_empty() { 0 } else { REJECTED })
    }
}

/// The addresses in all commits that would come into a branch. For a new branch, those that are in no other protected one.
fn authors(git: &Git, line: &Line, settings: &Settings) -> Result<BTreeSet<String>, Failure> {
    let mut wanted = vec!["log".to_owned(), "--format=%ae%n%ce".to_owned()];
    wanted.extend(line.new.clone());
    match &line.old {
        Some(old) => wanted.push(format!("^{old}")),
        None => {
            let all = git.line(&["for-each-ref", "--format=%(refname)", "refs/heads/"])?;
            wanted.extend(
                all.lines()
                    .filter(|name| *name != line.name && settings.rules.is_protected(name))
                    .map(|name| format!("^{name}")),
            );
        }
    }
    wanted.push("--".to_owned());
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let out = git.must(&wanted, b"")?;
    Ok(String::from_utf8_lossy(&out).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// What git says of one ref.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

/// The lines that git hands to a hook: what was, what will be, and the ref.
pub(super) fn lines() -> Result<Vec<Line>, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text);
    let read = read.map_err(|e| Failure::usage(format!("standard input: {e}")))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_INPUT {
        return Err(Failure::usage(format!("standard input: more than {MAX_INPUT} bytes")));
    }
    let lines: Vec<Line> = text.lines().map(line).collect::<Result<_, _>>()?;
    if lines.len() > MAX_CHANGES {
        return Err(Failure::usage(format!(
            "expected at most {MAX_CHANGES} refs in one push, found {}",
            lines.len()
        )));
    }
    Ok(lines)
}

fn line(text: &str) -> Result<Line, Failure> {
    let wrong =
        || Failure::usage(printable(&format!("expected OLD NEW REF as git writes it, found \"{text}\"")));
    let mut words = text.splitn(3, ' ');
    let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
        return Err(wrong());
    };
    if !is_commit(old) || !is_commit(new) || !name.starts_with("refs/") {
        return Err(wrong());
    }
    let there = |id: &str| id.bytes().any(|b| b != b'0').then(|| id.to_owned());
    Ok(Line { name: name.to_owned(), old: there(old), new: there(new) })
}

/// The refs that are written down: protected branches, and tags.
pub(super) fn is_recorded(settings: &Settings, name: &str) -> bool {
    name != ATTESTATIONS && (settings.rules.is_protected(name) || settings.rules.is_tag(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_git_writes_them() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let read = line(&format!("{zero} {one} refs/heads/main")).unwrap();
        assert_eq!(
            (read.old, read.new.as_deref(), read.name.as_str()),
            (None, Some(one.as_str()), "refs/heads/main")
        );
        for bad in ["", "a b refs/heads/main", &format!("{one} {one} main"), &format!("{one} {one}")] {
            assert!(line(bad).is_err(), "{bad}");
        }
    }
}
