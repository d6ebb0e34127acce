//! Which images and which objects a policy is about.

use countersign_registry::Reference;

use super::schema::{ImagePattern, MatchResource};
use crate::kyverno::LabelSelector;
use crate::lint::Lint;
use crate::pattern::Glob;
use crate::read::ReadError;
use crate::request::{Request, labels};
use crate::spelling::{ImagePattern as Pattern, Spellings};

/// The resources that a policy can name, with their groups and kinds. All of them are of version v1.
const RESOURCES: [(&str, &str, &str); 7] = [
    ("pods", "", "Pod"),
    ("replicasets", "apps", "ReplicaSet"),
    ("deployments", "apps", "Deployment"),
    ("statefulsets", "apps", "StatefulSet"),
    ("daemonsets", "apps", "DaemonSet"),
    ("jobs", "batch", "Job"),
    ("cronjobs", "batch", "CronJob"),
];

/// The patterns over images.
#[derive(Debug, Clone)]
pub(super) struct Images {
    globs: Vec<Pattern>,
}

impl Images {
    /// Reads `spec.images`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(written: &[ImagePattern], lints: &mut Vec<Lint>) -> Result<Self, ReadError> {
        if written.is_empty() {
            let message = "expected at least one pattern (images: [{glob: \"ghcr.io/acme/**\"}]), found none";
            return Err(ReadError::new("spec.images", message));
        }
        let mut globs = Vec::new();
        for (index, pattern) in written.iter().enumerate() {
            let path = format!("spec.images[{index}].glob");
            let text = match pattern.glob.as_str() {
                "*" => "index.docker.io/library/*",
                "*/*" => "index.docker.io/*/*",
                other => other,
            };
            if text != pattern.glob {
                let message = format!("{} means {text} alone; for all images write **", pattern.glob);
                lints.push(Lint::new(&path, "glob_of_docker_hub_alone", message));
            }
            let read = Pattern::read(text, Glob::segments);
            globs.push(read.map_err(|error| ReadError::new(&path, error.to_string()))?);
        }
        Ok(Self { globs })
    }

    /// Whether one of the patterns is about an image, which is also given as it is written. With `strict`, as
    /// policy-controller has it; else also what it passes over: docker.io under its other name, and images by digest
    /// where a pattern has a tag.
    pub(super) fn match_image(&self, image: &Reference, written: &str, strict: bool) -> bool {
        let hub = format!("index.{}", image.repository());
        let canonical = if image.registry() == "docker.io" { hub } else { image.repository().to_string() };
        let spelled = |repository: &str| match (image.digest(), image.tag()) {
            (Some(digest), _) => format!("{repository}@{digest}"),
            (None, Some(tag)) => format!("{repository}:{tag}"),
            (None, None) => repository.to_owned(),
        };
        let own = [spelled(&canonical), written.to_owned()];
        let spellings = (!strict).then(|| Spellings::of(image));
        self.globs.iter().any(|pattern| {
            own.iter().any(|name| pattern.matches_text(name))
                || spellings.as_ref().is_some_and(|spellings| pattern.matches(spellings))
        })
    }
}

/// One entry of `spec.match`.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    group: &'static str,
    kind: &'static str,
    selector: Option<LabelSelector>,
}

impl Resource {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`ReadError`]: also for what could never match, which nobody means.
    pub(super) fn read(written: &MatchResource, path: &str) -> Result<Self, ReadError> {
        let wrong = |field: &str, message: String| ReadError::new(format!("{path}.{field}"), message);
        let Some((_, group, kind)) = RESOURCES.iter().find(|(name, ..)| *name == written.resource) else {
            let names = RESOURCES.map(|(name, ..)| name).join(", ");
            return Err(wrong(
                "resource",
                format!("expected one of {names}, found \"{}\"", written.resource),
            ));
        };
        if written.group != *group {
            return Err(wrong("group", format!("expected \"{group}\", found \"{}\"", written.group)));
        }
        if !matches!(written.version.as_str(), "v1" | "*") {
            return Err(wrong("version", format!("expected \"v1\" or \"*\", found \"{}\"", written.version)));
        }
        if let Some(selector) = &written.selector {
            selector.check().map_err(|e| wrong("selector", e))?;
            let wild = |text: &String| text.contains(['*', '?']);
            if let Some((name, _)) = selector.match_labels.iter().find(|(k, v)| wild(k) || wild(v)) {
                let message = format!("expected a label as it is, found a wildcard at \"{name}\"");
                return Err(wrong("selector.matchLabels", message));
            }
        }
        Ok(Self { group, kind, selector: written.selector.clone() })
    }

    /// Whether the entry is about the object of a request.
    pub(super) fn matches(&self, request: &Request) -> bool {
        request.kind.group == self.group
            && request.kind.kind == self.kind
            && self.selector.as_ref().is_none_or(|selector| selector.matches(&labels(&request.object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn matches(glob: &str, image: &str, strict: bool) -> bool {
        let images = Images::read(&[ImagePattern { glob: glob.into() }], &mut Vec::new()).unwrap();
        images.match_image(&Reference::parse(image).unwrap(), image, strict)
    }

    #[test]
    fn whole_names_match_the_qualified_one_first_and_then_the_written_one() {
        for (glob, image, expected) in [
            ("*", "busybox", true),
            ("*", "user/app", false),
            ("*/*", "user/app:v1", true),
            ("*/*", "ghcr.io/acme/app", false),
            ("**", "ghcr.io/acme/app:v1", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/app:v1", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/team/app:v1", false),
            ("ghcr.io/acme/**", "ghcr.io/acme/team/app:v1", true),
            ("ghcr.io/acme/**", "ghcr.io/acme-evil/app:v1", false),
            ("ghcr.io/acme/**", "evil.example/ghcr.io/acme/app", false),
            ("ghcr.io/acme/app", "ghcr.io/acme/app", true),
            ("ghcr.io/acme/app", "ghcr.io/acme/app:v1", false),
            ("image*", "image1", true),
            ("index.docker.io/library/nginx:latest", "nginx", true),
        ] {
            assert_eq!(matches(glob, image, true), expected, "{glob} {image}");
            assert!(!expected || matches(glob, image, false), "{glob} {image}: what is strict is loose too");
        }
    }

    #[test]
    fn digests_do_not_slip_past_patterns_with_tags() {
        let pinned = format!("ghcr.io/acme/app@{DIGEST}");
        let both = format!("ghcr.io/acme/app:v1@{DIGEST}");
        for (glob, image, strict, loose) in [
            ("ghcr.io/acme/app:*", pinned.as_str(), false, true),
            ("ghcr.io/acme/other:*", &pinned, false, false),
            ("ghcr.io/acme/app:v1", &both, false, true),
            ("ghcr.io/acme/app:v2", &both, false, false),
            ("ghcr.io/acme/app@sha256:*", &pinned, true, true),
            ("docker.io/library/*", "nginx", false, true),
        ] {
            assert_eq!((matches(glob, image, true), matches(glob, image, false)), (strict, loose), "{glob}");
        }
    }
}
