//! `countersign source hook post-receive`: what was let in is written down, signed, as notes.

use std::fs::File;

use clap::Args;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::predicate::vsa;
use countersign_attestation::statement::Subject;
use countersign_attestation::{JsonError, Statement};
use countersign_client::sign::Session;
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_slsa::source::push::ATTESTATIONS;
use countersign_slsa::source::record::{SOURCE_TYPES, TAG_TYPES};
use countersign_slsa::source::{
    Control, Held, SourceRecord, control, source_predicate, summary_predicate, tag_predicate,
};
use jiff::Timestamp;
use serde_json::value::to_raw_value;

use super::hook::{HookArgs, Line, is_recorded, lines};
use super::notes;
use super::settings::Settings;
use crate::commands::sign::SigningArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::git::Git;
use crate::out::Terminal;

/// What the two hooks enforce whoever pushes.
const ENFORCED: [Control; 8] = [
    Control::RepoId,
    Control::RevisionId,
    Control::DiffDisplay,
    Control::Vsa,
    Control::History,
    Control::Continuity,
    Control::Provenance,
    Control::ProtectedRefs,
];

/// Write down what was let in: source provenance and a summary of each new revision, signed, in refs/notes/attestations
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign source hook post-receive --settings source.yaml --actor \"$REMOTE_USER\" --key s.key")]
pub(super) struct PostReceive {
    #[command(flatten)]
    hook: HookArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// A statement on a revision, and the revision.
struct Note {
    commit: String,
    statement: Statement,
}

impl PostReceive {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        let settings = self.hook.settings()?;
        let git = self.hook.git().writing_as("countersign source");
        let _lock = self.lock()?;
        let now = SystemClock.now();
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let lines = lines()?;
        // That a ref has changed is no evidence that the other hook let it: what is said of a revision was found out here.
        let refused = self.hook.judge(&lines, &settings, now)?;
        for refusal in &refused {
            terminal.talk(&printable(&format!("{} not written down: {refusal}", terminal.no())));
        }
        let is_let_in = |line: &&Line| {
            line.new.is_some()
                && is_recorded(&settings, &line.name)
                && !refused.iter().any(|refusal| refusal.name == line.name)
        };
        let mut let_in: Vec<&Line> = lines.iter().filter(is_let_in).collect();
        // A tag gets the levels of its commit, which may have come with it.
        let_in.sort_by_key(|line| settings.rules.is_tag(&line.name));
        let ended = if refused.is_empty() { 0 } else { REJECTED };
        if let_in.is_empty() {
            return Ok(ended);
        }
        let written = self.signing.with_session(terminal, async |session: &Session<'_>, _: &_| {
            let mut written = 0_usize;
            for line in &let_in {
                for note in self.record(&git, line, &settings, now)? {
                    let payload = note.statement.to_json().map_err(|e| Failure::internal(e.to_string()))?;
                    let signed = session.sign_payload(IN_TOTO_PAYLOAD_TYPE, payload).await?;
                    git.append_note(ATTESTATIONS, &note.commit, &signed.json)?;
                    written += 1;
                }
            }
            Ok(written)
        })?;
        terminal.talk(&format!("{written} statements written to {ATTESTATIONS}"));
        Ok(ended)
    }

    /// One hook after the other: a note is read, made longer and written.
    fn lock(&self) -> Result<File, Failure> {
        let git = self.hook.git();
        let directory = git.line(&["rev-parse", "--absolute-git-dir"])?;
        let path = self.hook.repository().join(directory).join("countersign-source.lock");
        let failed = |e: std::io::Error| Failure::internal(format!("{}: {e}", path.display()));
        let file = File::create(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    /// The statements on what a ref is now.
    fn record(
        &self,
        git: &Git,
        line: &Line,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Vec<Note>, Failure> {
        let Some(new) = &line.new else { return Ok(Vec::new()) };
        let Some(commit) = git.commit(new)? else { return Ok(Vec::new()) };
        let wrong = |e: JsonError| Failure::internal(e.to_string());
        let actor = self.hook.actor().unwrap_or_default();
        let repository = settings.rules.repository.as_str();
        if settings.rules.is_tag(&line.name) {
            let found = own(git, &commit, settings, now)?;
            let ours = found.iter().filter(|record| record.repository == repository);
            let words: Vec<String> =
                ours.flat_map(|record| &record.levels).map(ToString::to_string).collect();
            let predicate =
                tag_predicate(repository, &line.name, &actor, &words, &self.hold(settings, &[], now), now);
            let predicate = to_raw_value(&predicate).map_err(|e| Failure::internal(e.to_string()))?;
            let statement =
                Statement::new(vec![subject(repository, &commit, &line.name)], TAG_TYPES[0], predicate)
                    .map_err(wrong)?;
            return Ok(vec![Note { commit, statement }]);
        }
        let before = match &line.old {
            None => Vec::new(),
            Some(old) => own(git, old, settings, now)?,
        };
        // A gap of one revision, or another branch or repository, is a new beginning.
        let before =
            before.into_iter().find(|record| record.branch == line.name && record.repository == repository);
        let before = before.map(|record| record.held).unwrap_or_default();
        let held = self.hold(settings, &before, now);
        let old = line.old.as_deref().unwrap_or_default();
        let provenance = source_predicate(repository, &line.name, &actor, old, &held, now);
        let provenance = to_raw_value(&provenance).map_err(|e| Failure::internal(e.to_string()))?;
        let level = control::level(|one| held.iter().any(|held| held.name == one.name()));
        let mut words: Vec<String> = Vec::new();
        if level > 0 {
            words.push(format!("SLSA_SOURCE_LEVEL_{level}"));
        }
        words.extend(held.iter().map(|held| held.name.clone()));
        let policy = format!("{}#settings", settings.verifier);
        let summary =
            summary_predicate(&settings.verifier, repository, &policy, &words, now).map_err(wrong)?;
        let of = |kind: &str, predicate| -> Result<Note, Failure> {
            let subject = subject(repository, &commit, &line.name);
            let statement = Statement::new(vec![subject], kind, predicate).map_err(wrong)?;
            Ok(Note { commit: commit.clone(), statement })
        };
        Ok(vec![of(SOURCE_TYPES[0], provenance)?, of(vsa::V1, summary)?])
    }

    /// What holds now, and since when.
    fn hold(&self, settings: &Settings, before: &[Held], now: Timestamp) -> Vec<Held> {
        let mut holds: Vec<Control> = ENFORCED.into();
        let actor = self.hook.actor();
        if actor.is_some_and(|actor| settings.rules.people.iter().any(|person| person.name == actor)) {
            holds.push(Control::Identity);
        }
        if settings.rules.reviewers > 0 {
            holds.push(Control::TwoPartyReview);
        }
        holds.extend(&settings.organisation);
        control::carried(&holds, before, now)
    }
}

/// The commit, with the ref that it is of.
fn subject(repository: &str, commit: &str, name: &str) -> Subject {
    Subject {
        name: repository.to_owned(),
        digest: [("gitCommit".to_owned(), commit.to_owned())].into(),
        annotations: [("sourceRefs".to_owned(), serde_json::json!([name]))].into(),
    }
}

/// What the server itself has said of a commit before.
fn own(git: &Git, commit: &str, settings: &Settings, now: Timestamp) -> Result<Vec<SourceRecord>, Failure> {
    let mut records = Vec::new();
    for piece in notes::statements(git, &[ATTESTATIONS], commit)? {
        let Ok(signed) = notes::signed(&piece, &settings.server, settings, now) else { continue };
        if !signed.is_about("gitCommit", commit) {
            continue;
        }
        let kind = signed.statement.predicate_type.clone();
        let record = SourceRecord::from_json(&kind, signed.predicate(), &signed.signer, &signed.sha256);
        records.extend(record.ok().flatten());
    }
    Ok(records)
}
