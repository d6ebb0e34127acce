//! What the requirements ask beyond cryptography: who signed, and what the statement says about which artifact.

use countersign_attestation::Statement;
use countersign_attestation::dsse::{Envelope, IN_TOTO_PAYLOAD_TYPE};
use countersign_attestation::statement;
use countersign_crypto::{Digest, HashAlgorithm};
use countersign_x509::Certificate;

use crate::report::Failure;
use crate::requirements::{Requirements, Who};
use crate::{Identity, Reason, Subject};

/// Reads the statement out of the envelope that was verified.
pub(crate) fn read_statement(envelope: &Envelope) -> Result<Statement, Failure> {
    if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE {
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
) -> Result<(&'a statement::Subject, Digest), Failure> {
    for candidate in &statement.subjects {
        let comparable: Vec<Digest> = HashAlgorithm::ALL
            .into_iter()
            .filter(|a| candidate.digest.contains_key(a.name()))
            .filter_map(|a| subject.digest(a))
            .collect();
        if let Some(digest) = comparable.first()
            && comparable.iter().all(|d| candidate.matches(d))
        {
            return Ok((candidate, *digest));
        }
    }
    let expected = HashAlgorithm::ALL.into_iter().find_map(|a| subject.digest(a));
    Err(Failure::new(
        Reason::SubjectMismatch,
        format!("a subject with {}", expected.map_or_else(|| "a digest".into(), |d| d.to_string())),
        format!("{} other subjects", statement.subjects.len()),
    ))
}

/// Whether the predicate is of one of the required types.
pub(crate) fn check_predicate_type(
    requirements: &Requirements,
    statement: Option<&Statement>,
) -> Result<(), Failure> {
    let found = statement.map(|s| s.predicate_type.as_str());
    if found.is_some_and(|f| requirements.predicate_types.iter().any(|t| t == f)) {
        return Ok(());
    }
    Err(Failure::new(
        Reason::PredicateTypeMismatch,
        requirements.predicate_types.join(" or "),
        found.unwrap_or("no statement"),
    ))
}

/// Whether the subject carries all required annotations.
pub(crate) fn check_annotations(
    requirements: &Requirements,
    subject: Option<&statement::Subject>,
) -> Result<(), Failure> {
    for (key, value) in &requirements.annotations {
        let found = subject.and_then(|s| s.annotations.get(key));
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
            (1, Failure::new(Reason::IssuerMismatch, identity.issuer.to_string(), issuer))
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
