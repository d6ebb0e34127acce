//! A policy over the images of a request: authority by authority, and the policy over all that was verified.

use std::collections::BTreeMap;

use countersign_crypto::Digest;
use countersign_registry::Reference;
use countersign_verify::{Payload, Signer};
use serde_json::{Map, Value, json};

use super::ClusterImagePolicy;
use super::authority::{Kind, Named, Said};
use super::inner::{self, Program, Shown};
use super::rego::Verdict;
use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::decision::{Action, Pin, PolicyName, RuleResult, Status};
use crate::evaluate::Policy;
use crate::images::ImageUse;
use crate::judge::{Fact, What};
use crate::lint::Lint;
use crate::question::{CouldNot, CouldNotReason};
use crate::request::{Operation, Request};

/// The most images of an index whose configurations are shown to a policy.
const MAX_PLATFORMS: usize = 32;
/// The rule in results about authorities.
const RULE: &str = "authorities";

impl Policy for ClusterImagePolicy {
    fn name(&self) -> PolicyName {
        self.policy_name()
    }

    fn access_for(&self, request: &Request) -> Access {
        self.pull_secrets(request)
    }

    fn lints(&self) -> Vec<Lint> {
        self.lints.clone()
    }

    fn evaluate(&self, request: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let (mut results, mut pins, mut open) = (Vec::new(), Vec::new(), false);
        for image in images(request)? {
            match self.judge(&image, request, ask) {
                Ok(None) => {}
                Ok(Some((result, pin))) => {
                    results.push(result);
                    pins.extend(pin);
                }
                Err(Stop::Open) => open = true,
                Err(stop) => return Err(stop),
            }
        }
        if open { Err(Stop::Open) } else { Ok((results, pins)) }
    }
}

/// The images of a request that are to be judged. What goes, a status, and who looks into a container bring none.
///
/// # Errors
/// [`Stop`] for an object whose images cannot be read.
pub(super) fn images(request: &Request) -> Result<Vec<ImageUse>, Stop> {
    let changes = matches!(request.operation, Operation::Create | Operation::Update);
    if !changes || request.subresource == "status" {
        return Ok(Vec::new());
    }
    request.judged_images().map_err(|e| CouldNot::new(CouldNotReason::Unusable, e.to_string()).into())
}

/// What came of an authority.
enum Found {
    /// It holds: what a policy over all is shown of it, and who signed.
    Holds(Value, Vec<String>),
    /// It does not: a stable code, and words.
    No(String, String),
}

/// How a policy ended for an image.
struct Ended {
    status: Status,
    reason: String,
    message: String,
}

impl Ended {
    fn new(status: Status, reason: &str, message: String) -> Self {
        Self { status, reason: reason.to_owned(), message }
    }

    fn could_not(could_not: &CouldNot) -> Self {
        Self::new(Status::Error, could_not.reason.code(), could_not.text.clone())
    }
}

impl ClusterImagePolicy {
    /// Judges one image; `None` if the policy is not about it.
    ///
    /// # Errors
    /// [`Stop::Open`].
    pub(super) fn judge(
        &self,
        found: &ImageUse,
        request: &Request,
        ask: &Ask<'_>,
    ) -> Result<Option<(RuleResult, Option<Pin>)>, Stop> {
        if !self.resources.is_empty() && !self.resources.iter().any(|resource| resource.matches(request)) {
            return Ok(None);
        }
        let image = match Reference::parse(&found.image) {
            Ok(image) => image,
            // Nobody can tell which policies are about it, so that it satisfies none.
            Err(error) => {
                let ended = Ended::new(Status::Fail, "image_malformed", error.to_string());
                let result = self.result(found, None, ended);
                return Ok(Some((RuleResult { action: Action::Deny, ..result }, None)));
            }
        };
        if !self.images.match_image(&image, &found.image, self.passes_unsigned()) {
            return Ok(None);
        }
        let judged = Judging { policy: self, image: &image, request, ask }.all();
        let (ended, digest) = match judged {
            Ok(judged) => judged,
            Err(Stop::Open) => return Err(Stop::Open),
            Err(Stop::CouldNot(could_not)) => (Ended::could_not(&could_not), None),
        };
        let message = format!("{}: {}", found.image, ended.message);
        let pin =
            digest.filter(|_| ended.status == Status::Pass && image.digest().is_none()).map(|digest| Pin {
                pointer: found.pointer.clone(),
                from: found.image.clone(),
                to: format!("{}@{digest}", found.image),
            });
        Ok(Some((self.result(found, digest, Ended { message, ..ended }), pin)))
    }

