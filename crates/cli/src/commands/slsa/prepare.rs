//! What verification needs before it begins: roots of trust, trust material, the provenance of an artifact.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_client::ClientError;
use countersign_client::artifact::read_limited;
use countersign_client::image::{Images, Place};
use countersign_client::provenance;
use countersign_client::trust::Trust;
use countersign_client::verify::{Artifact, material, with_subject};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::{Digest, HashAlgorithm};
use countersign_keys::{KeyRef, load_public_key};
use countersign_registry::Reference;
use countersign_slsa::roots::MAX_ROOTS_LEN;
use countersign_slsa::wire::Piece;
use countersign_slsa::{Expectations, Report, Roots, TrustedBuilders, Verifier};
use countersign_verify::{Subject, TrustMaterial};

use crate::args::registry::{Named, RegistryArgs};
use crate::args::revocation::RevocationArgs;
use crate::args::services::TrustArgs;
use crate::failure::{Failure, TRUST};
use crate::out::{Terminal, block_on};

/// The most statements that are looked at beside one image.
const MAX_EVIDENCE: usize = 100;

/// Arguments about what was revoked, and about asking.
#[derive(Debug, Args)]
pub(crate) struct RevokedArgs {
    /// Ask nobody: not even the instance whether its revocation list is a newer one than the kept one
    #[arg(long, help_heading = "Trust")]
    offline: bool,
    #[command(flatten)]
    revocation: RevocationArgs,
}

/// Roots, material and expectations, ready for many artifacts.
#[derive(Debug)]
pub(super) struct Prepared {
    builders: TrustedBuilders,
    /// The digest of their file, if they are of one.
    pub(super) roots: Option<Digest>,
    material: TrustMaterial,
    expectations: Expectations,
    /// Where certificates stand in no CT log, and the person accepts provenance in no log.
    without_sct: bool,
}

/// What came of one artifact.
pub(super) struct Judged {
    /// The artifact; an image by its digest.
    pub(super) title: String,
    /// Its digest, for who writes about it.
    pub(super) digest: Digest,
    pub(super) report: Report,
}

/// Roots of a file with its digest, else those of the public builders.
fn builders(file: Option<&Path>) -> Result<(TrustedBuilders, Option<Digest>), Failure> {
    let Some(file) = file else {
        let none = |_: &str| Err("the public builders sign with no key".to_owned());
        let public = Roots::public().ready(none).map_err(|e| Failure::internal(e.to_string()))?;
        return Ok((public, None));
    };
    let wrong = |e: &dyn std::fmt::Display| Failure::new(TRUST, format!("{}: {e}", file.display()));
    let text =
        String::from_utf8(read_limited(file, MAX_ROOTS_LEN)?).map_err(|_| wrong(&"expected UTF-8 text"))?;
    let key = |text: &str| {
        // A key beside the roots is found wherever the command is run.
        let reference = match KeyRef::parse(text).map_err(|e| e.to_string())? {
            KeyRef::File(path) => KeyRef::File(file.parent().unwrap_or(Path::new("")).join(path)),
            other => other,
        };
        load_public_key(&reference).map(|key| vec![key]).map_err(|e| e.to_string())
    };
    let read = Roots::read(&text).and_then(|roots| roots.ready(key)).map_err(|e| wrong(&e))?;
    Ok((read, Some(HashAlgorithm::Sha256.digest(text.as_bytes()))))
}

/// The trust root, with what was revoked. Where only keys are trusted and no log is asked for, there need be none.
pub(super) fn trust(
    terminal: &Terminal,
    trust: &TrustArgs,
    revoked: &RevokedArgs,
    needs_none: bool,
) -> Result<Trust, Failure> {
    if !revoked.offline {
        trust.refresh_revocations(terminal)?;
    }
    let mut found = match trust.load(None) {
        Ok(found) => found,
        Err(failure) if needs_none && failure.code == TRUST && trust.names_none() => Trust::nobody(),
        Err(failure) => return Err(failure),
    };
    found.revocations.extend(revoked.revocation.load(trust)?);
    Ok(found)
}

