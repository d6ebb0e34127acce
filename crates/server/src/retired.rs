//! Logs that were rotated out: nothing is added to them any more, and they stay readable, so that old proofs can be
//! compared with them for as long as somebody keeps one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::PublicKey;
use countersign_keys::KeyRef;
use countersign_log::storage::Storage;

use crate::ServerError;
use crate::config::Role;
use crate::instance::InstanceKey;
use crate::store::Store;

/// The directory of an instance with what was rotated out, and the path at which its logs are served.
pub(crate) const RETIRED: &str = "retired";

/// How the names of retired logs of Rekor v1 begin.
pub(crate) const LOG_V1: &str = "logv1-";

/// The address of a retired log of an instance, as its trust root names it.
pub(crate) fn address(base_url: &str, name: &str) -> String {
    format!("{base_url}/{RETIRED}/{name}")
}

/// The retired logs that go with these roles, by their names, to be read.
pub(crate) fn open(
    instance: &Path,
    roles: impl IntoIterator<Item = Role>,
    store: &Store,
) -> Result<BTreeMap<String, Arc<dyn Storage>>, ServerError> {
    let open = |(name, tree): (String, PathBuf)| match store.retired(&tree) {
        Ok(storage) => Ok((name, storage)),
        Err(e) => Err(ServerError::File { path: tree, message: e.to_string() }),
    };
    find(instance, roles).into_iter().map(open).collect()
}

/// The retired logs that go with these roles, by their names: the directory of each, in which its tiles are, or its name in
/// the store.
pub(crate) fn find(instance: &Path, roles: impl IntoIterator<Item = Role>) -> BTreeMap<String, PathBuf> {
    let prefixes: Vec<&str> = roles
        .into_iter()
        .filter_map(|role| match role {
            Role::Ca => Some(&["ct-"][..]),
            Role::Log => Some(&["log-", LOG_V1]),
            Role::Tsa | Role::Trust => None,
        })
        .flatten()
        .copied()
        .collect();
    let mut found = BTreeMap::new();
    // An instance that never rotated has no such directory.
    for entry in std::fs::read_dir(instance.join(RETIRED)).into_iter().flatten().flatten() {
        let tree = entry.path().join("tree");
        if let Ok(name) = entry.file_name().into_string()
            && prefixes.iter().any(|prefix| name.starts_with(prefix))
            && tree.is_dir()
        {
            found.insert(name, tree);
        }
    }
    found
}

/// The public key of a retired log, which lies beside its tree.
pub(crate) fn public_key(tree: &Path, name: &str) -> Result<PublicKey, ServerError> {
    let key = match name {
        name if name.starts_with(LOG_V1) => InstanceKey::LogV1,
        name if name.starts_with("ct-") => InstanceKey::Ct,
        _ => InstanceKey::Log,
    };
    let stem = Path::new(key.stem()).file_name().unwrap_or_default();
    let path = tree.with_file_name(stem).with_extension("pub");
    countersign_keys::load_public_key(&KeyRef::File(path.clone()))
        .map_err(|e| ServerError::Key { path, message: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trees_of_the_roles_own_logs_are_found() {
        let directory = tempfile::tempdir().unwrap();
        assert!(find(directory.path(), Role::ALL).is_empty());
        for name in ["log-1/tree", "log-2", "logv1-1/tree", "ct-1/tree", "tuf-1/tree", "ca-1"] {
            std::fs::create_dir_all(directory.path().join(RETIRED).join(name)).unwrap();
        }
        let names = |roles: &[Role]| {
            find(directory.path(), roles.iter().copied()).into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[Role::Log]), "log-1 logv1-1");
        assert_eq!(names(&[Role::Ca, Role::Log]), "ct-1 log-1 logv1-1");
        assert_eq!(names(&[Role::Tsa, Role::Trust]), "");
        assert_eq!(address("https://a.example", "log-1"), "https://a.example/retired/log-1");
    }
}
