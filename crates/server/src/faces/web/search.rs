//! Searching: one field, and a list of entries.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use countersign_log::LogError;
use http::StatusCode;

use super::entry::Entry;
use super::find::{MOST, Question, find};
use super::proven::Proven;
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
        Ok(Ok(result)) => page(&services, StatusCode::OK, "Search", &list(&typed, &result)),
        Ok(Err(error)) => unreadable(&services, &error),
        Err(error) => unreadable(&services, &error),
    }
}

/// What was found.
struct Shown {
    entries: Vec<Entry>,
    /// Whether there are more.
    more: bool,
    /// How far it is proven to be complete, as markup.
    claim: String,
    /// Whether there is an index to search in.
    indexed: bool,
    /// Whether it hides identities.
    hides: bool,
    /// Whether there is a log of Rekor v1 beside it, which is not searched here.
    beside: bool,
}

fn look(services: &Services, question: &Question) -> Result<Shown, LogError> {
    let beside = services.rekor_v1.is_some();
    let Some(role) = &services.log else {
        return Ok(Shown {
            entries: Vec::new(),
            more: false,
            claim: String::new(),
            indexed: false,
            hides: false,
            beside,
        });
    };
    let hides = role.search.as_ref().is_some_and(|index| index.hides());
    let found = find(role, question)?;
    let (none, more) = (found.entries.is_empty(), found.entries.len() > MOST);
    let claim = match (&found.proven, question) {
        (Some(proven), Question::Any { terms, .. }) => claim(proven, terms, none, more, hides),
        _ => String::new(),
    };
    let entries = found.entries.iter().take(MOST).map(|index| Entry::at(&role.log, *index));
    let indexed = role.search.is_some() || matches!(question, Question::Index(_));
    Ok(Shown { entries: entries.collect::<Result<_, _>>()?, more, claim, indexed, hides, beside })
}

/// What the index proves. Markup.
fn claim(proven: &Proven, terms: &[String], none: bool, more: bool, hides: bool) -> String {
    let what = match (none, more) {
        (true, _) => "That there is none",
        (false, true) => "That none is left out between these",
        (false, false) => "That these are all",
    };
    let since = match proven.tree - proven.size() {
        0 => "",
        _ => " Newer entries were searched as well; the next checkpoints prove them.",
    };
    let key = if hides {
        " with <code>--search-key</code>: this index has names as hashes under a key of the instance"
    } else {
        ""
    };
    let proofs: Vec<String> = terms
        .iter()
        .map(|term| {
            let query =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("term", term).finish();
            let kind = term.split_once(':').map_or(term.as_str(), |(kind, _)| kind);
            format!("<a href=\"/api/v1/search?{}\">{}</a>", escaped(&query), escaped(kind))
        })
        .collect();
    format!(
        "<p class=\"note\" id=\"proven\"><strong><span aria-hidden=\"true\">✓</span> Complete for a tree of {} entries.</strong> \
         {what} is proven by the index, whose root the log has signed with its checkpoint; this page has verified it.{since} \
         The proofs: {}. On your machine: <code>countersign log search</code>{key}.</p>\n",
        proven.size(),
        proofs.join(", "),
    )
}

fn list(typed: &str, found: &Shown) -> String {
    let mut main = format!("<h1>Search</h1>\n{}", search_form(typed));
    if found.beside {
        main.push_str(BESIDE);
    }
    if found.entries.is_empty() && !found.indexed {
        main.push_str(
            "<p>This log has no search index: its entries are found by their index and by the SHA-256 of their bytes only. \
             <code>countersign log find</code> reads all of them.</p>\n",
        );
        return main;
    }
    if found.entries.is_empty() {
        let typed = escaped(typed.trim());
        main.push_str(&format!("<p>No entry has <code>{typed}</code>.</p>\n{}{HELP}", found.claim));
        return main;
    }
    let count = match (found.entries.len(), found.more) {
        (_, true) => format!("The newest {MOST} entries; there are more."),
        (1, false) => "One entry.".to_owned(),
        (n, false) => format!("{n} entries, the newest first."),
    };
    main.push_str(&format!("<p>{count}</p>\n<ol class=\"results\">\n"));
    for entry in &found.entries {
        let digest = entry.digest().unwrap_or_else(|| "the first entry, which only begins the log".into());
        main.push_str(&format!(
            "<li><a href=\"{}\"><span class=\"index\">{}</span> <span class=\"who\"><bdi>{}</bdi></span>\
             <span class=\"what\"><code>{}</code></span></a></li>\n",
            entry.path(),
            entry.index,
            escaped(&entry.signer(found.hides)),
            escaped(&digest),
        ));
    }
    main.push_str(&format!("</ol>\n{}", found.claim));
    main
}

const BESIDE: &str = "<p id=\"beside\">This is of the log of Rekor v2. What was signed through the log of Rekor v1 beside it is not \
    searched here: <code>countersign log search</code> reads both.</p>\n";

const HELP: &str = "<section class=\"help\"><h2>What can be searched for</h2>\n<ul>\n\
    <li>the digest of a file or of an envelope: <code>sha256:9f86…</code>, or the digits alone</li>\n\
    <li>who signed: <code>alice@example.com</code>, or the address of a workflow</li>\n\
    <li>an issuer, a repository, a workflow: its address; or <code>repository:https://…</code> for one of them only</li>\n\
    <li>a commit: its 40 digits</li>\n\
    <li>a key: the SHA-256 of its DER form, <code>key:sha256:…</code></li>\n\
    <li>an entry: its index, or the SHA-256 of its bytes</li>\n</ul>\n\
    <p>Only the whole text is found, upper and lower case alike.</p></section>\n";
