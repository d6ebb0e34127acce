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
use crate::spelling::{ImagePattern, Spellings, is_short};

/// What docker.io puts before short names.
const LIBRARY: &str = "library/";

/// Which images an entry is about.
#[derive(Debug, Clone)]
pub(super) struct References {
    wanted: Vec<ImagePattern>,
    skipped: Vec<Glob>,
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
        let mut wanted = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let path = format!("{path}.imageReferences[{index}]");
            let pattern = ImagePattern::read(text, Glob::wildcard)
                .map_err(|error| ReadError::new(&path, error.to_string()))?;
            lints.extend(lints_of(text, &pattern, &path));
            wanted.push(pattern);
        }
        Ok(Self { wanted, skipped: globs(&entry.skip_image_references, &path_of("skipImageReferences"))? })
    }

    /// Whether the entry is about an image, which is also given as it is written.
    pub(super) fn matches(&self, image: &Reference, written: &str) -> bool {
        let canonical = canonical(image, written);
        if self.skipped.iter().any(|pattern| pattern.matches(&canonical)) {
            return false;
        }
        let spellings = Spellings::of(image);
        self.wanted.iter().any(|wanted| wanted.matches_text(&canonical) || wanted.matches(&spellings))
    }
}

/// What a pattern matches that it does not in Kyverno.
fn lints_of(text: &str, pattern: &ImagePattern, path: &str) -> Vec<Lint> {
    let mut lints = Vec::new();
    match pattern.repository() {
        Some(repository) if pattern.has_tag() => {
            let message = format!(
                "images of {repository} that are named by digest alone match too; Kyverno passes over them"
            );
            lints.push(Lint::new(path, "tag_pattern_matches_digests", message));
        }
        Some(repository) => {
            let message = format!(
                "all images of {repository} match; Kyverno, which always has a tag or digest, finds none"
            );
            lints.push(Lint::new(path, "pattern_without_tag", message));
        }
        None => {}
    }
    if pattern.as_str() != text {
        let message =
            format!("read as {}, as names of images are spelled; Kyverno finds none", pattern.as_str());
        lints.push(Lint::new(path, "pattern_is_respelled", message));
    }
    if is_short(text) {
        let message =
            "images of Docker Hub match by their short names too; Kyverno holds docker.io/… against it";
        lints.push(Lint::new(path, "short_name_pattern", message));
    }
    lints
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
