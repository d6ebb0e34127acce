//! The scan itself: resource by resource, each image looked at once, a bounded number at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_client::policy::{Source, decide, decide_anew};
use countersign_clock::Clock;
use countersign_crypto::Digest;
use countersign_policy::statements::VULNERABLE;
use countersign_policy::{
    Access, CouldNotReason, Policy, PolicySet, Request, RuleResult, Status as RuleStatus,
};
use countersign_registry::{Reference, Repository};
use futures_util::future;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::control::Control;
use super::look::{self, Look, Outcome, Resolve};
use super::needs::{NO_POLICIES, unconfigured};
use super::report::{ControlResult, ImageResult, Report, ResourceResult, Status};
use super::resource::{Placed, Resource};
use super::running::{forms_of, is_image};
use super::settings::Settings;

/// The longest time that is spent on one image, or on the policies over one resource.
const BUDGET: Duration = Duration::from_secs(120);

/// What a scan does.
#[derive(Debug)]
pub struct ScanOptions {
    /// The controls.
    pub controls: Vec<Control>,
    /// What they are told.
    pub settings: Settings,
    /// The policies of [`Control::Policy`].
    pub policies: PolicySet,
    /// Where all evidence lies, if not beside its image.
    pub repository: Option<Repository>,
    /// How many resources are looked at at once.
    pub at_once: usize,
}

/// What is known of an image; whoever asks for the same meanwhile waits for the same answer.
type Once<K, V> = Mutex<HashMap<K, Arc<OnceCell<V>>>>;

/// What was asked, and with whose credentials: what some may see is nothing to others.
type Asked<T> = (Arc<Access>, T);

/// What controls say of a digest.
type Outcomes = Arc<BTreeMap<Control, Outcome>>;

/// Scans.
#[derive(Debug)]
pub struct Scanner {
    options: Arc<ScanOptions>,
    policies: Arc<PolicySet>,
    settings: Arc<Settings>,
    source: Arc<Source>,
    /// What was found before does not count.
    since: Option<Instant>,
    clock: Arc<dyn Clock + Send + Sync>,
    skipped: BTreeMap<Control, String>,
    tags: Once<Asked<String>, Result<Digest, Outcome>>,
    indexes: Once<Asked<String>, Result<Arc<Index>, Outcome>>,
    looks: Once<Asked<(Repository, Digest)>, Outcomes>,
}

/// An index, and what stands in it.
#[derive(Debug)]
struct Index {
    digest: Digest,
    images: BTreeSet<String>,
}

/// The one result with a digest, or why there is none.
fn one(results: Vec<RuleResult>) -> Result<(Digest, RuleResult), Outcome> {
    match results.into_iter().next() {
        Some(result) => match result.digest {
            Some(digest) => Ok((digest, result)),
            None => Err(Outcome::could_not(result.reason, result.message)),
        },
        None => Err(Outcome::could_not("unusable", "nobody answered")),
    }
}

/// The one cell of a key.
fn cell<K: Eq + Hash, V>(once: &Once<K, V>, key: K) -> Arc<OnceCell<V>> {
    once.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
}

