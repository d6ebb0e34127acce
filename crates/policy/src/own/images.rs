//! Which images: patterns over their repositories, by whole segments of the path. Which files and directories: patterns over
//! their names.

use countersign_registry::Repository;

use super::explain::listed;
use crate::pattern::Glob;
use crate::read::ReadError;
use crate::spelling;

/// The most patterns of one list.
const MAX_PATTERNS: usize = 256;

/// Images by their repositories; files and directories by their names.
#[derive(Debug, Clone)]
pub(super) struct Images {
    of: Vec<Glob>,
    except: Vec<Glob>,
    files: Vec<Glob>,
}

impl Images {
    /// Reads the three lists of a policy.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(of: &[String], except: &[String], files: &[String]) -> Result<Self, ReadError> {
        if of.is_empty() && files.is_empty() {
            let message =
                "expected at least one pattern here or in artifacts, found none; ** stands for all images";
            return Err(ReadError::new("spec.images", message));
        }
        if of.is_empty() && !except.is_empty() {
            let message = "expected images of which these are excepted, found none";
            return Err(ReadError::new("spec.exceptImages", message));
        }
        Ok(Self {
            of: globs(of, "spec.images")?,
            except: globs(except, "spec.exceptImages")?,
            files: names(files, "spec.artifacts")?,
        })
    }

    /// Whether a file or directory of this name is meant.
    pub(super) fn match_file(&self, name: &str) -> bool {
        self.files.iter().any(|glob| glob.matches(name))
    }

    /// Whether an image is meant.
    pub(super) fn match_repository(&self, repository: &Repository) -> bool {
        let plain = spelling::plain(repository);
        let any = |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.matches(name));
        spelling::repositories(repository).iter().any(|name| any(&self.of, name))
            && !any(&self.except, &plain)
    }

    /// For people.
    pub(super) fn in_words(&self) -> String {
        let except = match self.except.as_slice() {
            [] => String::new(),
            except => format!(", but not {}", listed(except)),
        };
        let images = format!("images {}{except}", listed(&self.of));
        match (self.of.is_empty(), self.files.is_empty()) {
            (true, _) => format!("files and directories {}", listed(&self.files)),
            (false, true) => images,
            (false, false) => format!("{images}, and the files and directories {}", listed(&self.files)),
        }
    }

    /// Whether all images are meant, whatever they are.
    pub(super) fn are_all(&self) -> bool {
        self.except.is_empty() && self.of.iter().any(|glob| glob.as_str() == "**")
    }
}

/// Patterns of names of files and directories, without the directories before them.
///
/// # Errors
/// [`ReadError`].
fn names(patterns: &[String], path: &str) -> Result<Vec<Glob>, ReadError> {
    if patterns.len() > MAX_PATTERNS {
        return Err(ReadError::new(path, format!("expected at most {MAX_PATTERNS} patterns")));
    }
    let read = |(index, pattern): (usize, &String)| {
        let path = format!("{path}[{index}]");
        if pattern.is_empty() || pattern.contains(['/', '\\']) {
            let message = format!(
                "expected the name of a file such as *.whl, without directories, found \"{pattern}\""
            );
            return Err(ReadError::new(path, message));
        }
        Glob::wildcard(pattern).map_err(|e| ReadError::new(path, e.to_string()))
    };
    patterns.iter().enumerate().map(read).collect()
}

fn globs(patterns: &[String], path: &str) -> Result<Vec<Glob>, ReadError> {
    if patterns.len() > MAX_PATTERNS {
        return Err(ReadError::new(path, format!("expected at most {MAX_PATTERNS} patterns")));
    }
    let read = |(index, pattern): (usize, &String)| {
        glob(pattern).map_err(|message| ReadError::new(format!("{path}[{index}]"), message))
    };
    patterns.iter().enumerate().map(read).collect()
}

