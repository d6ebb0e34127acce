//! The same build as somebody else: another user, another machine's name, other directories, another mask, language and time zone, at a later
//! time. The outputs are the same bit by bit, or it is said where they first differ.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::Serialize;

use crate::BuildError;
use crate::sandbox::{Disguise, Output, Places};

/// The circumstances of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Circumstances {
    /// Who the build believes to be.
    pub disguise: Disguise,
    /// Where things are.
    pub places: Places,
    /// The time zone.
    pub zone: String,
    /// The language.
    pub locale: String,
}

impl Default for Circumstances {
    fn default() -> Self {
        Self {
            disguise: Disguise::default(),
            places: Places::default(),
            zone: "UTC".into(),
            locale: "C".into(),
        }
    }
}

impl Circumstances {
    /// Others, in everything that a build may not depend on.
    #[must_use]
    pub fn other() -> Self {
        let place = |name: &str| format!("/elsewhere-{name}");
        Self {
            disguise: Disguise { uid: 4711, umask: 0o077, hostname: "another-machine".into() },
            places: Places {
                source: place("source"),
                inputs: place("inputs"),
                build: place("build"),
                out: place("out"),
            },
            zone: "Pacific/Chatham".into(),
            locale: "C.UTF-8".into(),
        }
    }
}

/// Where two builds differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Only one of them left this file.
    Missing {
        /// The file.
        path: String,
        /// Whether the first did.
        first: bool,
    },
    /// One may be run and the other not.
    Executable {
        /// The file.
        path: String,
    },
    /// The bytes differ.
    Bytes {
        /// The file.
        path: String,
        /// The lengths in the first and the second build.
        lengths: (u64, u64),
        /// The first byte that differs; the end of the shorter one, if all before it are the same.
        at: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path, first: true } => write!(f, "{path}: only the first build left it"),
            Self::Missing { path, first: false } => write!(f, "{path}: only the second build left it"),
            Self::Executable { path } => write!(f, "{path}: may be run in one build and not in the other"),
            Self::Bytes { path, lengths: (first, second), at } => {
                write!(f, "{path}: differs from byte {at} on ({first} and {second} bytes)")
            }
        }
    }
}

/// What differs between the outputs of two builds; both lists are sorted by path.
///
/// # Errors
/// [`BuildError::File`] when one cannot be read.
pub fn compare(first: (&Path, &[Output]), second: (&Path, &[Output])) -> Result<Vec<Difference>, BuildError> {
    let mut found = Vec::new();
    for one in first.1 {
        let path = one.path.clone();
        let Some(other) = second.1.iter().find(|other| other.path == path) else {
            found.push(Difference::Missing { path, first: true });
            continue;
        };
        if one.executable != other.executable {
            found.push(Difference::Executable { path: path.clone() });
        }
        if one.sha256 != other.sha256 {
            let fails = || BuildError::file(&path);
            let open = |top: &Path| File::open(top.join(&path)).map_err(fails());
            let at = first_difference(open(first.0)?, open(second.0)?).map_err(fails())?;
            found.push(Difference::Bytes { path, lengths: (one.length, other.length), at });
        }
    }
    let only_second = second.1.iter().filter(|other| first.1.iter().all(|one| one.path != other.path));
    found.extend(only_second.map(|other| Difference::Missing { path: other.path.clone(), first: false }));
    Ok(found)
}

/// The first byte in which two streams differ; their common length if none does.
fn first_difference(one: impl Read, other: impl Read) -> io::Result<u64> {
    let mut others = BufReader::new(other).bytes();
    let mut at = 0;
    for byte in BufReader::new(one).bytes() {
        if others.next().transpose()? != Some(byte?) {
            break;
        }
        at += 1;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_circumstances_are_other_in_everything() {
        let (own, other) = (Circumstances::default(), Circumstances::other());
        assert!(own.disguise.uid != other.disguise.uid && own.disguise.umask != other.disguise.umask);
        assert!(own.disguise.hostname != other.disguise.hostname && own.zone != other.zone);
        assert!(own.locale != other.locale);
        assert!(own.places.all().iter().all(|place| !other.places.all().contains(place)));
    }

    #[test]
    fn what_differs_is_named_with_its_first_byte() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let output = |path: &str, sha256: &str, executable| Output {
            path: path.into(),
            length: 3,
            executable,
            sha256: sha256.into(),
        };
        for (top, content) in [(&one, "abc"), (&two, "abX")] {
            std::fs::write(top.path().join("a"), content).unwrap();
        }
        let first = [output("a", "1", false), output("b", "1", false), output("c", "1", false)];
        let second = [output("a", "2", false), output("c", "1", true), output("d", "1", false)];
        let found = compare((one.path(), &first), (two.path(), &second)).unwrap();
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "a: differs from byte 2 on (3 and 3 bytes)",
                "b: only the first build left it",
                "c: may be run in one build and not in the other",
                "d: only the second build left it",
            ]
        );
        assert!(compare((one.path(), &first), (one.path(), &first)).unwrap().is_empty());
        assert_eq!(first_difference(&b"ab"[..], &b"abc"[..]).unwrap(), 2);
        assert_eq!(first_difference(&b"abc"[..], &b"ab"[..]).unwrap(), 2);
    }
}