impl Scanner {
    /// A scanner that finds its answers at this source.
    #[must_use]
    pub fn new(
        mut options: ScanOptions,
        source: impl Into<Arc<Source>>,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Self {
        let settings = Arc::new(options.settings.clone());
        let mut skipped = BTreeMap::new();
        for control in &options.controls {
            if let Some(why) = unconfigured(*control, &options) {
                skipped.insert(*control, why.to_owned());
            }
        }
        Self {
            policies: Arc::new(std::mem::take(&mut options.policies)),
            options: Arc::new(options),
            settings,
            source: source.into(),
            since: None,
            clock,
            skipped,
            tags: Mutex::default(),
            indexes: Mutex::default(),
            looks: Mutex::default(),
        }
    }

    /// The same scanner, which remembers nothing and counts nothing that was found before `since`.
    #[must_use]
    pub fn anew(&self, since: Instant) -> Self {
        Self {
            options: Arc::clone(&self.options),
            policies: Arc::clone(&self.policies),
            settings: Arc::clone(&self.settings),
            source: Arc::clone(&self.source),
            since: Some(since),
            clock: Arc::clone(&self.clock),
            skipped: self.skipped.clone(),
            tags: Mutex::default(),
            indexes: Mutex::default(),
            looks: Mutex::default(),
        }
    }

    /// The same scanner by other policies.
    #[must_use]
    pub fn by_policies(mut self, policies: Arc<PolicySet>) -> Self {
        self.skipped.remove(&Control::Policy);
        if self.options.controls.contains(&Control::Policy) && policies.iter().next().is_none() {
            self.skipped.insert(Control::Policy, NO_POLICIES.to_owned());
        }
        self.policies = policies;
        self
    }

    /// Whether whole objects are looked at, and not their images alone.
    #[must_use]
    pub fn needs_objects(&self) -> bool {
        self.options.controls.contains(&Control::Policy)
    }

    /// The controls that are skipped, and what they need.
    #[must_use]
    pub const fn skipped(&self) -> &BTreeMap<Control, String> {
        &self.skipped
    }

    /// Scans resources. The results stand in their order. A resource without images has none; of running pods of one workload
    /// that are alike, the first is looked at.
    pub async fn scan(&self, resources: impl IntoIterator<Item = Resource>) -> Report {
        self.scan_stream(stream::iter(resources)).await
    }

    /// Scans resources as they come; no more of them are held than are looked at.
    pub async fn scan_stream(&self, resources: impl Stream<Item = Resource>) -> Report {
        let mut seen = HashSet::new();
        let fresh = resources.filter(move |resource| {
            future::ready(match (&resource.owner, &resource.images) {
                (_, Ok(images)) if images.is_empty() => false,
                (Some(owner), Ok(images)) => {
                    seen.insert((resource.name.namespace.clone(), owner.clone(), images.clone()))
                }
                _ => true,
            })
        });
        let results: Vec<ResourceResult> = fresh
            .map(|resource| self.resource(resource))
            .buffered(self.options.at_once.max(1))
            .collect()
            .await;
        let time = self.clock.now().to_string();
        Report::new(time, &self.options.controls, &self.skipped, results)
    }

    async fn resource(&self, resource: Resource) -> ResourceResult {
        let Resource { name, images, object, access, lines, .. } = resource;
        let access = Arc::new(access);
        let active =
            || self.options.controls.iter().filter(|control| !self.skipped.contains_key(control)).copied();
        let images = match images {
            Ok(images) => images,
            Err(error) => {
                // What cannot be read is not without images.
                let outcome = Outcome::could_not(error.reason, error.message);
                let all =
                    active().map(|control| ControlResult::new(control, vec![whole(&outcome)])).collect();
                return ResourceResult { resource: name, controls: all };
            }
        };
        let mut by_control: BTreeMap<Control, Vec<ImageResult>> = BTreeMap::new();
        for placed in &images {
            let image = self.image(placed, &access).await;
            for control in active().filter(|control| *control != Control::Policy) {
                by_control.entry(control).or_default().push(image.result(placed, control, &self.settings));
            }
        }
        if active().any(|control| control == Control::Policy) {
            by_control.insert(Control::Policy, self.policies(object, &images, &access).await);
        }
        for image in by_control.values_mut().flatten() {
            image.line = lines.get(&image.path).copied();
        }
        let controls = active()
            .filter_map(|control| Some(ControlResult::new(control, by_control.remove(&control)?)))
            .collect();
        ResourceResult { resource: name, controls }
    }

    /// What is known of an image, looked at when a control needs it.
    async fn image(&self, placed: &Placed, access: &Arc<Access>) -> Image {
        let reference = match Reference::parse(&placed.image) {
            Ok(reference) => reference,
            Err(error) => {
                return Image {
                    reference: Err(error.to_string()),
                    digest: None,
                    moved: None,
                    outcomes: Err(Outcome::could_not("malformed", error.to_string())),
                };
            }
        };
        let looks: Vec<Control> = self
            .options
            .controls
            .iter()
            .filter(|c| c.looks() && !self.skipped.contains_key(c))
            .copied()
            .collect();
        let pinned = reference.digest().copied();
        let mut image = Image {
            reference: Ok(reference.clone()),
            digest: pinned.or(placed.running),
            moved: None,
            outcomes: Ok(Arc::default()),
        };
        if self.options.controls.contains(&Control::PinnedToDigest) {
            // A tag is not pinned, whatever it names by now.
            image.moved = self.moved(&reference, placed.running, access).await.unwrap_or_default();
        }
        if looks.is_empty() {
            return image;
        }
        let (digest, within, is_there) = match (pinned, placed.running) {
            (Some(digest), _) => (digest, None, false),
            (None, Some(digest)) => (digest, Some(reference.clone()), false),
            (None, None) => match self.resolve(&reference, access).await {
                Ok(digest) => (digest, None, true),
                Err(outcome) => {
                    image.outcomes = Err(outcome);
                    return image;
                }
            },
        };
        image.digest = Some(digest);
        let mut outcomes = self.look(reference.at(digest), is_there, &looks, access).await;
        let failed =
            |outcomes: &Outcomes| outcomes.values().any(|outcome| outcome.status == RuleStatus::Fail);
        if let Some(tag) = within.filter(|_| failed(&outcomes)) {
            outcomes = self.with_index((&tag, access), digest, outcomes, &looks).await;
        }
        image.outcomes = Ok(outcomes);
        image
    }

    async fn resolve(&self, reference: &Reference, access: &Arc<Access>) -> Result<Digest, Outcome> {
        let once = cell(&self.tags, (access.clone(), reference.to_string()));
        let resolve = || async { Ok(one(self.decide(Resolve(reference.clone()), access).await)?.0) };
        once.get_or_init(resolve).await.clone()
    }

    /// The evidence of an index is evidence of the images in it: what does not hold for the one that runs may hold for the
    /// index behind the tag that it was drawn by.
    async fn with_index(
        &self,
        (tag, access): (&Reference, &Arc<Access>),
        digest: Digest,
        outcomes: Outcomes,
        looks: &[Control],
    ) -> Outcomes {
        let other = match self.index(tag, access).await {
            // A tag that is gone has no index, and the image was looked at.
            Err(outcome) if outcome.reason == CouldNotReason::NotFound.code() => return outcomes,
            Err(outcome) => Arc::new(looks.iter().map(|control| (*control, outcome.clone())).collect()),
            Ok(index) if !index.images.contains(&digest.to_string()) => return outcomes,
            Ok(index) => self.look(tag.at(index.digest), true, looks, access).await,
        };
        let better = |(control, own): (&Control, &Outcome)| {
            let outcome =
                if own.status == RuleStatus::Fail { other.get(control).unwrap_or(own) } else { own };
            (*control, outcome.clone())
        };
        Arc::new(outcomes.iter().map(better).collect())
    }

    async fn index(&self, tag: &Reference, access: &Arc<Access>) -> Result<Arc<Index>, Outcome> {
        let once = cell(&self.indexes, (access.clone(), tag.to_string()));
        let read = || async {
            let found = one(self.decide(look::Index(tag.clone()), access).await)?;
            Ok(Arc::new(Index { digest: found.0, images: found.1.properties.into_keys().collect() }))
        };
        once.get_or_init(read).await.clone()
    }

    async fn look(
        &self,
        image: Reference,
        is_there: bool,
        controls: &[Control],
        access: &Arc<Access>,
    ) -> Outcomes {
        let Some(digest) = image.digest().copied() else { return Arc::default() };
        let once = cell(&self.looks, (access.clone(), (image.repository().clone(), digest)));
        let look = || async {
            let look = Look {
                image,
                digest,
                is_there,
                controls: controls.to_vec(),
                settings: self.settings.clone(),
                repository: self.options.repository.clone(),
                listed: Arc::default(),
            };
            let listed = look.listed.clone();
            let results = self.decide(look, access).await;
            let listed = std::mem::take(&mut *listed.lock().unwrap_or_else(PoisonError::into_inner));
            let mut outcomes = BTreeMap::new();
            for result in results {
                let mut outcome = Outcome::new(result.status, result.reason, result.message);
                match Control::parse(&result.rule) {
                    Some(control) => {
                        outcome.vulnerabilities = listed.get(&control).cloned().unwrap_or_default();
                        outcomes.insert(control, outcome);
                    }
                    // The look as a whole ended so.
                    None => outcomes.extend(controls.iter().map(|control| (*control, outcome.clone()))),
                }
            }
            Arc::new(outcomes)
        };
        once.get_or_init(look).await.clone()
    }

    async fn decide(&self, policy: impl Policy + 'static, access: &Access) -> Vec<RuleResult> {
        let set = PolicySet::new(vec![Box::new(policy)]);
        let request = Request { access: access.clone(), ..Request::of_object(Value::Null) };
        self.decided(&set, &request).await
    }

    async fn decided(&self, policies: &PolicySet, request: &Request) -> Vec<RuleResult> {
        let (source, clock) = (&self.source, &*self.clock);
        let decision = match self.since {
            None => decide(policies, request, source, clock, BUDGET).await,
            Some(since) => decide_anew(policies, request, source, clock, BUDGET, since).await,
        };
        decision.results
    }

    /// What is different about a tag by now, when something runs that was drawn by it.
    ///
    /// # Errors
    /// Why that cannot be told.
    async fn moved(
        &self,
        tag: &Reference,
        running: Option<Digest>,
        access: &Arc<Access>,
    ) -> Result<Option<String>, Outcome> {
        let Some(running) = running.filter(|_| tag.digest().is_none()) else { return Ok(None) };
        match self.index(tag, access).await {
            Ok(index) if index.digest == running || index.images.contains(&running.to_string()) => Ok(None),
            Ok(index) => Ok(Some(format!("{running} runs, and the tag names {} now", index.digest))),
            Err(outcome) if outcome.reason == CouldNotReason::NotFound.code() => {
                Ok(Some(format!("{running} runs, and the tag is gone")))
            }
            Err(outcome) => Err(outcome),
        }
    }

    /// What the given policies say of a resource: by what its tags name, and by what runs where that is something else.
    async fn policies(
        &self,
        object: Option<Value>,
        images: &[Placed],
        access: &Arc<Access>,
    ) -> Vec<ImageResult> {
        let Some(object) = object else {
            let outcome =
                Outcome::could_not("no_object", "policies are about objects, and this one was not kept");
            return vec![whole(&outcome)];
        };
        let (mut moved, mut unknown) = (Vec::new(), Vec::new());
        for placed in images {
            let Ok(tag) = Reference::parse(&placed.image) else { continue };
            match self.moved(&tag, placed.running, access).await {
                Ok(is) => {
                    moved.extend(placed.running.filter(|_| is.is_some()).map(|digest| (placed, digest)))
                }
                // What runs may be something else than what the policies judge below.
                Err(outcome) => unknown.push(placed_result(placed, &outcome)),
            }
        }
        let mut results: Vec<RuleResult> = Vec::new();
        for object in forms_of(object, images, &moved) {
            let background = Request::of_object(object);
            let request = Request { background: true, access: (**access).clone(), ..background };
            for result in self.decided(&self.policies, &request).await {
                if !results.contains(&result) {
                    results.push(result);
                }
            }
        }
        if results.is_empty() {
            let why = "no policy is about this resource";
            return vec![whole(&Outcome::new(RuleStatus::Skip, NO_POLICY, why))];
        }
        results.into_iter().map(|result| of_rule(result, images)).chain(unknown).collect()
    }
}

/// The reason of a resource that no policy is about.
pub(crate) const NO_POLICY: &str = "no_policy";

/// A result about the object as a whole.
fn whole(outcome: &Outcome) -> ImageResult {
    ImageResult {
        path: String::new(),
        list: String::new(),
        container: String::new(),
        image: String::new(),
        digest: None,
        policy: None,
        status: status(outcome.status),
        reason: outcome.reason.clone(),
        message: outcome.message.clone(),
        next: String::new(),
        known: false,
        line: None,
        vulnerabilities: outcome.vulnerabilities.clone(),
    }
}

fn placed_result(placed: &Placed, outcome: &Outcome) -> ImageResult {
    ImageResult {
        path: placed.path.clone(),
        list: placed.kind.code().into(),
        container: placed.container.clone(),
        image: placed.image.clone(),
        ..whole(outcome)
    }
}

fn of_rule(result: RuleResult, images: &[Placed]) -> ImageResult {
    let rule = if result.rule.is_empty() { String::new() } else { format!(", rule {}", result.rule) };
    let policy = format!("{}{rule}", result.policy);
    let outcome = Outcome::new(result.status, result.reason, format!("{} ({policy})", result.message));
    let is = |placed: &&Placed| result.image.as_ref().is_some_and(|image| is_image(&placed.image, image));
    let place = images.iter().find(is);
    let mut found = place.map_or_else(|| whole(&outcome), |placed| placed_result(placed, &outcome));
    found.digest = result.digest.map(|digest| digest.to_string());
    found.policy = Some(policy);
    found
}

const fn status(status: RuleStatus) -> Status {
    match status {
        RuleStatus::Skip => Status::Skipped,
        RuleStatus::Pass => Status::Passed,
        RuleStatus::Fail => Status::Failed,
        RuleStatus::Error => Status::Unchecked,
    }
}

/// What is known of an image.
struct Image {
    reference: Result<Reference, String>,
    digest: Option<Digest>,
    /// What is different about its tag by now.
    moved: Option<String>,
    outcomes: Result<Outcomes, Outcome>,
}

impl Image {
    fn result(&self, placed: &Placed, control: Control, settings: &Settings) -> ImageResult {
        let outcome = match (&self.reference, &self.outcomes) {
            (Err(why), _) => Outcome::could_not("malformed", why),
            (Ok(reference), _) if !control.looks() => by_name(reference, control, settings),
            (Ok(_), Err(outcome)) => outcome.clone(),
            (Ok(_), Ok(outcomes)) => outcomes
                .get(&control)
                .cloned()
                .unwrap_or_else(|| Outcome::could_not("unusable", "nobody answered")),
        };
        let mut result = placed_result(placed, &outcome);
        if let Some(moved) = self.moved.as_ref().filter(|_| control == Control::PinnedToDigest) {
            result.message = format!("{}; {moved}", result.message);
        }
        result.digest = self.digest.map(|digest| digest.to_string());
        if matches!(result.status, Status::Failed | Status::Unchecked) {
            result.next = self.next(control, &result, placed);
        }
        result
    }

