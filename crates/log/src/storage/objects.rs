//! Tiles in an object store.
//!
//! A full tile is written once and never again: where the store offers conditional writes, another content under
//! its name is found and not overwritten, since it would be the trace of a fork.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
};
use url::Url;
use zeroize::Zeroizing;

use super::remote::wait;

/// How long an operation may take, with what the client tries again by itself.
const LIMIT: Duration = Duration::from_secs(20);
const RETRIES: Duration = Duration::from_secs(12);
const CONNECT: Duration = Duration::from_secs(3);
const REQUEST: Duration = Duration::from_secs(10);
/// How many operations run at once.
const AT_ONCE: usize = 16;

/// The credentials of an object store.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub id: String,
    /// The secret access key.
    pub secret: Zeroizing<String>,
    /// The session's token, for credentials that pass.
    pub token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Objects below one prefix of a bucket.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own words might hold credentials.
        f.debug_struct("Objects").field("prefix", &self.prefix.as_ref()).finish_non_exhaustive()
    }
}

fn failed(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error.to_string()),
        other => io::Error::other(format!("the object store: {other}")),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Whether a path is of a tile that never changes.
fn is_full_tile(path: &str) -> bool {
    !path.contains(".p/")
}

impl Objects {
    /// Objects of any store below a prefix.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { store, prefix: Path::from(prefix) }
    }

    /// Objects of a store of the S3 kind: `s3://bucket/prefix?endpoint=http://host:9000&region=…`.
    ///
    /// Without an endpoint it is Amazon's. Credentials that are not given come from the environment
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, or a web identity), or from the machine's
    /// role; they are no part of the address. `conditional=off` is for servers that refuse conditional writes.
    ///
    /// # Errors
    /// `InvalidInput` for an address that is none of these.
    pub fn s3(url: &Url, credentials: Option<&Credentials>) -> io::Result<Self> {
        check_address(url)?;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(url.host_str().unwrap_or_default())
            // A few objects at a time are removed, and not every server can do it in one request.
            .with_disable_bulk_delete(true)
            .with_client_options(
                ClientOptions::new()
                    .with_connect_timeout(CONNECT)
                    .with_timeout(REQUEST)
                    .with_allow_http(true),
            )
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(2),
                    base: 2.0,
                },
                max_retries: 20,
                retry_timeout: RETRIES,
            });
        for (name, value) in url.query_pairs() {
            builder = match name.as_ref() {
                "endpoint" => builder.with_endpoint(value),
                "region" => builder.with_region(value),
                "conditional" if value == "off" => {
                    builder.with_conditional_put(object_store::aws::S3ConditionalPut::Disabled)
                }
                "virtual_hosts" if value == "on" => builder.with_virtual_hosted_style_request(true),
                _ => {
                    return Err(invalid(format!(
                        "expected endpoint=, region=, conditional=off or virtual_hosts=on, found {name}={value}"
                    )));
                }
            };
        }
        if builder.get_config_value(&AmazonS3ConfigKey::Region).is_none() {
            builder = builder.with_region("us-east-1");
        }
        if let Some(Credentials { id, secret, token }) = credentials {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.as_str());
            if let Some(token) = token {
                builder = builder.with_token(token.as_str());
            }
        }
        let store = builder.build().map_err(failed)?;
        Ok(Self::new(Arc::new(store), url.path()))
    }

    /// The same store, below one more name.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self { store: Arc::clone(&self.store), prefix: self.place(name) }
    }

    fn place(&self, path: &str) -> Path {
        path.split('/').fold(self.prefix.clone(), |prefix, part| prefix.join(part))
    }

    /// Reads an object; `None` if there is none.
    pub(crate) fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        let read = wait(LIMIT, async move {
            let found = store.get(&place).await.map_err(failed)?;
            Ok(found.bytes().await.map_err(failed)?.to_vec())
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Puts objects in place, several at once. `allowed` is asked once more before each is sent.
    pub(crate) fn write(
        &self,
        files: Vec<(String, Vec<u8>)>,
        allowed: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let store = Arc::clone(&self.store);
        let writes: Vec<_> =
            files.into_iter().map(|(path, content)| (self.place(&path), path, content)).collect();
        wait(LIMIT, async move {
            let allowed = &allowed;
            stream::iter(writes)
                .map(|(place, path, content)| {
                    let store = Arc::clone(&store);
                    async move {
                        allowed()?;
                        if is_full_tile(&path) {
                            write_once(store.as_ref(), &place, &path, content.into()).await
                        } else {
                            store.put(&place, content.into()).await.map(drop).map_err(failed)
                        }
                    }
                })
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await
        })
    }

    /// Removes objects; it is no error if they are not there.
    pub(crate) fn remove(&self, paths: &[String]) -> io::Result<()> {
        wait(LIMIT, remove(Arc::clone(&self.store), paths.iter().map(|path| self.place(path)).collect()))
    }

    /// Removes objects, and whatever is in some directories, after a while and in the background. Readers who have just
    /// learnt of them can still read them.
    pub(crate) fn remove_later(&self, paths: Vec<String>, directories: Vec<String>, after: Duration) {
        if paths.is_empty() && directories.is_empty() {
            return;
        }
        let objects = self.clone();
        let removal = async move {
            tokio::time::sleep(after).await;
            let mut places: Vec<Path> = paths.iter().map(|path| objects.place(path)).collect();
            for directory in &directories {
                let found = objects
                    .store
                    .list_with_delimiter(Some(&objects.place(directory)))
                    .await
                    .map_err(failed)?;
                places.extend(found.objects.into_iter().map(|object| object.location));
            }
            remove(objects.store, places).await
        };
        if let Ok(runtime) = super::remote::runtime() {
            runtime.spawn(async move {
                if let Err(error) = removal.await {
                    tracing::debug!(%error, "outdated partial tiles stay in the object store");
                }
            });
        }
    }

    /// The names directly below a directory, sorted.
    pub(crate) fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let store = Arc::clone(&self.store);
        let place = if directory.is_empty() { self.prefix.clone() } else { self.place(directory) };
        wait(LIMIT, async move {
            let found = store.list_with_delimiter(Some(&place)).await.map_err(failed)?;
            let objects = found.objects.iter().map(|object| &object.location);
            let mut names: Vec<String> = objects
                .chain(&found.common_prefixes)
                .filter_map(|path| path.filename().map(str::to_owned))
                .collect();
            names.sort();
            Ok(names)
        })
    }
}

