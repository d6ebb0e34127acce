//! `dockerfile verify` and `manifest verify`: every image that a file names, verified as `verify` does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{Args, Subcommand};
use countersign_client::artifact::read_limited;
use countersign_kubernetes::scan::read_values;
use serde_json::Value;

use crate::commands::verify::Verify;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// The largest file, in bytes.
const MAX_FILE: usize = 4 << 20;

#[derive(Debug, Args)]
pub(crate) struct DockerfileCommand {
    #[command(subcommand)]
    action: DockerfileAction,
}

#[derive(Debug, Subcommand)]
enum DockerfileAction {
    Verify(DockerfileVerify),
}

/// Verify the images that a Dockerfile is built from
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign dockerfile verify Dockerfile --key cosign.pub
  countersign dockerfile verify --base-image-only Dockerfile --repo owner/name")]
#[command(mut_arg("bundle", |a| a.hide(true)), mut_arg("local_image", |a| a.hide(true)))]
#[command(mut_arg("artifacts", |a| a.value_name("DOCKERFILE").help("The Dockerfiles")))]
struct DockerfileVerify {
    /// Only the image of the last stage
    #[arg(long)]
    base_image_only: bool,
    /// The value of an ARG in front of the first FROM, instead of its default
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    #[command(flatten)]
    verify: Verify,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestCommand {
    #[command(subcommand)]
    action: ManifestAction,
}

#[derive(Debug, Subcommand)]
enum ManifestAction {
    Verify(ManifestVerify),
}

/// Verify the images of all containers in files of Kubernetes objects (YAML or JSON)
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign manifest verify deployment.yaml --key cosign.pub")]
#[command(mut_arg("bundle", |a| a.hide(true)), mut_arg("local_image", |a| a.hide(true)))]
#[command(mut_arg("artifacts", |a| a.value_name("FILE").help("The files with the objects")))]
struct ManifestVerify {
    #[command(flatten)]
    verify: Verify,
}

impl DockerfileCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let DockerfileAction::Verify(command) = &self.action;
        let mut arguments = BTreeMap::new();
        for text in &command.build_arg {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--build-arg: expected name=value, found \"{text}\""))
            })?;
            arguments.insert(name.to_owned(), value.to_owned());
        }
        command.verify.of_files(terminal, |path| {
            let images = dockerfile(&text_of(path)?, &arguments)
                .map_err(|what| Failure::usage(format!("{}: {what}", path.display())))?;
            Ok(if command.base_image_only { images.base.into_iter().collect() } else { images.all })
        })
    }
}

impl ManifestCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let ManifestAction::Verify(command) = &self.action;
        command.verify.of_files(terminal, |path| {
            kubernetes(&text_of(path)?).map_err(|what| Failure::usage(format!("{}: {what}", path.display())))
        })
    }
}

fn text_of(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_limited(path, MAX_FILE)?)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))
}

/// The images of a Dockerfile, each once, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Images {
    all: Vec<String>,
    /// That of the last stage, if it begins with an image and not with another stage.
    base: Option<String>,
}

/// Reads the images that a Dockerfile names.
fn dockerfile(text: &str, given: &BTreeMap<String, String>) -> Result<Images, String> {
    let mut found = Images::default();
    let mut stages = BTreeMap::new();
    // Stages by number are for COPY and RUN; FROM knows names only.
    let mut begun = 0_usize;
    let is_stage = |stages: &BTreeMap<String, Option<String>>, begun: usize, name: &str| {
        stages.contains_key(&name.to_ascii_lowercase())
            || name.parse().is_ok_and(|number: usize| number < begun)
    };
    let mut values = BTreeMap::new();
    for line in logical_lines(text) {
        let mut words = line.split_whitespace();
        let Some(instruction) = words.next() else { continue };
        match instruction.to_ascii_uppercase().as_str() {
            "ARG" if begun == 0 => {
                for word in words {
                    let (name, default) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
                    let default = default.map(|v| v.trim_matches('"').to_owned());
                    if let Some(value) = given.get(name).cloned().or(default) {
                        values.insert(name.to_owned(), value);
                    }
                }
            }
            "FROM" => {
                let rest: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
                let name = rest.first().ok_or("FROM names no image")?;
                let name = substituted(name, &values)?;
                found.base = match stages.get(&name.to_ascii_lowercase()) {
                    Some(base) => Option::clone(base),
                    None => Some(name.clone()).filter(|name| name != "scratch"),
                };
                if !stages.contains_key(&name.to_ascii_lowercase()) {
                    add(&mut found.all, &name);
                }
                if let [_, as_word, stage] = rest.as_slice()
                    && as_word.eq_ignore_ascii_case("as")
                {
                    stages.insert(stage.to_ascii_lowercase(), found.base.clone());
                }
                begun += 1;
            }
            "COPY" | "ADD" | "RUN" => {
                let sources = words.take_while(|word| word.starts_with("--")).filter_map(|word| {
                    word.strip_prefix("--from=").or_else(|| {
                        let mount = word.strip_prefix("--mount=")?;
                        mount.split(',').find_map(|part| part.strip_prefix("from="))
                    })
                });
                for source in sources {
                    let name = substituted(source, &values)?;
                    if !is_stage(&stages, begun, &name) {
                        add(&mut found.all, &name);
                    }
                }
            }
            _ => {}
        }
    }
    if begun == 0 {
        return Err("expected a Dockerfile, found no FROM".into());
    }
    Ok(found)
}

