//! Verifying on a page: a signature, the digest of a file, and who should have signed.
//!
//! A script computes the digests of a file that is dropped, in the browser; the file is not sent. Without it they are
//! typed. The signature comes here, and the engine verifies it here with what this instance trusts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use countersign_bundle::Bundle;
use countersign_clock::Timestamp;
use countersign_crypto::{Digest, PublicKey};
use countersign_verify::{
    Identity, Outcome, Report, Requirements, Signer, Subject, TimeSource, TrustMaterial, Verified,
};
use http::{Request, StatusCode};

use super::certificate::{Standing, card};
use super::{escaped, fact, fact_of, lines, page, trusted_root, words};
use crate::http::{Shape, read_body};
use crate::revoke;
use crate::serve::Services;

/// The largest form: a signature is a few KiB, with a statement some more.
const LIMIT: usize = 8 * 1024 * 1024;

/// What the form asks.
#[derive(Debug, Default)]
struct Asked {
    bundle: String,
    digests: String,
    identity: String,
    issuer: String,
    key: String,
}

impl Asked {
    fn read(body: &[u8]) -> Self {
        let mut asked = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            let field = match &*name {
                "bundle" => &mut asked.bundle,
                "digests" => &mut asked.digests,
                "identity" => &mut asked.identity,
                "issuer" => &mut asked.issuer,
                "key" => &mut asked.key,
                _ => continue,
            };
            value.trim().clone_into(field);
        }
        asked
    }

    /// The digests given.
    fn digests(&self) -> Result<Vec<Digest>, String> {
        let found: Vec<Digest> = self
            .digests
            .split_whitespace()
            .map(|word| {
                let named = if word.contains(':') { word.to_lowercase() } else { format!("sha256:{word}") };
                Digest::parse(&named).map_err(|error| format!("The digest {word}: {error}."))
            })
            .collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err("Give the digest of the file, such as sha256:9f86….".into());
        }
        Ok(found)
    }

    /// Who should have signed, and whether anybody was named.
    fn requirements(&self) -> Result<(Requirements, bool), String> {
        match (self.identity.as_str(), self.issuer.as_str(), self.key.as_str()) {
            ("", "", "") => Ok((Requirements::builder().dangerous_any_identity().build(), false)),
            ("", "", pem) => {
                let key =
                    PublicKey::from_pem(pem).map_err(|e| format!("The public key cannot be read: {e}."))?;
                Ok((Requirements::builder().key(key).build(), true))
            }
            ("", _, _) | (_, "", _) => {
                Err("An identity counts with its issuer only: give both, or neither.".into())
            }
            (identity, issuer, "") => {
                let identity = Identity::exact(identity, issuer).map_err(|e| format!("{e}."))?;
                Ok((Requirements::builder().identity(identity).build(), true))
            }
            _ => Err("Give an identity or a key, not both.".into()),
        }
    }
}

pub(super) async fn form(State(services): State<Arc<Services>>) -> Response {
    page(&services, StatusCode::OK, "Verify a file", &form_with(&Asked::default(), ""))
}

