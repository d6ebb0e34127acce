//! The evidence of an assessment, brought together and verified.

use std::path::PathBuf;

use countersign_client::artifact::{hash_file, read_limited};
use countersign_client::trust::Trust;
use countersign_client::verify::{Artifact, Who, material};
use countersign_crypto::{Digest, HashAlgorithm};
use countersign_keys::{KeyRef, load_public_key};
use countersign_policy::bundle_of;
use countersign_registry::evidence::{Form, Found};
use countersign_slsa::assess::{ASSERTION_TYPE, Assertion, Attested, Evidence, Sought};
use countersign_slsa::signed::{How, Signed, signed_statement};
use countersign_slsa::source::{SourceRecord, push};
use countersign_slsa::summary::Signers;
use countersign_slsa::wire::{self, Piece};
use countersign_slsa::{Build, Expectations, Roots, TrustedBuilders, Verifier};
use countersign_verify::{Subject, TrustMaterial};
use jiff::Timestamp;

use super::{Assess, named, utf8};
use crate::args::registry::Named;
use crate::commands::download;
use crate::failure::{Failure, TRUST};
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
        let mut pieces = read_all(&self.provenance)?;
        let mut looked = !self.provenance.is_empty();
        let digests = match &self.artifact {
            None => {
                let files: Vec<String> =
                    self.workflow.iter().map(|path| path.display().to_string()).collect();
                evidence.subject = files.join(", ");
                Vec::new()
            }
            Some(text) => {
                evidence.subject.clone_from(text);
                match Named::read(text)? {
                    Named::File(file) => match Artifact::parse(&file) {
                        Artifact::Digest(digest) => vec![digest],
                        Artifact::File(path) => hash_file(&path, &HashAlgorithm::ALL)?.digests,
                    },
                    Named::Image(_) => {
                        let forms = [Form::Bundle, Form::InToto, Form::CosignAttestation];
                        let (digest, found) = download::fetch(terminal, &self.registry, text, None, &forms)?;
                        looked = true;
                        pieces.extend(found.iter().filter_map(piece));
                        vec![digest]
                    }
                }
            }
        };
        evidence.digest = named(digests.iter().copied());
        let material = self.material(terminal)?;
        if looked {
            evidence.provenance = self.provenance_of(&digests, &pieces, &material, now)?;
        }
        evidence.clone = self.clone.look(evidence)?;
        self.statements(evidence, &material, now)
    }

    /// Whom to trust. Where nothing is to be verified, nobody.
    fn material(&self, terminal: &Terminal) -> Result<TrustMaterial, Failure> {
        if self.artifact.is_none() && self.clone.git().is_none() {
            return Ok(TrustMaterial::empty());
        }
        let trust = match self.trust.load(None) {
            Ok(trust) => {
                self.trust.refresh_revocations(terminal)?;
                trust
            }
            // Keys say whom to trust when no log is asked for.
            Err(failure) if failure.code == TRUST && self.insecure_ignore_tlog => Trust::nobody(),
            Err(failure) => return Err(failure),
        };
        Ok(material(&trust)?)
    }

    fn builders(&self) -> Result<TrustedBuilders, Failure> {
        let roots = match &self.roots {
            None => Roots::public(),
            Some(path) => {
                let text = utf8(path, countersign_slsa::roots::MAX_ROOTS_LEN)?;
                Roots::read(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?
            }
        };
        let keys = |text: &str| -> Result<Vec<countersign_crypto::PublicKey>, String> {
            let reference = KeyRef::parse(text).map_err(|e| e.to_string())?;
            load_public_key(&reference).map(|key| vec![key]).map_err(|e| e.to_string())
        };
        roots.ready(keys).map_err(|e| Failure::usage(e.to_string()))
    }

    fn provenance_of(
        &self,
        digests: &[Digest],
        pieces: &[Piece],
        material: &TrustMaterial,
        now: Timestamp,
    ) -> Result<Sought<Attested>, Failure> {
        let builders = self.builders()?;
        let expectations = Expectations {
            // A builder that the roots do not name is shown, and believed nothing.
            level: Some(1),
            allow_unlogged: self.insecure_ignore_tlog,
            ..Expectations::default()
        };
        let verifier = Verifier::new(&builders, material, &expectations, false)
            .map_err(|e| Failure::usage(e.to_string()))?;
        let subject = Subject::from_digests(digests.iter().copied());
        let report = verifier.verify(&subject, pieces, now);
        let (mut verified, mut refused) = (Vec::new(), Vec::new());
        for attempt in report.attempts() {
            match attempt.verified() {
                Ok(build) => verified.extend(attested(build)),
                Err(refusal) => refused.push(format!("{}: {refusal}", attempt.place)),
            }
        }
        Ok(Sought::Found { verified, refused })
    }

    /// The other statements: those in files, and those in the notes of the clone.
    fn statements(
        &self,
        evidence: &mut Evidence,
        material: &TrustMaterial,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let commit = evidence.clone.as_ref().map(|clone| clone.commit.clone());
        let mut pieces = read_all(&self.statement)?;
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
        let who = self.identity.who(false);
        // Notes that nobody was named for are passed over; files were given to be heard.
        let signers = match who {
            Ok(Who::Keys(keys)) => Signers::Keys(keys),
            Ok(Who::Identities(identities)) => Signers::Identities(identities),
            Err(failure) if !self.statement.is_empty() => return Err(failure),
            Err(_) => return Ok(()),
        };
        let how = How { material, allow_unlogged: self.insecure_ignore_tlog, now };
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
        evidence.source = Sought::Found { verified: records, refused };
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

fn read_all(paths: &[PathBuf]) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    for path in paths {
        let bytes = read_limited(path, wire::MAX_DOCUMENT_LEN)?;
        pieces.extend(wire::read_named(&path.display().to_string(), &bytes));
    }
    Ok(pieces)
}

/// A statement beside an image.
fn piece(found: &Found) -> Option<Piece> {
    let place = format!("beside the image, {}", found.layer.digest);
    Some(Piece { document: None, place, bundle: bundle_of(found)? })
}
