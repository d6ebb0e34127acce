//! Where provenance lies: beside a file under the names that its makers give it, and beside an image in its registry. What
//! is found is material for `countersign_slsa`; nothing here verifies.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use countersign_attestation::Statement;
use countersign_attestation::predicate::provenance;
use countersign_crypto::Digest;
use countersign_registry::evidence::{Form, Origin, Search, discover};
use countersign_registry::{RegistryError, Store};
use countersign_slsa::wire::{self, Document, MAX_DOCUMENT_LEN, Piece};

use crate::ClientError;
use crate::artifact::read_limited;
use crate::image::bundle_of;

/// What stands behind an artifact's name in the name of its provenance: Countersign's and GitHub's bundles, slsa-github-generator's
/// forms, PyPI's.
const ENDINGS: [&str; 8] = [
    ".provenance.sigstore.json",
    ".sigstore.json",
    ".sigstore",
    ".intoto.jsonl",
    ".build.slsa",
    ".intoto.build.slsa",
    ".slsa.attestation",
    ".publish.attestation",
];
/// A file for all artifacts of a directory.
const OF_ALL: &str = "multiple.intoto.jsonl";

/// The files beside an artifact that may hold its provenance.
///
/// # Errors
/// [`ClientError::NoSignature`] when there is none.
pub fn beside(artifact: &Path) -> Result<Vec<PathBuf>, ClientError> {
    let named = ENDINGS.map(|ending| {
        let mut name = artifact.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    });
    let of_all = artifact.parent().map(|folder| folder.join(OF_ALL));
    let found: Vec<PathBuf> = named.into_iter().chain(of_all).filter(|path| path.is_file()).collect();
    if found.is_empty() {
        return Err(ClientError::NoSignature(format!(
            "expected provenance beside {}: a file of the same name with one of {} behind it, or {OF_ALL}; name another file \
             with --provenance, or ask the sender for it",
            artifact.display(),
            ENDINGS.join(", ")
        )));
    }
    Ok(found)
}

/// The statements in files.
///
/// # Errors
/// [`ClientError::File`] for a file that cannot be read. What is wrong with its content stands with its statements.
pub fn read(files: &[PathBuf]) -> Result<Vec<Piece>, ClientError> {
    let mut pieces = Vec::new();
    for file in files {
        let bytes = read_limited(file, MAX_DOCUMENT_LEN)?;
        pieces.extend(wire::read_named(&file.display().to_string(), &bytes));
    }
    Ok(pieces)
}

/// The statements beside an image that may be its provenance, in every form and place that is in use. Those that say
/// themselves to be of other types are left out.
///
/// # Errors
/// [`ClientError::Registry`] when not everything could be looked at: what cannot be read is not known to be none.
pub async fn of_image(
    evidence: &dyn Store,
    digest: &Digest,
    max_count: usize,
) -> Result<Vec<Piece>, ClientError> {
    let search = Search {
        origins: [Origin::ReferrersApi, Origin::ReferrersTag, Origin::OlderTag].into(),
        max_count,
        ..Search::of([Form::Bundle, Form::InToto, Form::CosignAttestation])
    };
    let found = discover(evidence, digest, &search).await.map_err(|e: RegistryError| ClientError::from(e))?;
    let mut seen = HashSet::new();
    let mut pieces = Vec::new();
    for one in found {
        let Some(bundle) = bundle_of(&one) else { continue };
        let other =
            bundle.as_ref().ok().and_then(|bundle| bundle.content.envelope()).is_some_and(|envelope| {
                Statement::from_json(&envelope.payload)
                    .is_ok_and(|statement| !provenance::is_type(&statement.predicate_type))
            });
        if other || !seen.insert((one.layer.digest, one.annotations)) {
            continue;
        }
        let uri = format!("oci:{}@{}", evidence.place(), one.layer.digest);
        let document = Some(Document { uri: uri.clone(), digest: one.layer.digest });
        pieces.push(Piece { document, place: uri, bundle });
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provenance_is_found_under_the_names_that_its_makers_give_it() {
        let folder = tempfile::tempdir().unwrap();
        let artifact = folder.path().join("shop.tar");
        std::fs::write(&artifact, "x").unwrap();
        assert_eq!(beside(&artifact).unwrap_err().exit_code(), 3);
        for name in
            ["shop.tar.intoto.jsonl", "shop.tar.build.slsa", "multiple.intoto.jsonl", "other.intoto.jsonl"]
        {
            std::fs::write(folder.path().join(name), "{}\n").unwrap();
        }
        let found = beside(&artifact).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["shop.tar.intoto.jsonl", "shop.tar.build.slsa", "multiple.intoto.jsonl"]);
        let pieces = read(&found).unwrap();
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.bundle.is_err() && piece.document.is_some()));
        assert!(read(&[folder.path().join("missing")]).is_err());
    }
}