/// The form with what was asked, under an answer, which is markup.
fn form_with(asked: &Asked, answer: &str) -> String {
    let open = if asked.identity.is_empty() && asked.key.is_empty() { "" } else { " open" };
    format!(
        "<h1>Verify a file</h1>\n{answer}<form id=\"verify\" action=\"/verify\" method=\"post\">\n\
         <div id=\"drop\" class=\"drop\" hidden><p><strong>Drop a file and its signature here</strong>, or \
         <label class=\"pick\">choose them<input id=\"files\" type=\"file\" multiple></label></p>\
         <p id=\"said\" role=\"status\" aria-live=\"polite\"></p></div>\n\
         <p class=\"note\">The signature is sent to this server, which verifies it with what it trusts. The file stays with you: its digest \
         is computed in your browser<span class=\"noscript\">, or by you: <code>sha256sum FILE</code></span>. To trust nobody's server, use \
         <code>countersign verify</code>.</p>\n\
         <label for=\"digests\">Digest of the file</label>\n\
         <textarea id=\"digests\" name=\"digests\" rows=\"3\" required spellcheck=\"false\" placeholder=\"sha256:…\">{}</textarea>\n\
         <label for=\"bundle\">Signature (FILE.sigstore.json)</label>\n\
         <textarea id=\"bundle\" name=\"bundle\" rows=\"6\" required spellcheck=\"false\" placeholder=\"{{&quot;mediaType&quot;: …}}\">{}</textarea>\n\
         <details{open}><summary>Who should have signed</summary>\n\
         <label for=\"identity\">Identity</label>\n<input id=\"identity\" name=\"identity\" value=\"{}\" autocapitalize=\"off\" \
         spellcheck=\"false\" placeholder=\"alice@example.com\">\n\
         <label for=\"issuer\">Its issuer</label>\n<input id=\"issuer\" name=\"issuer\" value=\"{}\" autocapitalize=\"off\" \
         spellcheck=\"false\" placeholder=\"https://accounts.example.com\">\n\
         <label for=\"key\">Or a public key (PEM)</label>\n<textarea id=\"key\" name=\"key\" rows=\"4\" spellcheck=\"false\">{}</textarea>\n\
         </details>\n<button>Verify</button>\n</form>\n<script src=\"/assets/verify.js\"></script>\n",
        lines(&asked.digests),
        lines(&asked.bundle),
        escaped(&asked.identity),
        escaped(&asked.issuer),
        lines(&asked.key),
    )
}

pub(super) async fn answer(State(services): State<Arc<Services>>, request: Request<Body>) -> Response {
    let body = match read_body(request, LIMIT, Shape::Text).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let own = Arc::clone(&services);
    let answered = tokio::task::spawn_blocking(move || {
        let asked = Asked::read(&body);
        let (status, answer) = match verified(&own, &asked) {
            Ok(answer) => (StatusCode::OK, answer),
            Err(Refusal::Asked(why)) => (StatusCode::BAD_REQUEST, problem(&why)),
            Err(Refusal::Own(why)) => (StatusCode::SERVICE_UNAVAILABLE, problem(&why)),
        };
        (status, form_with(&asked, &answer))
    });
    match answered.await {
        Ok((status, main)) => page(&services, status, "Verify a file", &main),
        Err(error) => {
            tracing::error!(%error, "a verification ended early");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            words(&services, status, "Not verified", "The verification ended early.")
        }
    }
}

/// Why nothing could be verified.
enum Refusal {
    /// The question is none.
    Asked(String),
    /// This server cannot answer it.
    Own(String),
}

fn problem(why: &str) -> String {
    format!(
        "<section class=\"answer\"><h2 class=\"verdict bad\" id=\"verdict\">Not verified</h2>\n<p>{}</p></section>\n",
        escaped(why)
    )
}

fn verified(services: &Services, asked: &Asked) -> Result<String, Refusal> {
    let digests = asked.digests().map_err(Refusal::Asked)?;
    let (requirements, named) = asked.requirements().map_err(Refusal::Asked)?;
    let material = material(services).map_err(Refusal::Own)?;
    let report = match Bundle::from_json(asked.bundle.as_bytes()) {
        Ok(bundle) => {
            let subject = Subject::from_digests(digests);
            countersign_verify::verify(&subject, &bundle, &material, &requirements, services.clock.now())
        }
        Err(error) => Report::malformed(&error),
    };
    Ok(told(&report, named, services))
}

/// What this instance trusts, with what it has revoked: a list that cannot be read is no empty list.
fn material(services: &Services) -> Result<TrustMaterial, String> {
    let role = services
        .trust
        .as_ref()
        .ok_or("This process has no trust root, so it cannot verify. Use countersign verify.")?;
    let unusable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "the page that verifies has nothing to verify with");
        "What this server trusts cannot be read right now.".to_owned()
    };
    let root = trusted_root(services).ok_or_else(|| unusable(&"the trust root does not parse"))?;
    let material = TrustMaterial::from_trusted_root(&root).map_err(|e| unusable(&e))?;
    match revoke::list(&role.instance).map_err(|e| unusable(&e))? {
        Some(list) => Ok(material.with_revocations(Arc::new(list))),
        None => Ok(material),
    }
}

