//! The one function: everything in, a report out.

mod entries;

use std::collections::HashSet;

use countersign_bundle::{Bundle, BundleVersion, Content, KeyMaterial, TlogEntry};
use countersign_crypto::{Digest, HashAlgorithm, PublicKey, Scheme, encoding, sha256};
use countersign_x509::Certificate;
use countersign_x509::chain::VerifiedChain;
use jiff::Timestamp;

use crate::binding::{self, Holder};
use crate::material::Log;
use crate::policy::Said;
use crate::report::{Failure, Recorder};
use crate::requirements::{SigningKey, Who};
use crate::{
    CheckName, Payload, Reason, Report, Requirements, Signer, Subject, TimeSource, TrustMaterial, Verified,
    VerifiedTime, certificate, log, policy, revocation, signature, times,
};

/// Verifies a bundle for an artifact.
///
/// `now` bounds every time from above: what lies after it was not signed yet. Nothing else depends on it, unless
/// the requirements take it for the time of signing.
///
/// ```
/// use countersign_bundle::{Bundle, TrustedRoot};
/// use countersign_verify::{Report, Requirements, Subject, TrustError, TrustMaterial, verify};
/// fn check(artifact: &[u8], bundle: &[u8], root: &TrustedRoot, who: &Requirements) -> Result<Report, TrustError> {
///     let material = TrustMaterial::from_trusted_root(root)?;
///     Ok(match Bundle::from_json(bundle) {
///         Ok(bundle) => verify(&Subject::from_bytes(artifact), &bundle, &material, who, jiff::Timestamp::now()),
///         Err(error) => Report::malformed(&error),
///     })
/// }
/// # let _ = check;
/// ```
#[must_use]
pub fn verify(
    subject: &Subject<'_>,
    bundle: &Bundle,
    material: &TrustMaterial,
    requirements: &Requirements,
    now: Timestamp,
) -> Report {
    let out = Recorder::default();
    let promised = HashSet::new();
    let mut run = Run { subject, bundle, material, requirements, now, meant: None, promised, out };
    let verified = run.all();
    Report::new(run.out.0, verified)
}

struct Run<'a> {
    subject: &'a Subject<'a>,
    bundle: &'a Bundle,
    material: &'a TrustMaterial,
    requirements: &'a Requirements,
    now: Timestamp,
    /// What the bundle says it is about, once that has been found to be another artifact.
    meant: Option<Subject<'static>>,
    /// The entries, by number, whose promise was verified, each with the log's key.
    promised: HashSet<(usize, [u8; 32])>,
    out: Recorder,
}

/// The signer's certificate or key, read and of the required sort, but not verified.
enum Claimed<'a> {
    Certificate { leaf: Box<Certificate>, sent: Vec<Certificate> },
    Key(&'a SigningKey),
}

impl Claimed<'_> {
    fn holder(&self) -> Holder<'_> {
        match self {
            Self::Certificate { leaf, .. } => Holder::Certificate(leaf.der(), leaf.public_key()),
            Self::Key(key) => Holder::Key(&key.key),
        }
    }

    /// The hash that the signature must be over, if one is required.
    const fn hash(&self) -> Option<HashAlgorithm> {
        match self {
            Self::Certificate { .. } => None,
            Self::Key(key) => key.hash,
        }
    }
}

