//! The log of Rekor v1, opened: the tree that takes entries, and those that were rotated out before it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::Signer;
use countersign_keys::{KeyRef, PasswordSource};
use countersign_log::{KeyOf, Leaf, Log, LogError, Options};
use countersign_tlog::merkle::leaf_hash;
use countersign_verify::terms::SearchKey;

use super::{FILE_NAME, Instance, InstanceKey, paths};
use crate::ServerError;
use crate::config::Role;
use crate::rekor_v1::{RekorV1, Shard};
use crate::remote_key::RemoteKey;
use crate::retired;
use crate::serve::ServeOptions;
use crate::store::Store;

/// The key of a stored entry is its leaf hash, by which entries are asked for too.
pub(crate) fn key_of_v1() -> KeyOf {
    Arc::new(|stored| leaf_hash(Leaf::parts_v1(stored).map_or(stored, |(_, body)| body)))
}

impl Instance {
    pub(super) fn rekor_v1(
        &self,
        store: &Store,
        signer: Arc<dyn Signer>,
        search_key: Option<Arc<SearchKey>>,
        password: &PasswordSource,
        options: &ServeOptions,
    ) -> Result<RekorV1, ServerError> {
        let mut shards: Vec<Shard> = Vec::new();
        let next = |shards: &[Shard]| shards.last().map_or(0, Shard::end);
        // Their names hold the times at which they were retired, so they come in their order.
        for (name, tree) in retired::find(&self.directory, [Role::Log]) {
            if !name.starts_with(retired::LOG_V1) {
                continue;
            }
            let signer = tree
                .parent()
                .ok_or_else(|| ServerError::Log {
                    log: "Rekor v1",
                    message: "a retired tree has no place".into(),
                })
                .and_then(|place| self.retired_signer(place, password))?;
            let log = store.open_retired(&tree, key_of_v1(), Arc::clone(&signer), Arc::clone(&options.clock));
            let opened = shard(&tree, log, signer, next(&shards), search_key.clone());
            shards.push(opened.map_err(|e| self.unopened("Rekor v1", &tree, &e))?);
        }
        let run = Options {
            linger: Duration::from_millis(self.config.log.batch_linger_ms),
            key_of: Some(key_of_v1()),
            mark: self.mark(signer.public_key(), options.marks.as_deref()),
            ..Options::default()
        };
        let directory = self.directory.join(paths::LOG_V1);
        let log = store.open(paths::LOG_V1, run, vec![Arc::clone(&signer)], Arc::clone(&options.clock));
        let active = shard(&directory, log, signer, next(&shards), search_key)
            .map_err(|e| self.unopened("Rekor v1", &directory, &e))?;
        Ok(RekorV1::new(shards, active, Arc::clone(&options.clock)))
    }

    /// The key of a tree that was rotated out: what the log promises of its entries is under that one still. It lies
    /// beside the tree, or where the configuration of its time said.
    fn retired_signer(
        &self,
        place: &Path,
        password: &PasswordSource,
    ) -> Result<Arc<dyn Signer>, ServerError> {
        let key = InstanceKey::LogV1;
        let stem = Path::new(key.stem()).file_name().unwrap_or_default();
        let beside = |extension: &str| place.join(stem).with_extension(extension);
        let failed = |path: &Path, message: String| ServerError::Key { path: path.to_owned(), message };
        let private = beside("key");
        if private.exists() {
            return countersign_keys::load_signer(&KeyRef::File(private.clone()), password)
                .map_err(|e| failed(&private, e.to_string()));
        }
        let kept = place.join(format!("{}-{FILE_NAME}", key.name()));
        let text = std::fs::read_to_string(&kept).map_err(|e| {
            failed(&private, format!("a retired log's key is needed to promise its entries: {e}"))
        })?;
        let then = crate::config::Config::parse(&text).map_err(|message| failed(&kept, message))?;
        let then = Self { directory: self.directory.clone(), config: then };
        let reference =
            then.reference(key).ok_or_else(|| failed(&kept, format!("names no key as {}", key.name())))?;
        let public = beside("pub");
        let public = countersign_keys::load_public_key(&KeyRef::File(public.clone()))
            .map_err(|e| failed(&public, e.to_string()))?;
        Ok(Arc::new(RemoteKey::new(key, reference, public, password.clone())))
    }
}

/// A tree with its index, which lies in this directory wherever the tree does.
fn shard(
    directory: &Path,
    log: Result<Log, LogError>,
    signer: Arc<dyn Signer>,
    first: u64,
    search_key: Option<Arc<SearchKey>>,
) -> Result<Shard, LogError> {
    log.and_then(|log| Shard::open(directory, log, signer, first, search_key))
}