/// A pattern over `registry/path`. Whatever could never match what somebody meant is refused.
fn glob(pattern: &str) -> Result<Glob, String> {
    let expected = |what: &str| Err(format!("expected {what}, found \"{pattern}\""));
    if pattern == "**" {
        return Glob::segments(pattern).map_err(|e| e.to_string());
    }
    let Some((registry, path)) = pattern.split_once('/') else {
        return expected("a registry and a path, such as docker.io/library/nginx or ghcr.io/acme/**");
    };
    if !registry.contains(['.', ':', '*']) && registry != "localhost" {
        return expected("a registry first, such as docker.io/library/nginx");
    }
    if path.contains([':', '@']) {
        return expected("a repository without tag and digest, since a policy holds for whatever lies there");
    }
    if pattern.split('/').any(|segment| segment.is_empty() || (segment.contains("**") && segment != "**")) {
        return expected("whole segments between single slashes, with ** alone in its own");
    }
    if pattern.chars().any(|c| c.is_ascii_uppercase()) {
        return expected("small letters, as all names of images have");
    }
    Glob::segments(pattern).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(of: &[&str], except: &[&str], image: &str) -> bool {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let images = Images::read(&texts(of), &texts(except), &[]).unwrap();
        images.match_repository(&Repository::parse(image).unwrap())
    }

    #[test]
    fn whole_segments_decide() {
        for (pattern, image, expected) in [
            ("ghcr.io/acme/**", "ghcr.io/acme/app", true),
            ("ghcr.io/acme/**", "ghcr.io/acme/team/app", true),
            ("ghcr.io/acme/**", "ghcr.io/acme-evil/app", false),
            ("ghcr.io/acme/**", "evil.example/ghcr.io/acme/app", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/app", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/team/app", false),
            ("ghcr.io/acme/app", "ghcr.io/acme/app", true),
            ("ghcr.io/acme/app", "ghcr.io/acme/app2", false),
            ("ghcr.io/acme/app-*", "ghcr.io/acme/app-web", true),
            ("*/acme/app", "ghcr.io/acme/app", true),
            ("localhost:5000/app", "localhost:5000/app", true),
            ("docker.io/library/nginx", "nginx", true),
            ("**", "nginx", true),
        ] {
            assert_eq!(matches(&[pattern], &[], image), expected, "{pattern} {image}");
        }
        assert!(!matches(&["ghcr.io/acme/**"], &["ghcr.io/acme/scratch/*"], "ghcr.io/acme/scratch/a"));
        assert!(matches(&["ghcr.io/acme/**"], &["ghcr.io/acme/scratch/*"], "ghcr.io/acme/scratch/a/b"));
    }

    #[test]
    fn nobody_leaves_a_policy_behind_by_another_spelling_of_the_host() {
        for image in ["GHCR.io/acme/app", "ghcr.io:443/acme/app", "ghcr.io:80/acme/app"] {
            assert!(matches(&["ghcr.io/acme/**"], &[], image), "{image}");
        }
        assert!(matches(&["localhost:443/acme/**"], &[], "localhost:443/acme/app"));
        assert!(matches(&["docker.io/library/nginx"], &[], "index.docker.io/nginx"));
        assert!(!matches(&["ghcr.io/acme/**"], &[], "ghcr.io:8443/acme/app"), "another server");
        assert!(!matches(&["ghcr.io/**"], &["ghcr.io/acme/*"], "ghcr.io:443/acme/app"));
        assert!(
            Repository::parse("ghcr.io./acme/app").is_err()
                || matches(&["ghcr.io/acme/**"], &[], "ghcr.io./acme/app")
        );
    }

    #[test]
    fn what_could_not_match_what_was_meant_is_refused() {
        for pattern in [
            "",
            "nginx",
            "*",
            "library/nginx",
            "ghcr.io/acme/app:v1",
            "ghcr.io/acme/app@sha256:00",
            "ghcr.io/acme**",
            "ghcr.io//app",
            "ghcr.io/acme/",
            "ghcr.io/Acme/app",
            "ghcr.io/acme/a?p",
        ] {
            let error = Images::read(&[pattern.to_owned()], &[], &[]).unwrap_err();
            assert_eq!(error.path, "spec.images[0]", "{pattern}");
        }
        assert_eq!(Images::read(&[], &[], &[]).unwrap_err().path, "spec.images");
        let except = Images::read(&["**".into()], &["nginx".into()], &[]).unwrap_err();
        assert_eq!(except.path, "spec.exceptImages[0]");
        let except = Images::read(&[], &["docker.io/**".into()], &["*.whl".into()]).unwrap_err();
        assert_eq!(except.path, "spec.exceptImages");
    }

    #[test]
    fn files_are_named_without_their_directories() {
        let files = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
            Images::read(&[], &[], &patterns)
        };
        let wheels = files(&["*.whl", "app-?.tgz"]).unwrap();
        for (name, expected) in
            [("app-1.0.whl", true), ("app-1.0.whl.exe", false), ("app-1.tgz", true), ("app-10.tgz", false)]
        {
            assert_eq!(wheels.match_file(name), expected, "{name}");
        }
        assert!(!wheels.match_repository(&Repository::parse("docker.io/library/app.whl").unwrap()));
        for pattern in ["", "dist/*.whl", "dist\\x"] {
            assert_eq!(files(&[pattern]).unwrap_err().path, "spec.artifacts[0]", "{pattern}");
        }
    }
}
