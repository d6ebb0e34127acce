//! Names of images, as people write them: `ghcr.io/acme/app:v1`, `alpine`, `localhost:5000/app@sha256:…`.
//!
//! A first part with a dot, a colon, or `localhost` is a registry; without one the name is of Docker Hub, where
//! a single word lies under `library/`.

use std::fmt;
use std::str::FromStr;

use countersign_crypto::Digest;
use countersign_http::text::printable;

use crate::RegistryError;

/// The registry of names that have none.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// The longest name, registry and path together, in bytes.
const LONGEST_NAME: usize = 255;

/// A repository: a registry's host, with its port if it has one, and a path there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Reads `registry/path`, `path` (of Docker Hub) or `word` (of Docker Hub's library).
    ///
    /// # Errors
    /// [`RegistryError::Usage`].
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let wrong = |why: &str| {
            RegistryError::Usage(format!(
                "\"{}\" is not the name of an image: {why}; expected registry/repository:tag or …@sha256:…",
                printable(text)
            ))
        };
        if text.len() > LONGEST_NAME {
            return Err(wrong("it is too long"));
        }
        let (registry, path) = match text.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first.to_ascii_lowercase(), rest.to_owned()),
            Some(_) => (DOCKER_HUB.to_owned(), text.to_owned()),
            None => (DOCKER_HUB.to_owned(), format!("library/{text}")),
        };
        let registry = match registry.as_str() {
            "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
            _ => registry,
        };
        if !is_host(&registry) {
            return Err(wrong("its first part is no host"));
        }
        let path =
            if registry == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path };
        // As it is written, with the registry that a short name leaves out.
        if registry.len() + 1 + path.len() > LONGEST_NAME {
            return Err(wrong("it is too long"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(wrong("a path has small letters, digits and single separators"));
        }
        Ok(Self { registry, path })
    }

    /// The registry's host, with its port if it has one, in lower case.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl FromStr for Repository {
    type Err = RegistryError;
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        Self::parse(text)
    }
}

/// A tag: up to 128 letters, digits, `_`, `.` and `-`, the first no dot and no dash. Safe as part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// Reads a tag.
    ///
    /// # Errors
    /// [`RegistryError::Usage`].
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = text.bytes();
        let good = bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-');
        if good && text.len() <= 128 {
            Ok(Self(text.to_owned()))
        } else {
            Err(RegistryError::Usage(format!("\"{}\" is not a tag", printable(text))))
        }
    }

    /// The tag where the evidence of an image is found: `sha256-<hex>` with this ending, `.sig` say, or none.
    #[must_use]
    pub fn of_evidence(image: &Digest, ending: &str) -> Self {
        // The index of referrers is cut to the length of a tag, as the specification says.
        let name = format!("{}-{}", image.algorithm(), image.to_hex());
        let room = 128 - ending.len().min(128);
        Self(format!("{}{ending}", name.get(..room).unwrap_or(&name)))
    }

    /// Whether this is a tag for evidence of that image.
    pub(crate) fn is_about(&self, image: &Digest) -> bool {
        self.0.starts_with(Self::of_evidence(image, "").as_str())
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    /// What it is called now. It may be called so no more in a moment.
    Tag(Tag),
    /// What it is.
    Digest(Digest),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Digest> for Name {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl From<Tag> for Name {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

/// A reference to an image.
///
/// ```
/// use countersign_registry::Reference;
/// let reference = Reference::parse("ghcr.io/acme/app:v1")?;
/// assert_eq!(reference.repository().registry(), "ghcr.io");
/// assert_eq!(reference.to_string(), "ghcr.io/acme/app:v1");
/// assert_eq!(Reference::parse("alpine")?.to_string(), "docker.io/library/alpine:latest");
/// assert!(Reference::parse("ghcr.io/Acme/app").is_err());
/// # Ok::<(), countersign_registry::RegistryError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference. Without tag and digest the tag is `latest`.
    ///
    /// # Errors
    /// [`RegistryError::Usage`].
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it starts a port.
        let name_start = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest.get(name_start..).and_then(|name| name.find(':')) {
            Some(at) => {
                let (name, tag) = rest.split_at(name_start + at);
                (name, Some(Tag::parse(tag.strip_prefix(':').unwrap_or(tag))?))
            }
            None => (rest, None),
        };
        let tag = tag.or_else(|| digest.is_none().then(|| Tag("latest".into())));
        Ok(Self { repository: Repository::parse(name)?, tag, digest })
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The registry's host.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.repository.registry()
    }

    /// The tag, if one is there.
    #[must_use]
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one is there.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the repository for: the digest if there is one, else the tag.
    #[must_use]
    pub fn name(&self) -> Name {
        match (self.digest, &self.tag) {
            (None, Some(tag)) => Name::Tag(tag.clone()),
            (Some(digest), _) => Name::Digest(digest),
            // No reference has neither; this one is asked for and not found.
            (None, None) => Name::Tag(Tag("latest".into())),
        }
    }

    /// The same repository and this digest: what a tag was resolved to.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { repository: self.repository.clone(), tag: None, digest: Some(digest) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = RegistryError;
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        Self::parse(text)
    }
}

