//! What a piece of evidence says of itself, unverified: for looking around, never for a decision.

use countersign_attestation::Statement;
use countersign_bundle::KeyMaterial;
use countersign_registry::evidence::{Form, Found};
use countersign_verify::SIGN_PREDICATE_TYPE;
use countersign_x509::Certificate;

use super::bundle_of;

/// What a piece of evidence says of itself. Nobody vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The type of statement it makes; `None` for a signature of the image itself.
    pub predicate_type: Option<String>,
    /// Who signed; `None` when nobody did.
    pub signer: Option<String>,
    /// What is wrong with its form.
    pub malformed: Option<String>,
}

/// Reads what a piece of evidence says of itself.
#[must_use]
pub fn claims(found: &Found) -> Claims {
    let bundle = match bundle_of(found) {
        None => {
            let unsigned = (found.form == Form::InToto).then(|| Statement::from_json(&found.bytes).ok());
            return Claims {
                predicate_type: unsigned.flatten().map(|statement| statement.predicate_type),
                signer: (found.form == Form::Notary).then(|| "see `countersign verify --notary`".to_owned()),
                malformed: None,
            };
        }
        Some(Err(error)) => return Claims { malformed: Some(error.to_string()), ..Claims::default() },
        Some(Ok(bundle)) => bundle,
    };
    let statement = bundle.content.envelope().and_then(|e| Statement::from_json(&e.payload).ok());
    let signer = match &bundle.verification_material.content {
        KeyMaterial::PublicKeyHint(hint) if hint.is_empty() => "a key".to_owned(),
        KeyMaterial::PublicKeyHint(hint) => format!("the key {hint}"),
        certificates => certificates
            .leaf()
            .and_then(|der| Certificate::from_der(der).ok())
            .map_or_else(|| "a certificate that cannot be read".to_owned(), |leaf| name_of(&leaf)),
    };
    Claims {
        predicate_type: statement.map(|s| s.predicate_type).filter(|t| t != SIGN_PREDICATE_TYPE),
        signer: Some(signer),
        malformed: None,
    }
}

fn name_of(leaf: &Certificate) -> String {
    let name = leaf.sans().first().and_then(|san| san.as_text()).unwrap_or("a certificate without a name");
    match leaf.fulcio().issuer() {
        Some(issuer) => format!("{name} (issuer {issuer})"),
        None => name.to_owned(),
    }
}
