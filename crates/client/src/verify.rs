//! Verifying on a user's machine: what is expected, an artifact, a bundle, and the engine's report. Opens no socket.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use countersign_bundle::{Bundle, BundleError, legacy};
use countersign_crypto::{Digest, HashAlgorithm, PublicKey};
use countersign_verify::{
    Identity, Matcher, Report, Requirements, RequirementsError, Subject, TrustMaterial, verify,
};
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::ClientError;
use crate::artifact::{hash_file, read_limited};
use crate::fulcio::IssuedCertificate;
use crate::trust::{Trust, own_authority};

/// The largest bundle read, in bytes.
const MAX_BUNDLE: usize = 32 << 20;
/// Artifacts up to this many bytes are in memory while they are verified, so that signatures which need them
/// whole (pure Ed25519) can be checked; larger ones are hashed as a stream.
const IN_MEMORY: u64 = 64 << 20;

impl From<RequirementsError> for ClientError {
    fn from(error: RequirementsError) -> Self {
        Self::Usage(countersign_http::text::printable(&error.to_string()))
    }
}

/// Who may have signed.
#[derive(Debug, Clone)]
pub enum Who {
    /// One of these identities.
    Identities(Vec<Identity>),
    /// One of these keys.
    Keys(Vec<PublicKey>),
}

/// What is expected of a signature. Counts are of authorities, not of items.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// Who may have signed. Never empty, or nothing verifies.
    pub who: Who,
    /// Transparency logs.
    pub logs: usize,
    /// Timestamp authorities.
    pub timestamps: usize,
    /// CT logs; for identities only.
    pub scts: usize,
    /// Witnesses.
    pub witnesses: usize,
    /// What must be said of the artifact.
    pub says: Says,
    /// Annotations which must be signed along: name and value.
    pub annotations: Vec<(String, String)>,
    /// Whether the time of verification stands in where nobody says when it was signed: for certificates of an
    /// authority of one's own, which live longer than minutes.
    pub now_as_time: bool,
}

/// What must be said of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Whatever it is.
    Anything,
    /// That it is signed as such; a statement about it is not enough.
    Signed,
    /// A statement of one of these types. Never empty, or nothing verifies.
    OneOf(Vec<String>),
    /// Nothing: the payload, of this type, is itself what is verified, whatever it is about.
    Document(String),
}

impl Expectations {
    /// The defaults: one log, one CT log, as many timestamps as the time of signing needs.
    #[must_use]
    pub fn of(who: Who) -> Self {
        Self {
            who,
            logs: 1,
            timestamps: 0,
            scts: 1,
            witnesses: 0,
            says: Says::Anything,
            annotations: Vec::new(),
            now_as_time: false,
        }
    }

    /// As the engine wants them.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when nobody is named who may have signed, or a text is empty.
    pub fn requirements(&self) -> Result<Requirements, ClientError> {
        macro_rules! common {
            ($builder:expr) => {{
                let mut builder = $builder;
                builder =
                    if self.logs == 0 { builder.dangerous_without_log() } else { builder.logs(self.logs)? };
                if self.timestamps > 0 {
                    builder = builder.timestamps(self.timestamps)?;
                }
                if self.witnesses > 0 {
                    builder = builder.witnesses(self.witnesses)?;
                }
                match &self.says {
                    Says::Anything => {}
                    Says::Signed => builder = builder.signature_of_artifact(),
                    Says::Document(kind) => builder = builder.payload_type(kind)?,
                    Says::OneOf(types) if types.is_empty() => {
                        return Err(ClientError::Usage("no type of statement is named".into()));
                    }
                    Says::OneOf(types) => {
                        for uri in types {
                            builder = builder.predicate_type(uri)?;
                        }
                    }
                }
                for (name, value) in &self.annotations {
                    builder = builder.annotation(name, value)?;
                }
                builder
            }};
        }
        let nobody = || ClientError::Usage("nobody is named who may have signed".into());
        match &self.who {
            Who::Identities(identities) => {
                let (first, rest) = identities.split_first().ok_or_else(nobody)?;
                let mut builder = Requirements::builder().identity(first.clone());
                for identity in rest {
                    builder = builder.identity(identity.clone());
                }
                builder =
                    if self.scts == 0 { builder.dangerous_without_sct() } else { builder.scts(self.scts)? };
                if self.now_as_time {
                    builder = builder.dangerous_now_as_time();
                }
                Ok(common!(builder).build())
            }
            Who::Keys(keys) => {
                let (first, rest) = keys.split_first().ok_or_else(nobody)?;
                let mut builder = Requirements::builder().key(first.clone());
                for key in rest {
                    builder = builder.key(key.clone());
                }
                Ok(common!(builder).build())
            }
        }
    }
}

