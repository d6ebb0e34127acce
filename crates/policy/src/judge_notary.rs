//! Judging the Notary Project's signatures of an image: the other engine, with a trust policy made of what the authority
//! says. Level strict; whoever has a certificate below the given ones may sign, and nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_crypto::Digest;
use countersign_notary::policy::{
    Action, Actions, Level, Rules, Statement, TrustedIdentities, VerifyTimestamp,
};
use countersign_notary::{
    CheckName, Format, Reason, Refusal, Report, Request, StoreName, Subject, TrustStore, Verified, verify,
};
use countersign_registry::evidence::{Attached, Form, Found};
use countersign_registry::{Descriptor, Reference, Repository};
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::authority::{Authority, Who};
use crate::finding::{Finding, Why};
use crate::question::{AttachedQuestion, CouldNot, CouldNotReason, EvidenceQuestion};

/// The names of the stores, which nobody sees.
const SIGNERS: &str = "ca:policy";
const TIMESTAMPS: &str = "tsa:policy";

/// What came of the Notary Project's signatures of one image by one authority.
#[derive(Debug, Clone)]
pub struct NotaryJudgement {
    /// What was signed: an image, or a document that is attached to one.
    pub image: Digest,
    /// The signatures that hold. None means no.
    pub accepted: Vec<Verified>,
    /// The report on the first signature that holds; else on the first one; else that there is none.
    pub report: Report,
}

impl NotaryJudgement {
    /// Whether a signature holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// Why none does.
    pub(crate) fn why(&self, authority: &Authority) -> Why {
        match self.report.rejection() {
            Some(rejection) => Why::new(rejection.reason.code(), format!("{}: {rejection}", authority.name)),
            None => Why::new("internal", "a report without a verdict"),
        }
    }
}

/// A document that is attached to an image, and whose signature holds.
#[derive(Debug, Clone)]
pub struct NotaryDocument {
    /// The digest of its manifest, which is what was signed.
    pub manifest: Digest,
    bytes: Arc<Vec<Attached>>,
    index: usize,
}

impl NotaryDocument {
    /// What it says.
    ///
    /// # Errors
    /// In words, why it is no JSON.
    pub fn json(&self) -> Result<serde_json::Value, String> {
        let document = self.bytes.get(self.index).ok_or("the document is not there")?;
        serde_json::from_slice(&document.bytes)
            .map_err(|e| format!("expected JSON in the document {}: {e}", document.layer.digest))
    }
}

/// Somebody who signs, as the other engine takes it.
struct Signer<'a> {
    authority: &'a Authority,
    repository: &'a Repository,
    statement: Statement,
    store: TrustStore,
}

impl<'a> Signer<'a> {
    fn new(image: &'a Reference, authority: &'a Authority) -> Result<Self, Stop> {
        let unusable = |detail: String| {
            Stop::from(CouldNot::new(CouldNotReason::Unusable, format!("\"{}\": {detail}", authority.name)))
        };
        let Who::Notary { certificates, timestamp_certificates } = &authority.who else {
            return Err(unusable("a signer of Sigstore, asked for as one of the Notary Project".into()));
        };
        let (statement, store) = trust(certificates, timestamp_certificates).map_err(unusable)?;
        let repository = authority.repository.as_ref().unwrap_or_else(|| image.repository());
        Ok(Self { authority, repository, statement, store })
    }

    /// The signatures of a manifest: what is to be asked for.
    fn question(&self, of: Digest) -> EvidenceQuestion {
        EvidenceQuestion {
            image: of,
            repository: self.repository.clone(),
            forms: BTreeSet::from([Form::Notary]),
            predicate_types: BTreeSet::new(),
            tag_prefix: String::new(),
            access: Arc::new(Access::default()),
        }
    }

    /// The signatures of a manifest, judged.
    fn judge(&self, of: &Descriptor, evidence: &[Found], now: Timestamp) -> NotaryJudgement {
        let subject =
            Subject::Manifest { media_type: of.media_type.clone(), digest: of.digest, size: of.size };
        let judge = |piece: &Found| match format_of(piece, evidence) {
            Err(refusal) => Report::of_refusal(CheckName::Envelope, &refusal),
            Ok(format) => verify(&Request {
                subject: &subject,
                format,
                envelope: &piece.bytes,
                statement: &self.statement,
                store: &self.store,
                revocation: &[],
                metadata: &self.authority.annotations,
                enforce_logged: true,
                now,
            }),
        };
        let reports: Vec<Report> = evidence.iter().map(judge).collect();
        let accepted: Vec<Verified> = reports.iter().filter_map(Report::verified).cloned().collect();
        let decisive = reports.iter().find(|report| report.verified().is_some()).or_else(|| reports.first());
        let report = decisive.cloned().unwrap_or_else(Report::no_signature);
        NotaryJudgement { image: of.digest, accepted, report }
    }
}

