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
use countersign_registry::Reference;
use countersign_registry::evidence::{Form, Found};
use countersign_x509::Certificate;

use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::authority::{Authority, Who};
use crate::question::{CouldNot, CouldNotReason, EvidenceQuestion};

/// The names of the stores, which nobody sees.
const SIGNERS: &str = "ca:policy";
const TIMESTAMPS: &str = "tsa:policy";

/// What came of the Notary Project's signatures of one image by one authority.
#[derive(Debug, Clone)]
pub struct NotaryJudgement {
    /// The image.
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
}

impl Ask<'_> {
    /// Judges the signatures of the Notary Project beside an image. Annotations of the authority must be metadata of the
    /// one signature.
    ///
    /// # Errors
    /// [`Stop`]: something is not known yet or cannot be had, or the authority is of another kind.
    pub fn judge_notary(&self, image: &Reference, authority: &Authority) -> Result<NotaryJudgement, Stop> {
        let unusable = |detail: String| {
            Stop::from(CouldNot::new(CouldNotReason::Unusable, format!("\"{}\": {detail}", authority.name)))
        };
        let Who::Notary { certificates, timestamp_certificates } = &authority.who else {
            return Err(unusable("a signer of Sigstore, asked for as one of the Notary Project".into()));
        };
        let (statement, store) = trust(certificates, timestamp_certificates).map_err(unusable)?;
        let digest = self.digest(image)?;
        let question = EvidenceQuestion {
            image: digest,
            repository: authority.repository.clone().unwrap_or_else(|| image.repository().clone()),
            forms: BTreeSet::from([Form::Notary]),
            predicate_types: BTreeSet::new(),
            access: Arc::new(Access::default()),
        };
        let (evidence, data) = (self.evidence(question), self.image(image));
        let (evidence, data) = (evidence?, data?);
        let subject = Subject::Manifest {
            media_type: data.descriptor.media_type.clone(),
            digest,
            size: data.descriptor.size,
        };
        let revoked = self.revocations()?;
        let judge = |piece: &Found| match format_of(piece, evidence.found()) {
            Err(refusal) => Report::of_refusal(CheckName::Envelope, &refusal),
            Ok(format) => verify(&Request {
                subject: &subject,
                format,
                envelope: &piece.bytes,
                statement: &statement,
                store: &store,
                revocation: &[],
                revoked: &revoked,
                metadata: &authority.annotations,
                enforce_logged: true,
                now: self.now(),
            }),
        };
        let reports: Vec<Report> = evidence.found().iter().map(judge).collect();
        let accepted: Vec<Verified> = reports.iter().filter_map(Report::verified).cloned().collect();
        let decisive = reports.iter().find(|report| report.verified().is_some()).or_else(|| reports.first());
        let report = decisive.cloned().unwrap_or_else(Report::no_signature);
        Ok(NotaryJudgement { image: digest, accepted, report })
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
