//! Lists of registries and repositories, matched by whole segments: `ghcr.io/org` is not `ghcr.io/org-evil`.

use countersign_registry::Repository;

/// A registry, or a part of its repositories.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepositoryPrefix {
    registry: String,
    segments: Vec<String>,
}

impl RepositoryPrefix {
    /// Reads `host`, `host/`, `host/path` or, of Docker Hub, `path`.
    ///
    /// # Errors
    /// In words, what was expected. A pattern or a tag is refused: it would match nothing, or too much.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("\"{text}\" is not a registry or a part of one: {why}; expected host, host/path or path")
        };
        let bare = text.strip_suffix('/').unwrap_or(text);
        if bare.is_empty() {
            return Err(wrong("it is empty"));
        }
        // What is a host and what a path is known to the reader of names; the prefix is what stands above some name in it.
        let below = Repository::parse(&format!("{bare}/any")).map_err(|e| wrong(&e.to_string()))?;
        let mut segments: Vec<String> = below.path().split('/').map(str::to_owned).collect();
        segments.pop();
        let is_host =
            !bare.contains('/') && (bare.contains(['.', ':']) || bare.eq_ignore_ascii_case("localhost"));
        if is_host {
            segments.clear();
        }
        Ok(Self { registry: below.registry().to_owned(), segments })
    }

    /// Whether a repository is this one, or lies below it.
    #[must_use]
    pub fn holds(&self, repository: &Repository) -> bool {
        let mut path = repository.path().split('/');
        repository.registry() == self.registry
            && self.segments.iter().all(|segment| path.next() == Some(segment.as_str()))
    }
}

impl std::fmt::Display for RepositoryPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.registry)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(prefix: &str, image: &str) -> bool {
        RepositoryPrefix::parse(prefix).unwrap().holds(&Repository::parse(image).unwrap())
    }

    #[test]
    fn prefixes_match_whole_segments() {
        for (prefix, image, expected) in [
            ("ghcr.io/org", "ghcr.io/org/app", true),
            ("ghcr.io/org/", "ghcr.io/org", true),
            ("ghcr.io/org", "ghcr.io/org-evil/app", false),
            ("ghcr.io/org", "ghcr.io/other/org", false),
            ("ghcr.io/org/app", "ghcr.io/org", false),
            ("ghcr.io", "ghcr.io/a/b/c", true),
            ("ghcr.io", "ghcr.io.evil.example/a", false),
            ("GHCR.io", "ghcr.io/a", true),
            ("ghcr.io", "eu.ghcr.io/a", false),
            ("registry.example", "registry.example:5000/a", false),
            ("docker.io", "alpine", true),
            ("index.docker.io", "alpine", true),
            ("library", "alpine", true),
            ("acme", "acme/app", true),
            ("acme", "alpine", false),
            ("docker.io/acme/app", "acme/app", true),
            ("docker.io/acme", "acme/app", true),
            ("docker.io/acme", "library/acme", false),
        ] {
            assert_eq!(holds(prefix, image), expected, "{prefix} {image}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for bad in
            ["", "/", "ghcr.io/*", "*", "ghcr.io/org:v1", "ghcr.io//org", "https://ghcr.io/org", "Ghcr/Org"]
        {
            assert!(RepositoryPrefix::parse(bad).is_err(), "{bad}");
        }
    }
}
