//! Patterns over images, and the spellings of an image that they are held against.
//!
//! Kyverno matches `registry/path:tag`, or `registry/path@digest` where there is a digest, so that `repo:*` says nothing
//! of `repo@sha256:…`. Here it does: whoever writes it means the repository. A pattern that skips images is held against
//! Kyverno's own spelling alone, so that it skips no more than there.

use countersign_registry::Reference;

use super::schema::VerifyImages;
use crate::kyverno::matching::globs;
use crate::lint::Lint;
use crate::pattern::Glob;
use crate::read::ReadError;

/// What docker.io puts before short names.
const LIBRARY: &str = "library/";

/// Which images an entry is about.
#[derive(Debug, Clone)]
pub(super) struct References {
    wanted: Vec<Wanted>,
    skipped: Vec<Glob>,
}

#[derive(Debug, Clone)]
struct Wanted {
    whole: Glob,
    /// The part before the tag, for images that have a digest and no tag.
    repository: Option<Glob>,
}

impl References {
    /// Reads the patterns of an entry.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(entry: &VerifyImages, path: &str, lints: &mut Vec<Lint>) -> Result<Self, ReadError> {
        let mut texts = entry.image_references.clone();
        if !entry.image.is_empty() {
            texts.push(entry.image.clone());
        }
        let path_of = |field: &str| format!("{path}.{field}");
        if texts.is_empty() {
            let message = "expected at least one pattern such as ghcr.io/acme/*, found none";
            return Err(ReadError::new(path_of("imageReferences"), message));
        }
        let whole = globs(&texts, &path_of("imageReferences"))?;
        let mut wanted = Vec::new();
        for (index, (text, whole)) in texts.iter().zip(whole).enumerate() {
            let repository = match before_tag(text) {
                None => None,
                Some(repository) => {
                    lints.push(Lint::new(
                        format!("{path}.imageReferences[{index}]"),
                        "tag_pattern_matches_digests",
                        format!(
                            "images of {repository} that are named by digest alone match too; Kyverno passes over them"
                        ),
                    ));
                    Some(globs(&[repository.to_owned()], &path_of("imageReferences"))?.remove(0))
                }
            };
            wanted.push(Wanted { whole, repository });
        }
        Ok(Self { wanted, skipped: globs(&entry.skip_image_references, &path_of("skipImageReferences"))? })
    }

    /// Whether the entry is about an image, which is also given as it is written.
    pub(super) fn matches(&self, image: &Reference, written: &str) -> bool {
        let canonical = canonical(image, written);
        if self.skipped.iter().any(|pattern| pattern.matches(&canonical)) {
            return false;
        }
        let repositories = repositories(image);
        let mut spellings = vec![canonical];
        for repository in &repositories {
            let tag = image.tag().map(|tag| format!("{repository}:{tag}"));
            let digest = image.digest().map(|digest| format!("{repository}@{digest}"));
            if let (Some(tag), Some(digest)) = (&tag, image.digest()) {
                spellings.push(format!("{tag}@{digest}"));
            }
            spellings.extend(tag.into_iter().chain(digest));
        }
        self.wanted.iter().any(|wanted| {
            spellings.iter().any(|spelling| wanted.whole.matches(spelling))
                || image.tag().is_none()
                    && wanted
                        .repository
                        .as_ref()
                        .is_some_and(|pattern| repositories.iter().any(|name| pattern.matches(name)))
        })
    }
}

/// The part of a pattern before its tag, if it has one.
fn before_tag(pattern: &str) -> Option<&str> {
    let name = pattern.rfind('/').map_or(0, |at| at + 1);
    let at = name + pattern.get(name..)?.find(':')?;
    let has_digest = pattern.contains('@');
    pattern.get(..at).filter(|repository| !has_digest && !repository.is_empty())
}

/// The names of the image's repository: with and without what docker.io puts before short names.
fn repositories(image: &Reference) -> Vec<String> {
    let repository = image.repository();
    let mut names = vec![repository.to_string()];
    if let Some(short) = short_path(image) {
        names.push(format!("{}/{short}", repository.registry()));
    }
    names
}

fn short_path(image: &Reference) -> Option<&str> {
    let repository = image.repository();
    repository.path().strip_prefix(LIBRARY).filter(|_| repository.registry() == "docker.io")
}

/// The path as Kyverno spells it: short names stay short.
pub(super) fn path<'a>(image: &'a Reference, written: &str) -> &'a str {
    match short_path(image) {
        Some(short) if !written.contains(LIBRARY) => short,
        _ => image.repository().path(),
    }
}

/// The image as Kyverno spells it: the registry always, the digest if there is one, else the tag.
pub(super) fn canonical(image: &Reference, written: &str) -> String {
    let name = format!("{}/{}", image.registry(), path(image, written));
    match (image.digest(), image.tag()) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, Some(tag)) => format!("{name}:{tag}"),
        (None, None) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn matches(wanted: &str, skipped: &str, image: &str) -> bool {
        let json = serde_json::json!({"imageReferences": [wanted], "skipImageReferences": [skipped]});
        let entry = serde_json::from_value(json).unwrap();
        let references = References::read(&entry, "x", &mut Vec::new()).unwrap();
        references.matches(&Reference::parse(image).unwrap(), image)
    }

    #[test]
    fn whole_names_match_whichever_way_they_are_spelled() {
        let pinned = |name: &str| format!("{name}@{DIGEST}");
        for (pattern, image, expected) in [
            ("ghcr.io/org/*", "ghcr.io/org/a/b:v1".to_owned(), true),
            ("ghcr.io/org/*", "GHCR.IO/org/a:v1".to_owned(), true),
            ("ghcr.io/org/*", "ghcr.io/org-evil/a:v1".to_owned(), false),
            ("ghcr.io/org*", "ghcr.io.evil.example/org/a".to_owned(), false),
            ("ghcr.io/org/a:*", pinned("ghcr.io/org/a"), true),
            ("ghcr.io/org/a:*", pinned("ghcr.io/org/ab"), false),
            ("ghcr.io/org/a:v1", pinned("ghcr.io/org/a:v1"), true),
            ("ghcr.io/org/a:v1", pinned("ghcr.io/org/a:v2"), false),
            ("ghcr.io/org/a@sha256:*", pinned("ghcr.io/org/a:v2"), true),
            ("ghcr.io/org/a@sha256:*", "ghcr.io/org/a:v2".to_owned(), false),
            ("docker.io/nginx*", "nginx".to_owned(), true),
            ("docker.io/library/nginx:*", "nginx:1".to_owned(), true),
            ("docker.io/library/nginx:*", "docker.io/nginx:1".to_owned(), true),
            ("docker.io/*", "docker.io.evil.example/nginx".to_owned(), false),
            ("localhost:5000/a*", "localhost:5000/app:v1".to_owned(), true),
            ("*", "anything.example/at/all:v1".to_owned(), true),
        ] {
            assert_eq!(matches(pattern, "nothing", &image), expected, "{pattern} {image}");
        }
    }

    #[test]
    fn what_is_skipped_is_what_kyverno_skips_and_no_more() {
        assert!(!matches("*", "ghcr.io/org/a:*", "ghcr.io/org/a:v1"));
        assert!(matches("*", "ghcr.io/org/a:*", &format!("ghcr.io/org/a:v1@{DIGEST}")));
        assert!(matches("*", "docker.io/library/*", "nginx"));
        assert!(!matches("*", "docker.io/library/*", "docker.io/library/nginx"));
        assert!(!matches("*", "docker.io/nginx:*", "nginx"));
    }
}
