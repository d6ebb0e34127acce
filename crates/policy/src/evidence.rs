//! Evidence as the engine takes it.

use countersign_bundle::{Bundle, BundleError, legacy};
use countersign_registry::evidence::{Form, Found};

/// What was found as the engine wants it; `None` for forms that carry no signature, or one of another kind.
#[must_use]
pub fn bundle_of(found: &Found) -> Option<Result<Bundle, BundleError>> {
    match found.form {
        Form::Bundle => Some(Bundle::from_json(&found.bytes)),
        Form::CosignSignature => Some(legacy::from_signature_layer(&found.bytes, &found.annotations)),
        Form::CosignAttestation => Some(legacy::from_attestation_layer(&found.bytes, &found.annotations)),
        // A bare statement, which nobody signed, is none.
        Form::InToto => legacy::from_attestation_layer(&found.bytes, &found.annotations).ok().map(Ok),
        _ => None,
    }
}