/// Checks the address of a bucket, without the network.
fn check_address(url: &Url) -> io::Result<()> {
    if url.scheme() != "s3" || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid(
            "expected the address of a bucket as s3://bucket/prefix?endpoint=…, found another kind".into(),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "expected no credentials in the address of the bucket: they come from AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
                .into(),
        ));
    }
    Ok(())
}

async fn remove(store: Arc<dyn ObjectStore>, places: Vec<Path>) -> io::Result<()> {
    let store = &store;
    stream::iter(places)
        .map(|place| async move {
            match store.delete(&place).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed(error)),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Writes an object that never changes, and finds out when there is another in its place.
async fn write_once(
    store: &dyn ObjectStore,
    place: &Path,
    path: &str,
    content: PutPayload,
) -> io::Result<()> {
    match store.put_opts(place, content.clone(), PutMode::Create.into()).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
            let there = store.get(place).await.map_err(failed)?.bytes().await.map_err(failed)?;
            if content.iter().flatten().eq(there.iter()) {
                return Ok(());
            }
            Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "the object store has another {path} than the one of this log: it was damaged, or another log \
                     wrote there. Keep a copy of it, compare, and remove it only if it is the damaged one"
                ),
            ))
        }
        // A server without conditional writes.
        Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
            store.put(place, content).await.map(drop).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn objects() -> Objects {
        Objects::new(Arc::new(InMemory::new()), "a/b")
    }

    fn write(objects: &Objects, path: &str, content: &[u8]) -> io::Result<()> {
        objects.write(vec![(path.to_owned(), content.to_vec())], || Ok(()))
    }

    #[test]
    fn objects_lie_below_their_prefix() {
        let objects = objects();
        write(&objects, "tile/0/x001/000", b"one").unwrap();
        write(&objects, "tile/0/000.p/5", b"two").unwrap();
        assert_eq!(objects.read("tile/0/000.p/5").unwrap().unwrap(), b"two");
        assert_eq!(objects.read("tile/0/000").unwrap(), None);
        assert_eq!(objects.list("tile/0").unwrap(), ["000.p", "x001"]);
        assert_eq!(objects.list("").unwrap(), ["tile"]);
        assert_eq!(objects.below("tile/0").read("x001/000").unwrap().unwrap(), b"one");
        objects.remove(&["tile/0/000.p/5".into(), "tile/none".into()]).unwrap();
        assert_eq!(objects.read("tile/0/000.p/5").unwrap(), None);
    }

    #[test]
    fn a_full_tile_is_never_overwritten_by_another() {
        let objects = objects();
        write(&objects, "tile/0/000", b"one").unwrap();
        write(&objects, "tile/0/000", b"one").unwrap();
        let error = write(&objects, "tile/0/000", b"two").unwrap_err();
        assert!(error.to_string().contains("another tile/0/000"), "{error}");
        assert_eq!(objects.read("tile/0/000").unwrap().unwrap(), b"one");
        write(&objects, "tile/0/001.p/3", b"one").unwrap();
        write(&objects, "tile/0/001.p/3", b"two").unwrap();
    }

    #[test]
    fn who_may_not_write_writes_nothing() {
        let objects = objects();
        let files = vec![("tile/0/000".to_owned(), Vec::new())];
        assert!(objects.write(files, || Err(crate::storage::lease_lost())).is_err());
        assert_eq!(objects.read("tile/0/000").unwrap(), None);
    }

    #[test]
    fn addresses_say_what_is_wrong_with_them() {
        let error = |text: &str| Objects::s3(&text.parse().unwrap(), None).unwrap_err().to_string();
        assert!(error("https://bucket.example").contains("expected the address of a bucket"));
        assert!(error("s3://").contains("expected the address of a bucket"));
        assert!(error("s3://bucket/?regoin=x").contains("found regoin=x"));
        let secret = error("s3://key:hunter2@bucket");
        assert!(secret.contains("AWS_ACCESS_KEY_ID") && !secret.contains("hunter2"), "{secret}");
        let good = "s3://bucket/logs/one?endpoint=http://127.0.0.1:1&region=here".parse().unwrap();
        assert_eq!(Objects::s3(&good, None).unwrap().place("tile/0").as_ref(), "logs/one/tile/0");
    }
}
