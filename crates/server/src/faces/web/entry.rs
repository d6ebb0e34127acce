//! An entry under the SHA-256 of its bytes, which is its for ever: its proof drawn, who signed, the bytes, and how to check them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use countersign_bundle::rekor::{HashedRekordV2, Verifier};
use countersign_bundle::{InclusionProof, TlogEntry};
use countersign_crypto::encoding::{hex_decode, hex_encode};
use countersign_crypto::{PublicKey, sha256};
use countersign_log::{Log, LogError};
use countersign_tlog::Hash;
use countersign_tlog::merkle::leaf_hash;
use countersign_web::{Standing, card, name};
use countersign_x509::Certificate;
use http::StatusCode;

use super::{
    command, escaped, fact, fact_of, lines, page as whole, proof, quoted, trusted_root, unreadable, words,
};
use crate::http::respond;
use crate::serve::Services;

/// An entry as it lies in the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) index: u64,
    body: Vec<u8>,
    /// What it says; `None` for the first entry, which says nothing of a signature.
    record: Option<HashedRekordV2>,
}

impl Entry {
    pub(super) fn at(log: &Log, index: u64) -> Result<Self, LogError> {
        let body = log.entry(index)?.to_vec();
        let record = HashedRekordV2::parse_body(&body).ok();
        Ok(Self { index, body, record })
    }

    /// Where its page is.
    pub(super) fn path(&self) -> String {
        format!("/entry/{}", hex_encode(&sha256(&self.body)))
    }

    /// The digest that was signed.
    pub(super) fn digest(&self) -> Option<String> {
        self.record.as_ref().map(|record| record.digest.to_string())
    }

    /// Who signed, in a few words; for a list of an index that hides identities without a name.
    pub(super) fn signer(&self, hides: bool) -> String {
        match self.record.as_ref().map(|record| &record.verifier) {
            Some(Verifier::Certificate(_)) if hides => "somebody with a certificate".into(),
            Some(Verifier::Certificate(der)) => {
                Certificate::from_der(der).map_or_else(|_| "a certificate".into(), |c| name(&c))
            }
            Some(Verifier::PublicKey(spki)) => PublicKey::from_spki_der(spki)
                .map_or_else(|_| "a key".into(), |key| format!("the {} key {}", key.key_type(), short(&key))),
            None => "the log".into(),
        }
    }
}

fn short(key: &PublicKey) -> String {
    hex_encode(&key.fingerprint()).chars().take(16).collect()
}

/// An entry with its proof in a tree that was signed.
struct Proven {
    entry: Entry,
    size: u64,
    root: Hash,
    proof: Vec<Hash>,
    checkpoint: Arc<str>,
}

/// Why there is no page.
enum Missing {
    /// No hash at all, or none of an entry.
    Unknown,
    /// Cosignatures are required, and the tree that has them has not this entry yet.
    Uncosigned,
    /// The log could not be read.
    Unreadable(String),
}

impl Missing {
    fn page(self, services: &Services) -> Response {
        match self {
            Self::Unknown => {
                let text = "No entry of this log has this hash. An entry just written is found at once; \
                            check that the link is whole.";
                words(services, StatusCode::NOT_FOUND, "No such entry", text)
            }
            Self::Uncosigned => {
                let text = "Too few witnesses have cosigned a tree with this entry, and no other is shown; ask again.";
                words(services, StatusCode::SERVICE_UNAVAILABLE, "Not cosigned yet", text)
            }
            Self::Unreadable(error) => unreadable(services, &error),
        }
    }
}

async fn proven(services: &Arc<Services>, hash: &str) -> Result<Proven, Missing> {
    let key: Hash = Some(hash)
        .filter(|text| text.len() == 64)
        .and_then(|text| hex_decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Missing::Unknown)?;
    let own = Arc::clone(services);
    let read = tokio::task::spawn_blocking(move || {
        let failed = |error: LogError| Missing::Unreadable(error.to_string());
        let role = own.log.as_ref().ok_or(Missing::Unknown)?;
        let index = role.log.find_key(&key).map_err(failed)?.ok_or(Missing::Unknown)?;
        let head = role.shown().filter(|head| index < head.size).ok_or(Missing::Uncosigned)?;
        let entry = Entry::at(&role.log, index).map_err(failed)?;
        let proof = role.log.proof(index, head.size).map_err(failed)?;
        let checkpoint = Arc::clone(&head.checkpoint);
        Ok(Proven { entry, size: head.size, root: head.root, proof, checkpoint })
    });
    read.await.unwrap_or_else(|e| Err(Missing::Unreadable(e.to_string())))
}

/// The bytes of the entry, exactly.
pub(super) async fn body(State(services): State<Arc<Services>>, Path(hash): Path<String>) -> Response {
    match proven(&services, &hash).await {
        Ok(found) => respond(StatusCode::OK, "application/octet-stream", found.entry.body),
        Err(missing) => missing.page(&services),
    }
}

/// The entry with its proof, as it stands in a bundle.
pub(super) async fn with_proof(State(services): State<Arc<Services>>, Path(hash): Path<String>) -> Response {
    let found = match proven(&services, &hash).await {
        Ok(found) => found,
        Err(missing) => return missing.page(&services),
    };
    let entry = TlogEntry {
        log_index: found.entry.index,
        log_id: services.log.as_ref().map(|role| role.log_id.to_vec()).unwrap_or_default(),
        kind: HashedRekordV2::KIND.into(),
        version: HashedRekordV2::VERSION.into(),
        integrated_time: None,
        inclusion_promise: None,
        inclusion_proof: Some(InclusionProof {
            log_index: found.entry.index,
            root_hash: found.root.to_vec(),
            tree_size: found.size,
            hashes: found.proof.iter().map(|hash| hash.to_vec()).collect(),
            checkpoint: found.checkpoint.to_string(),
        }),
        canonicalized_body: found.entry.body,
    };
    respond(StatusCode::OK, "application/json", entry.to_json())
}

