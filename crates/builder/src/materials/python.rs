//! The lock files of pip, uv and Poetry.

use countersign_attestation::json::Bounded;
use countersign_attestation::purl::Purl;
use serde::Deserialize;

use super::{Digests, List, MAX_MATERIALS, MaterialsError, at_registry, colon_digest, purl};

/// A project by the name all spellings of it come to: small letters, and one dash for each run of `-`, `_` and `.`.
fn project(name: &str, version: &str) -> Purl {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    purl("pypi", "", &parts.collect::<Vec<_>>().join("-").to_ascii_lowercase(), version)
}

/// One of the files of a release.
fn file_of(mut project: Purl, file: &str) -> Purl {
    if !file.is_empty() {
        project.qualifiers.insert("file_name".into(), file.into());
    }
    project
}

/// Reads requirements with `--hash`. Each hash is one of the files that may be fetched; options are left alone.
pub(super) fn requirements(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('-') {
            included(line, list)?;
            continue;
        }
        requirement(line, list)?;
    }
    Ok(())
}

/// What an option brings in beside this file. Others may hold a password, and say nothing about what is fetched.
fn included(line: &str, list: &mut List) -> Result<(), MaterialsError> {
    let (option, value) = line.split_once(['=', ' ']).unwrap_or((line, ""));
    let value = value.trim();
    match option {
        "-r" | "--requirement" | "-c" | "--constraint" => list.loose(&format!("{option} {value}")),
        // An address may follow.
        "-e" | "--editable" => list.loose("-e: a folder or repository without a digest"),
        _ => Ok(()),
    }
}

fn requirement(line: &str, list: &mut List) -> Result<(), MaterialsError> {
    let (wanted, options) = line.split_at(line.find(" --").unwrap_or(line.len()));
    let wanted = wanted.split(';').next().unwrap_or_default();
    let hashes = options
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("--hash="))
        .map(colon_digest)
        .filter(|digests| !digests.is_empty());
    let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = wanted.chars().take_while(|c| named(*c)).collect();
    let address = wanted.split_once('@').map_or("", |(_, address)| address.trim());
    let version = wanted.split_once("==").map_or("", |(_, version)| version.trim_start_matches('=').trim());
    // Only one version can have the digest; of which it is, the file says, or nobody.
    let version = if address.is_empty() && !version.contains([',', '*']) { version } else { "" };
    let project = project(&name, version);
    let mut found = false;
    for digests in hashes {
        found = true;
        list.package(&project, digests, address)?;
    }
    if found { Ok(()) } else { list.package(&project, Digests::new(), "") }
}

#[derive(Deserialize)]
struct UvLock {
    #[serde(default)]
    package: Bounded<UvPackage, MAX_MATERIALS>,
}

#[derive(Deserialize)]
struct UvPackage {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    source: UvSource,
    sdist: Option<UvFile>,
    #[serde(default)]
    wheels: Bounded<UvFile, MAX_MATERIALS>,
}

