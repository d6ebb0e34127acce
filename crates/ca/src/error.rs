//! What a client is told when there is no certificate for it.

use crate::identity::IdentityError;
use crate::oidc::TokenError;

/// Why no certificate was issued. `Display` is the text for the client, which is Fulcio's where Fulcio has one; the
/// precise reason is inside, for the log.
///
/// All that is wrong with a token has one text on purpose: the difference helps nobody but a guesser.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// The token is missing, malformed, of an unknown issuer, not signed by it, not for this service or not in time.
    #[error("There was an error processing the identity token")]
    Token(TokenError),
    /// The token is good but does not give a name that can be certified.
    #[error("There was an error processing the identity token")]
    Identity(IdentityError),
    /// There is no token.
    #[error("There was an error processing the identity token")]
    NoToken,
    /// The public key is missing, malformed, of a type not supported, or weak.
    #[error("The public key supplied in the request could not be parsed")]
    PublicKey(String),
    /// The certificate signing request is malformed or not signed by its own key.
    #[error("The certificate signing request could not be parsed")]
    Csr(String),
    /// The proof of possession is missing or is not a signature of the token's name by the key.
    #[error("The signature supplied in the request could not be verified")]
    Proof,
    /// The body of the request is not what the API asks for.
    #[error("{0}")]
    Request(String),
    /// The authority's key cannot be reached now (a token, a key service). Nothing was issued.
    #[error("the certificate authority's key cannot be reached right now; try again")]
    KeyUnavailable(String),
    /// Signing failed, or the CT log gave no SCT, or a wrong one. Nothing was issued.
    #[error("error communicating with CA backend")]
    Backend(String),
}

impl CaError {
    /// Whether the client has to change something. If not, the same request may succeed later: the keys of the
    /// token's issuer cannot be had just now, or a part of the authority itself failed.
    #[must_use]
    pub const fn is_client_error(&self) -> bool {
        !matches!(
            self,
            Self::Backend(_) | Self::KeyUnavailable(_) | Self::Token(TokenError::IssuerUnavailable { .. })
        )
    }

    /// The precise reason, for the operator's log. Never holds a token, a key or a signature.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Token(reason) => reason.to_string(),
            Self::Identity(reason) => reason.to_string(),
            Self::NoToken => "no identity token in the header or the body".into(),
            Self::PublicKey(reason)
            | Self::Csr(reason)
            | Self::Request(reason)
            | Self::KeyUnavailable(reason)
            | Self::Backend(reason) => reason.clone(),
            Self::Proof => "the proof of possession does not verify".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_problems_have_one_text() {
        let texts: Vec<String> = [
            CaError::NoToken,
            CaError::Token(TokenError::Malformed("x".into())),
            CaError::Token(TokenError::Algorithm("none".into())),
            CaError::Token(TokenError::UnknownIssuer("x".into())),
            CaError::Token(TokenError::Signature("x".into())),
            CaError::Identity(IdentityError::new("x")),
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        assert!(texts.iter().all(|t| t == "There was an error processing the identity token"), "{texts:?}");
    }

    #[test]
    fn what_may_pass_by_itself_is_not_the_clients_fault() {
        assert!(!CaError::Backend("x".into()).is_client_error());
        assert!(!CaError::KeyUnavailable("x".into()).is_client_error());
        let down = TokenError::IssuerUnavailable { issuer: "x".into(), reason: "y".into() };
        assert!(!CaError::Token(down).is_client_error());
        assert!(CaError::Proof.is_client_error());
    }
}
