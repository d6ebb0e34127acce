//! Where the newest checkpoint of each log is marked: outside of the instance, so that an instance which was put back
//! whole from an old copy is found out, and does not sign what would fork the log.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use countersign_crypto::PublicKey;
use countersign_crypto::encoding::hex_encode;
use countersign_log::Mark;

use crate::doctor::{Finding, Level};
use crate::instance::Instance;

/// The directory for marks of whoever runs this process: systemd's `STATE_DIRECTORY`, else that of the XDG base
/// directories. `None` when there is none, or none that lies outside of the instance.
#[must_use]
pub fn usual(instance: &Path) -> Option<PathBuf> {
    usual_in(instance, |name| std::env::var_os(name))
}

fn usual_in(instance: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A unit may have several, by colons.
    let units = variable("STATE_DIRECTORY");
    let unit = units.as_ref().and_then(|all| std::env::split_paths(all).next()).map(|dir| dir.join("marks"));
    let user = variable("XDG_STATE_HOME").map(|dir| PathBuf::from(dir).join("countersign/marks"));
    let home = variable("HOME").map(|dir| PathBuf::from(dir).join(".local/state/countersign/marks"));
    let places = [unit, user.filter(|place| place.is_absolute()), home].into_iter().flatten();
    // An instance that lies there itself would take its marks back with it.
    places.filter(|place| place.is_absolute()).find(|place| !is_inside(place, instance))
}

/// Whether a place, which need not be there yet, is in a directory.
fn is_inside(place: &Path, directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    let there = place.ancestors().find_map(|above| {
        let rest = place.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    });
    there.is_some_and(|there| there.starts_with(&directory))
}

impl Instance {
    /// Where the log with a key is marked: in the directory that the configuration names, else in this one, which is the
    /// [`usual`] one. The file is called by the key, so that an instance that is moved keeps its mark, a log that is
    /// rotated begins another, and no two share one.
    pub(crate) fn mark(&self, key: &PublicKey, usual: Option<&Path>) -> Option<Mark> {
        let (directory, needed) = match &self.config.log.mark_directory {
            Some(off) if off.as_os_str().is_empty() => return None,
            Some(named) => (self.directory.join(named), true),
            // Past one machine the database has the newest checkpoint, and a machine may be away for long.
            None if self.config.store.is_some() => return None,
            None => (usual?.to_owned(), false),
        };
        let path = directory.join(format!("{}-checkpoint", hex_encode(&key.fingerprint())));
        Some(Mark { path, needed })
    }

    /// What `doctor` says when nothing finds the instance out that was put back whole from an old copy: neither a mark
    /// elsewhere nor witnesses.
    pub(crate) fn mark_findings(&self) -> Vec<Finding> {
        if self.config.store.is_some() || self.config.log.min_witnesses > 0 {
            return Vec::new();
        }
        // A key that is missing is a finding of its own. A log that was never served has no mark yet.
        let logs = self.logs_at_rest().unwrap_or_default().into_iter();
        let served = logs.filter(|log| log.directory.join("checkpoint").exists());
        served
            .filter_map(|log| {
                let found = match &log.mark {
                    Some(mark) if mark.exists() => return None,
                    Some(mark) => format!("{} is not marked: there is no {}", log.name, mark.display()),
                    None => format!("{} is not marked outside of the instance", log.name),
                };
                Some(Finding {
                    level: Level::Warning,
                    what: "mark".into(),
                    found,
                    next: "run this as who serves the instance, or name a mark_directory in [log]: put back from an old \
                           copy, the log would fork unnoticed (docs/log.md)"
                        .into(),
                })
            })
            .collect()
    }

    /// Makes the directory for marks that nobody asked for, or tells that there is none.
    pub(crate) fn prepare_marks(&self, usual: Option<&Path>) {
        if self.config.log.mark_directory.is_some() || self.config.store.is_some() {
            return;
        }
        let Some(directory) = usual else {
            tracing::info!(
                "the logs are not marked outside of the instance: there is no STATE_DIRECTORY, XDG_STATE_HOME or HOME \
                 outside of it; name a mark_directory in [log], or an old copy of the instance may fork them"
            );
            return;
        };
        if let Err(error) = std::fs::create_dir_all(directory) {
            tracing::warn!(directory = %directory.display(), %error, "the directory for marks cannot be made");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_lie_in_the_state_of_whoever_runs_it_and_never_in_the_instance() {
        let place = tempfile::tempdir().unwrap();
        let instance = place.path().join("instance");
        std::fs::create_dir(&instance).unwrap();
        let at = |name: &str| place.path().join(name);
        let usual = |set: &[(&str, PathBuf)]| {
            usual_in(&instance, |name| {
                set.iter().find(|(own, _)| *own == name).map(|(_, path)| path.clone().into_os_string())
            })
        };
        let unit = ("STATE_DIRECTORY", at("unit"));
        let user = ("XDG_STATE_HOME", at("user"));
        let home = ("HOME", at("home"));
        assert_eq!(usual(&[unit.clone(), user.clone(), home.clone()]), Some(at("unit/marks")));
        assert_eq!(usual(&[user.clone(), home.clone()]), Some(at("user/countersign/marks")));
        assert_eq!(usual(std::slice::from_ref(&home)), Some(at("home/.local/state/countersign/marks")));
        assert_eq!(usual(&[]), None);
        let two = OsString::from(format!("{}:/var/lib/other", at("unit").display()));
        assert_eq!(usual(&[("STATE_DIRECTORY", two.into())]), Some(at("unit/marks")));
        // The unit's directory is the instance, or that of the user is in it: that would be put back with it.
        let inside =
            [("STATE_DIRECTORY", instance.clone()), ("XDG_STATE_HOME", instance.join("state")), home];
        assert_eq!(usual(&inside), Some(at("home/.local/state/countersign/marks")));
        assert_eq!(usual(&inside[..2]), None);
        // As XDG says, a relative path is none.
        assert_eq!(usual(&[("XDG_STATE_HOME", "state".into())]), None);
    }
}
