//! Signed statements in notes of git: a bundle on each line.

use std::collections::{BTreeMap, BTreeSet};

use countersign_slsa::signed::{How, Signed, signed_statement};
use countersign_slsa::source::Review;
use countersign_slsa::summary::Signers;
use countersign_slsa::wire::{self, Piece};
use jiff::Timestamp;

use super::settings::Settings;
use crate::failure::Failure;
use crate::git::{Git, is_commit};
use crate::out::say;

/// The most statements of one note that are looked at; each is tried for each person.
const MAX_STATEMENTS: usize = 64;

/// The lines of a note that say something.
fn lines(note: &[u8]) -> impl Iterator<Item = &[u8]> {
    note.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// The statements in the notes on a commit, each once. `all` are refs, or commits of notes.
pub(super) fn statements(git: &Git, all: &[&str], commit: &str) -> Result<Vec<Piece>, Failure> {
    let (mut pieces, mut seen) = (Vec::new(), BTreeSet::new());
    for notes in all {
        let note = git.note(notes, commit)?.unwrap_or_default();
        for line in lines(&note) {
            if !seen.insert(line.to_vec()) {
                continue;
            }
            pieces.extend(wire::read_named(notes, line));
            if pieces.len() > MAX_STATEMENTS {
                return Err(Failure::usage(format!(
                    "{notes}: more than {MAX_STATEMENTS} statements on {commit}"
                )));
            }
        }
    }
    Ok(pieces)
}

/// The commits of which a statement was in one commit of notes and is not in another.
pub(super) fn lost(git: &Git, old: &str, new: &str) -> Result<Vec<String>, Failure> {
    let raw = git.must(&["diff-tree", "-r", "-z", "--raw", "--no-renames", old, new], b"")?;
    let raw = String::from_utf8_lossy(&raw);
    let mut fields = raw.split('\0');
    let mut changed: BTreeMap<String, [BTreeSet<&str>; 2]> = BTreeMap::new();
    while let (Some(what), Some(path)) = (fields.next(), fields.next()) {
        let mut blobs = what.split(' ').skip(2).take(2);
        let (Some(before), Some(after)) = (blobs.next(), blobs.next()) else {
            return Err(Failure::internal(format!("git diff-tree: expected two blobs, found \"{what}\"")));
        };
        let commit = path.replace('/', "");
        if is_commit(&commit) {
            let [olds, news] = changed.entry(commit).or_default();
            olds.insert(before);
            news.insert(after);
        }
    }
    let mut gone = Vec::new();
    for (commit, [before, after]) in changed {
        let is_blob = |id: &&&str| id.bytes().any(|b| b != b'0');
        // A note that is in another folder now is the same note.
        let mut left = before.difference(&after).filter(is_blob).peekable();
        if left.peek().is_none() {
            continue;
        }
        let note = git.note(new, &commit)?.unwrap_or_default();
        let there: BTreeSet<&[u8]> = lines(&note).collect();
        for blob in left {
            let was = git.must(&["cat-file", "blob", blob], b"")?;
            if lines(&was).any(|line| !there.contains(line)) {
                gone.push(commit.clone());
                break;
            }
        }
    }
    Ok(gone)
}

/// The reviews of a commit by people who are known. What does not verify is said, and counts for nothing.
pub(super) fn reviews(
    git: &Git,
    notes: &[&str],
    commit: &str,
    settings: &Settings,
    now: Timestamp,
) -> Result<Vec<Review>, Failure> {
    let mut found = Vec::new();
    for piece in statements(git, notes, commit)? {
        let mut why = "no person is known who may sign".to_owned();
        let mut taken = false;
        for (name, signers) in &settings.people {
            match signed(&piece, signers, settings, now).map(|signed| Review::of(&signed, commit, name)) {
                Ok(Ok(review)) => {
                    found.extend(review);
                    taken = true;
                    break;
                }
                Ok(Err(error)) => why = error.to_string(),
                Err(error) => why = error,
            }
        }
        if !taken {
            say(&countersign_http::text::printable(&format!("a review of {commit} does not count: {why}")));
        }
    }
    Ok(found)
}

/// A statement, if these signed it.
pub(super) fn signed(
    piece: &Piece,
    signers: &Signers,
    settings: &Settings,
    now: Timestamp,
) -> Result<Signed, String> {
    let how = How { material: &settings.material, allow_unlogged: !settings.log, now };
    signed_statement(piece, signers, how)
}