#[derive(Default, Deserialize)]
struct UvSource {
    registry: Option<String>,
    git: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct UvFile {
    #[serde(default)]
    url: String,
    #[serde(default)]
    hash: String,
}

/// Reads uv.lock.
pub(super) fn uv(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let lock: UvLock = toml::from_str(text).map_err(|e| MaterialsError::Form(e.to_string()))?;
    for package in lock.package.0 {
        let project = project(&package.name, &package.version);
        if let Some(git) = &package.source.git {
            let (repository, commit) = git.rsplit_once('#').unwrap_or((git, ""));
            list.commit(repository, commit, &project.to_string())?;
            continue;
        }
        // The workspace's own, and folders.
        if package.source.registry.is_none() && package.source.url.is_none() {
            continue;
        }
        let files: Vec<UvFile> = package.sdist.into_iter().chain(package.wheels.0).collect();
        if files.is_empty() {
            list.package(&project, Digests::new(), "")?;
        }
        for file in files {
            let path = file.url.split(['?', '#']).next().unwrap_or_default();
            let name = path.rsplit_once('/').map_or("", |(_, name)| name);
            list.package(&file_of(project.clone(), name), colon_digest(&file.hash), &file.url)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct PoetryLock {
    #[serde(default)]
    package: Bounded<PoetryPackage, MAX_MATERIALS>,
}

#[derive(Deserialize)]
struct PoetryPackage {
    name: String,
    version: String,
    #[serde(default)]
    files: Bounded<PoetryFile, MAX_MATERIALS>,
    source: Option<PoetrySource>,
}

#[derive(Deserialize)]
struct PoetryFile {
    file: String,
    hash: String,
}

#[derive(Deserialize)]
struct PoetrySource {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    resolved_reference: String,
}

/// Reads poetry.lock of Poetry 1.3 and later; what earlier ones wrote is all loose.
pub(super) fn poetry(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let lock: PoetryLock = toml::from_str(text).map_err(|e| MaterialsError::Form(e.to_string()))?;
    for package in lock.package.0 {
        let mut project = project(&package.name, &package.version);
        match package.source.as_ref().map(|source| (source.kind.as_str(), source)) {
            Some(("git", source)) => {
                list.commit(&source.url, &source.resolved_reference, &project.to_string())?;
                continue;
            }
            Some(("directory" | "file", _)) => continue,
            // Another registry than the usual one, or an address.
            Some((_, source)) => project = at_registry(project, &source.url),
            None => {}
        }
        if package.files.0.is_empty() {
            list.package(&project, Digests::new(), "")?;
        }
        for file in package.files.0 {
            list.package(&file_of(project.clone(), &file.file), colon_digest(&file.hash), "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::LockFile;
    use super::super::tests::read;

    fn sha256(byte: &str) -> String {
        format!("sha256:{}", byte.repeat(32))
    }

    #[test]
    fn requirements_are_pinned_by_their_hashes() {
        let text = format!(
            "# made by a tool\n--index-url https://u:s3cret@index.example/simple\n\
             Some_Pkg[extra]==1.0.0 ; python_version >= '3.9' \\\n    --hash={} \\\n    --hash={} # both\n\
             direct @ https://u:s3cret@files.example/direct.zip --hash={}\n\
             wide==1.*  --hash={}\nloose==2.0\nlooser>=1\n-r more.txt\n-e git+https://u:s3cret@git.example/x\n\
             short==1 --hash=sha256:abcd\n",
            sha256("aa"),
            sha256("bb"),
            sha256("cc"),
            sha256("dd"),
        );
        let (pinned, loose) = read(LockFile::Requirements, &text);
        assert_eq!(
            pinned,
            [
                "pkg:pypi/direct sha256:cccc",
                "pkg:pypi/some-pkg@1.0.0 sha256:aaaa",
                "pkg:pypi/some-pkg@1.0.0 sha256:bbbb",
                "pkg:pypi/wide sha256:dddd",
            ]
        );
        assert_eq!(
            loose,
            [
                "-e: a folder or repository without a digest",
                "-r more.txt",
                "pkg:pypi/loose@2.0",
                "pkg:pypi/looser",
                "pkg:pypi/short@1"
            ]
        );
        let found = LockFile::Requirements.read(text.as_bytes()).unwrap();
        assert_eq!(found.pinned[0].download_location, "https://files.example/direct.zip");
    }

    #[test]
    fn uv_names_each_file_of_a_release() {
        let commit = "c0ffee".repeat(6) + "c0ff";
        let text = format!(
            r#"
version = 1
[[package]]
name = "own"
version = "0.1.0"
source = {{ editable = "." }}
[[package]]
name = "some-pkg"
version = "1.0.0"
source = {{ registry = "https://index.example/simple" }}
sdist = {{ url = "https://files.example/some_pkg-1.0.0.tar.gz", hash = "{}", size = 1 }}
wheels = [{{ url = "https://files.example/some_pkg-1.0.0-py3-none-any.whl", hash = "{}" }}]
[[package]]
name = "fork"
version = "1"
source = {{ git = "https://git.example/fork?rev=main#{commit}" }}
[[package]]
name = "bare"
version = "1"
source = {{ registry = "https://index.example/simple" }}
"#,
            sha256("aa"),
            sha256("bb")
        );
        let (pinned, loose) = read(LockFile::Uv, &text);
        assert_eq!(
            pinned,
            [
                "git+https://git.example/fork gitCommit:c0ff",
                "pkg:pypi/some-pkg@1.0.0?file_name=some_pkg-1.0.0-py3-none-any.whl sha256:bbbb",
                "pkg:pypi/some-pkg@1.0.0?file_name=some_pkg-1.0.0.tar.gz sha256:aaaa",
            ]
        );
        assert_eq!(loose, ["pkg:pypi/bare@1"]);
    }

    #[test]
    fn poetry_names_each_file_and_the_registry_where_it_is_another() {
        let commit = "c0ffee".repeat(6) + "c0ff";
        let text = format!(
            r#"
[[package]]
name = "Some.Pkg"
version = "1.0.0"
files = [{{ file = "some_pkg-1.0.0.tar.gz", hash = "{}" }}]
[package.source]
type = "legacy"
url = "https://u:s3cret@index.example/simple"
reference = "own"
[[package]]
name = "fork"
version = "1"
files = []
[package.source]
type = "git"
url = "https://git.example/fork"
reference = "main"
resolved_reference = "{commit}"
[[package]]
name = "old"
version = "1"
[metadata.files]
old = [{{ file = "old.whl", hash = "{}" }}]
"#,
            sha256("aa"),
            sha256("bb")
        );
        let (pinned, loose) = read(LockFile::Poetry, &text);
        let registry = "repository_url=https:%2F%2Findex.example%2Fsimple";
        assert_eq!(
            pinned,
            [
                "git+https://git.example/fork gitCommit:c0ff".to_owned(),
                format!("pkg:pypi/some-pkg@1.0.0?file_name=some_pkg-1.0.0.tar.gz&{registry} sha256:aaaa"),
            ]
        );
        assert_eq!(loose, ["pkg:pypi/old@1"]);
    }
}
