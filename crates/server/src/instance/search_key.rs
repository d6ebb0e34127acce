//! The key under which the search indexes have identities as hashes, where it is wished.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_keys::{KeyError, file};
use countersign_log::Terms;
use countersign_verify::terms::{self, SearchKey};

use super::{Instance, LogAtRest, paths};
use crate::ServerError;
use crate::config::Role;
use crate::doctor::{Finding, Level};
use crate::index;

/// More than the text of a key has, in bytes.
const LONGEST: usize = 256;

impl Instance {
    fn search_key_path(&self) -> PathBuf {
        self.directory.join(paths::SEARCH_KEY)
    }

    fn read_search_key(&self) -> Result<SearchKey, ServerError> {
        let path = self.search_key_path();
        let read = file::read_private(&path, LONGEST).map_err(|e| e.to_string());
        read.and_then(|text| SearchKey::parse(&text)).map_err(|message| ServerError::Key { path, message })
    }

    /// The key of the search indexes, which is made when it is not there; `None` when they hide nothing.
    pub(super) fn search_key(&self) -> Result<Option<Arc<SearchKey>>, ServerError> {
        if !self.config.log.search.hide_identities {
            return Ok(None);
        }
        let path = self.search_key_path();
        if !path.exists() {
            let failed = |message: String| ServerError::Key { path: path.clone(), message };
            let key = SearchKey::generate().map_err(|e| failed(e.to_string()))?;
            match file::write_new(&path, key.to_text().as_bytes(), file::PRIVATE) {
                // By another process, in this moment.
                Ok(()) | Err(KeyError::Exists { .. }) => {}
                Err(e) => return Err(failed(e.to_string())),
            }
            tracing::info!(path = %path.display(), "a key for the search indexes was made; they are made anew under it");
        }
        self.read_search_key().map(Arc::new).map(Some)
    }

    /// What the entries of a log of this instance are found by; `None` for a log without a search index.
    ///
    /// # Errors
    /// [`ServerError::Key`] when the search key is wanted and cannot be read or made.
    pub fn terms(&self, log: &LogAtRest) -> Result<Option<Terms>, ServerError> {
        let of: index::PlainTerms = match log.name {
            paths::LOG => terms::of_body,
            paths::LOG_V1 => crate::rekor_v1::terms_of,
            _ => return Ok(None),
        };
        Ok(Some(index::terms(of, self.search_key()?)))
    }

    /// What `countersign doctor` says of the key; nothing when none is wanted.
    pub(crate) fn search_key_finding(&self) -> Option<Finding> {
        if !self.config.log.search.hide_identities || !self.config.roles.contains(&Role::Log) {
            return None;
        }
        let (level, found, next) = match self.read_search_key() {
            Ok(_) => (Level::Good, "readable, mode as it should be".into(), ""),
            // Processes that made one each would not prove each other's index.
            Err(_) if !self.search_key_path().exists() && self.config.store.is_some() => (
                Level::Warning,
                "not there; each process would make its own".into(),
                "start one process, and copy the file from it to the others before they start",
            ),
            Err(_) if !self.search_key_path().exists() => (Level::Good, "made at the next start".into(), ""),
            Err(e) => (
                Level::Problem,
                e.to_string(),
                "restore it from a backup, or remove it: a new one is made, and the indexes anew",
            ),
        };
        let what = format!("key {}", paths::SEARCH_KEY.trim_end_matches(".key"));
        Some(Finding { level, what, found, next: next.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{InitOptions, init};

    #[test]
    fn a_key_is_made_when_it_is_first_wanted_and_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("instance");
        init(&directory, &InitOptions::default()).unwrap();
        let mut instance = Instance::open(&directory).unwrap();
        let path = directory.join("keys/search.key");
        assert!(instance.search_key().unwrap().is_none() && instance.search_key_finding().is_none());
        assert!(!path.exists());

        instance.config.log.search.hide_identities = true;
        let finding = |instance: &Instance| {
            let found = instance.search_key_finding().unwrap();
            assert_eq!(found.what, "key keys/search");
            (found.level, found.found)
        };
        assert_eq!(finding(&instance), (Level::Good, "made at the next start".into()));
        assert!(!path.exists(), "looking makes nothing");
        let key = instance.search_key().unwrap().unwrap();
        assert_eq!(instance.search_key().unwrap().unwrap().id(), key.id());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(SearchKey::parse(&text).unwrap().id(), key.id());
        assert!(finding(&instance).1.starts_with("readable"));

        std::fs::write(&path, "abc").unwrap();
        let error = instance.search_key().unwrap_err().to_string();
        assert!(error.contains("search.key") && error.contains("64 hexadecimal digits"), "{error}");
        assert_eq!(finding(&instance).0, Level::Problem);
        // What everybody can read hides nothing.
        std::fs::write(&path, &text).unwrap();
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
        std::fs::set_permissions(&path, open).unwrap();
        assert!(instance.search_key().is_err());
        assert_eq!(finding(&instance).0, Level::Problem);
        std::fs::remove_file(&path).unwrap();
        assert_ne!(instance.search_key().unwrap().unwrap().id(), key.id());

        std::fs::remove_file(&path).unwrap();
        instance.config.store = Some(crate::config::StoreSection {
            database: "postgres://me@db/logs".into(),
            objects: "s3://bucket/".parse().unwrap(),
            database_password_file: None,
            objects_credentials_file: None,
        });
        assert_eq!(finding(&instance).0, Level::Warning, "each process would make its own");
        instance.config.store = None;
        instance.config.roles.remove(&Role::Log);
        assert!(instance.search_key_finding().is_none(), "this process has no index");
        instance.config.roles.insert(Role::Log);

        // The doctor says it of the file's configuration.
        let file = directory.join(crate::config::FILE_NAME);
        let text = std::fs::read_to_string(&file).unwrap();
        let said = || {
            let all = crate::doctor::run(&directory, None, &countersign_clock::SystemClock);
            all.into_iter().find(|finding| finding.what == "key keys/search")
        };
        assert_eq!(said(), None);
        std::fs::write(&file, text.replace("# hide_identities", "hide_identities")).unwrap();
        assert_eq!(said(), instance.search_key_finding());

        let log = |name| LogAtRest::new(name, directory.join(name), key_of(&instance));
        let id = instance.search_key().unwrap().unwrap().id();
        for (name, expected) in
            [(paths::LOG, Some(Some(id))), (paths::LOG_V1, Some(Some(id))), (paths::CT, None)]
        {
            assert_eq!(instance.terms(&log(name)).unwrap().map(|terms| terms.key_id), expected, "{name}");
        }
    }

    fn key_of(instance: &Instance) -> countersign_crypto::PublicKey {
        crate::instance::InstanceKey::Log.load_public(&instance.directory).unwrap()
    }
}
