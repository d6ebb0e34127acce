//! Copying an image with everything that hangs on it: every platform, every form of evidence, checked afterwards.
//!
//! First a plan is made, by reading manifests only; it is what a dry run shows. Then blobs go over, a few at once,
//! each through a temporary file in which it is checked before the first byte is sent on; then manifests, what is
//! referred to before what refers to it; the tag last. In the end the copy is read back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use countersign_crypto::Digest;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::error::{listed, optional};
use crate::evidence::{OlderTag, add_layers};
use crate::manifest::{Kind, Manifest};
use crate::reference::{Name, Tag};
use crate::referrers::{Written, put_referrer};
use crate::store::Store;
use crate::{Descriptor, Layout, RegistryError};

/// The most manifests in one copy: platforms and evidence together.
const MAX_MANIFESTS: usize = 2000;

/// The most bytes of manifests in one copy, which are kept until the end.
const MAX_MANIFEST_BYTES: u64 = 128 << 20;

/// How far evidence of evidence is followed, and how deep indexes lie in each other.
const MAX_DEPTH: usize = 4;

/// How many blobs are under way at once.
const AT_ONCE: usize = 4;

/// Is told how far a transfer is. Every method may be called from several transfers at once.
pub trait Progress: Send + Sync {
    /// So many bytes of blobs are to be copied, as far as the other side has none of them.
    fn begins(&self, bytes: u64);
    /// So many more bytes arrived.
    fn advanced(&self, bytes: u64);
    /// This blob is at the other side; it was there before when `copied` is false.
    fn done(&self, blob: &Descriptor, copied: bool);
}

/// How to copy.
#[derive(Default)]
pub struct CopyOptions<'p> {
    /// Whether only the image is copied, without evidence.
    pub only_image: bool,
    /// Where blobs wait between the two sides; the system's place for temporary files when not given.
    pub spool: Option<PathBuf>,
    /// Who is told.
    pub progress: Option<&'p dyn Progress>,
}

impl std::fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOptions")
            .field("only_image", &self.only_image)
            .field("spool", &self.spool)
            .finish()
    }
}

/// What a copy consists of.
#[derive(Debug, Default)]
pub struct Plan {
    root: Option<Manifest>,
    /// What is referred to comes before what refers to it.
    manifests: Vec<Manifest>,
    known: BTreeSet<String>,
    blobs: BTreeMap<String, Descriptor>,
    older: Vec<(Digest, OlderTag, Manifest)>,
    /// The bytes of all manifests.
    bytes: u64,
}

impl Plan {
    /// The image: what the name was resolved to.
    #[must_use]
    pub fn image(&self) -> Option<&Descriptor> {
        self.root.as_ref().map(|root| &root.descriptor)
    }

    /// Every manifest with a digest of its own: the image, its platforms, and what refers to them.
    pub fn manifests(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().map(|manifest| &manifest.descriptor)
    }

    /// Every blob.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.blobs.values()
    }

    /// cosign's older tags, with what lies there.
    pub fn older(&self) -> impl Iterator<Item = (Tag, &Descriptor)> {
        self.older.iter().map(|(image, tag, manifest)| (tag.of(image), &manifest.descriptor))
    }
}

/// Finds out what belongs to a copy.
///
/// # Errors
/// Every error of the store; [`RegistryError::TooLarge`].
pub async fn plan(from: &dyn Store, name: &Name, options: &CopyOptions<'_>) -> Result<Plan, RegistryError> {
    let root = from.fetch(name).await?;
    let mut plan = Plan { root: Some(root.clone()), ..Plan::default() };
    let image = plan.add(from, root, 0).await?;
    // What has been found may have evidence of its own.
    let mut subjects = if options.only_image { Vec::new() } else { image };
    for _ in 0..MAX_DEPTH {
        let mut found = Vec::new();
        for subject in std::mem::take(&mut subjects) {
            for entry in from.referrers(&subject).await?.descriptors {
                if plan.known.contains(&entry.digest.to_string()) {
                    continue;
                }
                let manifest = listed(from.fetch(&Name::Digest(entry.digest)).await)?;
                found.extend(plan.add(from, manifest, 0).await?);
            }
            for tag in OlderTag::ALL {
                if let Some(manifest) = optional(from.fetch(&Name::Tag(tag.of(&subject))).await)? {
                    plan.weigh(from, &manifest)?;
                    plan.add_blobs(&manifest);
                    plan.older.push((subject, tag, manifest));
                }
            }
        }
        if found.is_empty() {
            return Ok(plan);
        }
        subjects = found;
    }
    Err(RegistryError::too_large(from.place(), format!("{MAX_DEPTH} levels of evidence about evidence")))
}

