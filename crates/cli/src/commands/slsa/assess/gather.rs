//! The evidence of an assessment, brought together and verified.

use countersign_client::ClientError;
use countersign_client::artifact::hash_file;
use countersign_client::provenance;
use countersign_client::verify::{Artifact, Who, material};
use countersign_crypto::HashAlgorithm;
use countersign_slsa::assess::{ASSERTION_TYPE, Assertion, Attested, Evidence, Sought};
use countersign_slsa::signed::{How, Signed, signed_statement};
use countersign_slsa::source::{SourceRecord, push};
use countersign_slsa::summary::Signers;
use countersign_slsa::{Build, Expectations, Report, wire};
use jiff::Timestamp;

use super::super::prepare::{self, Prepared};
use super::{Assess, named};
use crate::args::registry::Named;
use crate::failure::Failure;
use crate::out::Terminal;

/// The property of a summary by which somebody says that they have built it too.
const REPRODUCED: &str = "SLSA_BUILD_REPRODUCED";

impl Assess {
    /// Fills in what is known of the artifact.
    pub(super) fn gather(
        &self,
        terminal: &Terminal,
        evidence: &mut Evidence,
        now: Timestamp,
    ) -> Result<(), Failure> {
        match &self.artifact {
            None => {
                let files: Vec<String> =
                    self.workflow.iter().map(|path| path.display().to_string()).collect();
                evidence.subject = files.join(", ");
            }
            Some(text) => {
                evidence.subject.clone_from(text);
                match Named::read(text)? {
                    Named::File(file) => self.file(terminal, &file, evidence)?,
                    Named::Image(reference) => {
                        let images = self.registry.images([&*reference])?;
                        let found = self.prepared(terminal)?.image(
                            terminal,
                            &reference,
                            &self.provenance,
                            &images,
                        )?;
                        evidence.subject = found.title;
                        evidence.digest = named([found.digest]);
                        evidence.provenance = sought(&found.report);
                    }
                }
            }
        }
        evidence.clone = self.clone.look(evidence)?;
        self.statements(terminal, evidence, now)
    }

    fn prepared(&self, terminal: &Terminal) -> Result<Prepared, Failure> {
        let expectations = Expectations {
            // A builder that the roots do not name is shown, and believed nothing.
            level: Some(1),
            allow_unlogged: self.insecure_ignore_tlog,
            ..Expectations::default()
        };
        Prepared::new(terminal, &self.trust, &self.revoked, self.roots.as_deref(), expectations)
    }

    /// A file with the provenance that is named or lies beside it, or a digest.
    fn file(&self, terminal: &Terminal, name: &str, evidence: &mut Evidence) -> Result<(), Failure> {
        let artifact = Artifact::parse(name);
        let (digests, beside) = match &artifact {
            Artifact::Digest(digest) => (vec![*digest], None),
            Artifact::File(path) => {
                let found = match provenance::beside(path) {
                    Ok(found) => found,
                    Err(ClientError::NoSignature(_)) => Vec::new(),
                    Err(error) => return Err(error.into()),
                };
                (hash_file(path, &HashAlgorithm::ALL)?.digests, Some(found))
            }
        };
        evidence.digest = named(digests);
        let files = if self.provenance.is_empty() { beside } else { Some(self.provenance.clone()) };
        // Where nobody could look for provenance of a digest, nothing was found out.
        let Some(files) = files else { return Ok(()) };
        evidence.provenance = match provenance::read(&files)?.as_slice() {
            [] => Sought::Found { verified: Vec::new(), refused: Vec::new() },
            pieces => sought(&self.prepared(terminal)?.artifact(&artifact, pieces)?),
        };
        Ok(())
    }

