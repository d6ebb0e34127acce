//! `countersign notary`: signatures of the Notary Project, as notation makes and verifies them.

mod inspect;
mod sign;
mod verify;
mod view;

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, Subcommand};
use countersign_registry::{Layout, Name, Reference, Store, Tag};

use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign notary sign --key signer.key --certificate-chain chain.pem registry.example/app:v1
  countersign notary verify registry.example.com/app@sha256:9f86…")]
pub(crate) struct NotaryCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Sign(sign::Sign),
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
}

impl NotaryCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Action::Sign(command) => command.run(terminal),
            Action::Verify(command) => command.run(terminal),
            Action::Inspect(command) => command.run(terminal),
        }
    }
}

/// `name=value` pairs, each name once.
fn metadata(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for text in texts {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Failure::usage(format!("--user-metadata: expected name=value, found \"{text}\""))
        })?;
        if all.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("--user-metadata: {name} is given twice")));
        }
    }
    Ok(all)
}

/// The image in a layout: the one with this tag or digest behind the folder's name, else the only one with a tag.
async fn image_in(text: &str) -> Result<(Layout, Name), Failure> {
    let text = text.strip_prefix("oci:").unwrap_or(text);
    if Path::new(text).is_dir() {
        let layout = Layout::open(text.as_ref())?;
        let mut tags = layout.tags().await?;
        // The others are evidence, each beside its image.
        tags.retain(|tag| !tag.as_str().starts_with("sha256-"));
        return match <[Tag; 1]>::try_from(tags) {
            Ok([tag]) => Ok((layout, Name::Tag(tag))),
            Err(tags) => Err(Failure::usage(format!(
                "{text}: expected one image with a tag in the layout, found {}",
                tags.len()
            ))
            .next(format!("name it: {text}@sha256:…"))),
        };
    }
    let (folder, rest) = match text.split_once('@') {
        Some((folder, digest)) => (folder, format!("x/x@{digest}")),
        None => text
            .rsplit_once(':')
            .map(|(folder, tag)| (folder, format!("x/x:{tag}")))
            .ok_or_else(|| Failure::usage(format!("{text} is not a folder with an OCI layout")))?,
    };
    Ok((Layout::open(folder.as_ref())?, Reference::parse(&rest)?.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_pairs_with_each_name_once() {
        let list = |texts: &[&str]| metadata(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert_eq!(list(&["a=1", "b=x=y"]).unwrap().get("b").unwrap(), "x=y");
        for bad in [&["a"][..], &["=1"], &["a=1", "a=2"]] {
            assert!(list(bad).is_err(), "{bad:?}");
        }
    }
}