fn told(report: &Report, named: bool, services: &Services) -> String {
    let mut out = String::from("<section class=\"answer\">");
    match report.verified() {
        Ok(verified) if named => {
            out.push_str(
                "<h2 class=\"verdict good\" id=\"verdict\"><span aria-hidden=\"true\">✓</span> Verified</h2>\n\
                 <p>This file was signed by whom you named.</p>\n",
            );
            out.push_str(&facts(verified, services));
        }
        Ok(verified) => {
            out.push_str(
                "<h2 class=\"verdict open\" id=\"verdict\"><span aria-hidden=\"true\">✓</span> The signature holds</h2>\n\
                 <p>You named nobody, so whether it is the right one who signed is for you to say. It is this one:</p>\n",
            );
            out.push_str(&facts(verified, services));
        }
        Err(rejection) => {
            out.push_str(
                "<h2 class=\"verdict bad\" id=\"verdict\"><span aria-hidden=\"true\">✗</span> Rejected</h2>\n\
                 <p>Do not use this file on the strength of this signature.</p>\n<dl class=\"facts\">\n",
            );
            out.push_str(&fact("What fails", &rejection.check.code().replace('_', " ")));
            out.push_str(&fact("Expected", &rejection.expected));
            out.push_str(&fact("Found", &rejection.found));
            out.push_str("</dl>\n");
        }
    }
    out.push_str("<h3>What was checked</h3>\n<ul class=\"checks\">\n");
    for check in report.checks() {
        let (class, sign, word, found) = match (check.outcome, check.consequence_of) {
            (Outcome::Passed, _) => ("good", "✓", "holds", check.found.clone()),
            (Outcome::NotApplicable, _) => ("none", "–", "not there", check.found.clone()),
            (Outcome::Failed, None) => {
                ("bad", "✗", "fails", format!("expected {}, found {}", check.expected, check.found))
            }
            (Outcome::Failed, Some(first)) => {
                ("none", "✗", "fails", format!("fails because this does: {}", first.code().replace('_', " ")))
            }
        };
        out.push_str(&format!(
            "<li class=\"{class}\"><span class=\"sign\" role=\"img\" aria-label=\"{word}\">{sign}</span> <strong>{}</strong> \
             <span class=\"found\"><bdi>{}</bdi></span></li>\n",
            check.name.code().replace('_', " "),
            escaped(&found),
        ));
    }
    out.push_str("</ul></section>\n");
    out
}

fn facts(verified: &Verified, services: &Services) -> String {
    let mut out = String::new();
    match verified.signer() {
        Signer::Certificate(certificate) => {
            let times: Vec<(Timestamp, String)> = verified
                .times()
                .iter()
                .map(|time| {
                    let who = match time.source {
                        TimeSource::TimestampAuthority => "signed before, says the timestamp authority",
                        TimeSource::Log => "signed before, says the log",
                        _ => "taken for the time of signing",
                    };
                    (time.time, format!("{who} {}", time.authority))
                })
                .collect();
            let standing = Standing::of(certificate, trusted_root(services).as_ref());
            out.push_str(&card(certificate, &standing, &times));
        }
        Signer::Key(key) => {
            out.push_str("<dl class=\"facts\">\n");
            out.push_str(&fact("Signed with", &format!("the {} key you gave", key.key_type())));
            out.push_str("</dl>\n");
        }
        _ => {}
    }
    if !verified.entries().is_empty() {
        out.push_str("<dl class=\"facts\">\n");
        for entry in verified.entries() {
            let text = format!("entry {} of {}", entry.index, entry.log);
            let own = services.log.as_ref().is_some_and(|role| role.log_id.as_slice() == entry.log_id);
            let markup = if own {
                format!("<a href=\"/search?q={}\">{}</a>", entry.index, escaped(&text))
            } else {
                escaped(&text)
            };
            out.push_str(&fact_of("In the log", &markup));
        }
        out.push_str("</dl>\n");
    }
    out
}
