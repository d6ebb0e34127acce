//! The public vectors as cases: what is verified, with what, and what must come out.

use std::fs;
use std::path::{Path, PathBuf};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// One folder of the vectors.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bundle: Vec<u8>,
    pub(crate) artifact: Vec<u8>,
    pub(crate) key_pem: Option<String>,
    pub(crate) identity: String,
    pub(crate) issuer: String,
    pub(crate) trusted_root: Vec<u8>,
}

impl Case {
    /// Whether the suite demands acceptance.
    pub(crate) fn must_pass(&self) -> bool {
        !self.name.ends_with("_fail")
    }
}

/// Where the vectors are, if they are there.
pub(crate) fn directory() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/sigstore-conformance");
    path.is_dir().then_some(path)
}

/// All folders, in the order of their names.
pub(crate) fn load(directory: &Path) -> Vec<Case> {
    let production = fs::read(directory.join("production_trusted_root.json")).unwrap();
    let default_artifact = fs::read(directory.join("a.txt")).unwrap();
    let mut cases = Vec::new();
    for folder in fs::read_dir(directory.join("bundle-verify")).unwrap() {
        let folder = folder.unwrap().path();
        let Ok(bundle) = fs::read(folder.join("bundle.sigstore.json")) else { continue };
        let text = |name: &str| fs::read_to_string(folder.join(name)).ok().map(|t| t.trim().to_owned());
        cases.push(Case {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            bundle,
            artifact: fs::read(folder.join("artifact")).unwrap_or_else(|_| default_artifact.clone()),
            key_pem: fs::read_to_string(folder.join("key.pub")).ok(),
            identity: text("identity").unwrap_or_else(|| IDENTITY.to_owned()),
            issuer: text("issuer").unwrap_or_else(|| ISSUER.to_owned()),
            trusted_root: fs::read(folder.join("trusted_root.json")).unwrap_or_else(|_| production.clone()),
        });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}
