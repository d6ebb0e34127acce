//! Images: signed, attested, verified and looked at where they lie, in a registry or a layout on disk.
//!
//! A tag is resolved once; from there on there are digests only. What a registry says is material for the engine, and
//! that it could not be asked is never taken for "there is none".

mod claims;
mod sign;
mod verify;

use countersign_registry::{Reference, Registry, RemoteRepository, Repository};

pub use claims::{Claims, claims};
pub use countersign_policy::bundle_of;
pub use sign::{Attesting, Forms, Made, Signing, Target, attest, each, sign, targets};
pub use verify::{Checks, ImageReport, Piece, Place, Wanted, verify_image};

/// The registries of one run, and where evidence lies if not beside its image.
#[derive(Debug, Clone)]
pub struct Images {
    registry: Registry,
    evidence: Option<Repository>,
}

impl Images {
    /// `evidence` is one repository for the evidence of all images, as cosign's `COSIGN_REPOSITORY` names it.
    #[must_use]
    pub const fn new(registry: Registry, evidence: Option<Repository>) -> Self {
        Self { registry, evidence }
    }

    /// Where an image lies.
    #[must_use]
    pub fn home(&self, image: &Reference) -> RemoteRepository {
        self.registry.repository(image.repository())
    }

    /// Where the evidence of an image lies.
    #[must_use]
    pub fn evidence(&self, image: &Reference) -> RemoteRepository {
        self.registry.repository(self.evidence.as_ref().unwrap_or_else(|| image.repository()))
    }
}
