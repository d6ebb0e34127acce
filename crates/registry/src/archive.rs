//! Archives of `docker save`, and OCI layouts in a tar file. They are read where they are; nothing is unpacked.
//!
//! The older form of `docker save` holds layers and a configuration and no manifest. One is made then, the same for
//! everybody: an OCI manifest whose layers are the files as they are. Its digest is not the one which a registry
//! gives the image, because there the layers are compressed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use countersign_crypto::{Digest, HashAlgorithm, Hasher};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::blob::{Blob, Content, Source};
use crate::descriptor::{media_type, or_null};
use crate::error::listed;
use crate::files::open_regular;
use crate::layout::{check_marker, only_one};
use crate::manifest::{ImageIndex, Kind, MAX_MANIFEST_LEN, Manifest};
use crate::reference::{Name, Reference, Tag, parse_digest};
use crate::referrers::to_manifest;
use crate::store::{Linked, Pending, Store};
use crate::tar::{Contents, Member, contents};
use crate::{Descriptor, RegistryError};

/// How much is hashed at once.
const PIECE: usize = 64 << 10;

/// The most bytes of configurations, and of manifests made from them, of all images in an archive of the older form.
const MAX_DOCUMENTS: u64 = 64 << 20;

/// An archive, read only.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    contents: Contents,
    images: Images,
}

#[derive(Debug)]
enum Images {
    /// An OCI layout: blobs are found by their digest.
    Layout(Box<ImageIndex>),
    /// Docker's older form: blobs are found by the files which the list names.
    Docker(Vec<DockerImage>),
}

#[derive(Debug)]
struct DockerImage {
    tags: Vec<String>,
    manifest: Manifest,
    blobs: Vec<(Digest, Member)>,
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default, deserialize_with = "or_null")]
    repo_tags: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(deserialize_with = "or_null")]
    diff_ids: Vec<String>,
}

impl Archive {
    /// Opens an archive. The older form is hashed while it is opened; call this where blocking is fine.
    ///
    /// # Errors
    /// [`RegistryError::Malformed`] for what is no such archive, [`RegistryError::WrongDigest`] for layers which are
    /// not those of the image, [`RegistryError::TooLarge`], [`RegistryError::File`].
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let what = path.display().to_string();
        let (mut file, _) =
            open_regular(path)?.ok_or_else(|| RegistryError::not_found(&what, "no such file"))?;
        let contents = contents(&mut file).map_err(|e| RegistryError::malformed(&what, e))?;
        let mut reader = Reader::new(&what, file, &contents);
        let images = if contents.file("oci-layout").is_some() && contents.file("index.json").is_some() {
            check_marker(&what, &reader.small("oci-layout")?)?;
            match Manifest::parse(&what, None, reader.small("index.json")?)?.kind {
                Kind::Index(index) => Images::Layout(index),
                Kind::Image(_) => return Err(RegistryError::malformed(what, "index.json is no index")),
            }
        } else {
            Images::Docker(reader.docker()?)
        };
        Ok(Self { path: path.to_owned(), contents, images })
    }

    /// The image in this archive, if it is one image.
    ///
    /// # Errors
    /// [`RegistryError::Usage`] when there are several, or none.
    pub fn image(&self) -> Result<Name, RegistryError> {
        let images: Vec<Digest> = match &self.images {
            Images::Layout(index) => index.images(),
            Images::Docker(images) => images.iter().map(|image| image.manifest.descriptor.digest).collect(),
        };
        only_one(&self.place(), &images)
    }

    fn member(&self, digest: &Digest) -> Option<Member> {
        match &self.images {
            Images::Layout(_) => {
                self.contents.file(&format!("blobs/{}/{}", digest.algorithm(), digest.to_hex()))
            }
            Images::Docker(images) => {
                let mut blobs = images.iter().flat_map(|image| &image.blobs);
                blobs.find(|(known, _)| known == digest).map(|(_, member)| *member)
            }
        }
    }

    fn get_manifest(&self, name: &Name) -> Result<Manifest, RegistryError> {
        let what = format!("{name} in {}", self.place());
        let missing = || RegistryError::not_found(&what, "the archive does not hold it");
        match &self.images {
            Images::Docker(images) => {
                let is_it = |image: &&DockerImage| match name {
                    Name::Digest(digest) => image.manifest.descriptor.digest == *digest,
                    Name::Tag(tag) => image.tags.iter().any(|t| t == tag.as_str()),
                };
                let mut found = images.iter().filter(is_it);
                let first = found.next().ok_or_else(missing)?;
                if matches!(name, Name::Tag(_)) && found.next().is_some() {
                    return Err(RegistryError::Usage(format!(
                        "{what}: two images have this tag; name a digest"
                    )));
                }
                Ok(first.manifest.clone())
            }
            Images::Layout(index) => {
                let read = |digest: &Digest, said: Option<&str>| {
                    let member = self.member(digest).ok_or_else(missing)?;
                    let file = File::open(&self.path).map_err(|e| RegistryError::file(&self.path, &e))?;
                    let bytes = Reader::new(&what, file, &self.contents).whole(member)?;
                    Manifest::parse_checked(&what, said, digest, bytes)
                };
                match name {
                    Name::Digest(digest) => read(digest, None),
                    Name::Tag(tag) => {
                        let found = index.find(tag).ok_or_else(missing)?;
                        listed(read(&found.digest, Some(&found.media_type)))
                    }
                }
            }
        }
    }

    async fn open_blob(&self, blob: &Descriptor) -> Result<Blob, RegistryError> {
        let what = format!("{} in {}", blob.digest, self.place());
        let member = self
            .member(&blob.digest)
            .ok_or_else(|| RegistryError::not_found(&what, "the archive does not hold it"))?;
        let fails = |e: std::io::Error| RegistryError::file(&self.path, &e);
        let mut file = File::open(&self.path).map_err(fails)?;
        file.seek(SeekFrom::Start(member.offset)).map_err(fails)?;
        let file = tokio::fs::File::from_std(file).take(member.size);
        Ok(Blob::new(what, blob, Source::File(file)))
    }
}

