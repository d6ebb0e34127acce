//! The one function that decides: is this artifact signed by whom the trust policy says, as strictly as it says?

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_crypto::{Digest, HashAlgorithm};
use countersign_verify::revocation::{Revocations, Signature};
use countersign_x509::Certificate;
use countersign_x509::crl::RevocationList;
use jiff::Timestamp;

use crate::policy::{Action, Rules, Statement, VerifyTimestamp};
use crate::report::Recorder;
use crate::store::StoreType;
use crate::{
    AuthenticTime, CheckName, Envelope, Format, Outcome, Payload, Reason, Refusal, Report, SigningScheme,
    TargetArtifact, TrustStore, Verified, chain, revocation, timestamp,
};

/// The artifact whose signature is verified.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A manifest in a registry.
    Manifest {
        /// Its media type.
        media_type: String,
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A file.
    Blob {
        /// Its digests: which one is needed, the signer's key decides.
        digests: Vec<Digest>,
        /// Its size in bytes.
        size: u64,
        /// What kind of file it must be said to be; `None` for any.
        media_type: Option<String>,
    },
}

/// Everything a verdict depends on.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The artifact.
    pub subject: &'a Subject,
    /// The form of the envelope, as whoever stored it says.
    pub format: Format,
    /// The envelope.
    pub envelope: &'a [u8],
    /// The statement of the trust policy that is for this artifact.
    pub statement: &'a Statement,
    /// The trust stores at hand.
    pub store: &'a TrustStore,
    /// Revocation lists of certificate authorities at hand.
    pub revocation: &'a [RevocationList],
    /// What was revoked by whoever may: lists that hold whatever the trust policy says.
    pub revoked: &'a [Arc<Revocations>],
    /// Metadata that must be in the signature.
    pub metadata: &'a BTreeMap<String, String>,
    /// Whether a check that the policy only logs is enforced all the same. With it, an old signature under a moved tag
    /// is a refusal at every level.
    pub enforce_logged: bool,
    /// Now.
    pub now: Timestamp,
}

/// Verifies one signature of an artifact.
///
/// All checks that can run do, in the order of the specification, and stand in the report. The first that failed is the
/// reason.
#[must_use]
pub fn verify(request: &Request<'_>) -> Report {
    let Some(rules) = &request.statement.rules else {
        return Report::skipped(&request.statement.name);
    };
    let mut run = Run { request, rules, recorder: Recorder::default() };
    let verified = run.all();
    Report::new(run.recorder.0, verified)
}

struct Run<'a> {
    request: &'a Request<'a>,
    rules: &'a Rules,
    recorder: Recorder,
}

