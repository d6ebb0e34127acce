//! The names that an image goes by, and patterns over them: one place for all languages, so that nobody leaves a policy
//! behind by writing a name in another way.
//!
//! | written | the same |
//! |---|---|
//! | `nginx`, `library/nginx`, `docker.io/nginx` | `docker.io/library/nginx`, `index.docker.io/library/nginx` |
//! | `GHCR.io/…`, `ghcr.io:443/…`, `ghcr.io./…` | `ghcr.io/…` |
//! | `repo:tag@sha256:…` | both `repo:tag` and `repo@sha256:…` |
//!
//! What a pattern leaves out or skips is held against one spelling alone, so that it skips no more than it says.

use countersign_registry::{Reference, Repository};

use crate::pattern::{Glob, PatternError};

/// Docker Hub, and the name that it has elsewhere.
const HUB: &str = "docker.io";
const HUB_INDEX: &str = "index.docker.io";
/// What Docker Hub puts before short names.
const LIBRARY: &str = "library/";

/// The registry without what may be left out of a host.
pub(crate) fn registry(repository: &Repository) -> &str {
    host(repository.registry())
}

fn host(registry: &str) -> &str {
    let host = registry.strip_suffix(":443").or_else(|| registry.strip_suffix(":80")).unwrap_or(registry);
    host.trim_end_matches('.')
}

/// The one spelling of a repository that is no longer than it must be.
pub(crate) fn plain(repository: &Repository) -> String {
    format!("{}/{}", registry(repository), repository.path())
}

/// All spellings of a repository that are whole.
pub(crate) fn repositories(repository: &Repository) -> Vec<String> {
    let mut names = vec![repository.to_string(), plain(repository)];
    if let Some(path) = hub_path(repository) {
        names.extend([format!("{HUB}/{path}"), format!("{HUB_INDEX}/{path}")]);
    }
    names
}

/// The spellings of a repository on Docker Hub that leave something out.
fn short_names(repository: &Repository) -> Vec<String> {
    let Some(path) = hub_path(repository) else { return Vec::new() };
    let mut names = vec![path.clone()];
    if let Some(short) = path.strip_prefix(LIBRARY) {
        names.extend([short.to_owned(), format!("{HUB}/{short}"), format!("{HUB_INDEX}/{short}")]);
    }
    names
}

/// The whole path on Docker Hub.
fn hub_path(repository: &Repository) -> Option<String> {
    let path = repository.path();
    let whole = if path.contains('/') { path.to_owned() } else { format!("{LIBRARY}{path}") };
    (registry(repository) == HUB).then_some(whole)
}

/// All spellings of an image, short names included.
#[derive(Debug)]
pub(crate) struct Spellings {
    repositories: Vec<String>,
    whole: Vec<String>,
    has_tag: bool,
}

impl Spellings {
    pub(crate) fn of(image: &Reference) -> Self {
        let mut repositories = repositories(image.repository());
        repositories.extend(short_names(image.repository()));
        let mut whole = Vec::new();
        for name in &repositories {
            let tagged = image.tag().map(|tag| format!("{name}:{tag}"));
            if let Some(digest) = image.digest() {
                whole.extend(
                    [Some(name), tagged.as_ref()]
                        .into_iter()
                        .flatten()
                        .map(|name| format!("{name}@{digest}")),
                );
            }
            whole.extend(tagged);
        }
        Self { repositories, whole, has_tag: image.tag().is_some() }
    }
}

/// A pattern over images.
#[derive(Debug, Clone)]
pub(crate) struct ImagePattern {
    /// Over the whole name.
    whole: Glob,
    /// Over the repository: what stands before a tag, or all of a pattern that has none.
    repository: Option<Glob>,
    /// Whether the pattern has a tag; then the repository alone says nothing of images with other ones.
    has_tag: bool,
}

impl ImagePattern {
    /// Reads a pattern of a language with these wildcards.
    ///
    /// # Errors
    /// [`PatternError`]: also for what no image could match.
    pub(crate) fn read(
        text: &str,
        glob: impl Fn(&str) -> Result<Glob, PatternError>,
    ) -> Result<Self, PatternError> {
        let text = normal(text)?;
        let (repository, has_tag) = match (text.contains('@'), before_tag(&text)) {
            (true, _) => (None, false),
            (false, Some(before)) => (Some(glob(before)?), true),
            (false, None) => (Some(glob(&text)?), false),
        };
        Ok(Self { whole: glob(&text)?, repository, has_tag })
    }

    /// As it is matched.
    pub(crate) fn as_str(&self) -> &str {
        self.whole.as_str()
    }

    /// The repository that is meant by a pattern with a tag, or without one where the original wants one.
    pub(crate) fn repository(&self) -> Option<&str> {
        let ends_open = self.whole.as_str().ends_with('*') && !self.has_tag;
        self.repository.as_ref().filter(|_| !ends_open).map(Glob::as_str)
    }

    /// Whether it has a tag.
    pub(crate) const fn has_tag(&self) -> bool {
        self.has_tag
    }

    /// Whether an image matches in one of its spellings.
    pub(crate) fn matches(&self, image: &Spellings) -> bool {
        let any = |glob: &Glob, names: &[String]| names.iter().any(|name| glob.matches(name));
        any(&self.whole, &image.whole)
            || !(self.has_tag && image.has_tag)
                && self.repository.as_ref().is_some_and(|glob| any(glob, &image.repositories))
    }

    /// Whether this spelling matches, and no other one is looked at.
    pub(crate) fn matches_text(&self, text: &str) -> bool {
        self.whole.matches(text)
    }
}

/// A pattern as images are spelled: small letters before the tag, no default port.
fn normal(pattern: &str) -> Result<String, PatternError> {
    let wrong =
        |detail: &str| PatternError::Malformed { pattern: pattern.to_owned(), detail: detail.to_owned() };
    if pattern.is_empty() {
        return Err(PatternError::Empty);
    }
    if pattern.contains("://") {
        return Err(wrong("expected the name of an image without https:// before it"));
    }
    if pattern.starts_with('/') || pattern.ends_with('/') || pattern.contains("//") {
        return Err(wrong(
            "expected parts between single slashes, and none at the ends: no image could match",
        ));
    }
    let (tagged, digest) = match pattern.split_once('@') {
        Some((tagged, digest)) => (tagged, format!("@{}", digest.to_ascii_lowercase())),
        None => (pattern, String::new()),
    };
    let (name, tag) = tagged.split_at(tag_at(tagged).unwrap_or(tagged.len()));
    let name = name.to_ascii_lowercase();
    let name = match name.split_once('/') {
        Some((registry, path)) => format!("{}/{path}", host(registry)),
        None => name,
    };
    Ok(format!("{name}{tag}{digest}"))
}

/// Where the tag begins: at a colon after the last slash. One before it starts a port.
fn tag_at(name: &str) -> Option<usize> {
    let last = name.rfind('/').map_or(0, |at| at + 1);
    Some(last + name.get(last..)?.find(':')?)
}

/// The part of a pattern before its tag, if it has one.
fn before_tag(pattern: &str) -> Option<&str> {
    pattern.get(..tag_at(pattern)?).filter(|repository| !repository.is_empty())
}

/// Whether a pattern names no registry, as short names of Docker Hub do.
pub(crate) fn is_short(pattern: &str) -> bool {
    match pattern.split_once('/') {
        Some((first, _)) => !first.contains(['.', ':', '*', '?']) && first != "localhost",
        None => !pattern.starts_with('*'),
    }
}