/// Reads members while the archive is opened.
struct Reader<'a> {
    what: &'a str,
    file: File,
    contents: &'a Contents,
    /// What has been hashed, by where it begins: a list may name one file a million times.
    hashed: HashMap<u64, (Digest, bool)>,
}

impl<'a> Reader<'a> {
    fn new(what: &'a str, file: File, contents: &'a Contents) -> Self {
        Self { what, file, contents, hashed: HashMap::new() }
    }

    fn find(&self, name: &str) -> Result<Member, RegistryError> {
        self.contents.file(name).ok_or_else(|| {
            RegistryError::malformed(
                self.what,
                format!("expected the output of docker save; {name} is not in it"),
            )
        })
    }

    fn small(&mut self, name: &str) -> Result<Vec<u8>, RegistryError> {
        let member = self.find(name)?;
        self.whole(member)
    }

    /// A member's bytes, up to the size of a manifest.
    fn whole(&mut self, member: Member) -> Result<Vec<u8>, RegistryError> {
        if member.size > MAX_MANIFEST_LEN as u64 {
            return Err(RegistryError::too_large(self.what, "4 MiB for a document"));
        }
        let mut bytes = Vec::new();
        self.at(member)?.read_to_end(&mut bytes).map_err(|e| self.fails(&e))?;
        Ok(bytes)
    }

    fn at(&mut self, member: Member) -> Result<std::io::Take<&mut File>, RegistryError> {
        let place = SeekFrom::Start(member.offset);
        if let Err(e) = self.file.seek(place) {
            return Err(self.fails(&e));
        }
        Ok((&mut self.file).take(member.size))
    }

    fn fails(&self, error: &std::io::Error) -> RegistryError {
        RegistryError::File { path: self.what.to_owned(), message: error.to_string() }
    }

    /// The images of Docker's older form.
    fn docker(&mut self) -> Result<Vec<DockerImage>, RegistryError> {
        let list = self.small("manifest.json")?;
        let entries: Vec<Entry> = serde_json::from_slice(&list)
            .map_err(|e| RegistryError::malformed(self.what, format!("manifest.json: {e}")))?;
        let mut left = MAX_DOCUMENTS;
        let mut images = Vec::new();
        for entry in &entries {
            let image = self.docker_image(entry)?;
            // A list of 4 MiB can name the same large configuration over and over.
            let config = image.blobs.first().map_or(0, |(_, member)| member.size);
            left =
                left.checked_sub(config.saturating_add(image.manifest.descriptor.size)).ok_or_else(|| {
                    RegistryError::too_large(self.what, "64 MiB of configurations and manifests")
                })?;
            images.push(image);
        }
        Ok(images)
    }

