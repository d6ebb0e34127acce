//! Where what somebody signed lies and runs: repositories that are named, and a cluster.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use countersign_bundle::Bundle;
use countersign_client::image::{Images, bundle_of, claims, targets};
use countersign_client::incident::{is_by, verify_image};
use countersign_clock::Timestamp;
use countersign_crypto::Digest;
use countersign_kubernetes::api::{Listing, Namespaces};
use countersign_registry::evidence::{Form, Search, discover};
use countersign_registry::{Reference, Repository, Store as _};
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::Revocations;
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::args::cluster::connect;
use crate::failure::Failure;

/// The most tags of a repository that are looked through.
const MAX_TAGS: usize = 10_000;

/// What is looked for, and by whose trust it counts.
pub(super) struct Looking<'a> {
    pub(super) wanted: &'a Revocations,
    pub(super) material: &'a TrustMaterial,
    pub(super) now: Timestamp,
}

/// What was found in places.
#[derive(Default)]
pub(super) struct Places {
    /// Images that were signed, each with its tags.
    pub(super) images: Vec<SignedImage>,
    /// Where they run.
    pub(super) runs: Vec<Runs>,
    /// Whether a cluster was asked.
    pub(super) asked_cluster: bool,
    /// What could not be looked at, and why.
    pub(super) unseen: Vec<String>,
    /// Signatures that say they are by what is looked for, and do not verify.
    pub(super) doubtful: Vec<String>,
    /// All manifests that go with a signed image, to be recognised in a cluster.
    affected: HashSet<Digest>,
    /// What was asked for already.
    asked: BTreeMap<String, bool>,
}

/// An image that was signed.
#[derive(Serialize)]
pub(super) struct SignedImage {
    #[serde(serialize_with = "text")]
    pub(super) image: Reference,
    pub(super) named: String,
    pub(super) signer: String,
    #[serde(skip)]
    pub(super) bundle: Bundle,
}

fn text<S: serde::Serializer>(image: &Reference, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(image)
}

/// A container that runs what was signed.
#[derive(Serialize)]
pub(super) struct Runs {
    pub(super) workload: String,
    pub(super) container: String,
    pub(super) image: String,
    pub(super) digest: String,
}

impl Places {
    /// Remembers digests that were named or found in the log.
    pub(super) fn know(&mut self, digests: impl IntoIterator<Item = Digest>) {
        self.affected.extend(digests);
    }

    /// Looks through all tags of a repository.
    pub(super) async fn repository(&mut self, images: &Images, repository: &str, looking: &Looking<'_>) {
        let listed = async {
            let repository = Repository::parse(repository)?;
            let place = Reference::parse(&format!("{repository}:latest"))?;
            let tags = images.home(&place).tags().await?;
            let own = tags.into_iter().filter(|tag| !tag.as_str().starts_with("sha256-"));
            let all = own.map(|tag| Reference::parse(&format!("{repository}:{}", tag.as_str())));
            all.collect::<Result<Vec<_>, _>>()
        };
        match listed.await {
            Ok(all) if all.len() > MAX_TAGS => {
                self.unseen.push(format!("{repository}: it has more than {MAX_TAGS} tags"));
            }
            Ok(all) => {
                for image in all {
                    if let Err(why) = self.image(images, &image, looking).await {
                        self.unseen.push(format!("{image}: {}", why.message));
                    }
                }
            }
            Err(why) => self.unseen.push(format!("{repository}: {why}")),
        }
    }

    /// Looks at the signatures of an image and of what belongs to it; whether one is by what is looked for.
    async fn image(
        &mut self,
        images: &Images,
        image: &Reference,
        looking: &Looking<'_>,
    ) -> Result<bool, Failure> {
        let all = targets(images, std::slice::from_ref(image), true).await?;
        let mut is_signed = false;
        for target in &all {
            let digest = target.descriptor.digest;
            let named = target.reference.to_string();
            if let Some(known) = self.asked.get(&named) {
                is_signed |= known;
                continue;
            }
            let found = discover(&images.evidence(&target.reference), &digest, &Search::default()).await?;
            let mut own = false;
            for piece in found {
                let bundle = match bundle_of(&piece) {
                    Some(Ok(bundle)) => bundle,
                    Some(Err(why)) => {
                        self.unseen.push(format!("a signature of {named}: {why}"));
                        continue;
                    }
                    None => {
                        if piece.form == Form::Notary {
                            self.unseen.push(format!("a signature of {named}: a {}", piece.form.name()));
                        }
                        continue;
                    }
                };
                if !is_by(&bundle, &digest, looking.wanted, looking.now) {
                    continue;
                }
                own = true;
                if let Err(why) = verify_image(&bundle, digest, looking.material, looking.now) {
                    self.doubtful.push(format!("{named}: {why}"));
                    continue;
                }
                let signer = claims(&piece).signer.unwrap_or_default();
                let (image, named) = (target.reference.clone(), image.to_string());
                self.images.push(SignedImage { image, named, signer, bundle });
            }
            self.asked.insert(named, own);
            is_signed |= own;
        }
        if is_signed {
            // An index runs as one of its images, and an image in an index as the index.
            self.affected.extend(all.iter().map(|target| target.descriptor.digest));
        }
        Ok(is_signed)
    }

    /// Looks at what a cluster runs, and at the signatures of that.
    pub(super) async fn cluster(
        &mut self,
        images: &Images,
        kubeconfig: Option<PathBuf>,
        context: Option<&str>,
        looking: &Looking<'_>,
    ) {
        self.asked_cluster = true;
        let client = match connect(kubeconfig.as_deref(), context).await {
            Ok(client) => client,
            Err(why) => return self.unseen.push(format!("the cluster: {}", why.message)),
        };
        let listing = Listing { namespaces: Namespaces::default(), whole: false, secrets: false };
        let mut resources = Box::pin(listing.start(client));
        while let Some(resource) = resources.next().await {
            let workload = resource.name.to_string();
            let placed = match resource.images {
                Ok(placed) => placed,
                Err(why) => {
                    self.unseen.push(format!("{workload}: {why}"));
                    continue;
                }
            };
            for placed in placed {
                let Some(digest) = placed.running else {
                    self.unseen.push(format!(
                        "{}, in {workload}: the cluster does not say its digest",
                        placed.image
                    ));
                    continue;
                };
                let asked = async {
                    let named = Reference::parse(&placed.image)?;
                    self.image(images, &named.at(digest), looking).await
                };
                if let Err(why) = asked.await {
                    self.unseen
                        .push(format!("the signatures of {}, in {workload}: {}", placed.image, why.message));
                }
                if self.affected.contains(&digest) {
                    let (workload, digest) = (workload.clone(), digest.to_string());
                    let (container, image) = (placed.container, placed.image);
                    self.runs.push(Runs { workload, container, image, digest });
                }
            }
        }
    }
}