/// An artifact to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// A file; `-` is standard input.
    File(PathBuf),
    /// Only its digest is known.
    Digest(Digest),
}

impl Artifact {
    /// Reads an argument: `sha256:<hex>` is a digest unless there is such a file, everything else a path.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let prefixed = HashAlgorithm::ALL.iter().any(|a| text.starts_with(&format!("{}:", a.name())));
        match Digest::parse(text) {
            Ok(digest) if prefixed && !Path::new(text).exists() => Self::Digest(digest),
            _ => Self::File(PathBuf::from(text)),
        }
    }
}

/// Reads a bundle's file, cosign's older one for blobs too, and says what is wrong with it as a report, or that there
/// is none.
///
/// # Errors
/// [`ClientError::NoSignature`] when there is no such file, [`ClientError::File`] when it cannot be read.
pub fn read_bundle(path: &Path) -> Result<Result<Bundle, BundleError>, ClientError> {
    if path != Path::new("-") && !path.exists() {
        return Err(ClientError::NoSignature(format!("{} is not there", path.display())));
    }
    let bytes = read_limited(path, MAX_BUNDLE)?;
    Ok(Bundle::from_json(&bytes).or_else(|error| legacy::from_blob_bundle(&bytes).map_err(|_| error)))
}

/// The engine's trust material of a trust root, with what was revoked.
///
/// # Errors
/// [`ClientError::Trust`].
pub fn material(trust: &Trust) -> Result<TrustMaterial, ClientError> {
    let material = TrustMaterial::from_trusted_root(&trust.root).map_err(|e| {
        ClientError::Trust(format!("{}: {}", trust.from, countersign_http::text::printable(&e.to_string())))
    })?;
    Ok(trust.revocations.iter().cloned().fold(material, TrustMaterial::with_revocations))
}

/// Verifies an artifact against a bundle.
///
/// # Errors
/// [`ClientError::File`] when the artifact cannot be read. That it does not verify is in the report.
pub fn verify_artifact(
    artifact: &Artifact,
    bundle: &Bundle,
    trust: &TrustMaterial,
    requirements: &Requirements,
    now: Timestamp,
) -> Result<Report, ClientError> {
    with_subject(artifact, |subject| verify(subject, bundle, trust, requirements, now))
}