impl Plan {
    /// Adds a manifest after those that it lists. Gives the digests that are new.
    async fn add(
        &mut self,
        from: &dyn Store,
        manifest: Manifest,
        depth: usize,
    ) -> Result<Vec<Digest>, RegistryError> {
        let digest = manifest.descriptor.digest;
        if !self.known.insert(digest.to_string()) {
            return Ok(Vec::new());
        }
        if self.known.len() > MAX_MANIFESTS || depth > MAX_DEPTH {
            let limit = format!("{MAX_MANIFESTS} manifests, {MAX_DEPTH} deep");
            return Err(RegistryError::too_large(from.place(), limit));
        }
        self.weigh(from, &manifest)?;
        self.add_blobs(&manifest);
        let mut new = vec![digest];
        if let Kind::Index(index) = &manifest.kind {
            for child in &index.manifests {
                let child = listed(from.fetch(&Name::Digest(child.digest)).await)?;
                new.extend(Box::pin(self.add(from, child, depth + 1)).await?);
            }
        }
        self.manifests.push(manifest);
        Ok(new)
    }

    /// Counts the bytes of a manifest.
    fn weigh(&mut self, from: &dyn Store, manifest: &Manifest) -> Result<(), RegistryError> {
        self.bytes = self.bytes.saturating_add(manifest.descriptor.size);
        if self.bytes > MAX_MANIFEST_BYTES {
            return Err(RegistryError::too_large(from.place(), "128 MiB of manifests in one copy"));
        }
        Ok(())
    }

    fn add_blobs(&mut self, manifest: &Manifest) {
        if let Kind::Image(image) = &manifest.kind {
            for blob in std::iter::once(&image.config).chain(&image.layers).filter(|blob| !is_foreign(blob)) {
                self.blobs.insert(blob.digest.to_string(), blob.bare());
            }
        }
    }
}

/// Layers which may not be passed on lie where their manifest says, and nobody goes there.
fn is_foreign(blob: &Descriptor) -> bool {
    blob.media_type.contains(".foreign.") || blob.media_type.contains(".nondistributable.")
}

/// Copies what a plan says, under a tag too if one is given, and reads the copy back.
///
/// # Errors
/// Every error of both stores; an error also when the copy is not whole in the end.
pub async fn execute(
    plan: &Plan,
    from: &dyn Store,
    to: &dyn Store,
    tag: Option<&Tag>,
    options: &CopyOptions<'_>,
) -> Result<Vec<Written>, RegistryError> {
    copy_blobs(plan, from, to, options).await?;
    let mut written = Vec::new();
    for manifest in &plan.manifests {
        written.extend(put_referrer(to, manifest).await?);
    }
    for (image, older, manifest) in &plan.older {
        written.push(copy_older(to, image, *older, manifest).await?);
    }
    if let (Some(tag), Some(root)) = (tag, &plan.root) {
        let name = Name::Tag(tag.clone());
        to.put_manifest(&name, root).await?;
        written.push(Written::new(to, &name, &root.descriptor));
    }
    read_back(plan, to, tag).await?;
    Ok(written)
}

async fn copy_blobs(
    plan: &Plan,
    from: &dyn Store,
    to: &dyn Store,
    options: &CopyOptions<'_>,
) -> Result<(), RegistryError> {
    let spool = options.spool.clone().unwrap_or_else(std::env::temp_dir);
    let ask = |blob: &'_ Descriptor| {
        let blob = blob.clone();
        async move { Ok::<_, RegistryError>((to.has(&blob).await?, blob)) }
    };
    let asked: Vec<(bool, Descriptor)> =
        stream::iter(plan.blobs.values().map(ask)).buffered(AT_ONCE).try_collect().await?;
    if let Some(progress) = options.progress {
        let missing = asked.iter().filter(|(there, _)| !there);
        progress.begins(missing.map(|(_, blob)| blob.size).fold(0, u64::saturating_add));
    }
    let copy = |(there, blob): (bool, Descriptor)| {
        let spool = &spool;
        async move {
            if !there {
                let told = |bytes| {
                    if let Some(progress) = options.progress {
                        progress.advanced(bytes);
                    }
                };
                let content = from.open(&blob).await?.into_content(spool, told).await?;
                to.put_blob(&blob, &content).await?;
            }
            if let Some(progress) = options.progress {
                progress.done(&blob, !there);
            }
            Ok::<(), RegistryError>(())
        }
    };
    stream::iter(asked.into_iter().map(copy)).buffer_unordered(AT_ONCE).try_collect().await
}

