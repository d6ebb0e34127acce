//! What is verified by policies: images, and files and directories with the evidence that is at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use countersign_bundle::Bundle;
use countersign_client::artifact::{bundle_path, hash_file, read_limited};
use countersign_client::provenance;
use countersign_crypto::HashAlgorithm;
use countersign_policy::{Artifact, Evidence, Request};
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::{Form, Found, Origin};
use countersign_registry::{Descriptor, Reference};
use countersign_slsa::wire::{self, MAX_DOCUMENT_LEN};
use serde_json::json;

use crate::args::registry::Named;
use crate::commands::policy::files_ending;
use crate::failure::Failure;

/// The most bundles for one file.
const MAX_BUNDLES: usize = 10_000;

/// What is verified.
#[derive(Debug)]
pub(super) enum Subject {
    /// An image.
    Image(Reference),
    /// A file or a directory.
    File {
        /// As it was written.
        path: PathBuf,
        /// What policies are told of it.
        artifact: Artifact,
    },
}

impl Subject {
    /// Reads a name, and the file if it is one.
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        let path = match Named::read(text)? {
            Named::Image(image) => return Ok(Self::Image(*image)),
            // A slash behind a directory would put what lies beside it into it.
            Named::File(path) => Path::new(&path).components().as_path().to_owned(),
        };
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.exists()) else {
            return Err(Failure::usage(format!(
                "\"{}\": expected an image, or a file or directory that is there; policies know them by their names",
                path.display()
            )));
        };
        let found = hash_file(&path, &[HashAlgorithm::Sha256])?;
        let digest = found.get(HashAlgorithm::Sha256).copied();
        let digest = digest.ok_or_else(|| Failure::internal("no digest was made"))?;
        let artifact = Artifact { name: name.to_owned(), digest };
        Ok(Self::File { path, artifact })
    }

    /// Where an image is.
    pub(super) fn registry(&self) -> Option<&str> {
        match self {
            Self::Image(image) => Some(image.registry()),
            Self::File { .. } => None,
        }
    }

    /// As it was written.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Image(image) => image.to_string(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// As policies are asked about it: an image in a pod in this namespace, or a file.
    pub(super) fn request(&self, namespace: &str) -> Request {
        match self {
            Self::Image(image) => Request::of_object(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "image", "namespace": namespace},
                "spec": {"containers": [{"name": "image", "image": image.to_string()}]}})),
            Self::File { artifact, .. } => Request::of_artifact(artifact.clone()),
        }
    }
}

/// The bundles for a file: those that are named, else what lies beside it. That a file which is named cannot be read is an
/// error; that nothing lies beside it is that nobody signed it.
pub(super) fn evidence(path: &Path, named: &[PathBuf]) -> Result<Evidence, Failure> {
    let mut found = BTreeMap::new();
    let paths = if named.is_empty() { beside(path) } else { files_with_bundles(named)? };
    for path in paths {
        for bundle in bundles(&path)? {
            let layer = Descriptor::of(media_type::BUNDLE, &bundle);
            found.insert(layer.digest.to_string(), piece(layer, bundle));
        }
        if found.len() > MAX_BUNDLES {
            return Err(Failure::usage(format!("expected at most {MAX_BUNDLES} bundles, found more")));
        }
    }
    Ok(Evidence::new(found.into_values().collect()))
}

/// Directories stand for the files in them.
fn files_with_bundles(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for path in named {
        if path.is_dir() {
            all.extend(files_ending(std::slice::from_ref(path), &["json", "jsonl"])?);
        } else {
            all.push(path.clone());
        }
    }
    Ok(all)
}

/// What lies beside a file under the names that makers of statements give it, and a list of bundles.
fn beside(path: &Path) -> Vec<PathBuf> {
    let mut lines = bundle_path(path).into_os_string();
    lines.push("l");
    let lines = PathBuf::from(lines);
    provenance::beside(path).into_iter().flatten().chain(lines.is_file().then_some(lines)).collect()
}

/// The bundles in a file: one, or one in each line, or in one of the other forms in which they circulate.
fn bundles(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = read_limited(path, MAX_DOCUMENT_LEN)?;
    if Bundle::from_json(&bytes).is_ok() {
        return Ok(vec![bytes]);
    }
    let wrong = |why: String| Failure::usage(format!("{}: expected bundles: {why}", path.display()));
    let mut all = Vec::new();
    for piece in wire::read(&bytes).map_err(|e| wrong(e.to_string()))? {
        let bundle = piece.bundle.map_err(|e| wrong(e.to_string()))?;
        all.push(bundle.to_json().map_err(|e| wrong(e.to_string()))?);
    }
    Ok(all)
}

fn piece(layer: Descriptor, bytes: Vec<u8>) -> Found {
    Found {
        form: Form::Bundle,
        origin: Origin::ReferrersApi,
        manifest: layer.clone(),
        layer,
        annotations: BTreeMap::new(),
        bytes,
    }
}
