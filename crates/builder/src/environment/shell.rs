//! No platform that is known: what is checked out is the source, and nobody but the one who types says anything.

use serde_json::{Map, Value};

use super::{Environment, Reader};
use crate::checkout::Checkout;

/// Who builds: anybody.
const BUILDER: &str = "https://countersign.dev/builders/shell/v1";

pub(super) fn read(
    reader: &Reader<'_>,
    asked: Map<String, Value>,
    checkout: Option<&Checkout>,
) -> Environment {
    // Without an address it is told as a dependency, by its commit.
    let source = checkout.map(Checkout::resource).filter(|source| !source.uri.is_empty());
    let missing = source.is_none();
    let mut found = reader.environment(BUILDER.to_owned(), source, String::new(), String::new(), asked);
    if missing {
        found
            .notes
            .push("no repository with an address is checked out here: the source is not recorded".into());
    }
    found
}