impl Run<'_> {
    /// `None` when there is nothing that could be verified; then a check has failed.
    fn all(&mut self) -> Option<Verified> {
        let request = self.request;
        let form = format!("a well-formed {} envelope", request.format.name());
        let parsed = Envelope::parse(request.format, request.envelope);
        let found = parsed.as_ref().map(|e| format!("{}, {}", e.algorithm(), e.attributes().scheme));
        self.integrity(CheckName::Envelope, &form, found.map_err(Clone::clone));
        let envelope = parsed.ok()?;

        let rules = chain::check_code_signing(envelope.chain()).map(|()| self.describe_chain(&envelope));
        self.integrity(CheckName::Certificates, "one whole chain of certificates for code signing", rules);
        let signature = envelope.verify_signature().map(|()| format!("{}, verified", envelope.algorithm()));
        self.integrity(CheckName::Signature, "a signature by the first certificate's key", signature);
        let payload = Payload::parse(envelope.payload()).and_then(|payload| {
            self.compare(&envelope, &payload.target)?;
            Ok(payload.target)
        });
        let found = payload.as_ref().map(|target| target.digest.to_string());
        self.integrity(CheckName::Artifact, "a signature of this artifact", found.map_err(Clone::clone));
        if let Ok(target) = &payload {
            self.metadata(target);
        }

        let signer = self.authenticity(&envelope);
        self.expiry(&envelope);
        let (time, signed) = self.authentic_timestamp(&envelope, signer.is_some()).unzip();
        self.revocation(&envelope, signed);
        self.revoked(&envelope, time.as_ref().zip(signed));
        Some(Verified {
            target: payload.ok()?,
            attributes: envelope.attributes().clone(),
            chain: envelope.chain().to_vec(),
            signer,
            time,
            statement: request.statement.name.clone(),
            level: request.statement.level,
            logged: Vec::new(),
        })
    }

    /// Records a check which every level enforces.
    fn integrity(&mut self, name: CheckName, expected: &str, result: Result<String, Refusal>) {
        self.record(name, Action::Enforce, expected, result);
    }

    /// Records a check; whether it holds is the answer.
    fn record(
        &mut self,
        name: CheckName,
        action: Action,
        expected: &str,
        result: Result<String, Refusal>,
    ) -> bool {
        match (result, action) {
            (_, Action::Skip) => self.recorder.leave_out(name, "the trust policy skips it"),
            (Ok(found), _) => {
                self.recorder.pass(name, expected, found);
                return true;
            }
            (Err(refusal), Action::Log) if !self.request.enforce_logged => {
                self.recorder.refuse(name, Outcome::Logged, refusal);
            }
            (Err(refusal), _) => self.recorder.refuse(name, Outcome::Failed, refusal),
        }
        false
    }

    fn describe_chain(&self, envelope: &Envelope) -> String {
        let ignored = chain::ignored_extensions(envelope.chain());
        let count = envelope.chain().len();
        if ignored.is_empty() {
            format!("{count} certificates")
        } else {
            format!("{count} certificates; not evaluated, as the specification says: {}", ignored.join(", "))
        }
    }

    /// Digest, size and type, all of them.
    fn compare(&self, envelope: &Envelope, signed: &TargetArtifact) -> Result<(), Refusal> {
        let (digest, size, media_type) = match &self.request.subject {
            Subject::Manifest { media_type, digest, size } => (digest, size, Some(media_type)),
            Subject::Blob { digests, size, media_type } => {
                let hash = envelope.algorithm().hash();
                let digest = digests.iter().find(|digest| digest.algorithm() == hash).ok_or_else(|| {
                    let found = digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    Refusal::new(Reason::DigestUnavailable, format!("a {hash} digest of the file"), found)
                })?;
                (digest, size, media_type.as_ref())
            }
        };
        let differs = |expected: String, found: String| {
            Err(Refusal::new(Reason::ArtifactMismatch, format!("a signature of {expected}"), found))
        };
        if signed.digest != *digest {
            return differs(digest.to_string(), signed.digest.to_string());
        }
        if signed.size != *size {
            return differs(format!("{size} bytes"), format!("{} bytes", signed.size));
        }
        match media_type {
            Some(media_type) if *media_type != signed.media_type => {
                differs(format!("{media_type:?}"), format!("{:?}", signed.media_type))
            }
            _ => Ok(()),
        }
    }

    fn metadata(&mut self, target: &TargetArtifact) {
        let asked = self.request.metadata;
        if asked.is_empty() {
            return;
        }
        let missing = asked.iter().find(|(name, value)| target.annotations.get(*name) != Some(*value));
        let result = match missing {
            None => Ok(format!("{} of {}", asked.len(), target.annotations.len())),
            Some((name, value)) => {
                let found =
                    target.annotations.get(name).map_or("none".into(), |found| format!("{name}={found}"));
                Err(Refusal::new(Reason::MetadataMismatch, format!("{name}={value} in the signature"), found))
            }
        };
        self.integrity(CheckName::Metadata, "the metadata asked for", result);
    }

    /// Who signed, if both the chain and the name are trusted.
    fn authenticity(&mut self, envelope: &Envelope) -> Option<Certificate> {
        let action = self.rules.actions.authenticity;
        let kind = match envelope.attributes().scheme {
            SigningScheme::X509 => StoreType::Ca,
            SigningScheme::SigningAuthority => StoreType::SigningAuthority,
        };
        let anchored = self.trusted(kind).and_then(|trusted| {
            let anchor = envelope.chain().iter().find(|certificate| trusted.contains(certificate));
            anchor.map(Certificate::describe).ok_or_else(|| {
                let root = envelope.chain().last().map(Certificate::describe).unwrap_or_default();
                let stores: Vec<String> = self.rules.stores_of(kind).map(ToString::to_string).collect();
                let expected = format!("a chain to a certificate in {}", stores.join(", "));
                Refusal::new(Reason::CertificateUntrusted, expected, format!("one that ends in {root}"))
            })
        });
        let expected = format!("a chain to a trust store of type {}", kind.name());
        let anchored = self.record(CheckName::TrustStore, action, &expected, anchored);
        let leaf = envelope.chain().first()?;
        let named = self.rules.identities.check(leaf).map(|()| leaf.describe());
        let named = self.record(CheckName::Identity, action, "a trusted identity", named);
        (anchored && named).then(|| leaf.clone())
    }

    /// All certificates of the policy's stores of a kind; at least one.
    fn trusted(&self, kind: StoreType) -> Result<Vec<Certificate>, Refusal> {
        let mut all = Vec::new();
        for name in self.rules.stores_of(kind) {
            all.extend_from_slice(self.request.store.get(name)?);
        }
        if all.is_empty() {
            let expected = format!("a trust store of type {} in the trust policy", kind.name());
            return Err(Refusal::new(Reason::CertificateUntrusted, expected, "none"));
        }
        Ok(all)
    }

    fn expiry(&mut self, envelope: &Envelope) {
        let now = self.request.now;
        let Some(expiry) = envelope.attributes().expiry else {
            self.recorder.leave_out(CheckName::Expiry, "the signature does not expire");
            return;
        };
        let result = if now < expiry {
            Ok(format!("it expires at {expiry}"))
        } else {
            let expected = "a signature that has not expired";
            Err(Refusal::new(Reason::SignatureExpired, expected, format!("it expired at {expiry}")))
        };
        self.record(CheckName::Expiry, self.rules.actions.expiry, "a signature that has not expired", result);
    }

    /// That the certificates were valid when it was signed. If somebody trusted vouches for a time: that, and by when it
    /// was signed at the latest.
    fn authentic_timestamp(
        &mut self,
        envelope: &Envelope,
        signer_is_trusted: bool,
    ) -> Option<(AuthenticTime, Timestamp)> {
        let result = match envelope.attributes().scheme {
            SigningScheme::X509 => self.countersigned(envelope),
            SigningScheme::SigningAuthority => self.dated(envelope).map(Some),
        };
        // The word of a signing authority is worth what the authority is, and the policy may only log that it is nobody's.
        let believed = |time: &AuthenticTime| match time {
            AuthenticTime::TimestampAuthority { .. } => true,
            AuthenticTime::SigningAuthority(_) => signer_is_trusted,
        };
        let time = result.as_ref().ok().cloned().flatten().filter(|(time, _)| believed(time));
        let found = result.map(|time| match time {
            None => "all certificates are valid now".to_owned(),
            Some((AuthenticTime::TimestampAuthority { time, authority }, _)) => {
                format!("signed before {time}, says {authority}")
            }
            Some((AuthenticTime::SigningAuthority(time), _)) if signer_is_trusted => {
                format!("signed at {time}, says the signing authority")
            }
            Some((AuthenticTime::SigningAuthority(time), _)) => {
                format!("signed at {time}, says the signer, whom nobody here trusts")
            }
        });
        let expected = "certificates that were valid when it was signed";
        self.record(CheckName::AuthenticTimestamp, self.rules.actions.authentic_timestamp, expected, found);
        time
    }

    /// The signing authority's own word.
    fn dated(&self, envelope: &Envelope) -> Result<(AuthenticTime, Timestamp), Refusal> {
        let (time, now) = (envelope.attributes().signing_time, self.request.now);
        if time > now {
            return Err(Refusal::new(
                Reason::TimeInFuture,
                format!("a time not after {now}"),
                time.to_string(),
            ));
        }
        chain::check_valid(envelope.chain(), time)?;
        Ok((AuthenticTime::SigningAuthority(time), time))
    }

    /// A timestamp authority's word, where the policy asks for it; else the certificates must be valid now.
    fn countersigned(&self, envelope: &Envelope) -> Result<Option<(AuthenticTime, Timestamp)>, Refusal> {
        let now = self.request.now;
        let has_store = self.rules.stores_of(StoreType::Tsa).next().is_some();
        let expired = || envelope.chain().iter().any(|certificate| now > certificate.not_after());
        let wanted = has_store && (self.rules.verify_timestamp == VerifyTimestamp::Always || expired());
        if !wanted {
            chain::check_valid(envelope.chain(), now)?;
            return Ok(None);
        }
        let token = envelope.timestamp().ok_or_else(|| {
            let expected = "a timestamp, which the trust policy asks for by its store of type tsa";
            Refusal::new(Reason::TimestampMissing, expected, "none")
        })?;
        let roots = self.trusted(StoreType::Tsa)?;
        let stamped = timestamp::verify(token, envelope.signature(), &roots, now)?;
        chain::check_valid(envelope.chain(), stamped.earliest)?;
        chain::check_valid(envelope.chain(), stamped.latest)?;
        // An authority whose key was lost may have said anything since, so this is never left out.
        revocation::check(&stamped.chain, self.request.revocation, None, now)?;
        let authority = stamped.chain.first().map(Certificate::describe).unwrap_or_default();
        let time = AuthenticTime::TimestampAuthority { time: stamped.time, authority };
        Ok(Some((time, stamped.latest)))
    }

    /// `signed` is by when it was signed at the latest, if somebody trusted says so.
    fn revocation(&mut self, envelope: &Envelope, signed: Option<Timestamp>) {
        let action = self.rules.actions.revocation;
        let result = revocation::check(envelope.chain(), self.request.revocation, signed, self.request.now);
        self.record(CheckName::Revocation, action, "no certificate that has been revoked", result);
    }

    /// Whether one of the lists at hand speaks against it. The policy has no say in it. What the signer says of the time
    /// is nobody's word; a signing authority is the signer too.
    fn revoked(&mut self, envelope: &Envelope, time: Option<(&AuthenticTime, Timestamp)>) {
        let lists = self.request.revoked;
        if lists.is_empty() {
            return self.recorder.leave_out(CheckName::Revoked, "no revocation list");
        }
        let digests = match self.request.subject {
            Subject::Manifest { digest, .. } => std::slice::from_ref(digest),
            Subject::Blob { digests, .. } => digests,
        };
        let signature = Signature {
            certificates: envelope.chain().iter().collect(),
            key: envelope.chain().first().map(Certificate::public_key),
            digest: digests.iter().find(|digest| digest.algorithm() == HashAlgorithm::Sha256).copied(),
            builders: Vec::new(),
            times: match time {
                Some((AuthenticTime::TimestampAuthority { .. }, latest)) => vec![latest],
                _ => Vec::new(),
            },
        };
        for list in lists {
            let result = list.ask(&signature, self.request.now);
            let result =
                result.map_err(|against| Refusal::new(against.reason, against.expected, against.found));
            self.integrity(CheckName::Revoked, "a signature that nobody has revoked", result);
        }
    }
}
