//! What `countersign doctor` says of the logs: those of today and those that were rotated out, in files or past one machine.

use std::path::Path;

use countersign_clock::Timestamp;
use countersign_log::storage::Storage;
use countersign_log::successor_of;
use countersign_tlog::{Checkpoint, Note};

use super::Findings;
use crate::instance::{Instance, paths};
use crate::retired;
use crate::store::{Store, names as in_store};

/// What the logs are called, and their directories.
fn names(instance: &Instance) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let v1 = instance.config.log.rekor_v1.then_some(("log of Rekor v1", paths::LOG_V1));
    [("transparency log", paths::LOG), ("CT log", paths::CT)].into_iter().chain(v1)
}

/// The logs past one machine, as the database has them.
fn distributed_logs(instance: &Instance, findings: &mut Findings) {
    let addresses = "look at the addresses in [store], at PGPASSWORD and at AWS_ACCESS_KEY_ID";
    let store = match Store::of(instance) {
        Ok(store) => store,
        Err(e) => return findings.problem("store", e.to_string(), addresses),
    };
    let retired = retired::find(&instance.directory, instance.config.roles.iter().copied());
    let retired = retired.into_iter().map(|(name, tree)| {
        let more = format!(", readable at {}", retired::address(&instance.config.base_url(), &name));
        (format!("retired log {name}"), None, store.retired(&tree), more)
    });
    let present = names(instance).map(|(what, place)| {
        (what.to_owned(), Some(place), store.storage(place), ", in the store past one machine".to_owned())
    });
    for (what, place, files, more) in present.chain(retired) {
        let read = files.and_then(|files| Ok((files.read("checkpoint")?, files))).map_err(|e| e.to_string());
        let checkpoint = read.and_then(|(bytes, files)| match bytes {
            // Made by a rotation, and not served since.
            None => Ok(successor_of(files.as_ref()).ok().map(|_| (None, files))),
            Some(bytes) => Note::parse(&bytes)
                .and_then(|note| Checkpoint::parse(note.text()))
                .map(|checkpoint| Some((Some(checkpoint), files)))
                .map_err(|e| e.to_string()),
        });
        // Only those of today take entries.
        let ended = |files: &dyn Storage| place.filter(|_| matches!(successor_of(files), Ok(Some(_))));
        match checkpoint {
            Ok(Some((_, files))) if let Some(place) = ended(files.as_ref()) => findings.problem(
                what,
                "it was rotated out, and this directory does not know of its successor",
                format!(
                    "copy the directory from the machine where it was rotated; if a rotation was cut off here, bring back \
                     keys/offline and run `countersign rotate {place}` once more"
                ),
            ),
            Ok(Some((Some(checkpoint), _))) => {
                findings.good(what, format!("{} entries{more}", checkpoint.size));
            }
            Ok(Some((None, _))) => findings.good(what, format!("not started yet{more}")),
            Ok(None) => findings.problem(
                what,
                "it is not in the store that [store] names",
                "stop the server and move it there: countersign log migrate --to distributed",
            ),
            Err(e) => findings.problem(what, e, addresses),
        }
    }
}

pub(super) fn look(instance: &Instance, now: Timestamp, findings: &mut Findings) {
    if instance.config.store.is_some() {
        distributed_logs(instance, findings);
        return;
    }
    for (what, sub) in names(instance) {
        let directory = instance.directory.join(sub);
        log(what, &directory, "", findings);
        let written = std::fs::metadata(directory.join("checkpoint")).and_then(|m| m.modified());
        if let Ok(Ok(modified)) = written.map(Timestamp::try_from)
            && modified.as_second() > now.as_second() + 60
        {
            findings.problem(
                "clock",
                format!("it shows {now}, and the {what} was written at {modified}"),
                "set the machine's clock: a log must not go back in time",
            );
        }
    }
    for (name, tree) in retired::find(&instance.directory, instance.config.roles.iter().copied()) {
        if in_store::is_in_store(&tree) {
            findings.problem(
                format!("retired log {name}"),
                "it lies in the store that [store] named",
                "put [store] back, and move it here: countersign log migrate --to local",
            );
            continue;
        }
        let address = retired::address(&instance.config.base_url(), &name);
        log(&format!("retired log {name}"), &tree, &format!(", readable at {address}"), findings);
    }
}

fn log(what: &str, directory: &Path, more: &str, findings: &mut Findings) {
    let path = directory.join("checkpoint");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let checkpoint = Note::parse(text.as_bytes()).and_then(|note| Checkpoint::parse(note.text()));
            match checkpoint {
                Ok(checkpoint) => findings.good(what, format!("{} entries{more}", checkpoint.size)),
                Err(e) => findings.problem(
                    what,
                    format!("{} is not a checkpoint: {e}", path.display()),
                    "restore the directory from a backup, or start the server, which repairs what it can",
                ),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && directory.is_dir() => {
            findings.good(what, "not started yet");
        }
        Err(e) => {
            findings.problem(what, format!("{}: {e}", path.display()), "restore the directory from a backup")
        }
    }
}
