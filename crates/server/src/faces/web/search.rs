//! Searching: one field, and a list of entries.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use countersign_log::LogError;
use http::StatusCode;

use super::entry::Entry;
use super::find::{MOST, Question, find};
use super::{escaped, page, unreadable};
use crate::serve::Services;

/// The field, with what was typed.
pub(super) fn search_form(typed: &str) -> String {
    format!(
        "<form class=\"search\" action=\"/search\" method=\"get\" role=\"search\">\n\
         <label for=\"q\">Digest, e-mail, repository, workflow, commit, key or index</label>\n\
         <div class=\"line\"><input id=\"q\" name=\"q\" type=\"search\" value=\"{}\" autocomplete=\"off\" autocapitalize=\"off\" \
         spellcheck=\"false\" maxlength=\"2048\" required><button>Search</button></div>\n</form>\n",
        escaped(typed)
    )
}

pub(super) async fn results(State(services): State<Arc<Services>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let typed = url::form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "q").then(|| value.into_owned()))
        .unwrap_or_default();
    let Some(question) = Question::read(&typed) else {
        let main = format!("<h1>Search</h1>\n{}{HELP}", search_form(""));
        return page(&services, StatusCode::OK, "Search", &main);
    };
    let own = Arc::clone(&services);
    let found = tokio::task::spawn_blocking(move || look(&own, &question)).await;
    match found {
        Ok(Ok((entries, more))) => {
            let main = list(&typed, &entries, more);
            page(&services, StatusCode::OK, "Search", &main)
        }
        Ok(Err(error)) => unreadable(&services, &error),
        Err(error) => unreadable(&services, &error),
    }
}

/// The entries found, and whether there are more.
fn look(services: &Services, question: &Question) -> Result<(Vec<Entry>, bool), LogError> {
    let Some(role) = &services.log else { return Ok((Vec::new(), false)) };
    let found = find(role, question)?;
    let entries = found.iter().take(MOST).map(|index| Entry::at(&role.log, *index));
    Ok((entries.collect::<Result<_, _>>()?, found.len() > MOST))
}

fn list(typed: &str, entries: &[Entry], more: bool) -> String {
    let mut main = format!("<h1>Search</h1>\n{}", search_form(typed));
    if entries.is_empty() {
        main.push_str(&format!("<p>No entry has <code>{}</code>.</p>\n{HELP}", escaped(typed.trim())));
        return main;
    }
    let count = match (entries.len(), more) {
        (_, true) => format!("The newest {MOST} entries; there are more."),
        (1, false) => "One entry.".to_owned(),
        (n, false) => format!("{n} entries, the newest first."),
    };
    main.push_str(&format!("<p>{count}</p>\n<ol class=\"results\">\n"));
    for entry in entries {
        let digest = entry.digest().unwrap_or_else(|| "the first entry, which only begins the log".into());
        main.push_str(&format!(
            "<li><a href=\"{}\"><span class=\"index\">{}</span> <span class=\"who\"><bdi>{}</bdi></span>\
             <span class=\"what\"><code>{}</code></span></a></li>\n",
            entry.path(),
            entry.index,
            escaped(&entry.signer()),
            escaped(&digest),
        ));
    }
    main.push_str("</ol>\n");
    main
}

const HELP: &str = "<section class=\"help\"><h2>What can be searched for</h2>\n<ul>\n\
    <li>the digest of a file or of an envelope: <code>sha256:9f86…</code>, or the digits alone</li>\n\
    <li>who signed: <code>alice@example.com</code>, or the address of a workflow</li>\n\
    <li>an issuer, a repository, a workflow: its address; or <code>repository:https://…</code> for one of them only</li>\n\
    <li>a commit: its 40 digits</li>\n\
    <li>a key: the SHA-256 of its DER form, <code>key:sha256:…</code></li>\n\
    <li>an entry: its index, or the SHA-256 of its bytes</li>\n</ul>\n\
    <p>Only the whole text is found, upper and lower case alike.</p></section>\n";