    fn docker_image(&mut self, entry: &Entry) -> Result<DockerImage, RegistryError> {
        let member = self.find(&entry.config)?;
        let bytes = self.whole(member)?;
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|e| RegistryError::malformed(self.what, format!("{}: {e}", entry.config)))?;
        if config.rootfs.diff_ids.len() != entry.layers.len() {
            let message = "the configuration and the list do not name the same number of layers";
            return Err(RegistryError::malformed(self.what, message));
        }
        let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &bytes);
        let mut blobs = vec![(config_descriptor.digest, member)];
        let mut layers = Vec::new();
        for (name, diff_id) in entry.layers.iter().zip(&config.rootfs.diff_ids) {
            let member = self.find(name)?;
            let (digest, compressed) = self.hash(member)?;
            let expected = parse_digest(diff_id)
                .map_err(|_| RegistryError::malformed(self.what, "a layer's digest which is none"))?;
            if !compressed && digest != expected {
                return Err(RegistryError::wrong_digest(
                    format!("{name} in {}", self.what),
                    &expected,
                    &digest,
                ));
            }
            let ending = if compressed { "+gzip" } else { "" };
            let media_type = format!("{}{ending}", media_type::OCI_LAYER);
            layers.push(Descriptor { digest, size: member.size, ..Descriptor::of(&media_type, b"") });
            blobs.push((digest, member));
        }
        let document = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config_descriptor, "layers": layers,
        });
        let manifest = to_manifest(self.what, media_type::OCI_MANIFEST, &document)?;
        let tag_of = |name: &String| Some(Reference::parse(name).ok()?.tag()?.to_string());
        Ok(DockerImage { tags: entry.repo_tags.iter().filter_map(tag_of).collect(), manifest, blobs })
    }

    /// The digest of a member, and whether it is compressed.
    fn hash(&mut self, member: Member) -> Result<(Digest, bool), RegistryError> {
        if let Some(known) = self.hashed.get(&member.offset) {
            return Ok(*known);
        }
        let found = self.hash_anew(member)?;
        self.hashed.insert(member.offset, found);
        Ok(found)
    }

    fn hash_anew(&mut self, member: Member) -> Result<(Digest, bool), RegistryError> {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        let mut piece = vec![0; PIECE];
        let mut compressed = None;
        let what = self.what.to_owned();
        let mut bytes = self.at(member)?;
        loop {
            let count = bytes
                .read(&mut piece)
                .map_err(|e| RegistryError::File { path: what.clone(), message: e.to_string() })?;
            let read = piece.get(..count).unwrap_or_default();
            if read.is_empty() {
                return Ok((hasher.finish(), compressed.unwrap_or(false)));
            }
            compressed.get_or_insert(read.starts_with(&[0x1f, 0x8b]));
            hasher.update(read);
        }
    }
}

impl Store for Archive {
    fn place(&self) -> String {
        countersign_http::text::printable(&self.path.display().to_string())
    }

    fn fetch<'a>(&'a self, name: &'a Name) -> Pending<'a, Manifest> {
        Box::pin(async move { self.get_manifest(name) })
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, Blob> {
        Box::pin(self.open_blob(blob))
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, bool> {
        Box::pin(async move { Ok(self.member(&blob.digest).is_some_and(|member| member.size == blob.size)) })
    }

    fn listed_referrers<'a>(&'a self, _: &'a Digest) -> Pending<'a, Option<Vec<Descriptor>>> {
        Box::pin(async { Ok(None) })
    }

    fn put_blob<'a>(&'a self, _: &'a Descriptor, _: &'a Content) -> Pending<'a, ()> {
        Box::pin(async { Err(self.read_only()) })
    }

    fn put_manifest<'a>(&'a self, _: &'a Name, _: &'a Manifest) -> Pending<'a, Linked> {
        Box::pin(async { Err(self.read_only()) })
    }

    fn delete<'a>(&'a self, _: &'a Name) -> Pending<'a, ()> {
        Box::pin(async { Err(self.read_only()) })
    }

    fn tags(&self) -> Pending<'_, Vec<Tag>> {
        Box::pin(async move {
            match &self.images {
                Images::Layout(index) => Ok(index.tags()),
                Images::Docker(images) => {
                    let names = images.iter().flat_map(|image| &image.tags);
                    let mut tags: Vec<Tag> = names.filter_map(|name| Tag::parse(name).ok()).collect();
                    tags.sort();
                    tags.dedup();
                    Ok(tags)
                }
            }
        })
    }
}

impl Archive {
    fn read_only(&self) -> RegistryError {
        RegistryError::Usage(format!(
            "{} is an archive, which is only read; copy the image to a layout or a registry first",
            self.place()
        ))
    }
}
