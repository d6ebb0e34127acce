//! An identity provider's own description, and its token endpoint (OpenID Connect Discovery 1.0, RFC 6749).

use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::IdToken;
use crate::ClientError;
use countersign_http::text::printable;
use countersign_http::{Http, Request, join, parse_url, shown};

const SERVICE: &str = "the identity provider";

/// An identity provider, with the addresses it announced.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The issuer's name, as its tokens carry it.
    pub issuer: String,
    pub(super) authorization: Option<Url>,
    pub(super) token: Url,
    pub(super) device: Option<Url>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
}

/// The answer of a token endpoint, good or bad.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) id_token: Option<String>,
    pub(super) error: Option<String>,
    pub(super) error_description: Option<String>,
}

impl Provider {
    /// Asks an issuer for its description.
    ///
    /// # Errors
    /// [`ClientError::Http`], also when the description names another
    /// issuer or lacks a token endpoint, or an endpoint is plain http on another machine.
    pub async fn discover(http: &Http, issuer: &Url) -> Result<Self, ClientError> {
        let url = join(issuer, "/.well-known/openid-configuration");
        let response = http.send(Request::get(SERVICE, &url).limit(256 * 1024)).await?.expect(&[200])?;
        let document: Document = response.json()?;
        let expected = issuer.as_str().trim_end_matches('/');
        if document.issuer.trim_end_matches('/') != expected {
            return Err(response
                .wrong(format!("expected the issuer {expected}, found {}", document.issuer))
                .into());
        }
        let endpoint = |text: Option<String>| {
            text.map(|t| parse_url(&t).map_err(|e| response.wrong(e.to_string()))).transpose()
        };
        let token = endpoint(document.token_endpoint)?
            .ok_or_else(|| response.wrong("expected a token_endpoint, found none"))?;
        Ok(Self {
            authorization: endpoint(document.authorization_endpoint)?,
            device: endpoint(document.device_authorization_endpoint)?,
            issuer: document.issuer,
            token,
        })
    }

    /// Asks the token endpoint; an OAuth error is part of the answer.
    pub(super) async fn ask(&self, http: &Http, form: &[(&str, &str)]) -> Result<TokenAnswer, ClientError> {
        let request = post_form(SERVICE, &self.token, form).accept("application/json");
        let response = http.send(request).await?;
        match response.status {
            200..=299 | 400 | 401 => Ok(response.json()?),
            _ => Err(response.into_error().into()),
        }
    }

    /// The token of an answer, checked to be this provider's.
    pub(super) fn accept(&self, answer: TokenAnswer) -> Result<IdToken, ClientError> {
        if let Some(error) = answer.error {
            let detail = answer.error_description.unwrap_or_default();
            return Err(ClientError::Identity(format!(
                "{} refused: {} {}",
                shown(&self.token),
                printable(&error),
                printable(&detail)
            )));
        }
        let token = answer.id_token.map(Zeroizing::new).ok_or_else(|| {
            ClientError::Identity(format!(
                "{} gave no id_token (is the scope openid allowed?)",
                shown(&self.token)
            ))
        })?;
        let token = IdToken::parse(&token)?;
        if token.claims().iss != self.issuer {
            return Err(ClientError::Identity(format!(
                "expected a token of {}, found one of {}",
                printable(&self.issuer),
                printable(&token.claims().iss)
            )));
        }
        Ok(token)
    }
}

/// A question with a form, which may hold secrets.
pub(super) fn post_form<'a>(service: &'static str, url: &'a Url, form: &[(&str, &str)]) -> Request<'a> {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    out.extend_pairs(form);
    Request::post(service, url, "application/x-www-form-urlencoded", Vec::new())
        .secret_body(Zeroizing::new(out.finish().into_bytes()))
}
