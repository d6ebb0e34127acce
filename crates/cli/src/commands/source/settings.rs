//! The settings of a source: what is protected, who the people are, who signs for the server.

use std::path::{Path, PathBuf};

use countersign_client::artifact::read_limited;
use countersign_client::trust::{Trust, TrustFrom};
use countersign_client::verify::material;
use countersign_keys::{KeyRef, load_public_key};
use countersign_slsa::source::{Control, Person, Rules};
use countersign_slsa::summary::Signers;
use countersign_verify::{Identity, TrustMaterial};
use serde::Deserialize;

use crate::failure::Failure;

/// The largest file of settings, in bytes.
const MAX_LEN: usize = 1 << 20;
/// The most people, and patterns of refs: each is a question for each push.
const MAX_LIST: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    repository: String,
    verifier: String,
    branches: Vec<String>,
    #[serde(default = "all_tags")]
    tags: Vec<String>,
    #[serde(default = "one")]
    reviewers: usize,
    #[serde(default = "yes")]
    log: bool,
    trusted_root: Option<PathBuf>,
    server: WireSigner,
    #[serde(default)]
    people: Vec<WirePerson>,
    #[serde(default)]
    organisation: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePerson {
    name: String,
    #[serde(default)]
    emails: Vec<String>,
    key: Option<PathBuf>,
    identity: Option<String>,
    issuer: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSigner {
    key: Option<PathBuf>,
    identity: Option<String>,
    issuer: Option<String>,
}

fn all_tags() -> Vec<String> {
    vec!["refs/tags/*".into()]
}

const fn one() -> usize {
    1
}

const fn yes() -> bool {
    true
}

/// Settings, ready for use.
#[derive(Debug)]
pub(super) struct Settings {
    /// What a push is judged by.
    pub(super) rules: Rules,
    /// The people and how each of them signs.
    pub(super) people: Vec<(String, Signers)>,
    /// How the server signs.
    pub(super) server: Signers,
    /// Whether signatures must be in a transparency log.
    pub(super) log: bool,
    /// Whose logs and authorities count.
    pub(super) material: TrustMaterial,
    /// Who the server is in its summaries, a URI.
    pub(super) verifier: String,
    /// What the organisation answers for.
    pub(super) organisation: Vec<Control>,
}

impl Settings {
    /// Reads a file. Paths in it are from where it is.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::usage(format!("{}: {what}", path.display()));
        let text =
            String::from_utf8(read_limited(path, MAX_LEN)?).map_err(|_| wrong("is not UTF-8 text".into()))?;
        let wire: Wire = serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        let home = path.parent().unwrap_or(Path::new("."));
        for (name, length) in
            [("branches", wire.branches.len()), ("tags", wire.tags.len()), ("people", wire.people.len())]
        {
            if length > MAX_LIST {
                return Err(wrong(format!("{name}: expected at most {MAX_LIST}, found {length}")));
            }
        }
        if wire.branches.is_empty() {
            return Err(wrong("branches: expected the protected branches, found none".into()));
        }
        let whole = |name: &&String| !name.starts_with("refs/") || name.trim_end_matches('*').contains('*');
        if let Some(name) = wire.branches.iter().chain(&wire.tags).find(whole) {
            return Err(wrong(format!(
                "\"{name}\": expected a whole name such as refs/heads/main, with * at its end at most"
            )));
        }
        if let Some(name) = wire.branches.iter().find(|name| !name.starts_with("refs/heads/")) {
            return Err(wrong(format!("branches: expected refs/heads/…, found \"{name}\"")));
        }
        if wire.people.len() <= wire.reviewers {
            let (people, needed) = (wire.people.len(), wire.reviewers + 1);
            return Err(wrong(format!(
                "people: expected at least {needed}, an author and {} reviewers, found {people}",
                wire.reviewers
            )));
        }
        let mut people = Vec::with_capacity(wire.people.len());
        let mut known = Vec::with_capacity(wire.people.len());
        for person in wire.people {
            if person.name.is_empty() || known.iter().any(|other: &Person| other.name == person.name) {
                return Err(wrong(format!(
                    "people: expected a name for each of them alone, found \"{}\" twice or empty",
                    person.name
                )));
            }
            let signers =
                signers(home, person.key.as_deref(), person.identity.as_deref(), person.issuer.as_deref())
                    .map_err(|e| wrong(format!("people, {}: {e}", person.name)))?;
            known.push(Person { name: person.name.clone(), emails: person.emails });
            people.push((person.name, signers));
        }
        let server = &wire.server;
        let server =
            signers(home, server.key.as_deref(), server.identity.as_deref(), server.issuer.as_deref())
                .map_err(|e| wrong(format!("server: {e}")))?;
        let organisation = |name: &String| {
            Control::named(name)
                .filter(|control| control.is_of_organisation())
                .ok_or_else(|| wrong(format!("organisation: expected SLSA_SOURCE_ORG_…, found \"{name}\"")))
        };
        let trust = match &wire.trusted_root {
            Some(root) => {
                Trust::load(&TrustFrom { trusted_root: Some(home.join(root)), ..TrustFrom::default() })?
            }
            None if wire.log => {
                return Err(wrong("trustedRoot: expected a file, since log is true; found none".into()));
            }
            None => Trust::nobody(),
        };
        Ok(Self {
            rules: Rules {
                repository: wire.repository,
                branches: wire.branches,
                tags: wire.tags,
                reviewers: wire.reviewers,
                people: known,
            },
            people,
            server,
            log: wire.log,
            material: material(&trust)?,
            verifier: wire.verifier,
            organisation: wire.organisation.iter().map(organisation).collect::<Result<_, _>>()?,
        })
    }
}

fn signers(
    home: &Path,
    key: Option<&Path>,
    identity: Option<&str>,
    issuer: Option<&str>,
) -> Result<Signers, String> {
    match (key, identity, issuer) {
        (Some(key), None, None) => {
            let reference = KeyRef::File(home.join(key));
            load_public_key(&reference).map(|key| Signers::Keys(vec![key])).map_err(|e| e.to_string())
        }
        (None, Some(name), Some(issuer)) => Identity::exact(name, issuer)
            .map(|identity| Signers::Identities(vec![identity]))
            .map_err(|e| e.to_string()),
        _ => Err("expected key, or identity and issuer".into()),
    }
}
