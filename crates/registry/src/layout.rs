//! An OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`.
//!
//! Names in it are annotations in `index.json`. Files are found by digest only, so no name in a layout becomes a
//! path, and no symbolic link is followed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use countersign_crypto::Digest;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::blob::{Blob, Content, Source};
use crate::descriptor::media_type;
use crate::error::{listed, optional};
use crate::files::{check_directory, open_regular, read_regular};
use crate::manifest::{ImageIndex, Kind, MAX_MANIFEST_LEN, Manifest};
use crate::reference::{Name, Tag};
use crate::store::{Linked, Pending, Store};
use crate::{Descriptor, RegistryError};

/// The most bytes of manifests that are read to find what refers to an image: a list of 4 MiB can name much more.
const MAX_READ: usize = 256 << 20;

/// The annotation which names a manifest in an index.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation with which cosign says what a manifest in a layout is.
const KIND: &str = "kind";
const SIGNATURES: &str = "dev.cosignproject.cosign/sigs";
const ATTESTATIONS: &str = "dev.cosignproject.cosign/atts";

/// A layout on disk.
#[derive(Debug)]
pub struct Layout {
    directory: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marker {
    pub(crate) image_layout_version: String,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when the directory holds none.
    pub fn open(directory: &Path) -> Result<Self, RegistryError> {
        let layout = Self { directory: directory.to_owned() };
        let Some(bytes) = read_regular(&directory.join("oci-layout"), 1 << 10)? else {
            return Err(RegistryError::not_found(layout.place(), "no OCI layout is there"));
        };
        check_marker(&layout.place(), &bytes)?;
        for part in ["blobs", "blobs/sha256", "blobs/sha384", "blobs/sha512"] {
            if std::fs::symlink_metadata(directory.join(part)).is_ok() {
                check_directory(&directory.join(part))?;
            }
        }
        Ok(layout)
    }

    /// Opens a layout, or makes an empty one in a directory which is empty or does not exist.
    ///
    /// # Errors
    /// [`RegistryError::Usage`] when other files are there, [`RegistryError::File`].
    pub fn create(directory: &Path) -> Result<Self, RegistryError> {
        let fails = |e: std::io::Error| RegistryError::file(directory, &e);
        std::fs::create_dir_all(directory).map_err(fails)?;
        if std::fs::symlink_metadata(directory.join("oci-layout")).is_ok() {
            return Self::open(directory);
        }
        if std::fs::read_dir(directory).map_err(fails)?.next().is_some() {
            return Err(RegistryError::Usage(format!(
                "{} holds other files; expected an OCI layout or an empty directory",
                directory.display()
            )));
        }
        let layout = Self { directory: directory.to_owned() };
        std::fs::create_dir_all(directory.join("blobs").join("sha256")).map_err(fails)?;
        layout.write_index(&ImageIndex::empty())?;
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().name()).join(digest.to_hex())
    }

    fn read_index(&self) -> Result<ImageIndex, RegistryError> {
        let path = self.directory.join("index.json");
        let bytes = read_regular(&path, MAX_MANIFEST_LEN)?
            .ok_or_else(|| RegistryError::malformed(self.place(), "expected index.json"))?;
        match Manifest::parse(&path.display().to_string(), None, bytes)?.kind {
            Kind::Index(index) => Ok(*index),
            Kind::Image(_) => Err(RegistryError::malformed(self.place(), "index.json is no index")),
        }
    }