    /// The next command or step.
    fn next(&self, control: Control, result: &ImageResult, placed: &Placed) -> String {
        let Ok(reference) = &self.reference else {
            return format!("write the name of an image at {}", placed.path);
        };
        let image =
            self.digest.map_or_else(|| reference.to_string(), |digest| reference.at(digest).to_string());
        let scan = || {
            format!(
                "scan it (trivy image --format cosign-vuln -o scan.json {image}), then countersign attest --type vuln \
                 --predicate scan.json {image}"
            )
        };
        match (control, result.status) {
            (Control::ForbiddenRegistries | Control::AllowedRegistries, _) => {
                format!("countersign copy {image} REGISTRY/REPOSITORY, then name that at {}", placed.path)
            }
            (Control::PinnedToDigest, _) => format!("countersign triangulate --type digest {reference}"),
            (_, Status::Unchecked) => format!("countersign tree {image}"),
            (Control::SignatureExists, _) => format!("countersign sign {image}"),
            (Control::Sbom, _) => format!("countersign attest --type spdxjson --predicate FILE {image}"),
            (Control::Provenance, _) => {
                format!("countersign attest --type slsaprovenance1 --predicate FILE {image}")
            }
            (Control::ScanFresh, _) => scan(),
            // Before anything is mended, somebody has to know what is broken.
            (Control::Vulnerabilities, _) if result.reason != VULNERABLE => scan(),
            (Control::Vulnerabilities, _) => format!(
                "build it anew with what is fixed; or have somebody trusted say that it does no harm: countersign attest \
                 --type openvex --predicate FILE {image}"
            ),
            (Control::SignatureVerifies | Control::Policy | Control::ProvenanceLevel, _) => {
                format!("countersign tree {image}")
            }
        }
    }
}

/// The controls that an image's name answers.
fn by_name(reference: &Reference, control: Control, settings: &Settings) -> Outcome {
    let repository = reference.repository();
    let holding = |list: &[super::registries::RepositoryPrefix]| {
        list.iter().find(|prefix| prefix.holds(repository)).map(ToString::to_string)
    };
    match control {
        Control::ForbiddenRegistries => match holding(&settings.forbidden) {
            Some(prefix) => Outcome::fail(
                "forbidden_registry",
                format!("{repository} is in {prefix}, which is forbidden"),
            ),
            None => Outcome::pass(format!("{repository} is in none that is forbidden")),
        },
        Control::AllowedRegistries => match holding(&settings.allowed) {
            Some(prefix) => Outcome::pass(format!("{repository} is in {prefix}")),
            None => Outcome::fail(
                "registry_not_allowed",
                format!("{repository} is in none of the registries that are allowed"),
            ),
        },
        Control::PinnedToDigest if reference.digest().is_some() => Outcome::pass("a digest is named"),
        Control::PinnedToDigest => match holding(&settings.unpinned) {
            Some(prefix) => Outcome::pass(format!("images of {prefix} need no digest")),
            None => Outcome::fail("no_digest", "it is named by its tag, which may be another image tomorrow"),
        },
        _ => Outcome::could_not("unusable", "the registry was not asked"),
    }
}