/// Copies an older tag as it is, or adds its layers to what is there already.
async fn copy_older(
    to: &dyn Store,
    image: &Digest,
    older: OlderTag,
    manifest: &Manifest,
) -> Result<Written, RegistryError> {
    let name = Name::Tag(older.of(image));
    match optional(to.fetch(&name).await)? {
        Some(there) if there.descriptor.digest == manifest.descriptor.digest => {}
        None => {
            to.put_manifest(&name, manifest).await?;
        }
        Some(_) => {
            let Kind::Image(document) = &manifest.kind else {
                return Err(RegistryError::malformed(name.to_string(), "expected an image manifest"));
            };
            return add_layers(to, image, older, &document.layers).await;
        }
    }
    Ok(Written::new(to, &name, &manifest.descriptor))
}

/// Asks the other side for everything that should be there now.
async fn read_back(plan: &Plan, to: &dyn Store, tag: Option<&Tag>) -> Result<(), RegistryError> {
    let missing =
        |what: String| RegistryError::malformed(to.place(), format!("copied, and then missing: {what}"));
    for manifest in &plan.manifests {
        let digest = manifest.descriptor.digest;
        to.fetch(&Name::Digest(digest)).await?;
        if let Some(subject) = manifest.subject()
            && !to.referrers(&subject.digest).await?.descriptors.iter().any(|d| d.digest == digest)
        {
            return Err(missing(format!("{digest} among the referrers of {}", subject.digest)));
        }
    }
    for blob in plan.blobs.values() {
        if !to.has(blob).await? {
            return Err(missing(blob.digest.to_string()));
        }
    }
    for (image, older, manifest) in &plan.older {
        let there = to.fetch(&Name::Tag(older.of(image))).await?;
        if let (Kind::Image(there), Kind::Image(wanted)) = (there.kind, &manifest.kind)
            && !wanted.layers.iter().all(|layer| there.layers.contains(layer))
        {
            return Err(missing(format!("evidence at {}", older.of(image))));
        }
    }
    if let (Some(tag), Some(image)) = (tag, plan.image())
        && to.resolve(&Name::Tag(tag.clone())).await?.digest != image.digest
    {
        return Err(missing(format!("{} at the tag {tag}", image.digest)));
    }
    Ok(())
}

/// Copies an image with its evidence.
///
/// # Errors
/// As [`plan`] and [`execute`].
pub async fn copy(
    from: &dyn Store,
    name: &Name,
    to: &dyn Store,
    tag: Option<&Tag>,
    options: &CopyOptions<'_>,
) -> Result<Vec<Written>, RegistryError> {
    let plan = plan(from, name, options).await?;
    execute(&plan, from, to, tag, options).await
}

/// Copies an image with its evidence into a layout on disk, which is made when it is not there.
///
/// # Errors
/// As [`copy`]; [`RegistryError::Usage`] for a directory with other files.
pub async fn save(
    from: &dyn Store,
    name: &Name,
    directory: &Path,
    options: &CopyOptions<'_>,
) -> Result<Vec<Written>, RegistryError> {
    let plan = plan(from, name, options).await?;
    let layout = Layout::create(directory)?;
    let tag = match name {
        Name::Tag(tag) => Some(tag),
        Name::Digest(_) => None,
    };
    let written = execute(&plan, from, &layout, tag, options).await?;
    if let (None, Some(root)) = (tag, &plan.root) {
        layout.list_unnamed(root)?;
    }
    Ok(written)
}

/// Copies the one image of a layout, with its evidence, to another store.
///
/// # Errors
/// As [`copy`]; [`RegistryError::Usage`] when the layout holds several images.
pub async fn load(
    directory: &Path,
    to: &dyn Store,
    tag: Option<&Tag>,
    options: &CopyOptions<'_>,
) -> Result<Vec<Written>, RegistryError> {
    let layout = Layout::open(directory)?;
    copy(&layout, &layout.image()?, to, tag, options).await
}