    fn write_index(&self, index: &ImageIndex) -> Result<(), RegistryError> {
        let bytes = serde_json::to_vec(index).map_err(|e| RegistryError::Usage(e.to_string()))?;
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(RegistryError::too_large(self.place(), "4 MiB for index.json"));
        }
        self.write("index.json", &bytes)
    }

    /// Changes `index.json`; other programs which do so wait for each other.
    fn change_index(&self, change: impl FnOnce(&mut ImageIndex)) -> Result<(), RegistryError> {
        let marker = self.directory.join("oci-layout");
        let lock = std::fs::File::open(&marker).map_err(|e| RegistryError::file(&marker, &e))?;
        lock.lock().map_err(|e| RegistryError::file(&marker, &e))?;
        let mut index = self.read_index()?;
        change(&mut index);
        self.write_index(&index)
    }

    /// Writes a file whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let fails = |e: std::io::Error| RegistryError::file(&self.directory.join(name), &e);
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(fails)?;
        std::io::Write::write_all(&mut file, bytes).map_err(fails)?;
        open_to_others(file.path()).map_err(fails)?;
        // On the disk before it has its name: after a power cut there is the old file or the new one.
        file.as_file().sync_all().map_err(fails)?;
        file.persist(self.directory.join(name)).map(drop).map_err(|e| fails(e.error))
    }

    fn get_manifest(&self, name: &Name) -> Result<Manifest, RegistryError> {
        let what = format!("{name} in {}", self.place());
        match name {
            Name::Digest(digest) => self.read_manifest(&what, digest, None),
            Name::Tag(tag) => {
                let index = self.read_index()?;
                let found = index
                    .find(tag)
                    .ok_or_else(|| RegistryError::not_found(&what, "index.json does not name it"))?;
                listed(self.read_manifest(&what, &found.digest, Some(&found.media_type)))
            }
        }
    }

    fn read_manifest(
        &self,
        what: &str,
        digest: &Digest,
        said: Option<&str>,
    ) -> Result<Manifest, RegistryError> {
        let bytes = read_regular(&self.blob_path(digest), MAX_MANIFEST_LEN)?
            .ok_or_else(|| RegistryError::not_found(what, "the layout has no such blob"))?;
        Manifest::parse_checked(what, said, digest, bytes)
    }

    fn set_manifest(&self, name: &Name, manifest: &Manifest) -> Result<Linked, RegistryError> {
        self.write_blob(&manifest.descriptor.digest, &mut manifest.bytes.as_slice())?;
        if let Name::Tag(tag) = name {
            let mut descriptor = manifest.descriptor.bare();
            descriptor.annotations.insert(REF_NAME.into(), tag.to_string());
            if let Some(kind) = kind_of(tag, manifest) {
                descriptor.annotations.insert(KIND.into(), kind.into());
            }
            self.change_index(|index| {
                index.manifests.retain(|d| d.annotations.get(REF_NAME).is_none_or(|n| n != tag.as_str()));
                index.manifests.push(descriptor);
            })?;
        } else if manifest.subject().is_some() {
            self.list(manifest.as_referrer())?;
        }
        Ok(Linked::Yes)
    }

    /// The manifests which `index.json` lists and which refer to an image, as other programs write them too; and
    /// what an index at the referrers tag names, which came from a registry of the older kind.
    fn find_referrers(&self, image: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let mut found: Vec<Descriptor> = Vec::new();
        let (mut seen, mut bytes) = (HashSet::new(), 0_usize);
        for entry in self.read_index()?.manifests.iter().filter(|d| !d.annotations.contains_key(REF_NAME)) {
            if !seen.insert(entry.digest) {
                continue;
            }
            let manifest = listed(self.get_manifest(&Name::Digest(entry.digest)))?;
            bytes = bytes.saturating_add(manifest.bytes.len());
            if bytes > MAX_READ {
                return Err(RegistryError::too_large(self.place(), "256 MiB of manifests in index.json"));
            }
            if manifest.subject().is_some_and(|subject| subject.digest == *image) {
                found.push(manifest.as_referrer());
            }
        }
        if let Some(Manifest { kind: Kind::Index(index), .. }) =
            optional(self.get_manifest(&Name::Tag(Tag::of_evidence(image, ""))))?
        {
            let known: Vec<Digest> = found.iter().map(|d| d.digest).collect();
            found.extend(index.manifests.into_iter().filter(|d| !known.contains(&d.digest)));
        }
        Ok(found)
    }

    /// Adds an entry to `index.json`, once.
    fn list(&self, descriptor: Descriptor) -> Result<(), RegistryError> {
        self.change_index(|index| {
            if !index.manifests.iter().any(|d| d.digest == descriptor.digest) {
                index.manifests.push(descriptor);
            }
        })
    }

    /// Lists a manifest in `index.json` without a name: an image that was asked for by its digest.
    pub(crate) fn list_unnamed(&self, manifest: &Manifest) -> Result<(), RegistryError> {
        let mut descriptor = manifest.descriptor.bare();
        descriptor.annotations.insert(KIND.into(), image_kind(manifest).into());
        self.list(descriptor)
    }

    /// The image in this layout, if it is one image.
    ///
    /// # Errors
    /// [`RegistryError::Usage`] when there are several, or none.
    pub fn image(&self) -> Result<Name, RegistryError> {
        let mut images = Vec::new();
        for image in self.read_index()?.images() {
            // Other programs list what refers to an image without saying so in the list.
            if listed(self.get_manifest(&Name::Digest(image)))?.subject().is_none() {
                images.push(image);
            }
        }
        only_one(&self.place(), &images)
    }

    /// Writes a blob. What lies there already is replaced: half of a blob may be left of a copy that was cut off.
    fn write_blob(&self, digest: &Digest, from: &mut dyn std::io::Read) -> Result<(), RegistryError> {
        let path = self.blob_path(digest);
        let fails = |e: std::io::Error| RegistryError::file(&path, &e);
        check_directory(&self.directory.join("blobs"))?;
        let folder = self.directory.join("blobs").join(digest.algorithm().name());
        std::fs::create_dir_all(&folder).map_err(fails)?;
        check_directory(&folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(fails)?;
        std::io::copy(from, &mut file).map_err(fails)?;
        open_to_others(file.path()).map_err(fails)?;
        file.as_file().sync_all().map_err(fails)?;
        file.persist(&path).map(drop).map_err(|e| fails(e.error))
    }
}

