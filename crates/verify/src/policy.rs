//! What the requirements ask beyond cryptography: who signed, and what the statement says about which artifact.

use std::collections::BTreeMap;

use countersign_attestation::dsse::{Envelope, IN_TOTO_PAYLOAD_TYPE, is_in_toto};
use countersign_attestation::json::UniqueValue;
use countersign_attestation::predicate::provenance::{self, Provenance};
use countersign_attestation::statement;
use countersign_attestation::{SimpleSigning, Statement};
use countersign_bundle::Content;
use countersign_crypto::{Digest, HashAlgorithm};
use countersign_x509::Certificate;
use serde_json::Value;

use crate::report::Failure;
use crate::requirements::{Requirements, Says, Who};
use crate::{Identity, Reason, Subject};

/// The type of the statement with which cosign signs images: the image is signed, and no more is said.
pub const SIGN_PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// What the signed bytes say, read from exactly those bytes.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// The artifact itself is signed.
    Artifact,
    /// cosign's older payload.
    Simple(SimpleSigning, &'a [u8]),
    /// A statement.
    Statement(Statement, &'a [u8]),
    /// A document of the required payload type.
    Document(&'a [u8]),
}

impl<'a> Said<'a> {
    pub(crate) fn read(content: &'a Content, says: &Says) -> Result<Self, Failure> {
        match (content, says) {
            (Content::Dsse(envelope), Says::Document(wanted)) => {
                if envelope.payload_type == *wanted {
                    return Ok(Self::Document(&envelope.payload));
                }
                Err(Failure::new(Reason::PayloadType, wanted.clone(), envelope.payload_type.clone()))
            }
            _ => Self::read_usual(content),
        }
    }

    fn read_usual(content: &'a Content) -> Result<Self, Failure> {
        match content {
            Content::MessageSignature { .. } => Ok(Self::Artifact),
            Content::Dsse(envelope) | Content::StoredDsse { envelope, .. } => {
                Ok(Self::Statement(read_statement(envelope)?, &envelope.payload))
            }
            Content::SimpleSigning { payload, .. } => {
                let read = SimpleSigning::from_json(payload).map_err(|e| {
                    Failure::new(Reason::StatementMalformed, "a simple signing payload", e.to_string())
                })?;
                Ok(Self::Simple(read, payload))
            }
        }
    }
}

/// Whether cosign's older payload names the artifact.
pub(crate) fn find_image(payload: &SimpleSigning, subject: &Subject<'_>) -> Result<Digest, Failure> {
    match subject.digest(payload.digest.algorithm()) {
        Some(own) if own == payload.digest => Ok(own),
        Some(own) => Err(Failure::new(Reason::SubjectMismatch, own.to_string(), payload.digest.to_string())),
        None => Err(Failure::new(
            Reason::DigestUnavailable,
            format!("the artifact's {} digest", payload.digest.algorithm()),
            "other digests only",
        )),
    }
}

/// Whether a document in an envelope is the artifact.
pub(crate) fn find_document(document: &[u8], subject: &Subject<'_>) -> Result<Digest, Failure> {
    let digest = HashAlgorithm::Sha256.digest(document);
    match subject.digest(HashAlgorithm::Sha256) {
        Some(own) if own == digest => Ok(own),
        Some(own) => Err(Failure::new(Reason::SubjectMismatch, own.to_string(), digest.to_string())),
        None => {
            let expected = "the artifact's sha256 digest";
            Err(Failure::new(Reason::DigestUnavailable, expected, "other digests only"))
        }
    }
}

/// The builders that a provenance names, in either of its forms, also in one of a version that nobody reads yet. One that has
/// both forms names both: which of them counts, whoever reads it decides by its type, and another reader otherwise.
pub(crate) fn builders_of(statement: &Statement) -> Result<Vec<String>, Failure> {
    let kind = statement.predicate_type.as_str();
    let Some(predicate) = statement.predicate.as_deref().filter(|_| provenance::is_type(kind)) else {
        return Ok(Vec::new());
    };
    let UniqueValue(value) = serde_json::from_str(predicate.get()).map_err(|e| {
        let expected =
            "provenance that says each thing once, to compare its builder with those that are revoked";
        Failure::new(Reason::StatementMalformed, expected, e.to_string())
    })?;
    let named =
        ["/runDetails/builder/id", "/builder/id"].into_iter().filter_map(|at| value.pointer(at)?.as_str());
    // Whoever reads it may take more shapes for an object than these.
    let read = Provenance::from_json(kind, predicate.get()).ok().map(|read| read.builder.id);
    Ok(named.map(str::to_owned).chain(read).collect())
}

/// Reads the statement out of the envelope that was verified.
fn read_statement(envelope: &Envelope) -> Result<Statement, Failure> {
    if !is_in_toto(&envelope.payload_type) {
        return Err(Failure::new(Reason::PayloadType, IN_TOTO_PAYLOAD_TYPE, envelope.payload_type.clone()));
    }
    Statement::from_json(&envelope.payload)
        .map_err(|e| Failure::new(Reason::StatementMalformed, "an in-toto statement", e.to_string()))
}

/// Finds the statement's subject that is the artifact: at least one digest is the same, and none that can be
/// compared is another.
pub(crate) fn find_subject<'a>(
    statement: &'a Statement,
    subject: &Subject<'_>,
) -> Result<(usize, &'a statement::Subject, Digest), Failure> {
    for (index, candidate) in statement.subjects.iter().enumerate() {
        let comparable: Vec<Digest> = HashAlgorithm::ALL
            .into_iter()
            .filter(|a| candidate.digest.contains_key(a.name()))
            .filter_map(|a| subject.digest(a))
            .collect();
        if let Some(digest) = comparable.first()
            && comparable.iter().all(|d| candidate.matches(d))
        {
            return Ok((index, candidate, *digest));
        }
    }
    // Named by digests of which none can be had is not the same as named by others.
    let named: Vec<HashAlgorithm> = HashAlgorithm::ALL
        .into_iter()
        .filter(|a| statement.subjects.iter().any(|s| s.digest.contains_key(a.name())))
        .collect();
    if let Some(needed) = named.first()
        && named.iter().all(|a| subject.digest(*a).is_none())
    {
        let expected = format!("the artifact's {needed} digest");
        return Err(Failure::new(Reason::DigestUnavailable, expected, "other digests only"));
    }
    let expected = HashAlgorithm::ALL.into_iter().find_map(|a| subject.digest(a));
    Err(Failure::new(
        Reason::SubjectMismatch,
        format!("a subject with {}", expected.map_or_else(|| "a digest".into(), |d| d.to_string())),
        match statement.subjects.len() {
            1 => "another subject".to_owned(),
            count => format!("{count} other subjects"),
        },
    ))
}

/// Whether what is said is of a required kind: what was required and what was found, or `None` when anything will do.
pub(crate) fn check_says(says: &Says, said: Option<&Said<'_>>) -> Option<Result<String, Failure>> {
    let found = match said {
        Some(Said::Statement(statement, _)) => statement.predicate_type.as_str(),
        Some(Said::Artifact | Said::Simple(..) | Said::Document(_)) => "no statement",
        None => "nothing that can be read",
    };
    let (holds, expected) = match says {
        Says::Anything => return None,
        Says::Signed => (
            matches!(said, Some(Said::Artifact | Said::Simple(..))) || found == SIGN_PREDICATE_TYPE,
            "a signature of the artifact itself".to_owned(),
        ),
        Says::OneOf(types) => (types.iter().any(|t| t == found), types.join(" or ")),
        Says::Document(wanted) => (matches!(said, Some(Said::Document(_))), wanted.clone()),
    };
    Some(if holds { Ok(expected) } else { Err(Failure::new(Reason::PredicateTypeMismatch, expected, found)) })
}

/// Whether all required annotations are among those that are signed.
pub(crate) fn check_annotations(
    requirements: &Requirements,
    signed: Option<&BTreeMap<String, Value>>,
) -> Result<(), Failure> {
    for (key, value) in &requirements.annotations {
        let found = signed.and_then(|all| all.get(key));
        if found.and_then(|v| v.as_str()) != Some(value.as_str()) {
            return Err(Failure::new(
                Reason::AnnotationMismatch,
                format!("{key}={value}"),
                found.map_or_else(|| "none".into(), |v| format!("{key}={v}")),
            ));
        }
    }
    Ok(())
}

/// Whether one of the identities is the certificate's. The failure is that of the identity which came nearest.
pub(crate) fn check_identity(requirements: &Requirements, leaf: &Certificate) -> Result<String, Failure> {
    let found = leaf.sans().iter().filter_map(|s| s.as_text()).collect::<Vec<_>>().join(", ");
    let issuer = leaf.fulcio().issuer().unwrap_or("no issuer");
    let identities: &[Identity] = match &requirements.who {
        Who::Identities(identities) => identities,
        Who::AnyIdentity => return Ok(format!("{found} (issuer {issuer})")),
        Who::Keys(_) => &[],
    };
    let mut nearest: Option<(u8, Failure)> = None;
    for identity in identities {
        let (rank, failure) = if !identity.matches_name(leaf) {
            (0, Failure::new(Reason::IdentityMismatch, identity.name.to_string(), found.clone()))
        } else if !identity.matches_issuer(leaf) {
            {
                let wanted = identity.issuer.as_ref().map_or_else(String::new, ToString::to_string);
                (1, Failure::new(Reason::IssuerMismatch, wanted, issuer))
            }
        } else if let Some((arc, name, value)) = identity.unmatched_extension(leaf) {
            let found = leaf.fulcio().get(*arc).unwrap_or("none");
            (2, Failure::new(Reason::ExtensionMismatch, format!("{name} {value}"), found))
        } else {
            return Ok(format!("{found} (issuer {issuer})"));
        };
        if nearest.as_ref().is_none_or(|(best, _)| rank > *best) {
            nearest = Some((rank, failure));
        }
    }
    Err(nearest.map_or_else(
        || Failure::new(Reason::IdentityMismatch, "a required identity", found),
        |(_, failure)| failure,
    ))
}
