//! `countersign source approve`: a reviewer signs that a revision may go into a branch, or that it may not.

use std::path::PathBuf;

use clap::Args;
use countersign_attestation::Statement;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::predicate::code_review::{CodeReview, Opinion, TYPE};
use countersign_attestation::predicate::small::Predicate as _;
use countersign_attestation::statement::Subject;
use countersign_client::sign::Session;
use countersign_clock::{Clock as _, SystemClock};
use countersign_slsa::source::push::REVIEWS;

use crate::commands::sign::SigningArgs;
use crate::failure::{Failure, Outcome};
use crate::git::Git;
use crate::out::Terminal;

/// Sign that a revision may go into a branch, as a note to be pushed with it
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign source approve HEAD --repository git+https://git.example/shop --branch refs/heads/main
  countersign source approve topic --repository git+https://git.example/shop \\
    --branch refs/heads/main --key bob.key --no-tlog
  countersign source approve topic --reject --repository git+https://git.example/shop \\
    --branch refs/heads/main
  git push origin refs/notes/reviews",
    after_help = "Fetch the notes of others first: git fetch origin refs/notes/reviews:refs/notes/reviews. What is signed is the revision in \
full: a change of one letter is another one, and needs another approval."
)]
pub(super) struct Approve {
    /// The revision: what is to become the tip of the branch
    #[arg(value_name = "REVISION")]
    revision: String,
    /// The repository, as the server's settings name it
    #[arg(long, value_name = "URI")]
    repository: String,
    /// The branch that it may go into, in full
    #[arg(long, value_name = "REF")]
    branch: String,
    /// Sign that it may not
    #[arg(long)]
    reject: bool,
    /// Say something more
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    /// The clone
    #[arg(long, value_name = "DIR", default_value = ".")]
    clone: PathBuf,
    #[command(flatten)]
    signing: SigningArgs,
}

impl Approve {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        if !self.branch.starts_with("refs/heads/") {
            return Err(Failure::usage(format!(
                "--branch: expected a whole name such as refs/heads/main, found \"{}\"",
                self.branch
            )));
        }
        let git = Git::at(&self.clone);
        let commit = git.commit(&self.revision)?.ok_or_else(|| {
            Failure::usage(format!("there is no commit \"{}\" in {}", self.revision, self.clone.display()))
        })?;
        let review = CodeReview {
            repository: self.repository.clone(),
            branch: self.branch.clone(),
            verdict: if self.reject { Opinion::Rejected } else { Opinion::Approved },
            comment: self.comment.clone(),
            authors: Vec::new(),
            reviewers: Vec::new(),
            reviewed_on: Some(SystemClock.now()),
        };
        let usage = |e: countersign_attestation::JsonError| Failure::usage(e.to_string());
        let subject = Subject {
            name: self.repository.clone(),
            digest: [("gitCommit".to_owned(), commit.clone())].into(),
            ..Subject::default()
        };
        let statement =
            Statement::new(vec![subject], TYPE, review.to_json().map_err(usage)?).map_err(usage)?;
        let payload = statement.to_json().map_err(usage)?;
        let signed = self.signing.with_session(terminal, async |session: &Session<'_>, _: &_| {
            Ok(session.sign_payload(IN_TOTO_PAYLOAD_TYPE, payload).await?)
        })?;
        git.append_note(REVIEWS, &commit, &signed.json)?;
        let said = if self.reject { "rejected" } else { "approved" };
        terminal.talk(&format!(
            "{} {said} {commit} for {}; to let the server know:",
            terminal.yes(),
            self.branch
        ));
        terminal.line(&format!("git push origin {REVIEWS}"))?;
        Ok(0)
    }
}
