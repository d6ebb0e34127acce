//! From what somebody typed to entries of the log. All that the pages ask of an index is [`find`].

use countersign_crypto::encoding::{hex_decode, hex_encode};
use countersign_log::LogError;
use countersign_tlog::Hash;
use countersign_verify::terms::{KINDS, of_name, term};

use super::proven::Proven;
use crate::serve::LogRole;

/// The longest question.
const LONGEST: usize = 2048;
/// The most entries of an answer: the newest.
pub(super) const MOST: usize = 100;

/// What is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The entry with an index.
    Index(u64),
    /// Entries with one of these terms, and the one whose bytes have this hash.
    Any { entry: Option<Hash>, terms: Vec<String> },
}

impl Question {
    /// Reads what was typed; `None` for nothing, or for too much.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST {
            return None;
        }
        // The digits of a hash may all be decimal ones; an index has no more than 20.
        if text.len() <= 20
            && text.bytes().all(|b| b.is_ascii_digit())
            && let Ok(index) = text.parse()
        {
            return Some(Self::Index(index));
        }
        let typed = text.split_once(':').filter(|(kind, rest)| {
            KINDS.contains(&kind.to_lowercase().as_str()) && !rest.is_empty() && !rest.starts_with("//")
        });
        if let Some((kind, value)) = typed {
            let (kind, value) = (kind.to_lowercase(), value.trim());
            // Of whatever kind the name is.
            let terms = if kind == "subject" { of_name(value).to_vec() } else { vec![term(&kind, value)] };
            return Some(Self::terms(terms));
        }
        let (algorithm, digits) = match text.split_once(':') {
            Some((algorithm, digits)) => (Some(algorithm.to_lowercase()), digits),
            None => (None, text),
        };
        if let Ok(bytes) = hex_decode(digits) {
            let hex = hex_encode(&bytes);
            let named = |name: &str| algorithm.as_deref().is_none_or(|given| given == name);
            match bytes.len() {
                32 if named("sha256") => {
                    return Some(Self::Any {
                        entry: <Hash>::try_from(bytes.as_slice()).ok(),
                        terms: vec![format!("digest:sha256:{hex}"), format!("key:sha256:{hex}")],
                    });
                }
                48 if named("sha384") => return Some(Self::terms(vec![format!("digest:sha384:{hex}")])),
                64 if named("sha512") => return Some(Self::terms(vec![format!("digest:sha512:{hex}")])),
                // A commit of git.
                20 if algorithm.is_none() => return Some(Self::terms(vec![term("commit", &hex)])),
                _ => {}
            }
        }
        let mut terms = of_name(text).to_vec();
        if text.contains("://") {
            terms.extend(["issuer", "repository", "workflow"].map(|kind| term(kind, text)));
        }
        Some(Self::terms(terms))
    }

    const fn terms(terms: Vec<String>) -> Self {
        Self::Any { entry: None, terms }
    }
}

/// What a question finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The entries, the newest first, at most [`MOST`] and one more, which says that there are more.
    pub(super) entries: Vec<u64>,
    /// What of this is proven by the index; nothing of a question that was not put to it.
    pub(super) proven: Option<Proven>,
}

fn newest(mut entries: Vec<u64>) -> Vec<u64> {
    entries.sort_unstable_by(|a, b| b.cmp(a));
    entries.dedup();
    entries.truncate(MOST + 1);
    entries
}

/// The entries that a question finds. Blocks briefly.
pub(super) fn find(role: &LogRole, question: &Question) -> Result<Found, LogError> {
    let (entry, terms) = match question {
        Question::Index(index) => {
            let entries = (*index < role.log.head().size).then_some(*index).into_iter().collect();
            return Ok(Found { entries, proven: None });
        }
        Question::Any { entry, terms } => (entry, terms),
    };
    let (mut entries, mut proven) = (Vec::new(), None);
    if let Some(index) = &role.search {
        // Before the entries are found, which may then be more but not fewer.
        proven = match role.shown() {
            Some(head) => Proven::ask(index, &head, terms)?,
            None => None,
        };
        for term in terms {
            entries.extend(index.find(term, MOST + 1)?);
        }
        entries = newest(entries);
        proven = proven.filter(|proven| proven.agrees(&entries));
    }
    if let Some(hash) = entry {
        entries.extend(role.log.find_key(hash)?);
    }
    Ok(Found { entries: newest(entries), proven })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<String> {
        match Question::read(text) {
            Some(Question::Any { terms, .. }) => terms,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_typed_is_understood_by_its_form() {
        assert_eq!(Question::read(" 12 "), Some(Question::Index(12)));
        let hex = "AB".repeat(32);
        let low = hex.to_lowercase();
        let hash = |text: &str| matches!(Question::read(text), Some(Question::Any { entry: Some(_), .. }));
        for text in [hex.clone(), format!("SHA256:{hex}")] {
            assert!(hash(&text), "{text}");
            assert_eq!(terms(&text), [format!("digest:sha256:{low}"), format!("key:sha256:{low}")]);
        }
        assert_eq!(terms(&"00".repeat(64)), [format!("digest:sha512:{}", "00".repeat(64))]);
        assert_eq!(terms(&"AA".repeat(20)), [format!("commit:{}", "aa".repeat(20))]);
        let alice = ["email", "uri", "subject"].map(|kind| format!("{kind}:alice@example.com"));
        for text in ["Alice@Example.com", "Subject:Alice@Example.com"] {
            assert_eq!(terms(text), alice, "{text}");
        }
        assert_eq!(terms("email:Alice@Example.com"), ["email:alice@example.com"]);
        assert_eq!(
            terms("https://a.example/x"),
            ["email", "uri", "subject", "issuer", "repository", "workflow"]
                .map(|kind| format!("{kind}:https://a.example/x"))
        );
        // More digits than an index has.
        assert!(terms(&"1".repeat(30)).contains(&format!("subject:{}", "1".repeat(30))));
        for none in ["", "   ", &"x".repeat(LONGEST + 1)] {
            assert_eq!(Question::read(none), None);
        }
    }
}
