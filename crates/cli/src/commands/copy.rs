//! `copy`, `save`, `load` and `clean`: images with all their evidence, carried elsewhere and read back, and evidence
//! taken away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use countersign_registry::copy::{CopyOptions, Plan, execute, plan, save};
use countersign_registry::evidence::{Form, Search, list, remove};
use countersign_registry::{Archive, DryRun, Layout, Name, Reference, RegistryError, Store};

use crate::args::refused::CopyRefused;
use crate::args::registry::{RegistryArgs, image};
use crate::commands::attach::show;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on, counted};
use crate::progress::Bar;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign copy registry.example/app:v1 mirror.example/app:v1
  countersign copy --dry-run registry.example/app@sha256:9f86… mirror.example/app")]
pub(crate) struct Copy {
    /// The image
    #[arg(value_name = "FROM")]
    from: String,
    /// Where to; without a tag, under the tag of the first if that has one
    #[arg(value_name = "TO")]
    to: String,
    /// Without the evidence
    #[arg(long)]
    only_image: bool,
    /// Move a tag that names another image
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    force: bool,
    /// Copy nothing: show what would be copied
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    refused: CopyRefused,
}

impl Copy {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.refused.check()?;
        if self.only_image {
            self.registry.check()?;
        } else {
            self.registry.check_beside()?;
        }
        let (from, to) = (image(&self.from)?, image(&self.to)?);
        if to.digest().is_some() {
            return Err(Failure::usage("the copy has the digest it has; name a repository, or a tag in it"));
        }
        let images = self.registry.images([&from, &to])?;
        let source = images.home(&from);
        let target = images.home(&to);
        // A repository alone means `latest` to everyone else; here it means the tag of the first.
        let named = self.to.rsplit('/').next().is_some_and(|name| name.contains(':'));
        let tag = if named { to.tag() } else { from.tag() };
        let bar = Bar::new(terminal);
        let options =
            CopyOptions { only_image: self.only_image, progress: Some(&bar), ..CopyOptions::default() };
        let written = block_on(terminal, async {
            let plan = plan(&source, &from.name(), &options).await?;
            if self.dry_run {
                show_plan(terminal, &plan, &target.place())?;
                return Ok(Vec::new());
            }
            if let (Some(tag), Some(image), false) = (tag, plan.image(), self.force) {
                match target.resolve(&Name::Tag(tag.clone())).await {
                    Err(RegistryError::NotFound { .. }) => {}
                    Ok(there) if there.digest == image.digest => {}
                    Ok(there) => {
                        let digest = there.digest;
                        let place = target.place();
                        return Err(Failure::usage(format!(
                            "{place}:{tag} is there already, and is {digest}"
                        ))
                        .next("to move the tag: --force"));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(execute(&plan, &source, &target, tag, &options).await?)
        });
        bar.end();
        let written = written?;
        if !self.dry_run {
            conclude(terminal, &written, &target.place())?;
        }
        Ok(0)
    }
}

fn show_plan(terminal: &Terminal, plan: &Plan, to: &str) -> Result<(), Failure> {
    let bytes: u64 = plan.blobs().map(|blob| blob.size).sum();
    for manifest in plan.manifests() {
        terminal.line(&format!("would copy the manifest {} ({})", manifest.digest, manifest.media_type))?;
    }
    for (tag, manifest) in plan.older() {
        terminal.line(&format!("would copy the tag {tag} ({})", manifest.digest))?;
    }
    let blobs = counted(plan.blobs().count() as u64, "blob", "blobs");
    terminal.line(&format!("would copy {blobs} of {bytes} bytes to {to}"))
}

fn conclude(terminal: &Terminal, written: &[countersign_registry::Written], to: &str) -> Result<(), Failure> {
    if terminal.verbose {
        show(terminal, written, false)?;
    }
    let documents = counted(written.len() as u64, "document", "documents");
    terminal.talk(&format!("{} copied to {to} and read back: {documents}", terminal.yes()));
    Ok(())
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign save --dir app-v1 registry.example/app:v1
  countersign verify --local-image --key cosign.pub app-v1")]
pub(crate) struct Save {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The directory, an OCI layout in the end
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Save {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.registry.check_beside()?;
        let reference = image(&self.image)?;
        let images = self.registry.images([&reference])?;
        let bar = Bar::new(terminal);
        let options = CopyOptions { progress: Some(&bar), ..CopyOptions::default() };
        let source = images.home(&reference);
        let written =
            block_on(terminal, async { Ok(save(&source, &reference.name(), &self.dir, &options).await?) });
        bar.end();
        conclude(terminal, &written?, &self.dir.display().to_string())?;
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign load --dir app-v1 mirror.example/app:v1
  countersign load --dir app.tar mirror.example/app:v1       an archive of `docker save`")]
pub(crate) struct Load {
    /// Where to
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The directory (an OCI layout) or archive
    #[arg(long, value_name = "DIR|FILE")]
    dir: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Load {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.registry.check_beside()?;
        let reference = image(&self.image)?;
        let images = self.registry.images([&reference])?;
        let target = images.home(&reference);
        let bar = Bar::new(terminal);
        let options = CopyOptions { progress: Some(&bar), ..CopyOptions::default() };
        let (source, name) = open(&self.dir)?;
        let written = block_on(terminal, async {
            let plan = plan(source.as_ref(), &name, &options).await?;
            if let (Some(expected), Some(found)) = (reference.digest(), plan.image())
                && *expected != found.digest
            {
                return Err(Failure::new(
                    crate::failure::REJECTED,
                    format!("expected the image {expected}, found {} in {}", found.digest, source.place()),
                ));
            }
            Ok(execute(&plan, source.as_ref(), &target, reference.tag(), &options).await?)
        });
        bar.end();
        conclude(terminal, &written?, &target.place())?;
        Ok(0)
    }
}

/// A layout or an archive, and the one image in it.
fn open(path: &Path) -> Result<(Box<dyn Store>, Name), Failure> {
    if path.is_dir() {
        let layout = Layout::open(path)?;
        let name = layout.image()?;
        return Ok((Box::new(layout), name));
    }
    let archive = Archive::open(path)?;
    let name = archive.image()?;
    Ok((Box::new(archive), name))
}

/// What is taken away, by cosign's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CleanType {
    /// Signatures and statements of every form
    All,
    /// Signatures
    Signature,
    /// Statements
    Attestation,
    /// Bills of materials
    Sbom,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign clean --dry-run registry.example/app:v1
  countersign clean --force --type signature registry.example/app:v1")]
pub(crate) struct Clean {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What to take away
    #[arg(long = "type", value_enum, default_value = "all", value_name = "TYPE")]
    kind: CleanType,
    /// Do it; without this, it is only shown
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    force: bool,
    /// Only show what would be taken away
    #[arg(long, conflicts_with = "force")]
    dry_run: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Clean {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.registry.check()?;
        let reference: Reference = image(&self.image)?;
        let images = self.registry.images([&reference])?;
        let (home, store) = (images.home(&reference), images.evidence(&reference));
        let gone = block_on(terminal, async {
            let digest = match reference.digest() {
                Some(digest) => *digest,
                None => home.resolve(&reference.name()).await?.digest,
            };
            let mut pieces = list(&store, &digest, &Search::of(self.forms())).await?;
            if matches!(self.kind, CleanType::Signature | CleanType::Attestation) {
                let sign = countersign_verify::SIGN_PREDICATE_TYPE;
                let wanted = self.kind == CleanType::Signature;
                // By what is written beside a bundle; one that does not say what it is stays.
                pieces.retain(|piece| {
                    piece.form != Form::Bundle
                        || piece
                            .annotations
                            .get("dev.sigstore.bundle.predicateType")
                            .is_some_and(|kind| (kind == sign) == wanted)
                });
            }
            if self.force {
                return Ok(remove(&store, &digest, &pieces).await?);
            }
            Ok(remove(&DryRun::new(&store), &digest, &pieces).await?)
        })?;
        for place in &gone {
            let verb = if self.force { "took away" } else { "would take away" };
            terminal.line(&format!("{verb} {} {}", place.place, place.name))?;
        }
        if gone.is_empty() {
            terminal.talk("nothing of this kind is attached");
        } else if !self.force {
            terminal.talk("nothing was taken away; to do it: --force");
        }
        Ok(0)
    }

    fn forms(&self) -> BTreeSet<Form> {
        match self.kind {
            CleanType::All => vec![
                Form::Bundle,
                Form::InToto,
                Form::CosignSignature,
                Form::CosignAttestation,
                Form::CosignSbom,
            ],
            CleanType::Signature => vec![Form::Bundle, Form::CosignSignature],
            CleanType::Attestation => vec![Form::Bundle, Form::InToto, Form::CosignAttestation],
            CleanType::Sbom => vec![Form::CosignSbom],
        }
        .into_iter()
        .collect()
    }
}