impl Store for Layout {
    fn place(&self) -> String {
        countersign_http::text::printable(&self.directory.display().to_string())
    }

    fn fetch<'a>(&'a self, name: &'a Name) -> Pending<'a, Manifest> {
        Box::pin(async move { self.get_manifest(name) })
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, Blob> {
        Box::pin(async move {
            let what = format!("{} in {}", blob.digest, self.place());
            let (file, length) = open_regular(&self.blob_path(&blob.digest))?
                .ok_or_else(|| RegistryError::not_found(&what, "the layout has no such blob"))?;
            if length != blob.size {
                let message = format!("expected {} bytes, found {length}", blob.size);
                return Err(RegistryError::malformed(what, message));
            }
            let file = tokio::fs::File::from_std(file).take(length);
            Ok(Blob::new(what, blob, Source::File(file)))
        })
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, bool> {
        Box::pin(async move {
            let found = open_regular(&self.blob_path(&blob.digest))?;
            Ok(found.is_some_and(|(_, length)| length == blob.size))
        })
    }

    fn listed_referrers<'a>(&'a self, image: &'a Digest) -> Pending<'a, Option<Vec<Descriptor>>> {
        Box::pin(async move { self.find_referrers(image).map(Some) })
    }

    fn put_blob<'a>(&'a self, blob: &'a Descriptor, content: &'a Content) -> Pending<'a, ()> {
        Box::pin(async move {
            match content {
                Content::Bytes(bytes) => self.write_blob(&blob.digest, &mut bytes.as_ref()),
                Content::File(file) => {
                    let mut file = file.reopen().map_err(|e| RegistryError::file(file.path(), &e))?;
                    self.write_blob(&blob.digest, &mut file)
                }
            }
        })
    }

    fn put_manifest<'a>(&'a self, name: &'a Name, manifest: &'a Manifest) -> Pending<'a, Linked> {
        Box::pin(async move { self.set_manifest(name, manifest) })
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Pending<'a, ()> {
        Box::pin(async move {
            let digest = self.get_manifest(name)?.descriptor.digest;
            self.change_index(|index| match name {
                Name::Tag(tag) => {
                    index.manifests.retain(|d| d.annotations.get(REF_NAME).is_none_or(|n| n != tag.as_str()));
                }
                Name::Digest(_) => index.manifests.retain(|d| d.digest != digest),
            })?;
            if matches!(name, Name::Digest(_)) {
                let path = self.blob_path(&digest);
                std::fs::remove_file(&path).map_err(|e| RegistryError::file(&path, &e))?;
            }
            Ok(())
        })
    }

    fn tags(&self) -> Pending<'_, Vec<Tag>> {
        Box::pin(async move { Ok(self.read_index()?.tags()) })
    }
}

