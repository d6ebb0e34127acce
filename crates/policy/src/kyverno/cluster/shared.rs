//! What `ImageValidatingPolicy` has in common with `verifyImages`, read by the same code: attestors, patterns over
//! images, credentials, what is in an image.

use std::collections::BTreeMap;

use countersign_registry::Reference;
use serde_json::{Value, json};

use super::attestors::{Node, Reader};
use super::context;
use super::entry;
use super::references::References;
use super::schema::{AttestorSet, Kind};
use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::lint::Lint;
use crate::read::{ReadError, from_value};

/// The one authority that an entry of an attestor set comes to; `namespace` is that of a namespaced policy.
///
/// # Errors
/// [`ReadError`], at `path`.
pub(in crate::kyverno) fn authority(
    entry: &Value,
    notary: bool,
    namespace: &str,
    path: &str,
) -> Result<(Authority, Vec<Lint>), ReadError> {
    let here = |error: ReadError| ReadError::new(path, error.message);
    let entry = from_value(entry).map_err(here)?;
    let annotations = BTreeMap::new();
    let mut reader = Reader {
        kind: if notary { Kind::Notary } else { Kind::Cosign },
        namespace,
        repository: None,
        annotations: &annotations,
        lints: Vec::new(),
        count: 0,
        names_no_log: false,
    };
    let sets = reader.sets(&[AttestorSet { count: None, entries: vec![entry] }], path).map_err(here)?;
    let lints = reader.lints.into_iter().map(|lint| Lint { path: path.to_owned(), ..lint }).collect();
    let mut nodes = sets.into_iter().flat_map(|set| set.nodes);
    match (nodes.next(), nodes.next()) {
        (Some(Node::One(authority)), None) => Ok((*authority, lints)),
        _ => Err(ReadError::new(path, "expected one key, found several; write an attestor for each")),
    }
}

/// Patterns over images.
#[derive(Debug, Clone)]
pub(in crate::kyverno) struct ImagePattern(References);

impl ImagePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::kyverno) fn read(glob: &str, path: &str, lints: &mut Vec<Lint>) -> Result<Self, ReadError> {
        if let Some(found) = glob.chars().find(|c| "[]{}\\".contains(*c)) {
            let message = format!(
                "expected a pattern with * and ?, found \"{found}\"; write one pattern for each case"
            );
            return Err(ReadError::new(path, message));
        }
        let entry = from_value(&json!({"imageReferences": [glob]}))?;
        let mut found = Vec::new();
        let references = References::read(&entry, path, &mut found)
            .map_err(|error| ReadError::new(path, error.message))?;
        lints.extend(found.into_iter().map(|lint| Lint { path: path.to_owned(), ..lint }));
        Ok(Self(references))
    }

    /// Whether an image, which is also given as it is written, matches.
    pub(in crate::kyverno) fn matches(&self, image: &Reference, written: &str) -> bool {
        self.0.matches(image, written)
    }
}

/// What registries may be asked with.
///
/// # Errors
/// [`ReadError`].
pub(in crate::kyverno) fn credentials(
    given: &Value,
    namespace: &str,
    path: &str,
) -> Result<Access, ReadError> {
    entry::access(&from_value(given).map_err(|error| error.within(path))?, namespace, path)
}

/// What is in an image.
///
/// # Errors
/// [`Stop`].
pub(in crate::kyverno) fn image_value(
    image: &Reference,
    written: &str,
    ask: &Ask<'_>,
) -> Result<Value, Stop> {
    context::image_value(image, written, ask)
}
