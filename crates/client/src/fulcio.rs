//! The certificate authority: an identity token and a key go in, a short-lived certificate comes out (Fulcio's
//! HTTP API v2).

use countersign_crypto::{KeyType, Signer, encoding};
use countersign_x509::Certificate;
use countersign_x509::chain::{self, Purpose};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::ClientError;
use crate::oidc::IdToken;
use countersign_http::{Http, Request, join};

const SERVICE: &str = "the certificate authority";

/// The most certificates an answer may hold.
const MAX_CHAIN: usize = 10;

/// A certificate authority.
#[derive(Debug, Clone)]
pub struct Fulcio {
    base: Url,
}

/// A certificate for our key, as the authority gave it.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// The certificate.
    pub leaf: Certificate,
    /// What the authority sent with it: intermediates, and perhaps the root. Not trusted for being sent.
    pub others: Vec<Certificate>,
}

impl IssuedCertificate {
    /// Whether it can still be signed with: valid now and for some seconds more.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp, seconds: i64) -> bool {
        let end = self.leaf.not_after().as_second();
        self.leaf.not_before() <= now && end > now.as_second().saturating_add(seconds)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    signed_certificate_embedded_sct: Option<Embedded>,
    signed_certificate_detached_sct: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Embedded {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

impl Fulcio {
    /// The authority at a base address.
    #[must_use]
    pub fn new(base: Url) -> Self {
        Self { base }
    }

    /// Asks for a certificate for the signer's key, and checks that the answer is for that key and that it leads to one
    /// of the anchors, through the authority's or our own intermediates. With no anchor no certificate will do.
    ///
    /// # Errors
    /// [`ClientError::Http`] with the authority's words, and for a certificate that is
    /// not ours or not trusted.
    pub async fn certificate(
        &self,
        http: &Http,
        token: &IdToken,
        signer: &dyn Signer,
        anchors: &[Certificate],
        intermediates: &[Certificate],
        now: Timestamp,
    ) -> Result<IssuedCertificate, ClientError> {
        let proof = signer.sign(token.subject()?.as_bytes())?;
        let algorithm = match signer.public_key().key_type() {
            KeyType::Ed25519 => "ED25519",
            KeyType::Rsa { .. } => "RSA_PSS",
            _ => "ECDSA",
        };
        let body = json!({
            "publicKeyRequest": {
                "publicKey": { "algorithm": algorithm, "content": signer.public_key().to_pem() },
                "proofOfPossession": encoding::base64_encode(&proof),
            }
        });
        let url = join(&self.base, "/api/v2/signingCert");
        let request = Request::post(SERVICE, &url, "application/json", body.to_string().into_bytes())
            .authorization("Bearer", token.secret())?;
        let response = http.send(request).await?.expect(&[200, 201])?;
        let answer: Answer = response.json()?;
        let Some(embedded) = answer.signed_certificate_embedded_sct else {
            let found =
                if answer.signed_certificate_detached_sct.is_some() { "a detached one" } else { "none" };
            return Err(response
                .wrong(format!("expected a certificate with an embedded SCT, found {found}"))
                .into());
        };
        let pems = embedded.chain.certificates;
        if pems.len() > MAX_CHAIN {
            return Err(response
                .wrong(format!("expected at most {MAX_CHAIN} certificates, found {}", pems.len()))
                .into());
        }
        let mut certificates = pems
            .iter()
            .map(|pem| Certificate::from_pem(pem).map_err(|e| response.wrong(e)))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let leaf = certificates.next().ok_or_else(|| response.wrong("expected a certificate, found none"))?;
        let others: Vec<Certificate> = certificates.collect();
        if leaf.public_key() != signer.public_key() {
            return Err(response.wrong("the certificate is for another key than ours").into());
        }
        if leaf.scts().map_err(|e| response.wrong(e))?.is_empty() {
            return Err(response.wrong("expected a certificate with an SCT, found one without").into());
        }
        // The authority's clock may be a little ahead; what counts is the time it wrote.
        let at = now.clamp(leaf.not_before(), leaf.not_after());
        let between: Vec<Certificate> = others.iter().chain(intermediates).cloned().collect();
        chain::verify(&leaf, &between, anchors, Purpose::CodeSigning, at)
            .map_err(|e| response.wrong(format!("the certificate does not lead to the trust root: {e}")))?;
        Ok(IssuedCertificate { leaf, others })
    }
}