impl ImageIndex {
    /// An OCI index of nothing.
    pub(crate) fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            manifests: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
            subject: None,
            artifact_type: None,
        }
    }

    /// What is called so. cosign lists the older evidence of the one image in a layout by kind and without a name.
    pub(crate) fn find(&self, tag: &Tag) -> Option<&Descriptor> {
        let called = |d: &&Descriptor| d.annotations.get(REF_NAME).is_some_and(|n| n == tag.as_str());
        let kind = older_kind(tag);
        let of_kind = |d: &&Descriptor| {
            kind.is_some()
                && !d.annotations.contains_key(REF_NAME)
                && d.annotations.get(KIND).map(String::as_str) == kind
        };
        let about_it = || matches!(self.images().as_slice(), [image] if tag.is_about(image));
        self.manifests
            .iter()
            .find(called)
            .or_else(|| self.manifests.iter().find(of_kind).filter(|_| about_it()))
    }

    /// The tags that it names, sorted.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        let names = self.manifests.iter().filter_map(|d| d.annotations.get(REF_NAME));
        let mut tags: Vec<Tag> = names.filter_map(|name| Tag::parse(name).ok()).collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// The images that this lists, as far as the list says that they are images and not evidence.
    pub(crate) fn images(&self) -> Vec<Digest> {
        let is_image = |d: &&Descriptor| {
            let kind = d.annotations.get(KIND).map(String::as_str);
            !matches!(kind, Some(SIGNATURES | ATTESTATIONS))
                && d.artifact_type.is_none()
                && d.annotations.get(REF_NAME).is_none_or(|name| !name.starts_with("sha256-"))
        };
        let mut found: Vec<Digest> = Vec::new();
        for entry in self.manifests.iter().filter(is_image) {
            if !found.contains(&entry.digest) {
                found.push(entry.digest);
            }
        }
        found
    }
}

/// The one image in a place.
pub(crate) fn only_one(place: &str, images: &[Digest]) -> Result<Name, RegistryError> {
    match images {
        [only] => Ok(Name::Digest(*only)),
        _ => Err(RegistryError::Usage(format!(
            "{place} holds {} images; expected one, or a tag that says which",
            images.len()
        ))),
    }
}

/// Checks the `oci-layout` file's content.
pub(crate) fn check_marker(what: &str, bytes: &[u8]) -> Result<(), RegistryError> {
    let marker: Marker = serde_json::from_slice(bytes)
        .map_err(|e| RegistryError::malformed(what, format!("oci-layout: {e}")))?;
    if marker.image_layout_version.starts_with("1.") {
        return Ok(());
    }
    let found = marker.image_layout_version;
    Err(RegistryError::malformed(what, format!("expected a layout of version 1, found {found}")))
}

/// What cosign calls a manifest in a layout; nothing for what it does not know.
fn kind_of(tag: &Tag, manifest: &Manifest) -> Option<&'static str> {
    if tag.as_str().starts_with("sha256-") { older_kind(tag) } else { Some(image_kind(manifest)) }
}

fn older_kind(tag: &Tag) -> Option<&'static str> {
    match tag.as_str() {
        text if text.ends_with(".sig") => Some(SIGNATURES),
        text if text.ends_with(".att") => Some(ATTESTATIONS),
        _ => None,
    }
}

fn image_kind(manifest: &Manifest) -> &'static str {
    match &manifest.kind {
        Kind::Index(_) => "dev.cosignproject.cosign/imageIndex",
        Kind::Image(_) => "dev.cosignproject.cosign/image",
    }
}

/// Temporary files are for their owner only; a layout is for whoever may read the directory.
fn open_to_others(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}
