//! Trust policy and trust store as files, in notation's folder or another one.
//!
//! A store is a folder of certificate files. Links and folders in it are refused, not passed over: what is trusted must
//! not depend on something elsewhere, and a certificate that lies where nobody looks should be noticed.

use std::path::{Path, PathBuf};

use countersign_notary::policy::{BlobPolicy, MAX_POLICY_LEN, OciPolicy, Statement};
use countersign_notary::{Refusal, StoreName, TrustStore};
use countersign_x509::Certificate;
use countersign_x509::crl::{self, RevocationList};

use crate::ClientError;
use crate::artifact::read_limited;

/// The largest file of certificates, in bytes.
const MAX_CERTIFICATES: usize = 4 << 20;
/// How many files a store may have.
const MAX_FILES: usize = 256;

/// Where policy and stores are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotaryTrust {
    /// The policy's file; `None` for notation's own.
    pub policy: Option<PathBuf>,
    /// The folder that holds `x509`; `None` for notation's own.
    pub store: Option<PathBuf>,
}

impl NotaryTrust {
    /// Reads the policy for images: the file that was given, else `trustpolicy.oci.json`, else `trustpolicy.json`.
    ///
    /// # Errors
    /// [`ClientError::Trust`].
    pub fn oci_policy(&self) -> Result<OciPolicy, ClientError> {
        let path = self.policy_file(&["trustpolicy.oci.json", "trustpolicy.json"])?;
        OciPolicy::parse(&read_policy(&path)?).map_err(|e| of_file(&path, &e))
    }

    /// Reads the policy for files: the file that was given, else `trustpolicy.blob.json`.
    ///
    /// # Errors
    /// [`ClientError::Trust`].
    pub fn blob_policy(&self) -> Result<BlobPolicy, ClientError> {
        let path = self.policy_file(&["trustpolicy.blob.json"])?;
        BlobPolicy::parse(&read_policy(&path)?).map_err(|e| of_file(&path, &e))
    }

    fn policy_file(&self, names: &[&str]) -> Result<PathBuf, ClientError> {
        if let Some(path) = &self.policy {
            return Ok(path.clone());
        }
        let folder = own_folder()?;
        let found = names.iter().map(|name| folder.join(name)).find(|path| path.symlink_metadata().is_ok());
        found.ok_or_else(|| {
            ClientError::Trust(format!(
                "there is no trust policy: expected {} in {}, or a file given with --trust-policy",
                names.join(" or "),
                folder.display()
            ))
        })
    }

    /// Reads the stores which a statement names. One that is not there is left out: the engine says so where it is
    /// needed.
    ///
    /// # Errors
    /// [`ClientError::Trust`] for a store that holds something else than certificate files, [`ClientError::File`].
    pub fn stores_of(&self, statement: &Statement) -> Result<TrustStore, ClientError> {
        let folder = match &self.store {
            Some(folder) => folder.clone(),
            None => own_folder()?.join("truststore"),
        };
        let mut stores = TrustStore::new();
        for name in statement.rules.iter().flat_map(|rules| &rules.stores) {
            let path = folder.join("x509").join(name.kind.name()).join(name.name());
            if let Some(certificates) = read_store(&path, name)? {
                stores.add(name.clone(), certificates).map_err(|e| of_file(&path, &e))?;
            }
        }
        Ok(stores)
    }
}

/// `$XDG_CONFIG_HOME/notation`, else `~/.config/notation`, as notation has it.
fn own_folder() -> Result<PathBuf, ClientError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CONFIG_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("notation"))
        .ok_or_else(|| {
            ClientError::Trust(
                "neither HOME nor XDG_CONFIG_HOME is set; give --trust-policy and --trust-store".into(),
            )
        })
}

fn of_file(path: &Path, refusal: &Refusal) -> ClientError {
    let text = countersign_http::text::printable(&refusal.to_string());
    ClientError::Trust(format!("{}: {text}", path.display()))
}

fn read_policy(path: &Path) -> Result<Vec<u8>, ClientError> {
    refuse_unless(path, "a file, not a link", |kind| kind.is_file())?;
    read_limited(path, MAX_POLICY_LEN)
}

/// Fails unless what is at the path itself is of this kind: a link is neither a file nor a folder.
fn refuse_unless(
    path: &Path,
    expected: &str,
    fits: impl Fn(std::fs::FileType) -> bool,
) -> Result<(), ClientError> {
    let kind = path.symlink_metadata().map_err(ClientError::file("inspect", path))?.file_type();
    if fits(kind) {
        return Ok(());
    }
    Err(ClientError::Trust(format!("{}: expected {expected}", path.display())))
}

fn read_store(path: &Path, name: &StoreName) -> Result<Option<Vec<Certificate>>, ClientError> {
    if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    refuse_unless(path, &format!("a folder for the trust store {name}, not a link"), |kind| kind.is_dir())?;
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(ClientError::file("list", path))? {
        files.push(entry.map_err(ClientError::file("list", path))?.path());
        if files.len() > MAX_FILES {
            let message = format!("{}: expected at most {MAX_FILES} files, found more", path.display());
            return Err(ClientError::Trust(message));
        }
    }
    files.sort();
    let mut certificates = Vec::new();
    for file in files {
        let known = ["pem", "crt", "cer"];
        if !file.extension().and_then(|e| e.to_str()).is_some_and(|e| known.contains(&e)) {
            let message = format!("{}: expected files that end with .pem, .crt or .cer", file.display());
            return Err(ClientError::Trust(message));
        }
        refuse_unless(&file, "a certificate file, not a link and not a folder", |kind| kind.is_file())?;
        certificates.extend(read_certificates(&file)?);
    }
    Ok(Some(certificates))
}