impl Ask<'_> {
    /// Judges the signatures of the Notary Project beside an image. Annotations of the authority must be metadata of the
    /// one signature.
    ///
    /// # Errors
    /// [`Stop`]: something is not known yet or cannot be had, or the authority is of another kind.
    pub fn judge_notary(&self, image: &Reference, authority: &Authority) -> Result<NotaryJudgement, Stop> {
        let signer = Signer::new(image, authority)?;
        let digest = self.digest(image)?;
        let (evidence, data) = (self.evidence(signer.question(digest)), self.image(image));
        let (evidence, data) = (evidence?, data?);
        Ok(signer.judge(&data.descriptor, evidence.found(), self.now()))
    }

    /// The documents of a type that are attached to an image and signed by an authority. A document counts by its own
    /// signature; what others attached says nothing, good or bad.
    ///
    /// # Errors
    /// As [`Ask::judge_notary`].
    pub(crate) fn notary_documents(
        &self,
        image: &Reference,
        authority: &Authority,
        artifact_type: &str,
    ) -> Result<Finding<NotaryDocument>, Stop> {
        let signer = Signer::new(image, authority)?;
        let documents = self.attached(AttachedQuestion {
            image: self.digest(image)?,
            repository: signer.repository.clone(),
            artifact_type: artifact_type.to_owned(),
            access: Arc::new(Access::default()),
        })?;
        let (mut holding, mut why, mut stopped) = (Vec::new(), None, None);
        for (index, document) in documents.iter().enumerate() {
            match self.evidence(signer.question(document.manifest.digest)) {
                Ok(evidence) => {
                    let judgement = signer.judge(&document.manifest, evidence.found(), self.now());
                    if judgement.holds() {
                        let manifest = document.manifest.digest;
                        holding.push(NotaryDocument { manifest, bytes: documents.clone(), index });
                    } else {
                        why = why.or(Some(judgement.why(authority)));
                    }
                }
                Err(Stop::Open) => stopped = Some(Stop::Open),
                Err(stop) => stopped = stopped.or(Some(stop)),
            }
        }
        // Each that is there may be the one that must not be passed over.
        if let Some(stop) = stopped {
            return Err(stop);
        }
        if !holding.is_empty() {
            return Ok(Finding::Holds(holding));
        }
        Ok(Finding::No(why.unwrap_or_else(|| {
            let by = &authority.name;
            let text =
                format!("expected a document of type {artifact_type} signed by {by}, found none attached");
            Why::new("no_signature", text)
        })))
    }
}

/// The form of a signature: the only document of its manifest.
fn format_of(piece: &Found, all: &[Found]) -> Result<Format, Refusal> {
    let layers = all.iter().filter(|other| other.manifest.digest == piece.manifest.digest).count();
    if layers == 1 {
        return Format::from_media_type(&piece.layer.media_type);
    }
    Err(Refusal {
        reason: Reason::EnvelopeMalformed,
        expected: "one envelope in the signature's manifest".into(),
        found: layers.to_string(),
    })
}

/// The trust policy and store that an authority comes to.
///
/// # Errors
/// In words, what cannot be read.
pub(crate) fn trust(certificates: &str, timestamps: &str) -> Result<(Statement, TrustStore), String> {
    let mut store = TrustStore::new();
    let mut stores = Vec::new();
    for (name, pem) in [(SIGNERS, certificates), (TIMESTAMPS, timestamps)] {
        if name == TIMESTAMPS && pem.is_empty() {
            continue;
        }
        let name = StoreName::parse(name).map_err(|refusal| refusal.to_string())?;
        let read = Certificate::chain_from_pem(pem).map_err(|e| format!("certificates: {e}"))?;
        store.add(name.clone(), read).map_err(|refusal| refusal.to_string())?;
        stores.push(name);
    }
    let enforce = Action::Enforce;
    let actions =
        Actions { authenticity: enforce, authentic_timestamp: enforce, expiry: enforce, revocation: enforce };
    let rules = Rules {
        actions,
        verify_timestamp: VerifyTimestamp::default(),
        stores,
        identities: TrustedIdentities::Any,
    };
    Ok((Statement { name: "policy".into(), level: Level::Strict, rules: Some(rules) }, store))
}