impl<'a> Run<'a> {
    fn all(&mut self) -> Option<Verified> {
        if let Err(error) = self.bundle.check_shape() {
            let expected = "a bundle with the parts its version demands";
            self.out.fail(CheckName::Shape, "", Reason::BundleMalformed, expected, error.to_string());
            return None;
        }
        self.out.pass(
            CheckName::Shape,
            "",
            "a bundle with the parts its version demands",
            match self.bundle.version {
                BundleVersion::Legacy => "cosign's older form",
                version => version.media_type(),
            },
        );
        let claimed = match self.key_material() {
            Ok(claimed) => claimed,
            Err(failure) => {
                self.out.refuse(CheckName::KeyMaterial, "verificationMaterial", failure);
                return None;
            }
        };
        self.out.pass(
            CheckName::KeyMaterial,
            "verificationMaterial",
            "a certificate or key of the required sort",
            match &claimed {
                Claimed::Certificate { leaf, .. } => leaf.describe(),
                Claimed::Key(key) => format!("{:?}", key.key),
            },
        );
        self.digest();
        let times = self.times(&claimed);
        let at: Vec<Timestamp> = times.iter().map(|t| t.time).collect();
        let chain = match &claimed {
            Claimed::Certificate { leaf, sent } => self.certificate(leaf, sent, &at),
            Claimed::Key(_) => None,
        };
        let entitled = chain.is_some() || matches!(claimed, Claimed::Key(_));
        let logged = self.logs(&claimed, &at);
        let signed = self.signature(&claimed);
        let statement = self.statement(signed);
        let wanted = self.identity(&claimed);
        self.revocations(&claimed, chain.as_ref(), &times, statement.as_ref().map(|(payload, _)| payload));
        // Each part is there because its check passed. That no check failed is asked beside it, by the report.
        let (payload, digest) = statement?;
        let (entries, witnesses) = logged?;
        let signer = match claimed {
            Claimed::Certificate { leaf, .. } => Signer::Certificate(leaf),
            Claimed::Key(key) => Signer::Key(key.key.clone()),
        };
        (entitled && wanted && signed.is_some())
            .then(|| Verified::new(payload, digest, signer, times, entries, witnesses))
    }