    /// The other statements: those in files, and those in the notes of the clone.
    fn statements(
        &self,
        terminal: &Terminal,
        evidence: &mut Evidence,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let commit = evidence.clone.as_ref().map(|clone| clone.commit.clone());
        let mut pieces = provenance::read(&self.statement)?;
        let noted = match (self.clone.git(), &commit) {
            (Some(git), Some(commit)) => git.note(push::ATTESTATIONS, commit)?,
            _ => None,
        };
        if let Some(noted) = &noted {
            for line in noted.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                pieces.extend(wire::read_named(push::ATTESTATIONS, line));
            }
        }
        if pieces.is_empty() {
            return Ok(());
        }
        // Notes that nobody was named for are passed over; files were given to be heard.
        if self.identity.names_nobody() && self.statement.is_empty() {
            return Ok(());
        }
        let signers = match self.identity.who(false)? {
            Who::Keys(keys) => Signers::Keys(keys),
            Who::Identities(identities) => Signers::Identities(identities),
        };
        let needs_none = self.identity.by_key() && self.insecure_ignore_tlog;
        let trust = prepare::trust(terminal, &self.trust, &self.revoked, needs_none)?;
        let material = material(&trust)?;
        let how = How { material: &material, allow_unlogged: self.insecure_ignore_tlog, now };
        let (mut records, mut refused) = (Vec::new(), Vec::new());
        for piece in &pieces {
            let taken = signed_statement(piece, &signers, how).and_then(|signed| {
                take(&signed, commit.as_deref(), evidence).map_err(|e| format!("{}: {e}", piece.place))
            });
            match taken {
                Ok(record) => records.extend(record),
                Err(why) => refused.push(why),
            }
        }
        // Somebody's own word on rows is nothing that a source control system says.
        if noted.is_some() || !records.is_empty() || !refused.is_empty() {
            evidence.source = Sought::Found { verified: records, refused };
        }
        Ok(())
    }
}

/// Takes a verified statement for what it is; gives what it says of the source.
fn take(
    signed: &Signed,
    commit: Option<&str>,
    evidence: &mut Evidence,
) -> Result<Option<SourceRecord>, String> {
    let kind = signed.statement.predicate_type.as_str();
    let ours = evidence.digest.iter().any(|(name, hex)| signed.is_about(name, hex));
    if kind == ASSERTION_TYPE {
        if !ours {
            return Err("the self-assessment is about another artifact".into());
        }
        let read = Assertion::from_json(signed.predicate(), &signed.signer, &signed.sha256);
        evidence.assertions.push(read.map_err(|e| e.to_string())?);
        return Ok(None);
    }
    let record = SourceRecord::from_json(kind, signed.predicate(), &signed.signer, &signed.sha256);
    let record =
        record.map_err(|e| e.to_string())?.ok_or_else(|| format!("{kind} says nothing for an assessment"))?;
    if record.levels.iter().any(|word| word.to_string() == REPRODUCED) && ours {
        evidence.rebuilt = Some((signed.sha256.clone(), signed.signer.clone()));
        return Ok(None);
    }
    match commit {
        Some(commit) if signed.is_about("gitCommit", commit) => {}
        _ => return Err("it is about another revision".into()),
    }
    let source = evidence.best().and_then(|best| best.provenance.source.as_ref());
    if let Some(source) = source
        && !countersign_slsa::git::same_repository(&source.uri, &record.repository)
    {
        return Err(format!(
            "it is about the repository {}, and the source is {}",
            record.repository, source.uri
        ));
    }
    Ok(Some(record))
}

fn attested(build: &Build) -> Option<Attested> {
    Some(Attested {
        statement: build.statement_digest.to_hex(),
        signer: build.signer(),
        level: build.root.is_some().then_some(build.level),
        timed: build.is_logged || !build.verified.times().is_empty(),
        provenance: build.provenance.clone()?,
    })
}

/// What was found of provenance, as far as it verifies.
fn sought(report: &Report) -> Sought<Attested> {
    let (mut verified, mut refused) = (Vec::new(), Vec::new());
    for attempt in report.attempts() {
        match attempt.verified() {
            Ok(build) => verified.extend(attested(build)),
            Err(refusal) => refused.push(format!("{}: {refusal}", attempt.place)),
        }
    }
    Sought::Found { verified, refused }
}