    fn result(&self, found: &ImageUse, digest: Option<Digest>, ended: Ended) -> RuleResult {
        RuleResult {
            policy: self.policy_name(),
            rule: RULE.into(),
            image: Some(found.image.clone()),
            digest,
            status: ended.status,
            action: self.action,
            fail_closed: true,
            reason: ended.reason,
            message: ended.message,
            properties: BTreeMap::new(),
            decided_by: Vec::new(),
            level: None,
        }
    }
}

struct Judging<'a> {
    policy: &'a ClusterImagePolicy,
    image: &'a Reference,
    request: &'a Request,
    ask: &'a Ask<'a>,
}

impl Judging<'_> {
    /// One authority must hold, and then the policy over all that was verified.
    fn all(&self) -> Result<(Ended, Option<Digest>), Stop> {
        let (mut matches, mut signers, mut refused) = (Map::new(), Vec::new(), Vec::new());
        let (mut could_not, mut open) = (None::<CouldNot>, false);
        for authority in &self.policy.authorities {
            match self.authority(authority) {
                Ok(Found::Holds(shown, by)) => {
                    matches.insert(authority.name.clone(), shown);
                    signers.extend(by);
                    // A policy over all wants all that hold.
                    if self.policy.policy.is_none() {
                        break;
                    }
                }
                Ok(Found::No(reason, text)) => {
                    refused.push((reason, format!("{}: {text}", authority.name)));
                }
                Err(Stop::Open) => open = true,
                Err(Stop::CouldNot(stop)) => could_not = could_not.or(Some(stop)),
            }
        }
        if open && (matches.is_empty() || self.policy.policy.is_some()) {
            return Err(Stop::Open);
        }
        // A pass without a signature asks nothing, and pins nothing.
        let verified = matches.values().any(|shown| shown.get("static").is_none());
        let digest = if verified { Some(self.ask.digest(self.image)?) } else { self.image.digest().copied() };
        if matches.is_empty() {
            return Ok((self.nobody(&refused, could_not), digest));
        }
        let ended = match (&self.policy.policy, could_not) {
            (None, _) => Ended::new(Status::Pass, "verified", held(&matches, &signers)),
            (Some((program, shown)), could_not) => {
                match (self.over_all(program, *shown, &matches)?, could_not) {
                    (Verdict::Yes, _) => Ended::new(Status::Pass, "verified", held(&matches, &signers)),
                    // With what could not be checked, it might have said yes.
                    (Verdict::No(text), Some(could_not)) => {
                        let text = format!("spec.policy: {text}; not checked: {}", could_not.text);
                        Ended::new(Status::Error, could_not.reason.code(), text)
                    }
                    (Verdict::No(text), None) => {
                        Ended::new(Status::Fail, "policy_not_met", format!("spec.policy: {text}"))
                    }
                }
            }
        };
        Ok((ended, digest))
    }

    /// No authority holds.
    fn nobody(&self, refused: &[(String, String)], could_not: Option<CouldNot>) -> Ended {
        let why: Vec<&str> = refused.iter().map(|(_, text)| text.as_str()).collect();
        let why = why.join("; ");
        match (could_not, refused.first()) {
            (Some(could_not), _) => {
                let text = if why.is_empty() { could_not.text } else { format!("{}; {why}", could_not.text) };
                Ended::new(Status::Error, could_not.reason.code(), text)
            }
            (None, first) => {
                let reason = first.map_or("no_authority", |(reason, _)| reason.as_str());
                let text = format!("no authority holds: {why}; see countersign tree {}", self.image);
                Ended::new(Status::Fail, reason, text)
            }
        }
    }

    fn authority(&self, named: &Named) -> Result<Found, Stop> {
        match &named.kind {
            Kind::Pass => Ok(Found::Holds(json!({"static": true}), Vec::new())),
            Kind::Fail(message) => {
                let text = if message.is_empty() { "refused by a static policy" } else { message.as_str() };
                Ok(Found::No("static_fail".into(), text.to_owned()))
            }
            Kind::Unsupported(why) => {
                Err(CouldNot::new(CouldNotReason::Unsupported, format!("{}: {why}", named.name)).into())
            }
            Kind::Signed { authority, attestations } if attestations.is_empty() => self.signatures(authority),
            Kind::Signed { authority, attestations } => self.attestations(authority, attestations),
        }
    }

    fn signatures(&self, authority: &Authority) -> Result<Found, Stop> {
        let judgement = self.ask.judge(self.image, authority, &What::Signature)?;
        if let Some(no) = refusal(&judgement, "a signature") {
            return Ok(no);
        }
        let shown: Vec<Value> = judgement.facts.iter().map(|fact| Value::Object(signature(fact))).collect();
        Ok(Found::Holds(json!({"signatures": shown}), judgement.facts.iter().filter_map(signer).collect()))
    }

    /// All that must have been said was said, each by one statement at least.
    fn attestations(&self, authority: &Authority, wanted: &[Said]) -> Result<Found, Stop> {
        let (mut shown, mut signers, mut no) = (Map::new(), Vec::new(), None);
        let mut stopped = None;
        for said in wanted {
            match self.attestation(authority, said) {
                Ok(Ok(facts)) => {
                    signers.extend(facts.iter().filter_map(signer));
                    let list = facts.iter().map(|fact| {
                        let mut shown = signature(fact);
                        shown.insert("predicateType".into(), said.predicate_type.clone().into());
                        Value::Object(shown)
                    });
                    shown.insert(said.name.clone(), list.collect());
                }
                Ok(Err(found)) => no = no.or(Some(found)),
                // The rest is asked for along with it.
                Err(stop) => stopped = stopped.or(Some(stop)),
            }
        }
        match (no, stopped) {
            (Some(no), _) => Ok(no),
            (None, Some(stop)) => Err(stop),
            (None, None) => Ok(Found::Holds(json!({"attestations": shown}), signers)),
        }
    }

    /// The statements of a type that are as they must be; or why there is none.
    fn attestation(&self, authority: &Authority, said: &Said) -> Result<Result<Vec<Fact>, Found>, Stop> {
        let judgement = self.ask.judge(self.image, authority, &What::Statement(vec![said.uri.clone()]))?;
        if let Some(no) = refusal(&judgement, &format!("a statement of type {}", said.uri)) {
            return Ok(Err(no));
        }
        let Some(program) = &said.policy else { return Ok(Ok(judgement.facts.clone())) };
        let rego = program.ready(self.ask)?;
        let (mut facts, mut why) = (Vec::new(), None);
        for fact in &judgement.facts {
            match inner::evaluate(&rego, &statement(fact)?)? {
                Verdict::Yes => facts.push(fact.clone()),
                Verdict::No(text) => why = why.or(Some((fact.evidence, text))),
            }
        }
        match why {
            Some((evidence, text)) if facts.is_empty() => {
                let text = format!(
                    "{}: the statement {evidence} is there, and is not as it must be: {text}",
                    said.name
                );
                Ok(Err(Found::No("policy_not_met".into(), text)))
            }
            _ => Ok(Ok(facts)),
        }
    }

    fn over_all(
        &self,
        program: &Program,
        shown: Shown,
        matches: &Map<String, Value>,
    ) -> Result<Verdict, Stop> {
        let rego = program.ready(self.ask)?;
        let object = &self.request.object;
        let part = |name: &str| object.get(name).cloned().unwrap_or_default();
        let mut input = Map::from_iter([("authorityMatches".to_owned(), Value::Object(matches.clone()))]);
        if shown.config {
            input.insert("config".into(), Value::Object(self.configs()?));
        }
        if shown.spec {
            input.insert("spec".into(), part("spec"));
        }
        if shown.metadata {
            input.insert("metadata".into(), part("metadata"));
        }
        if shown.type_meta {
            input.insert("typemeta".into(), json!({"kind": part("kind"), "apiVersion": part("apiVersion")}));
        }
        inner::evaluate(&rego, &Value::Object(input))
    }

    /// The configurations of the image, by platform.
    fn configs(&self) -> Result<Map<String, Value>, Stop> {
        let data = self.ask.image(self.image)?;
        if let Some(config) = &data.config {
            return Ok(Map::from_iter([(platform(config), config.clone())]));
        }
        let unusable = |text: &str| Stop::from(CouldNot::new(CouldNotReason::Unusable, text));
        let manifests = data.manifest.get("manifests").and_then(Value::as_array);
        let manifests = manifests.ok_or_else(|| unusable("expected an image or an index of images"))?;
        if manifests.len() > MAX_PLATFORMS {
            return Err(unusable(&format!("expected an index of at most {MAX_PLATFORMS} images")));
        }
        let (mut configs, mut open) = (Map::new(), false);
        for manifest in manifests {
            let digest = manifest.get("digest").and_then(Value::as_str).unwrap_or_default();
            let image = Reference::parse(&format!("{}@{digest}", self.image.repository()));
            let image = image.map_err(|e| unusable(&e.to_string()))?;
            match self.ask.image(&image) {
                Ok(data) => {
                    let config = data.config.clone();
                    let config = config.ok_or_else(|| unusable("expected an image in an index"))?;
                    configs.insert(platform(&config), config);
                }
                Err(Stop::Open) => open = true,
                Err(stop) => return Err(stop),
            }
        }
        if open { Err(Stop::Open) } else { Ok(configs) }
    }
}