    fn key_material(&self) -> Result<Claimed<'a>, Failure> {
        let content = &self.bundle.verification_material.content;
        match (&self.requirements.who, content) {
            (Who::Keys(keys), KeyMaterial::PublicKeyHint(hint)) => self.choose_key(keys, hint),
            (Who::Keys(_), _) => Err(Failure::new(
                Reason::KeyExpected,
                "a signature by a given key",
                "a signature with a certificate",
            )),
            (_, KeyMaterial::PublicKeyHint(_)) => Err(Failure::new(
                Reason::CertificateExpected,
                "a certificate with an identity",
                "a signature by a key",
            )),
            (_, KeyMaterial::Certificate(der)) => self.read_certificates(std::slice::from_ref(der)),
            (_, KeyMaterial::CertificateChain(chain)) => self.read_certificates(chain),
        }
    }

    fn read_certificates(&self, ders: &[Vec<u8>]) -> Result<Claimed<'a>, Failure> {
        let mut all =
            ders.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>().map_err(
                |e| Failure::new(Reason::CertificateMalformed, "X.509 certificates", e.to_string()),
            )?;
        let is_root = |c: &Certificate| c.is_ca() && c.subject() == c.issuer();
        if self.bundle.version == BundleVersion::Legacy {
            // cosign's older form sends its root along. It is trusted for nothing, so it is left out.
            let leaf = all.first().map(|leaf| leaf.der().to_vec());
            all.retain(|c| !is_root(c) || Some(c.der()) == leaf.as_deref());
        }
        if let Some(root) = all.iter().find(|c| is_root(c)) {
            return Err(Failure::new(
                Reason::RootCertificateIncluded,
                "no root certificate, which only the trust root may bring",
                root.describe(),
            ));
        }
        if all.is_empty() {
            return Err(Failure::new(Reason::CertificateMalformed, "a certificate", "none"));
        }
        let leaf = Box::new(all.remove(0));
        Ok(Claimed::Certificate { leaf, sent: all })
    }

    /// Of the required keys, the one which made the signature; else the one of the hint, so that the report says
    /// what does not fit. The hint alone proves nothing.
    fn choose_key(&self, keys: &'a [SigningKey], hint: &str) -> Result<Claimed<'a>, Failure> {
        let hinted = |key: &PublicKey| encoding::base64_encode(&key.fingerprint()) == hint;
        let verifies = |SigningKey { key, hash, .. }: &SigningKey| {
            let logged = binding::logged_scheme(&self.bundle.verification_material.tlog_entries);
            let schemes = signature::schemes(key, *hash, logged);
            signature::verify_signature(key, &schemes, &self.bundle.content, self.subject).is_ok()
        };
        // cosign's older forms have no hint. What is signed is in them, so each key can be tried; and where none fits,
        // the log entry says by which key it is.
        let older = hint.is_empty()
            && self.bundle.version == BundleVersion::Legacy
            && !matches!(self.bundle.content, Content::MessageSignature { .. });
        let chosen = match keys {
            [only] if hinted(&only.key) => Some(only),
            // Only one: the check of the signature itself will tell, unless the hint is of another key.
            [only] if !older && encoding::base64_decode(hint).map_or(true, |h| h.len() != 32) => Some(only),
            _ => keys.iter().find(|k| verifies(k)).or_else(|| keys.iter().find(|k| hinted(&k.key))),
        };
        if let Some(chosen) = chosen {
            return Ok(Claimed::Key(chosen));
        }
        let known: Vec<String> = keys.iter().map(|k| encoding::base64_encode(&k.key.fingerprint())).collect();
        let expected = format!("a signature by key {}", known.join(" or "));
        if !hint.is_empty() {
            return Err(Failure::new(Reason::WrongKey, expected, hint));
        }
        match binding::logged_key(&self.bundle.verification_material.tlog_entries) {
            // Said to be by this one, and it does not verify: the check of the signature will tell.
            Some(logged) => match keys.iter().find(|k| *k.key.spki_der() == *logged) {
                Some(own) => Ok(Claimed::Key(own)),
                None => {
                    let found = encoding::base64_encode(&sha256(&logged));
                    Err(Failure::new(Reason::WrongKey, expected, format!("{found}, says the log entry")))
                }
            },
            None => Err(Failure::new(
                Reason::NoKeyVerifies,
                expected,
                "one that this key does not verify, in a form that names no key: another key signed, or what was \
                 signed has been changed",
            )),
        }
    }

    fn digest(&mut self) {
        let Content::MessageSignature { digest: Some(said), .. } = &self.bundle.content else {
            return self.out.skip(CheckName::Digest, "content", "the bundle names no digest");
        };
        let source = "messageSignature.messageDigest";
        match self.subject.digest(said.algorithm()) {
            Some(own) if own == *said => {
                self.out.pass(CheckName::Digest, source, own.to_string(), said.to_string());
            }
            Some(own) => {
                let (signed, own) = (format!("{said}, as it was signed"), format!("{own}, as it is"));
                self.out.fail(CheckName::Digest, source, Reason::DigestMismatch, signed, own);
                self.meant = Some(Subject::from_digest(*said));
            }
            None => {
                let expected = format!("the artifact's {} digest", said.algorithm());
                let reason = Reason::DigestUnavailable;
                self.out.fail(CheckName::Digest, source, reason, expected, "other digests only");
            }
        }
    }

    fn times(&mut self, claimed: &Claimed<'_>) -> Vec<VerifiedTime> {
        let (bundle, material, now) = (self.bundle, self.material, self.now);
        let mut times = Vec::new();
        let mut authorities = HashSet::new();
        for (i, token) in bundle.verification_material.rfc3161_timestamps.iter().enumerate() {
            let source = format!("rfc3161Timestamps[{i}]");
            match times::verify_token(token, bundle.content.stamped(), material, now) {
                Ok(stamped) => {
                    authorities.insert(stamped.by.counted_as);
                    let expected = format!("a timestamp of this signature by {}", stamped.by.name);
                    self.out.pass(CheckName::Timestamp, source, expected, stamped.time.to_string());
                    times.push(VerifiedTime {
                        time: stamped.time,
                        source: TimeSource::TimestampAuthority,
                        authority: stamped.by.name.clone(),
                    });
                }
                Err(failure) => self.out.refuse(CheckName::Timestamp, source, failure),
            }
        }
        for (i, entry) in bundle.verification_material.tlog_entries.iter().enumerate() {
            let (Some(promise), Some(seconds)) = (&entry.inclusion_promise, entry.integrated_time) else {
                continue;
            };
            if binding::is_v2(entry) {
                continue;
            }
            let source = format!("tlogEntries[{i}].integratedTime");
            let found = log::find(entry, material).and_then(|logs| {
                let log = logs.iter().find(|log| self.promise(i, entry, promise, log).is_ok());
                let Some(log) = log else {
                    let expected = "a time under a promise of the log";
                    return Err(Failure::new(
                        Reason::PromiseInvalid,
                        expected,
                        "a promise that does not verify",
                    ));
                };
                let windows = log::windows(&logs, log);
                Ok((log::integrated_time(seconds, &windows, now)?, log.name.clone()))
            });
            match found {
                Ok((time, authority)) => {
                    let expected = format!("a time under a promise of {authority}");
                    self.out.pass(CheckName::IntegratedTime, source, expected, time.to_string());
                    times.push(VerifiedTime { time, source: TimeSource::Log, authority });
                }
                Err(failure) => self.out.refuse(CheckName::IntegratedTime, source, failure),
            }
        }
        self.signing_time(claimed, &mut times, authorities.len());
        times
    }

    /// Verifies a log's promise once, though both the time and the entry rest on it.
    fn promise(&mut self, i: usize, entry: &TlogEntry, promise: &[u8], log: &Log) -> Result<(), Failure> {
        if !self.promised.contains(&(i, log.counted_as)) {
            log::verify_promise(entry, promise, log)?;
            self.promised.insert((i, log.counted_as));
        }
        Ok(())
    }

    fn signing_time(&mut self, claimed: &Claimed<'_>, times: &mut Vec<VerifiedTime>, authorities: usize) {
        let name = CheckName::SigningTime;
        let required = self.requirements.timestamps;
        if authorities < required {
            let expected = format!("timestamps of at least {required} authorities");
            self.out.fail(name, "", Reason::TooFewTimestamps, expected, authorities.to_string());
            let refused = self.out.count_failed(CheckName::Timestamp);
            return self.out.follows_when(authorities + refused >= required, &[CheckName::Timestamp]);
        }
        if times.is_empty() && self.requirements.now_as_time && matches!(claimed, Claimed::Certificate { .. })
        {
            times.push(VerifiedTime {
                time: self.now,
                source: TimeSource::Now,
                authority: "time of verification".into(),
            });
        }
        if let (true, Claimed::Certificate { leaf, .. }, true) =
            (times.is_empty(), claimed, self.requirements.certificate_as_time)
            && leaf.not_before() <= self.now
        {
            let authority = "begin of the certificate's validity".into();
            times.push(VerifiedTime { time: leaf.not_before(), source: TimeSource::Certificate, authority });
        }
        let window = match claimed {
            Claimed::Certificate { .. } => None,
            Claimed::Key(SigningKey { valid_for: Some(window), .. }) => Some(*window),
            Claimed::Key(_) if times.is_empty() => {
                return self.out.skip(name, "", "no time, and the key is valid at any");
            }
            Claimed::Key(_) => None,
        };
        let Some(first) = times.first() else {
            let expected = "a time from a timestamp authority, or from a log that gives times";
            self.out.fail(name, "", Reason::NoTime, expected, "none");
            return self.out.follows_when(true, &[CheckName::Timestamp, CheckName::IntegratedTime]);
        };
        if let Some(window) = window
            && let Some(time) = times.iter().find(|t| !window.contains(t.time))
        {
            let expected = format!("a time at which the key is valid, from {}", window.start);
            return self.out.fail(name, "", Reason::KeyNotValid, expected, time.time.to_string());
        }
        let found = first.time.to_string();
        self.out.pass(name, "", "a time from somebody who is trusted", found);
    }

    /// Whether the certificate leads to the trust root, and was seen by enough CT logs.
    fn certificate(
        &mut self,
        leaf: &Certificate,
        sent: &[Certificate],
        times: &[Timestamp],
    ) -> Option<VerifiedChain> {
        if times.is_empty() {
            // Said already: the time of signing is not known, so there is no time to check the path at.
            return None;
        }
        let chain = match certificate::verify_chain(leaf, sent, self.material, times) {
            Ok(chain) => chain,
            Err(failure) => {
                self.out.refuse(CheckName::CertificateChain, "certificate", failure);
                return None;
            }
        };
        self.out.pass(
            CheckName::CertificateChain,
            "certificate",
            "a path to a trusted certificate authority at every time of signing",
            chain.issuer().describe(),
        );
        let required = self.requirements.scts;
        match certificate::verify_scts(&chain, self.material, required, self.now) {
            Ok(0) => self.out.skip(CheckName::Sct, "certificate", "no SCT of a trusted CT log"),
            Ok(count) => {
                let expected = format!("SCTs of at least {required} CT logs");
                self.out.pass(CheckName::Sct, "certificate", expected, count.to_string());
            }
            Err(failure) => {
                self.out.refuse(CheckName::Sct, "certificate", failure);
                return None;
            }
        }
        Some(chain)
    }

    /// The scheme by which the signature verifies.
    fn signature(&mut self, claimed: &Claimed<'_>) -> Option<Scheme> {
        let key = claimed.holder().public_key();
        let logged = binding::logged_scheme(&self.bundle.verification_material.tlog_entries);
        let schemes = signature::schemes(key, claimed.hash(), logged);
        match signature::verify_signature(key, &schemes, &self.bundle.content, self.subject) {
            Ok(scheme) => {
                let expected = format!("a signature by the {} key of the signer", key.key_type());
                self.out.pass(CheckName::Signature, "content", expected, scheme.to_string());
                Some(scheme)
            }
            Err(failure) => {
                self.out.refuse(CheckName::Signature, "content", failure);
                // A good signature of the artifact that is meant: nothing more is wrong than that this is another.
                let good = self.meant.as_ref().is_some_and(|meant| {
                    signature::verify_signature(key, &schemes, &self.bundle.content, meant).is_ok()
                });
                self.out.follows_when(good, &[CheckName::Digest]);
                None
            }
        }
    }

    /// What the signature is about: `None` when that cannot be told.
    fn statement(&mut self, signed: Option<Scheme>) -> Option<(Payload, Digest)> {
        let part = match self.bundle.content.envelope() {
            Some(_) => "dsseEnvelope.payload",
            None => "content",
        };
        let said = match Said::read(&self.bundle.content, &self.requirements.says) {
            Ok(said) => Some(said),
            Err(failure) => {
                self.out.refuse(CheckName::Statement, part, failure);
                None
            }
        };
        let mut annotations = None;
        let mut about = None;
        match &said {
            None => {}
            Some(Said::Artifact) => {
                self.out.skip(CheckName::Statement, part, "the artifact itself is signed");
                about = binding::digest_signed_by(signed, self.subject).map(|digest| (0, digest));
            }
            Some(Said::Simple(payload, _)) => match policy::find_image(payload, self.subject) {
                Ok(digest) => {
                    let found = format!("image \"{}\"", payload.docker_reference);
                    self.out.pass(CheckName::Statement, part, digest.to_string(), found);
                    annotations = Some(&payload.optional);
                    about = Some((0, digest));
                }
                Err(failure) => self.out.refuse(CheckName::Statement, part, failure),
            },
            Some(Said::Document(document)) => match policy::find_document(document, self.subject) {
                Ok(digest) => {
                    self.out.pass(CheckName::Statement, part, digest.to_string(), "the document itself");
                    about = Some((0, digest));
                }
                Err(failure) => self.out.refuse(CheckName::Statement, part, failure),
            },
            Some(Said::Statement(statement, _)) => match policy::find_subject(statement, self.subject) {
                Ok((index, subject, digest)) => {
                    let found = format!("subject \"{}\"", subject.name);
                    self.out.pass(CheckName::Statement, part, digest.to_string(), found);
                    annotations = Some(&subject.annotations);
                    about = Some((index, digest));
                }
                Err(failure) => self.out.refuse(CheckName::Statement, part, failure),
            },
        }
        match policy::check_says(&self.requirements.says, said.as_ref()) {
            None => {}
            Some(Ok(expected)) => self.out.pass(CheckName::PredicateType, part, expected, "the same"),
            Some(Err(failure)) => self.out.refuse(CheckName::PredicateType, part, failure),
        }
        if !self.requirements.annotations.is_empty() {
            match policy::check_annotations(self.requirements, annotations) {
                Ok(()) => self.out.pass(CheckName::Annotations, part, "the required annotations", "all"),
                Err(failure) => {
                    self.out.refuse(CheckName::Annotations, part, failure);
                    self.out.follows_when(annotations.is_none(), &[CheckName::Statement]);
                }
            }
        }
        let (subject, digest) = about?;
        let payload = match said? {
            Said::Artifact => Payload::Artifact,
            Said::Simple(payload, bytes) => {
                Payload::SimpleSigning { payload: Box::new(payload), bytes: bytes.to_vec() }
            }
            Said::Document(bytes) => Payload::Document { bytes: bytes.to_vec() },
            Said::Statement(statement, bytes) => {
                Payload::Statement { statement: Box::new(statement), bytes: bytes.to_vec(), subject }
            }
        };
        Some((payload, digest))
    }

    /// Whether it is somebody who may sign.
    fn identity(&mut self, claimed: &Claimed<'_>) -> bool {
        match claimed {
            Claimed::Certificate { leaf, .. } => match policy::check_identity(self.requirements, leaf) {
                Ok(found) => {
                    let expected = "one of the required identities";
                    self.out.pass(CheckName::Identity, "certificate", expected, found);
                }
                Err(failure) => {
                    self.out.refuse(CheckName::Identity, "certificate", failure);
                    return false;
                }
            },
            Claimed::Key(key) => {
                let found = format!("{:?}", key.key);
                self.out.pass(CheckName::Identity, "publicKey", "one of the required keys", found);
            }
        }
        true
    }

    /// Whether one of the lists at hand speaks against it.
    fn revocations(
        &mut self,
        claimed: &Claimed<'_>,
        chain: Option<&VerifiedChain>,
        times: &[VerifiedTime],
        payload: Option<&Payload>,
    ) {
        let lists = &self.material.revocations;
        if lists.is_empty() {
            return self.out.skip(CheckName::Revocation, "", "no revocation list");
        }
        let certificates = match (claimed, chain) {
            (_, Some(chain)) => chain.certificates().collect(),
            (Claimed::Certificate { leaf, .. }, None) => vec![leaf.as_ref()],
            (Claimed::Key(_), None) => Vec::new(),
        };
        let builders = match payload {
            Some(Payload::Statement { statement, .. }) if lists.iter().any(|list| list.wants_builders()) => {
                match policy::builders_of(statement) {
                    Ok(builders) => builders,
                    Err(failure) => {
                        return self.out.refuse(CheckName::Revocation, "dsseEnvelope.payload", failure);
                    }
                }
            }
            _ => Vec::new(),
        };
        let signature = revocation::Signature {
            certificates,
            key: Some(claimed.holder().public_key()),
            // Hashing a large artifact is not for nothing.
            digest: lists
                .iter()
                .any(|list| list.wants_digest())
                .then(|| self.subject.digest(HashAlgorithm::Sha256))
                .flatten(),
            builders,
            times: times.iter().filter(|t| t.source.is_vouched()).map(|t| t.time).collect(),
        };
        for list in lists {
            match list.ask(&signature, self.now) {
                Ok(found) => {
                    let expected = "a signature that nobody has revoked";
                    self.out.pass(CheckName::Revocation, list.from(), expected, found);
                }
                Err(revocation::Against { reason, expected, found }) => {
                    self.out.fail(CheckName::Revocation, list.from(), reason, expected, found);
                }
            }
        }
    }
}
