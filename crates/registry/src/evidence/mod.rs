//! Evidence beside an image: every form in use, found at once, each labelled with what it is and where it was.
//!
//! Nothing here verifies. What is found is material for the engine, and an error of the registry is an error, never
//! an empty list.

mod attach;
mod attached;
mod discover;
mod notary;

use std::collections::{BTreeMap, BTreeSet};

use countersign_crypto::Digest;

use crate::reference::Tag;
use crate::{Descriptor, RegistryError};

pub use attach::{
    Envelope, Material, SimpleSigned, attach_attestation, attach_bundle, attach_sbom, attach_signature,
    remove,
};
pub(crate) use attach::{add_layers, keeps_list};
pub use attached::{Attached, attached};
pub use discover::{discover, list};
pub use notary::attach_notary;

/// What a piece of evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Form {
    /// A Sigstore bundle, as cosign v3 and GitHub write it.
    Bundle,
    /// cosign's older signature: the payload, with signature and certificate in annotations.
    CosignSignature,
    /// cosign's older attestation: a DSSE envelope, with certificate in annotations.
    CosignAttestation,
    /// cosign's older bill of materials: a document which nobody signed.
    CosignSbom,
    /// An in-toto statement or envelope as a referrer.
    InToto,
    /// An attestation of BuildKit inside the image's index, which nobody signed.
    Buildkit,
    /// A signature of the Notary Project.
    Notary,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ReferrersApi, Self::ReferrersTag, Self::OlderTag, Self::ImageIndex];
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Bundle,
        Self::CosignSignature,
        Self::CosignAttestation,
        Self::CosignSbom,
        Self::InToto,
        Self::Buildkit,
        Self::Notary,
    ];

    /// Whether this form carries a signature at all.
    #[must_use]
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::CosignSbom | Self::Buildkit)
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bundle => "Sigstore bundle",
            Self::CosignSignature => "cosign signature (older form)",
            Self::CosignAttestation => "cosign attestation (older form)",
            Self::CosignSbom => "bill of materials (not signed)",
            Self::InToto => "in-toto attestation",
            Self::Buildkit => "BuildKit attestation (not signed)",
            Self::Notary => "Notary Project signature",
        }
    }
}

/// Where a piece of evidence was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The registry or the layout lists it among the referrers.
    ReferrersApi,
    /// The index at the referrers tag lists it.
    ReferrersTag,
    /// One of cosign's older tags.
    OlderTag,
    /// The index of the image itself.
    ImageIndex,
}

/// cosign's older tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OlderTag {
    /// `sha256-<hex>.sig`
    Signature,
    /// `sha256-<hex>.att`
    Attestation,
    /// `sha256-<hex>.sbom`
    Sbom,
}

impl OlderTag {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Signature, Self::Attestation, Self::Sbom];

    /// The tag for an image.
    #[must_use]
    pub fn of(self, image: &Digest) -> Tag {
        Tag::of_evidence(image, self.ending())
    }

    /// The tag for an image where all tags of evidence begin with these letters.
    ///
    /// # Errors
    /// [`RegistryError::Usage`]: with them it is no tag.
    pub fn with_prefix(self, prefix: &str, image: &Digest) -> Result<Tag, RegistryError> {
        Tag::parse(&format!("{prefix}{}", self.of(image)))
    }

    const fn ending(self) -> &'static str {
        match self {
            Self::Signature => ".sig",
            Self::Attestation => ".att",
            Self::Sbom => ".sbom",
        }
    }

    /// What its layers are.
    #[must_use]
    pub fn form(self) -> Form {
        match self {
            Self::Signature => Form::CosignSignature,
            Self::Attestation => Form::CosignAttestation,
            Self::Sbom => Form::CosignSbom,
        }
    }
}

/// What to look for, and how much of it at most.
#[derive(Debug, Clone)]
pub struct Search {
    /// The forms.
    pub forms: BTreeSet<Form>,
    /// Where to look.
    pub origins: BTreeSet<Origin>,
    /// The types of statements; none for any. A referrer whose entry names another type is passed over unread.
    pub predicate_types: BTreeSet<String>,
    /// What cosign's older tags begin with, for whoever copied evidence under a prefix; mostly nothing.
    pub tag_prefix: String,
    /// The most pieces of evidence.
    pub max_count: usize,
    /// The most bytes of evidence, all pieces together.
    pub max_bytes: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            forms: Form::ALL.into(),
            origins: Origin::ALL.into(),
            predicate_types: BTreeSet::new(),
            tag_prefix: String::new(),
            max_count: 100,
            max_bytes: 128 << 20,
        }
    }
}

impl Search {
    /// A search for these forms alone. Fewer forms, fewer requests.
    #[must_use]
    pub fn of(forms: impl IntoIterator<Item = Form>) -> Self {
        Self { forms: forms.into_iter().collect(), ..Self::default() }
    }
}

/// A piece of evidence that is there, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub form: Form,
    /// Where it was.
    pub origin: Origin,
    /// The manifest that holds it.
    pub manifest: Descriptor,
    /// Its document in that manifest.
    pub layer: Descriptor,
    /// Its annotations: of the layer for cosign's older forms, of the manifest for others.
    pub annotations: BTreeMap<String, String>,
}

/// A piece of evidence with its bytes, which have the digest of its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub form: Form,
    /// Where it was.
    pub origin: Origin,
    /// The manifest that holds it.
    pub manifest: Descriptor,
    /// Its document in that manifest.
    pub layer: Descriptor,
    /// Its annotations: of the layer for cosign's older forms, of the manifest for others.
    pub annotations: BTreeMap<String, String>,
    /// The document.
    pub bytes: Vec<u8>,
}
