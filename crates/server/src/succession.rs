//! The rotation of a log past one machine: it ends where it lies, and its successor begins beside it under another name.
//!
//! Whoever has the instance's directory has let go of it by then (`handover`). Who serves the log from another machine, with
//! the directory of before, loses the lease, finds the log ended, and takes no more entries: see [`countersign_log::freeze`].
//!
//! The successor's name is written down before the log ends, so that a rotation which is cut off knows its own log again,
//! and one that was begun on another machine is found out.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_ca::ct::CtLog;
use countersign_clock::Clock;
use countersign_keys::PasswordSource;
use countersign_log::storage::Distributed;
use countersign_log::{LogError, Options, freeze, thaw};

use crate::ServerError;
use crate::instance::{Instance, InstanceKey, LogAtRest};
use crate::store::{Store, names};

/// A log that has ended, and the name under which another begins.
pub(crate) struct Succession {
    log: Distributed,
    what: &'static str,
    /// The directory of the log in the instance, of the old one and then of the new one.
    directory: PathBuf,
    successor: String,
}

impl Succession {
    /// Ends the log of a key, if it lies past one machine. What fails leaves it as it was.
    pub(crate) fn begin(
        instance: &Instance,
        key: InstanceKey,
        password: &PasswordSource,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, ServerError> {
        let Some((what, place)) = key.log() else { return Ok(None) };
        let store = Store::of(instance)?;
        let failed = |e: &dyn std::fmt::Display| ServerError::Log { log: what, message: e.to_string() };
        let Some((name, log)) = store.distributed(place).map_err(|e| failed(&e))? else { return Ok(None) };
        let signer = instance.load_key(key, password)?;
        let directory = instance.directory.join(place);
        // It moves with the directory, and says from then on where the old log is.
        names::write(&directory, names::NAME, &name)?;
        let successor = match names::read(&directory, names::SUCCESSOR).map_err(|e| failed(&e))? {
            Some(begun) => begun,
            None => names::fresh(place, clock.now())?,
        };
        names::write(&directory, names::SUCCESSOR, &successor)?;
        let succession = Self { log, what, directory: directory.clone(), successor };
        let key_of = LogAtRest::new(place, directory, signer.public_key().clone()).key_of;
        let options =
            Options { key_of, mark: instance.mark(signer.public_key(), None), ..Options::default() };
        let options = if key == InstanceKey::Ct { CtLog::options(options) } else { options };
        let ended = std::thread::scope(|scope| {
            // The caller may be inside a runtime.
            let ending = scope.spawn(|| {
                freeze(&succession.log, &options, &[signer], clock, &succession.successor).map(drop)
            });
            ending
                .join()
                .unwrap_or_else(|_| Err(LogError::Inconsistent("the thread that ended it panicked".into())))
        });
        if let Err(error) = ended {
            let message = error.to_string();
            // Whether it ended is not known after an error. If another machine ended it, that stays.
            succession.undo();
            return Err(ServerError::Log { log: what, message });
        }
        Ok(Some(succession))
    }

    /// The logs that a rotation ended which was itself cut off before anything was published go on. Their directories are back
    /// in their places.
    pub(crate) fn undo_cut_off(instance: &Instance) -> Result<(), ServerError> {
        for (what, place) in
            [InstanceKey::Log, InstanceKey::LogV1, InstanceKey::Ct].iter().filter_map(|key| key.log())
        {
            let directory = instance.directory.join(place);
            let failed = |e: &dyn std::fmt::Display| ServerError::Log { log: what, message: e.to_string() };
            let Some(successor) = names::read(&directory, names::SUCCESSOR).map_err(|e| failed(&e))? else {
                continue;
            };
            let store = Store::of(instance)?;
            if let Some((_, log)) = store.distributed(place).map_err(|e| failed(&e))? {
                thaw(&log, &successor).map_err(|e| failed(&e))?;
            }
            std::fs::remove_file(directory.join(names::SUCCESSOR)).map_err(|e| failed(&e))?;
        }
        Ok(())
    }

    /// The directory of before is moved away; the new one says where the successor is.
    pub(crate) fn succeed(&self) -> Result<(), ServerError> {
        names::write(&self.directory, names::NAME, &self.successor)
    }

    /// The old log goes on. Its directory is back in its place.
    pub(crate) fn undo(self) {
        match thaw(&self.log, &self.successor) {
            Ok(()) | Err(LogError::Frozen { .. }) => {
                let _ = std::fs::remove_file(self.directory.join(names::SUCCESSOR));
            }
            Err(error) => tracing::error!(
                log = self.what, %error,
                "whether the log takes entries is not known: run the rotation once more when the store answers"
            ),
        }
    }
}
