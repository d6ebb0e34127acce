//! `dockerfile verify` and `manifest verify`: every image that a file names, verified as `verify` does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{Args, Subcommand};
use countersign_builder::dockerfile;
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
            let wrong = |what| Failure::usage(format!("{}: {what}", path.display()));
            let found = dockerfile::images(&text_of(path)?, &arguments).map_err(wrong)?;
            let images = if command.base_image_only { found.base.into_iter().collect() } else { found.all };
            // One whose name depends on what nobody gave is an error, and not left out.
            images.into_iter().map(|image| image.name).collect::<Result<_, _>>().map_err(wrong)
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

    #[test]
    fn what_cannot_be_told_is_an_error_and_not_left_out() {
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
