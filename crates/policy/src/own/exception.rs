//! Exceptions: what does not hold for a while, by whose decision, and why.

use countersign_registry::Reference;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::check_kind;
use super::explain::listed;
use super::images::Images;
use super::schema::Metadata;
use super::scope::namespace_globs;
use crate::decision::{PolicyName, RuleResult, Status};
use crate::pattern::Glob;
use crate::read::{ReadError, from_value};
use crate::request::Request;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    policies: Vec<String>,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    artifacts: Vec<String>,
    namespaces: Option<Vec<String>>,
    owner: String,
    reason: String,
    until: String,
}

/// A `PolicyException`, read and checked. It holds for policies of every language.
#[derive(Debug, Clone)]
pub struct PolicyException {
    name: String,
    policies: Vec<Glob>,
    images: Images,
    namespaces: Option<Vec<Glob>>,
    owner: String,
    reason: String,
    until: Timestamp,
}

impl PolicyException {
    /// Reads an object. Without an owner, a reason and an end there is none.
    ///
    /// # Errors
    /// [`ReadError`], naming the field.
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let object: Object = from_value(value)?;
        check_kind(&object.api_version, &object.kind, "PolicyException")?;
        let spec = object.spec;
        for (path, text, what) in [
            ("metadata.name", &object.metadata.name, "a name"),
            ("spec.owner", &spec.owner, "who answers for this, such as an e-mail address"),
            ("spec.reason", &spec.reason, "why this is needed"),
        ] {
            if text.trim().is_empty() {
                return Err(ReadError::new(path, format!("expected {what}, found an empty text")));
            }
        }
        if spec.policies.is_empty() {
            let message = "expected the name of at least one policy, found none";
            return Err(ReadError::new("spec.policies", message));
        }
        let policy = |(index, name): (usize, &String)| {
            Glob::wildcard(name).map_err(|e| ReadError::new(format!("spec.policies[{index}]"), e.to_string()))
        };
        Ok(Self {
            name: object.metadata.name,
            policies: spec.policies.iter().enumerate().map(policy).collect::<Result<_, _>>()?,
            images: Images::read(&spec.images, &[], &spec.artifacts)?,
            namespaces: spec
                .namespaces
                .as_deref()
                .map(|list| namespace_globs(list, "spec.namespaces"))
                .transpose()?,
            owner: spec.owner,
            reason: spec.reason,
            until: end(&spec.until).map_err(|e| ReadError::new("spec.until", e))?,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it ends.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// What it lets in, in plain words, line by line.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let mut lines = vec![
            format!("lets in the {}, whatever {} say", self.images.in_words(), listed(&self.policies)),
            format!("by {}, because: {}", self.owner, self.reason),
            format!("until {}", self.until),
        ];
        if let Some(namespaces) = &self.namespaces {
            lines.insert(1, format!("only in the namespaces {}", listed(namespaces)));
        }
        lines
    }

    /// Takes a result back if it is a refusal, or could not be had, and this holds for it.
    pub(crate) fn apply(&self, result: &mut RuleResult, request: &Request, now: Timestamp) {
        if matches!(result.status, Status::Skip | Status::Pass) || !self.holds(result, request, now) {
            return;
        }
        let Self { name, owner, reason, until, .. } = self;
        result.message =
            format!("excepted until {until} by {owner} ({name}: {reason}); without it: {}", result.message);
        result.properties.insert("exception".into(), name.clone());
        result.properties.insert("without_exception".into(), result.status.code().into());
        result.status = Status::Skip;
        result.reason = "exception".into();
    }

    fn holds(&self, result: &RuleResult, request: &Request, now: Timestamp) -> bool {
        let of_policy = names(&result.policy)
            .iter()
            .any(|name| self.policies.iter().any(|pattern| pattern.matches(name)));
        let of_namespace = self
            .namespaces
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(&request.namespace)));
        let of_image = match request.artifact.as_ref().map(|artifact| &artifact.name) {
            Some(name) => self.images.match_file(name),
            None => self.excepts_image(result),
        };
        now < self.until && of_policy && of_namespace && of_image
    }

    fn excepts_image(&self, result: &RuleResult) -> bool {
        match result.image.as_deref().map(Reference::parse) {
            Some(Ok(image)) => self.images.match_repository(image.repository()),
            // Of the object as a whole, or of what is no name of an image.
            Some(Err(_)) | None => self.images.are_all(),
        }
    }
}

/// What a policy is called: by its name, and with its kind before it.
fn names(policy: &PolicyName) -> [String; 2] {
    let name = match policy.namespace.as_str() {
        "" => policy.name.clone(),
        namespace => format!("{namespace}/{}", policy.name),
    };
    [format!("{}/{name}", policy.kind.code()), name]
}

/// The end of a day in UTC, or a moment.
fn end(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let day: Date = text.parse().ok().filter(|_| text.len() == 10).ok_or_else(|| {
        format!("expected a day such as 2026-12-31, or a moment in RFC 3339, found \"{text}\"")
    })?;
    let next = day.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC)).map_err(|e| e.to_string())?;
    Ok(next.timestamp())
}