/// Reads a digest in its one spelling: a known algorithm, the right length, lower case.
///
/// # Errors
/// [`RegistryError::Usage`].
pub fn parse_digest(text: &str) -> Result<Digest, RegistryError> {
    Digest::parse(text).ok().filter(|digest| digest.to_string() == text).ok_or_else(|| {
        RegistryError::Usage(format!(
            "\"{}\" is not a digest: expected sha256: and 64 small hexadecimal digits",
            printable(text)
        ))
    })
}

fn is_registry(part: &str) -> bool {
    part.contains(['.', ':']) || part.eq_ignore_ascii_case("localhost")
}

/// `host`, `host:port`, `[IPv6]`, `[IPv6]:port`.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((ip, port)) if ip.parse::<std::net::Ipv6Addr>().is_ok() => {
                return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Small letters and digits, separated by one dot, one or two underscores, or dashes.
fn is_path_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(plain)
        && bytes.last().copied().is_some_and(plain)
        && text
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn names_are_read_as_everybody_writes_them() {
        for (text, whole) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("acme/app", "docker.io/acme/app:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/library/alpine:3", "docker.io/library/alpine:3"),
            ("GHCR.io/acme/app:V1", "ghcr.io/acme/app:V1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
            ("[::1]:5000/a:v1", "[::1]:5000/a:v1"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
            ("r.example/a__b/c-d--e.f_g:t", "r.example/a__b/c-d--e.f_g:t"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), whole, "{text}");
        }
        let both = Reference::parse(&format!("r.example/a:t@sha256:{HEX}")).unwrap();
        assert_eq!(both.to_string(), format!("r.example/a:t@sha256:{HEX}"));
        assert!(matches!(both.name(), Name::Digest(_)), "the digest decides");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ":",
            "/",
            "@",
            "a/",
            "/a",
            "a//b",
            "a::v1",
            // Fits only until the registry that it leaves out is written.
            &format!("acme/{}", "a/".repeat(120) + "a"),
            "r.example/A",
            "r.example/../b",
            "r.example/a/..",
            "r.example/a:",
            "r.example/a:.x",
            "r.example/a b",
            "r.example/a?x",
            "r.example/a%2f",
            "r.example:0/a",
            "r.example:70000/a",
            "r.example:/a",
            "user@r.example/a",
            "-r.example/a",
            "r..example/a",
            "[::g]/a",
            "[::1/a",
            "r.example/a___b",
            "r.example/-a",
            "r.example/a-",
            "r.example/a\u{0}",
            "https://r.example/a",
            "r.example/a:t:u",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?} was read as a name");
        }
    }

    #[test]
    fn g07_a_digest_has_one_spelling() {
        for digest in [
            "sha256:../../x".to_owned(),
            format!("sha256:{}", &HEX[1..]),
            format!("sha256:{HEX}0"),
            format!("sha256:{}", HEX.to_uppercase()),
            format!("md5:{}", &HEX[..32]),
            format!("sha512:{HEX}"),
            format!("SHA256:{HEX}"),
            format!("sha256:{HEX}/../x"),
            "sha256:".to_owned(),
            HEX.to_owned(),
        ] {
            assert!(Reference::parse(&format!("r.example/a@{digest}")).is_err(), "{digest}");
        }
    }

    #[test]
    fn evidence_lies_at_tags_made_from_the_digest() {
        let digest = parse_digest(&format!("sha256:{HEX}")).unwrap();
        assert_eq!(Tag::of_evidence(&digest, ".sig").as_str(), format!("sha256-{HEX}.sig"));
        let long = countersign_crypto::HashAlgorithm::Sha512.digest(b"");
        assert_eq!(Tag::of_evidence(&long, "").as_str().len(), 128);
        assert!(Tag::parse(Tag::of_evidence(&long, ".att").as_str()).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[a-z0-9.:/@_-]{0,60}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
            }
        }
    }
}