/// Why a judgement does not hold.
fn refusal(judgement: &crate::judge::Judgement, kind: &str) -> Option<Found> {
    if judgement.holds() {
        return None;
    }
    let (reason, mut text) = match judgement.rejection() {
        Some(rejection) => (rejection.reason.code(), format!("expected {kind}: {rejection}")),
        None => ("internal", "a judgement with neither a fact nor a refusal".to_owned()),
    };
    if !judgement.passed_over.is_empty() {
        let others: Vec<&str> = judgement.passed_over.iter().map(String::as_str).collect();
        text.push_str(&format!(" (of other types there is {})", others.join(", ")));
    }
    Some(Found::No(reason.to_owned(), text))
}

fn held(matches: &Map<String, Value>, signers: &[String]) -> String {
    let names: Vec<&str> = matches.keys().map(String::as_str).collect();
    let by = if signers.is_empty() { String::new() } else { format!(", signed by {}", signers.join(", ")) };
    format!("{} of the policy's authorities holds{by}", names.join(", "))
}

/// Who signed, by name.
fn signer(fact: &Fact) -> Option<String> {
    fact.verified.signer().identity().map(str::to_owned)
}

/// What a policy is shown of a signature.
fn signature(fact: &Fact) -> Map<String, Value> {
    let signer = fact.verified.signer();
    let mut shown = Map::from_iter([("id".to_owned(), Value::from(fact.evidence.to_hex()))]);
    let mut show = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            shown.insert(name.to_owned(), value.into());
        }
    };
    show("subject", signer.identity());
    show("issuer", signer.issuer());
    if let Signer::Certificate(certificate) = signer {
        let fulcio = certificate.fulcio();
        for (arc, name) in [
            (2, "githubWorkflowTrigger"),
            (3, "githubWorkflowSha"),
            (4, "githubWorkflowName"),
            (5, "githubWorkflowRepo"),
            (6, "githubWorkflowRef"),
        ] {
            show(name, fulcio.get(arc));
        }
    }
    shown
}

/// The statement that was verified, from the bytes that were signed.
fn statement(fact: &Fact) -> Result<Value, Stop> {
    let unusable = |text: String| Stop::from(CouldNot::new(CouldNotReason::Unusable, text));
    match fact.verified.value() {
        Payload::Statement { bytes, .. } => {
            serde_json::from_slice(bytes).map_err(|e| unusable(format!("the statement: {e}")))
        }
        _ => Err(unusable("expected a statement, found a signature".into())),
    }
}

/// A platform as policy-controller writes it: `os/architecture`, with variant and version where there are any.
fn platform(config: &Value) -> String {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut platform = text("os").to_owned();
    for (before, name) in [('/', "architecture"), ('/', "variant"), (':', "os.version")] {
        if !text(name).is_empty() {
            platform.push(before);
            platform.push_str(text(name));
        }
    }
    platform
}