pub(super) async fn page(State(services): State<Arc<Services>>, Path(hash): Path<String>) -> Response {
    let found = match proven(&services, &hash).await {
        Ok(found) => found,
        Err(missing) => return missing.page(&services),
    };
    let entry = &found.entry;
    let leaf = leaf_hash(&entry.body);
    let Some(picture) = proof::drawn(&leaf, entry.index, found.size, &found.proof, &found.root) else {
        return unreadable(&services, &"a proof of this log does not lead to its root");
    };
    let mut main = format!("<h1>Entry {}</h1>\n<dl class=\"facts\">\n", entry.index);
    main.push_str(&fact("Signed by", &entry.signer(false)));
    if let Some(digest) = entry.digest() {
        main.push_str(&fact_of("Digest signed", &format!("<code>{}</code>", escaped(&digest))));
    }
    let path = entry.path();
    main.push_str(&fact_of("Leaf hash", &format!("<code>{}</code>", hex_encode(&leaf))));
    main.push_str(&fact_of(
        "Permanent link",
        &format!("<a href=\"{path}\">{}{path}</a>", escaped(&services.base_url)),
    ));
    main.push_str("</dl>\n");
    if entry.digest().is_some() {
        main.push_str("<p class=\"note\">The digest is that of a file, or of the envelope around a statement about one.</p>\n");
    }
    main.push_str(&signer(entry, &services));
    main.push_str(&in_the_log(&found, &picture));
    main.push_str(&how_to_verify(entry, &services.base_url));
    main.push_str("<section><h2>The bytes</h2>\n");
    main.push_str(&format!(
        "<pre class=\"raw\"><code>{}</code></pre>\n<p><a href=\"{path}/body\">As they are</a> · \
         <a href=\"{path}/entry.json\">with the proof, as in a bundle</a></p></section>\n",
        escaped(&String::from_utf8_lossy(&entry.body))
    ));
    whole(&services, StatusCode::OK, &format!("Entry {}", entry.index), &main)
}

fn signer(entry: &Entry, services: &Services) -> String {
    match entry.record.as_ref().map(|record| &record.verifier) {
        Some(Verifier::Certificate(der)) => match Certificate::from_der(der) {
            Ok(certificate) => {
                let standing = Standing::of(&certificate, trusted_root(services).as_ref());
                format!(
                    "<section><h2>The certificate</h2>\n{}</section>\n",
                    card(&certificate, &standing, &[])
                )
            }
            Err(_) => "<section><h2>The certificate</h2>\n<p>It cannot be read.</p></section>\n".into(),
        },
        Some(Verifier::PublicKey(spki)) => {
            let mut out = String::from(
                "<section><h2>The key</h2>\n<p>Signed with a key and no certificate: the log does not say whose it is.</p>\n\
                 <dl class=\"facts\">\n",
            );
            if let Ok(key) = PublicKey::from_spki_der(spki) {
                out.push_str(&fact("Kind", &key.key_type().to_string()));
                let print = hex_encode(&key.fingerprint());
                out.push_str(&fact_of("SHA-256", &format!("<code>{print}</code>")));
                out.push_str(&format!(
                    "</dl>\n<pre class=\"raw\"><code>{}</code></pre>\n",
                    lines(&key.to_pem())
                ));
            } else {
                out.push_str("</dl>\n");
            }
            out.push_str("</section>\n");
            out
        }
        None => "<section><h2>No signature</h2>\n<p>The first entry of a log only begins it.</p></section>\n"
            .into(),
    }
}

fn in_the_log(found: &Proven, picture: &str) -> String {
    format!(
        "<section><h2>In the log</h2>\n<p>Hashed with the {} hashes that the proof brings, level by level, this entry makes the \
         root that the log has signed for {} entries. This page has computed it.</p>\n<div class=\"two\"><div>{picture}\
         <ul class=\"key\"><li class=\"leaf\">this entry</li><li class=\"given\">brought by the proof</li>\
         <li class=\"made\">computed</li><li class=\"root\">root, signed</li></ul></div>\n\
         <div><h3>The checkpoint</h3>\n<pre class=\"raw\"><code>{}</code></pre></div></div></section>\n",
        found.proof.len(),
        found.size,
        lines(&found.checkpoint),
    )
}

fn how_to_verify(entry: &Entry, base: &str) -> String {
    let mut out = String::from(
        "<section><h2>Verify it yourself</h2>\n<p>That the log has this entry, by the log's key and a proof made on your \
         machine:</p>\n",
    );
    out.push_str(&command(&format!("countersign log get {} --log {base}", entry.index)));
    let by = match entry.record.as_ref().map(|record| &record.verifier) {
        Some(Verifier::Certificate(der)) => Certificate::from_der(der).ok().map(|certificate| {
            let issuer = certificate.fulcio().issuer().unwrap_or("ISSUER").to_owned();
            format!("--identity {} --issuer {}", quoted(&name(&certificate)), quoted(&issuer))
        }),
        Some(Verifier::PublicKey(_)) => Some("--key KEY.pem".to_owned()),
        None => None,
    };
    if let Some(by) = by {
        out.push_str("<p>The file that was signed, with its signature <code>FILE.sigstore.json</code> beside it:</p>\n");
        out.push_str(&command(&format!("countersign verify FILE {by}")));
    }
    out.push_str("</section>\n");
    out
}