/// Reads the certificates of a file, PEM or DER, in their order; at least one.
///
/// # Errors
/// [`ClientError::File`], [`ClientError::Malformed`].
pub fn read_certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let bytes = read_limited(path, MAX_CERTIFICATES)?;
    let read = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN ") => Certificate::chain_from_pem(text),
        _ => Certificate::from_der(&bytes).map(|certificate| vec![certificate]),
    };
    read.map_err(|e| ClientError::malformed(path.display().to_string(), e))
}

/// Reads the revocation lists of some files, PEM or DER.
///
/// # Errors
/// [`ClientError::File`], [`ClientError::Malformed`].
pub fn read_revocation_lists(paths: &[PathBuf]) -> Result<Vec<RevocationList>, ClientError> {
    let mut lists = Vec::new();
    for path in paths {
        let bytes = read_limited(path, 2 * crl::MAX_CRL_LEN)?;
        lists.extend(
            crl::from_file(&bytes).map_err(|e| ClientError::malformed(path.display().to_string(), e))?,
        );
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The root of the crate's test vectors.
    const ROOT: &str = include_str!("../../../notary/tests/data/notation-root.pem");

    fn policy(folder: &Path) -> NotaryTrust {
        let document = r#"{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],
            "signatureVerification":{"level":"strict"},"trustStores":["ca:acme"],"trustedIdentities":["*"]}]}"#;
        std::fs::write(folder.join("policy.json"), document).unwrap();
        std::fs::create_dir_all(folder.join("x509/ca/acme")).unwrap();
        NotaryTrust { policy: Some(folder.join("policy.json")), store: Some(folder.into()) }
    }

    fn stores(trust: &NotaryTrust) -> Result<TrustStore, ClientError> {
        trust.stores_of(trust.oci_policy()?.statement_for("a.b/c").unwrap())
    }

    #[test]
    fn a_store_is_a_folder_of_certificate_files() {
        let dir = tempfile::tempdir().unwrap();
        let trust = policy(dir.path());
        let store = dir.path().join("x509/ca/acme");
        assert_eq!(stores(&trust).unwrap_err().exit_code(), 5, "an empty store");
        std::fs::write(store.join("root.pem"), ROOT).unwrap();
        let der = Certificate::from_pem(ROOT).unwrap().der().to_vec();
        std::fs::write(store.join("root.crt"), der).unwrap();
        assert_ne!(stores(&trust).unwrap(), TrustStore::new());
    }

    #[test]
    fn anything_else_in_a_store_is_refused() {
        let spoilt = |spoil: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            let trust = policy(dir.path());
            let store = dir.path().join("x509/ca/acme");
            std::fs::write(store.join("root.pem"), ROOT).unwrap();
            spoil(&store);
            stores(&trust).err().map(|e| e.exit_code())
        };
        assert_eq!(spoilt(&|_| {}), None);
        assert_eq!(spoilt(&|store| std::fs::create_dir(store.join("sub.pem")).unwrap()), Some(5));
        assert_eq!(spoilt(&|store| std::fs::write(store.join("notes.txt"), ROOT).unwrap()), Some(5));
        assert_eq!(spoilt(&|store| std::fs::write(store.join("empty.pem"), "").unwrap()), Some(2));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_refused_wherever_they_stand() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let trust = policy(dir.path());
        let store = dir.path().join("x509/ca/acme");
        std::fs::write(dir.path().join("elsewhere.pem"), ROOT).unwrap();
        symlink(dir.path().join("elsewhere.pem"), store.join("root.pem")).unwrap();
        assert_eq!(stores(&trust).unwrap_err().exit_code(), 5, "a certificate");
        std::fs::remove_dir_all(&store).unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::fs::write(dir.path().join("real/root.pem"), ROOT).unwrap();
        symlink(dir.path().join("real"), &store).unwrap();
        assert_eq!(stores(&trust).unwrap_err().exit_code(), 5, "a store");
        std::fs::rename(dir.path().join("policy.json"), dir.path().join("real.json")).unwrap();
        symlink(dir.path().join("real.json"), dir.path().join("policy.json")).unwrap();
        assert_eq!(trust.oci_policy().unwrap_err().exit_code(), 5, "a policy");
    }

    #[test]
    fn a_missing_store_is_told_by_the_engine_and_a_broken_policy_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let trust = policy(dir.path());
        std::fs::remove_dir_all(dir.path().join("x509")).unwrap();
        assert_eq!(stores(&trust).unwrap(), TrustStore::new());
        std::fs::write(dir.path().join("policy.json"), "{}").unwrap();
        assert_eq!(trust.oci_policy().unwrap_err().exit_code(), 5);
        assert_eq!(trust.blob_policy().unwrap_err().exit_code(), 5);
    }
}
