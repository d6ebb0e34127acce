//! The public vectors of sigstore-conformance as cases: what is verified, with what, and what must come out. Here once,
//! for the tests of the engine, of the conformance program and of the differential.

use std::fs;
use std::path::{Path, PathBuf};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// One folder of the vectors: its files, and who must have signed where there is no key.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bundle: PathBuf,
    pub(crate) artifact: PathBuf,
    pub(crate) key: Option<PathBuf>,
    pub(crate) identity: String,
    pub(crate) issuer: String,
    pub(crate) trusted_root: PathBuf,
}

impl Case {
    /// Whether the suite demands acceptance.
    pub(crate) fn must_pass(&self) -> bool {
        !self.name.ends_with("_fail")
    }
}

/// All folders in the order of their names; `None`, and a word about it, when the vectors are not there.
pub(crate) fn load() -> Option<Vec<Case>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/sigstore-conformance");
    if !data.is_dir() {
        println!("skipped: ../shared/testdata/sigstore-conformance is not there");
        return None;
    }
    let mut cases = Vec::new();
    for folder in fs::read_dir(data.join("bundle-verify")).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() {
            cases.push(read(&data, &folder));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Some(cases)
}

fn read(data: &Path, folder: &Path) -> Case {
    let own_or = |name: &str, otherwise: PathBuf| {
        let own = folder.join(name);
        if own.exists() { own } else { otherwise }
    };
    let text_or = |name: &str, otherwise: &str| {
        fs::read_to_string(folder.join(name)).map_or_else(|_| otherwise.to_owned(), |t| t.trim().to_owned())
    };
    Case {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        bundle: folder.join("bundle.sigstore.json"),
        artifact: own_or("artifact", data.join("bundle-verify/a.txt")),
        key: Some(folder.join("key.pub")).filter(|key| key.exists()),
        identity: text_or("identity", IDENTITY),
        issuer: text_or("issuer", ISSUER),
        trusted_root: own_or("trusted_root.json", data.join("production_trusted_root.json")),
    }
}
