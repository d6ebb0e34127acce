//! Who has an instance: the processes that serve it, or a rotation.
//!
//! Two files without content, and locks on them that end with their processes. Whoever serves holds `serving.lock`
//! together with others. A rotation holds `rotation.lock` from the moment it wants the instance, and then `serving.lock`
//! alone: it has it when everybody has let go. So a rotation that is killed leaves nothing behind, and a server that does
//! not let go is not robbed.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ServerError;
use crate::listen::DRAIN_TIME;

const SERVING: &str = "serving.lock";
const ROTATION: &str = "rotation.lock";

/// How often a server looks whether it is asked to let go.
pub(crate) const LOOK: Duration = Duration::from_millis(200);
/// How often whoever waits for a lock tries.
const TRY: Duration = Duration::from_millis(10);
/// Servers look at the lock of a rotation by taking it for an instant.
const GLANCE: Duration = Duration::from_secs(1);
/// How long servers may take to let go: they answer whom they are answering, and end their logs.
const PATIENCE: Duration = Duration::from_secs(2 * DRAIN_TIME.as_secs() + 10);

fn failed(path: &Path, message: impl Into<String>) -> ServerError {
    ServerError::File { path: path.to_owned(), message: message.into() }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Tries until it is locked, or the time is over.
fn lock_within(file: &File, path: &Path, time: Duration) -> Result<bool, ServerError> {
    let end = Instant::now() + time;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) => return Err(failed(path, format!("cannot be locked: {e}"))),
            Err(TryLockError::WouldBlock) if Instant::now() >= end => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY),
        }
    }
}

/// Whether a rotation wants or has the instance.
pub(crate) fn wanted(instance: &Path) -> bool {
    let file = File::open(instance.join(ROTATION));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Held by a process that serves an instance.
#[derive(Debug)]
pub(crate) struct Serving(#[expect(dead_code, reason = "held for its lock")] File);

impl Serving {
    /// Waits until no rotation has the instance, and keeps the next one waiting. `None` where no lock can be made, as in a
    /// directory that is only read: rotations are not noticed then.
    pub(crate) async fn begin(instance: &Path) -> Result<Option<Self>, ServerError> {
        let path = instance.join(SERVING);
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "start the server again after a rotation: it is not noticed");
                return Ok(None);
            }
        };
        loop {
            // A rotation that waits for others is not overtaken by whoever starts meanwhile.
            if !wanted(instance) {
                match file.try_lock_shared() {
                    Ok(()) => return Ok(Some(Self(file))),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(e)) => {
                        return Err(failed(&path, format!("cannot be locked: {e}")));
                    }
                }
            }
            tokio::time::sleep(TRY).await;
        }
    }
}

/// Held by a rotation: nobody serves the instance, and nobody begins to.
#[derive(Debug)]
pub(crate) struct Handover {
    /// Dropped first: whoever sees that no rotation is there can begin to serve.
    _alone: File,
    _rotation: File,
    /// Whether somebody served it, and goes on when this is dropped.
    pub(crate) from_server: bool,
}

impl Handover {
    /// Asks those who serve the instance to let go of it, and waits until they have.
    pub(crate) fn take(instance: &Path) -> Result<Self, ServerError> {
        let path = instance.join(ROTATION);
        let cannot = |path: &Path, e: &std::io::Error| failed(path, format!("cannot be opened: {e}"));
        let rotation = open(&path).map_err(|e| cannot(&path, &e))?;
        if !lock_within(&rotation, &path, GLANCE)? {
            return Err(failed(&path, "another rotation is under way; wait until it has ended"));
        }
        let path = instance.join(SERVING);
        let alone = open(&path).map_err(|e| cannot(&path, &e))?;
        let from_server = !lock_within(&alone, &path, Duration::ZERO)?;
        if from_server && !lock_within(&alone, &path, PATIENCE)? {
            let message = format!(
                "a server did not let go of the instance within {} s; nothing was changed: stop it, rotate, and start it \
                 again",
                PATIENCE.as_secs()
            );
            return Err(failed(&path, message));
        }
        Ok(Self { _alone: alone, _rotation: rotation, from_server })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rotation_waits_for_all_who_serve_and_who_begins_to_serve_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(!wanted(path), "nobody was ever there");
        let one = Serving::begin(path).await.unwrap().unwrap();
        let two = Serving::begin(path).await.unwrap().unwrap();
        let rotation = tokio::task::spawn_blocking({
            let path = path.to_owned();
            move || Handover::take(&path).unwrap()
        });
        while !wanted(path) {
            tokio::time::sleep(TRY).await;
        }
        drop(one);
        tokio::time::sleep(5 * TRY).await;
        assert!(!rotation.is_finished(), "the other one serves");
        let mut third = Box::pin(Serving::begin(path));
        assert!(tokio::time::timeout(5 * TRY, &mut third).await.is_err(), "the rotation was there first");
        drop(two);
        let rotation = rotation.await.unwrap();
        assert!(rotation.from_server && wanted(path));
        let second = Handover::take(path).unwrap_err().to_string();
        assert!(second.contains("another rotation"), "{second}");
        assert!(tokio::time::timeout(5 * TRY, &mut third).await.is_err(), "the rotation has it");
        drop(rotation);
        assert!(third.await.unwrap().is_some() && !wanted(path));
        assert!(!Handover::take(path).unwrap().from_server, "nobody serves");
    }
}
