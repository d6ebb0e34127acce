//! `ImageValidatingPolicy` and `NamespacedImageValidatingPolicy` of `policies.kyverno.io`: conditions in CEL, which ask for
//! signatures and statements by functions.
//!
//! | file | subject |
//! |---|---|
//! | `schema` | the objects as they are written |
//! | `autogen` | a policy for pods becomes one for what makes pods |
//! | `constraints` | which requests |
//! | `expressions` | what expressions may speak of |
//! | `attestors` | who |
//! | `variant` | a policy, read |
//! | `images` | the images of an object, and which of them |
//! | `functions` | the functions over images; an evaluation |
//! | `evaluate` | a policy over a request |
//! | `exception` | policies that do not hold for some requests |
//! | `convert` | a policy in our own language |
//!
//! # Where this differs from Kyverno
//! - `required` means that this policy verified each image it is about; in Kyverno another one may have done so.
//! - An image that is pinned by the same policy counts as pinned. Images of volumes are images (`images.volumes`), and what
//!   `images` extracts adds to the containers.
//! - A change that brings no new image is not verified again; conditions which speak of more than images are.
//! - Rules over pods are about containers that are put into them (`pods/ephemeralcontainers`).
//! - `extractPayload` gives what `verifyAttestationSignatures` verified in this evaluation and nothing else; of several
//!   statements that hold, the one that was signed last; where nobody says when, the first that the registry has.
//! - When somebody who may have signed could not be checked, and the condition does not hold without them, the answer is
//!   "could not be checked".
//! - Functions that ask others than registries, referrers as attestations, TUF repositories and `mode: JSON` are refused.

mod attestors;
mod autogen;
mod constraints;
mod convert;
mod evaluate;
mod exception;
mod expressions;
mod functions;
mod images;
mod schema;
mod variant;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub(super) use self::autogen::replaced as in_template;
pub(crate) use self::convert::convert;
pub(super) use self::exception::Excepted;
use self::schema::{ActionName, FailurePolicy, Object, Spec};
use self::variant::Variant;
use crate::access::Access;
use crate::decision::{Action, PolicyKind, PolicyName};
use crate::kyverno::cluster::shared;
use crate::kyverno::object::timeout;
use crate::lint::Lint;
use crate::read::{ReadError, from_value};

/// The versions of the API in which these policies are the same.
const VERSIONS: [&str; 3] =
    ["policies.kyverno.io/v1", "policies.kyverno.io/v1beta1", "policies.kyverno.io/v1alpha1"];

/// An `ImageValidatingPolicy` or `NamespacedImageValidatingPolicy`, read and checked.
#[derive(Debug)]
pub struct ImageValidatingPolicy {
    name: PolicyName,
    /// As it is written, and as it is for what makes pods. No request is meant by two.
    variants: Vec<Variant>,
    action: Action,
    fail_closed: bool,
    background: bool,
    admission: bool,
    access: Access,
    /// How long the API server is to wait for an answer, if the policy says.
    timeout: Option<Duration>,
    /// Severity and category.
    properties: BTreeMap<String, String>,
    lints: Vec<Lint>,
}

impl ImageValidatingPolicy {
    /// Reads an object, with Kyverno's defaults where it says nothing.
    ///
    /// # Errors
    /// [`ReadError`], naming the field.
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let object: Object = from_value(value)?;
        let name = name_of(&object)?;
        let namespace = name.namespace.as_str();
        let spec: Spec = from_value(&object.spec).map_err(|error| error.within("spec"))?;
        if !matches!(spec.evaluation.mode.as_str(), "" | "Kubernetes") {
            let message = format!("expected Kubernetes, found {}", spec.evaluation.mode);
            return Err(ReadError::new("spec.evaluation.mode", message));
        }
        let timeout_seconds =
            timeout(spec.webhook_configuration.timeout_seconds, "spec.webhookConfiguration.timeoutSeconds")?;
        let mut access = match &spec.credentials {
            Some(given) => shared::credentials(given, namespace, "spec.credentials")?,
            None => Access::default(),
        };
        access.secrets.extend(attestors::pull_secrets(&spec.attestors, namespace)?);
        let (action, fail_closed) =
            (action(&spec.validation_actions)?, spec.failure_policy != Some(FailurePolicy::Ignore));
        let enabled = |of: &schema::Enabled| of.enabled.unwrap_or(true);
        let (background, admission) =
            (enabled(&spec.evaluation.background), enabled(&spec.evaluation.admission));
        let generated = autogen::generated(&spec, &object.spec)?;
        let mut lints = Vec::new();
        let mut variants = vec![Variant::read(spec, namespace, &mut lints)?];
        for written in &generated {
            let spec: Spec = from_value(written).map_err(|error| error.within("spec"))?;
            // What is to be said of it was said of the policy as it is written.
            variants.push(Variant::read(spec, namespace, &mut Vec::new())?);
        }
        Ok(Self {
            variants,
            action,
            fail_closed,
            background,
            admission,
            access,
            timeout: timeout_seconds.map(|seconds| Duration::from_secs(seconds.into())),
            properties: object.metadata.properties(),
            lints,
            name,
        })
    }
}

fn name_of(object: &Object) -> Result<PolicyName, ReadError> {
    if !VERSIONS.contains(&object.api_version.as_str()) {
        let message = format!("expected {}, found {}", VERSIONS.join(" or "), object.api_version);
        return Err(ReadError::new("apiVersion", message));
    }
    let metadata = &object.metadata;
    let (kind, namespace) = match object.kind.as_str() {
        // Whatever stands there, one of the cluster is in no namespace.
        "ImageValidatingPolicy" => (PolicyKind::ImageValidatingPolicy, String::new()),
        "NamespacedImageValidatingPolicy" => {
            let namespace =
                if metadata.namespace.is_empty() { "default" } else { metadata.namespace.as_str() };
            (PolicyKind::NamespacedImageValidatingPolicy, namespace.to_owned())
        }
        other => {
            let message =
                format!("expected ImageValidatingPolicy or NamespacedImageValidatingPolicy, found {other}");
            return Err(ReadError::new("kind", message));
        }
    };
    if metadata.name.is_empty() {
        return Err(ReadError::new("metadata.name", "expected a name, found none"));
    }
    Ok(PolicyName { kind, namespace, name: metadata.name.clone() })
}

/// What is done when the answer is no. Nothing said means that it is refused.
fn action(actions: &[ActionName]) -> Result<Action, ReadError> {
    let has = |action: ActionName| actions.contains(&action);
    if has(ActionName::Deny) && has(ActionName::Warn) {
        let message = "expected Deny or Warn, found both, which Kubernetes refuses";
        return Err(ReadError::new("spec.validationActions", message));
    }
    Ok(if actions.is_empty() || has(ActionName::Deny) {
        Action::Deny
    } else if has(ActionName::Warn) {
        Action::Warn
    } else {
        Action::Audit
    })
}