impl Prepared {
    pub(super) fn new(
        terminal: &Terminal,
        of_trust: &TrustArgs,
        revoked: &RevokedArgs,
        roots: Option<&Path>,
        expectations: Expectations,
    ) -> Result<Self, Failure> {
        let (builders, roots) = builders(roots)?;
        let only_keys = builders.identities().is_empty();
        let unlogged = expectations.allow_unlogged || builders.roots().all(|root| root.unlogged);
        let trust = trust(terminal, of_trust, revoked, only_keys && unlogged)?;
        let without_sct = expectations.allow_unlogged && trust.root.ctlogs.is_empty();
        Ok(Self { builders, roots, material: material(&trust)?, expectations, without_sct })
    }

    fn verifier(&self) -> Result<Verifier<'_>, Failure> {
        let made = Verifier::new(&self.builders, &self.material, &self.expectations, self.without_sct);
        made.map_err(|e| ClientError::from(e).into())
    }

    pub(super) fn material(&self) -> &TrustMaterial {
        &self.material
    }

    /// Verifies a file or a digest by these statements.
    pub(super) fn artifact(&self, artifact: &Artifact, pieces: &[Piece]) -> Result<Report, Failure> {
        Ok(self.digested(artifact, pieces)?.1)
    }

    /// The same, with the digest of what was verified: read again, a file may be another one by then.
    fn digested(&self, artifact: &Artifact, pieces: &[Piece]) -> Result<(Digest, Report), Failure> {
        let verifier = self.verifier()?;
        let (digest, report) = with_subject(artifact, |subject| {
            let digest = HashAlgorithm::ALL.into_iter().find_map(|algorithm| subject.digest(algorithm));
            (digest, verifier.verify(subject, pieces, SystemClock.now()))
        })?;
        Ok((digest.ok_or_else(|| Failure::internal("no digest was made"))?, report))
    }

    /// Verifies a file by the provenance beside it, or that of the named files; an image by what its registry has.
    pub(super) fn named(
        &self,
        terminal: &Terminal,
        text: &str,
        files: &[PathBuf],
        registry: &RegistryArgs,
    ) -> Result<Judged, Failure> {
        let name = match Named::read(text)? {
            Named::Image(reference) => {
                let images = registry.images([&*reference])?;
                return self.image(terminal, &reference, files, &images);
            }
            Named::File(name) => name,
        };
        let artifact = Artifact::parse(&name);
        let pieces = match (&artifact, files) {
            (Artifact::File(path), []) => {
                crate::commands::cosign_sign::there(path)?;
                match provenance::beside(path) {
                    Ok(files) => provenance::read(&files)?,
                    Err(error) => return Err(error.into()),
                }
            }
            (Artifact::Digest(_), []) => {
                return Err(Failure::usage(
                    "a digest says nothing about where its provenance is: give --provenance",
                ));
            }
            (_, files) => provenance::read(files)?,
        };
        let (digest, report) = self.digested(&artifact, &pieces)?;
        Ok(Judged { title: name, digest, report })
    }

    /// Verifies an image by what its registry has, or by the provenance of the named files.
    pub(super) fn image(
        &self,
        terminal: &Terminal,
        reference: &Reference,
        files: &[PathBuf],
        images: &Images,
    ) -> Result<Judged, Failure> {
        let (digest, pieces) = block_on(terminal, async {
            let (home, evidence) = (images.home(reference), images.evidence(reference));
            let place = Place { image: &home, evidence: &evidence, name: &reference.name() };
            let digest = place.digest().await?;
            // Where files are named, nothing beside the image counts, and nobody needs to be asked for it.
            let pieces = match files {
                [] => provenance::of_image(&evidence, &digest, MAX_EVIDENCE).await?,
                files => provenance::read(files)?,
            };
            Ok((digest, pieces))
        })?;
        let report = self.verifier()?.verify(&Subject::from_digest(digest), &pieces, SystemClock.now());
        Ok(Judged { title: reference.at(digest).to_string(), digest, report })
    }
}
