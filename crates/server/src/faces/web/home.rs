//! The first page: the state of the log, where to search, how to begin.

use axum::response::Response;
use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_encode;
use http::{HeaderValue, StatusCode, header};

use super::search::search_form;
use super::{command, fact, fact_of, page};
use crate::serve::Services;

pub(in crate::faces) fn home(services: &Services) -> Response {
    let mut main = String::new();
    if let Some(role) = &services.log {
        let head = role.log.head();
        main.push_str("<h1>Who signed what</h1>\n");
        main.push_str(&search_form(""));
        main.push_str("<section><h2>The log now</h2>\n<dl class=\"facts\">\n");
        main.push_str(&fact("Entries", &head.size.to_string()));
        main.push_str(&fact("Checkpoint of", &time_of(head.time_ms)));
        main.push_str(&fact("Name", role.log.params().origin.as_str()));
        main.push_str(&fact_of("Root", &format!("<code>{}</code>", hex_encode(&head.root))));
        main.push_str("</dl>\n<p><a href=\"/checkpoint\">The signed checkpoint</a></p></section>\n");
    } else {
        main.push_str("<h1>A private Sigstore</h1>\n<p>This process keeps no log.</p>\n");
    }
    let base = &services.base_url;
    main.push_str("<section><h2>Begin</h2>\n<p>Trust this instance, sign a file, and verify it:</p>\n");
    main.push_str(&command(&format!(
        "countersign trust add {base}\ncountersign sign FILE\ncountersign verify FILE --identity NAME --issuer URL"
    )));
    main.push_str("<p>Or <a href=\"/verify\">verify a file on this page</a>, without installing anything.</p></section>\n");
    main.push_str("<section><h2>Documents</h2>\n<ul>\n");
    for (path, what) in [
        ("/trusted_root.json", "Trust root"),
        ("/signing_config.v0.2.json", "Signing configuration"),
        ("/root.json", "Root of the TUF repository"),
        ("/revocations.json", "What is revoked"),
        ("/openapi.json", "Interface (OpenAPI)"),
    ] {
        if services.trust.is_some() || path == "/openapi.json" {
            main.push_str(&format!("<li><a href=\"{path}\">{what}</a></li>\n"));
        }
    }
    main.push_str("</ul></section>\n");
    let mut response = page(services, StatusCode::OK, "Countersign", &main);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn time_of(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_second(ms / 1000).ok());
    time.map_or_else(|| "unknown".into(), |time| time.to_string())
}
