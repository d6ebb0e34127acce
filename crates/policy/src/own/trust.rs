//! Whom to believe: the fields of `trust` and `require`.

use super::schema::{Require, Trust};
use crate::authority::Demands;
use crate::lint::Lint;
use crate::read::ReadError;
use crate::trust::{TrustBase, TrustSpec};
use countersign_bundle::TrustedRoot;

/// Reads `spec.trust`. Everything that stands in the policy is read once here, so that what is wrong is told now.
///
/// # Errors
/// [`ReadError`].
pub(super) fn read(written: &Trust) -> Result<TrustSpec, ReadError> {
    let base = match (&written.root, &written.document) {
        (None, None) => TrustBase::Installation,
        (Some(name), None) if !name.is_empty() => TrustBase::Named(name.clone()),
        (None, Some(document)) => {
            TrustedRoot::from_json(document.as_bytes())
                .map_err(|e| ReadError::new("spec.trust.document", e.to_string()))?;
            TrustBase::Document(document.clone())
        }
        _ => {
            let message =
                "expected the name of a trust root, or a document, or neither for the installation's";
            return Err(ReadError::new("spec.trust", message));
        }
    };
    let spec = TrustSpec {
        base,
        roots: written.certificate_authorities.clone(),
        log_keys: written.transparency_logs.clone(),
        ct_keys: written.ct_logs.clone(),
        timestamp_chain: written.timestamp_authorities.clone(),
        log_url: written.transparency_log_url.clone(),
        ..TrustSpec::default()
    };
    if spec.log_url.as_deref().is_some_and(|url| !url.contains("://")) {
        let message = "expected the log's address, such as https://log.example";
        return Err(ReadError::new("spec.trust.transparencyLogUrl", message));
    }
    // A log that the base must have is looked for when the base is there.
    let without_base = TrustSpec { log_url: None, ..spec.clone() };
    without_base
        .apply(&mut TrustedRoot::default())
        .map_err(|message| ReadError::new("spec.trust", message))?;
    Ok(spec)
}

/// Reads `spec.require`.
pub(super) fn demands(written: Require, lints: &mut Vec<Lint>) -> Demands {
    let mut remark = |field: &str, code, message: &str| {
        lints.push(Lint::new(format!("spec.require.{field}"), code, message));
    };
    if !written.transparency_log {
        remark(
            "transparencyLog",
            "no_transparency_log",
            "a signature that no log has can be made in secret with a stolen key: nobody would see it",
        );
    }
    if !written.ct_log {
        remark("ctLog", "no_ct_log", "a certificate that no CT log has can be issued in secret");
    }
    Demands { log: written.transparency_log, sct: written.ct_log, timestamp: written.timestamp }
}
