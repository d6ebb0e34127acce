//! Signed statements in notes of git: a bundle on each line.

use countersign_slsa::signed::{How, Signed, signed_statement};
use countersign_slsa::source::Review;
use countersign_slsa::summary::Signers;
use countersign_slsa::wire::{self, Piece};
use jiff::Timestamp;

use super::settings::Settings;
use crate::failure::Failure;
use crate::git::Git;
use crate::out::say;

/// The most statements of one note that are looked at; each is tried for each person.
const MAX_STATEMENTS: usize = 64;

/// The statements in the note on a commit. `notes` is a ref, or a commit of notes.
pub(super) fn statements(git: &Git, notes: &str, commit: &str) -> Result<Vec<Piece>, Failure> {
    let Some(note) = git.note(notes, commit)? else { return Ok(Vec::new()) };
    let lines = note.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let mut pieces: Vec<Piece> = Vec::new();
    for line in lines {
        pieces.extend(wire::read_named(notes, line));
        if pieces.len() > MAX_STATEMENTS {
            return Err(Failure::usage(format!(
                "{notes}: more than {MAX_STATEMENTS} statements on {commit}"
            )));
        }
    }
    Ok(pieces)
}

/// The reviews of a commit by people who are known. What does not verify is said, and counts for nothing.
pub(super) fn reviews(
    git: &Git,
    notes: &str,
    commit: &str,
    settings: &Settings,
    now: Timestamp,
) -> Result<Vec<Review>, Failure> {
    let mut found = Vec::new();
    for piece in statements(git, notes, commit)? {
        let mut why = format!("{notes}: no person is known who may sign");
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