fn add(all: &mut Vec<String>, name: &str) {
    if name != "scratch" && !all.iter().any(|own| own == name) {
        all.push(name.to_owned());
    }
}

/// Lines without comments, those that go on put together.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    // An empty line does not end one that goes on.
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_suffix('\\') {
            Some(part) => open.push_str(&format!("{part} ")),
            None => {
                open.push_str(line);
                lines.push(std::mem::take(&mut open));
            }
        }
    }
    lines.push(open);
    lines
}

/// A name with the values of its variables: `$NAME`, `${NAME}`, `${NAME:-default}`.
fn substituted(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (inside, tail) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| format!("\"{text}\" has an open brace"))?,
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(n, d)| (n, Some(d)));
        let value = values.get(name).map(String::as_str).filter(|value| !value.is_empty()).or(default);
        out.push_str(value.ok_or_else(|| {
            format!("\"{text}\" depends on {name}, which has no value; give --build-arg {name}=VALUE")
        })?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The images of all containers in YAML documents.
fn kubernetes(text: &str) -> Result<Vec<String>, String> {
    let mut all = BTreeSet::new();
    for value in read_values(text).map_err(|error| error.to_string())? {
        let mut open = vec![&value];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(members) => {
                    for (name, member) in members {
                        if matches!(name.as_str(), "containers" | "initContainers" | "ephemeralContainers") {
                            for image in
                                member.as_array().into_iter().flatten().filter_map(|c| c.get("image"))
                            {
                                // One that cannot be read is not left out.
                                let name =
                                    image.as_str().ok_or("expected the image of a container to be text")?;
                                all.insert(name.to_owned());
                            }
                        }
                        open.push(member);
                    }
                }
                _ => {}
            }
        }
    }
    if all.is_empty() {
        // Nothing to verify is not everything verified.
        return Err("expected Kubernetes objects with containers, found no image".into());
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(text: &str) -> Result<(Vec<String>, Option<String>), String> {
        let given = BTreeMap::from([("GIVEN".to_owned(), "v9".to_owned())]);
        dockerfile(text, &given).map(|images| (images.all, images.base))
    }

    #[test]
    fn every_image_of_a_dockerfile_is_found_and_stages_are_none() {
        let text = "# FROM comment\nARG V=1.2\nARG GIVEN=v1\nFROM --platform=linux/amd64 a.example/build:$V AS Build\n\
                    RUN --mount=type=bind,from=a.example/tools:${GIVEN},target=/t make\n\
                    FROM \\\n  a.example/base:${X:-x}\nCOPY --from=build /a /b\nCOPY --from=0 /a /b\n\
                    COPY --from=a.example/data:1 /a /b\nFROM scratch\n";
        let (all, base) = images(text).unwrap();
        let expected = ["a.example/build:1.2", "a.example/tools:v9", "a.example/base:x", "a.example/data:1"];
        assert_eq!((all, base), (expected.map(str::to_owned).to_vec(), None));
        let (all, base) = images("FROM a.example/b:1 as x\nFROM x\n").unwrap();
        assert_eq!(
            (all.len(), base.as_deref()),
            (1, Some("a.example/b:1")),
            "a stage has the base of its base"
        );
        assert_eq!(
            images("FROM a.example/b:1\nFROM 0\n").unwrap().0,
            ["a.example/b:1", "0"],
            "FROM knows no numbers"
        );
        let (all, _) = images("FROM a.example/b:1\nRUN \\\n\n --mount=from=a.example/c:1 make\n").unwrap();
        assert_eq!(all, ["a.example/b:1", "a.example/c:1"], "an empty line does not end one that goes on");
    }

    #[test]
    fn what_cannot_be_told_is_an_error_and_not_left_out() {
        for bad in ["", "RUN x", "FROM", "FROM a:$UNKNOWN", "FROM a:${OPEN", "ARG X\nFROM a:$X"] {
            assert!(images(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "kind: Pod",
            "a: [",
            "spec: {containers: []}",
            "spec: {containers: 1}",
            "spec: {containers: [{image: a:1}, {image: 1}]}",
        ] {
            assert!(kubernetes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn images_of_all_kinds_of_containers_in_all_documents_are_found() {
        let text = "# one\n---\nspec:\n  template:\n    spec:\n      initContainers:\n      - {name: i, image: a.example/i:1}\n\
                    \x20     containers:\n      - {name: c, image: a.example/c:1}\n---\nitems:\n- spec: {containers: [{image: a.example/d:1}]}\n";
        assert_eq!(kubernetes(text).unwrap(), ["a.example/c:1", "a.example/d:1", "a.example/i:1"]);
    }
}