/// Does something with an artifact as the engine knows it: in memory when it is small enough, else by its digests.
///
/// # Errors
/// [`ClientError::File`] when it cannot be read.
pub fn with_subject<T>(artifact: &Artifact, work: impl FnOnce(&Subject<'_>) -> T) -> Result<T, ClientError> {
    let path = match artifact {
        Artifact::Digest(digest) => return Ok(work(&Subject::from_digest(*digest))),
        Artifact::File(path) => path,
    };
    let length = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
    if length.is_some_and(|length| length <= IN_MEMORY) {
        let bytes = read_limited(path, usize::try_from(IN_MEMORY).unwrap_or(usize::MAX))?;
        return Ok(work(&Subject::from_bytes(&bytes)));
    }
    // All algorithms in one reading: standard input comes once.
    let found = hash_file(path, &HashAlgorithm::ALL)?;
    Ok(work(&Subject::from_digests(found.digests)))
}

/// Who made a signature that is to be checked before it is written.
#[derive(Debug)]
pub(crate) enum OwnSigner<'a> {
    /// A key.
    Key(&'a PublicKey),
    /// An identity with a certificate of an authority that is trusted.
    Identity(&'a Certificate),
    /// A key with a certificate of an authority of one's own, which others are told to trust.
    OwnAuthority(&'a IssuedCertificate),
}

/// Verifies a signature just made, exactly as it will be written, with the trust everyone else has.
pub(crate) fn check_own(
    bundle: &Bundle,
    digest: &Digest,
    trust: &Trust,
    signer: &OwnSigner<'_>,
    now: Timestamp,
) -> Result<(), ClientError> {
    let failed =
        |e: &dyn std::fmt::Display| ClientError::SelfCheck(countersign_http::text::printable(&e.to_string()));
    let name_of = |certificate: &Certificate| {
        let name = certificate.sans().first().and_then(|san| san.as_text()).map(str::to_owned);
        name.ok_or_else(|| failed(&"the certificate names nobody"))
    };
    // What was revoked is for those who verify; a list that has expired here says nothing of the evidence.
    let mut trusted = Trust { revocations: Vec::new(), ..trust.clone() };
    let who = match signer {
        OwnSigner::Key(key) => Who::Keys(vec![(*key).clone()]),
        OwnSigner::Identity(certificate) => {
            let issuer = certificate.fulcio().issuer();
            let issuer = issuer.ok_or_else(|| failed(&"the certificate names no issuer"))?;
            let name = Matcher::exact(&name_of(certificate)?)?;
            Who::Identities(vec![Identity::new(name, Matcher::exact(issuer)?)])
        }
        OwnSigner::OwnAuthority(issued) => {
            trusted.root.certificate_authorities = vec![own_authority(&issued.others)];
            let name = Matcher::exact(&name_of(&issued.leaf)?)?;
            Who::Identities(vec![Identity::dangerous_any_issuer(name)])
        }
    };
    let own = matches!(signer, OwnSigner::OwnAuthority(_));
    let evidence = &bundle.verification_material;
    // Every log that was asked must have kept its word, not one of them.
    let logs: BTreeSet<&[u8]> = evidence.tlog_entries.iter().map(|entry| entry.log_id.as_slice()).collect();
    let expectations = Expectations {
        logs: logs.len(),
        timestamps: usize::from(!evidence.rfc3161_timestamps.is_empty()),
        scts: usize::from(!own),
        now_as_time: own,
        ..Expectations::of(who)
    };
    let (subject, says) = match bundle.content.envelope() {
        None => (Subject::from_digest(*digest), Says::Anything),
        Some(envelope) => {
            // A statement is about artifacts; any one of those it names will do for checking the signature.
            let statement =
                countersign_attestation::Statement::from_json(&envelope.payload).map_err(|e| failed(&e))?;
            let mut digests = statement.subjects.iter().flat_map(|s| &s.digest).peekable();
            if digests.peek().is_none() {
                return Err(failed(&"the statement names no artifact by a digest"));
            }
            match digests.find_map(|(name, value)| Digest::parse(&format!("{name}:{value}")).ok()) {
                Some(named) => (Subject::from_digest(named), Says::Anything),
                // Commits of git have names of another kind.
                None => {
                    (Subject::from_bytes(&envelope.payload), Says::Document(envelope.payload_type.clone()))
                }
            }
        }
    };
    let requirements = Expectations { says, ..expectations }.requirements()?;
    let material = material(&trusted)?;
    let report = verify(&subject, bundle, &material, &requirements, now);
    report.verified().map(drop).map_err(|rejection| failed(rejection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::{KeyPair, KeyType, Signer as _};

    #[test]
    fn a_digest_is_an_artifact_unless_a_file_is_called_so() {
        let digest = HashAlgorithm::Sha256.digest(b"x");
        assert_eq!(Artifact::parse(&digest.to_string()), Artifact::Digest(digest));
        assert_eq!(Artifact::parse("a.txt"), Artifact::File("a.txt".into()));
        assert_eq!(Artifact::parse("sha256:zz"), Artifact::File("sha256:zz".into()));
    }

    #[test]
    fn nobody_named_is_a_fault_of_the_caller_and_never_anybody() {
        for who in [Who::Identities(vec![]), Who::Keys(vec![])] {
            assert_eq!(Expectations::of(who).requirements().unwrap_err().exit_code(), 1);
        }
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap().public_key().clone();
        Expectations::of(Who::Keys(vec![key])).requirements().unwrap();
    }

    #[test]
    fn a_missing_bundle_is_no_signature_and_a_broken_one_is_malformed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        assert_eq!(read_bundle(&path).unwrap_err().exit_code(), 3);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Report::malformed(&read_bundle(&path).unwrap().unwrap_err()).exit_code(), 2);
    }
}
