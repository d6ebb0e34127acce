//! policy-controller's policies: `ClusterImagePolicy` and `TrustRoot` of policy.sigstore.dev.
//!
//! An image that several policies are about must satisfy them all; of the authorities of one policy it must satisfy one.
//! Whether it may run if no policy is about it is a setting of all policies together, the [`PolicyController`].
//!
//! Where policy-controller reads a policy more loosely, [`lints`](crate::Policy::lints) say so:
//!
//! - regular expressions match the whole text; an identity has both parts, and a policy names somebody;
//! - patterns with a tag are also about the same repository by digest, unless that let something pass without a signature;
//! - Rego says yes if all its responses do; the log and the timestamp that a policy names are both needed.
//!
//! CUE is not evaluated: an authority that needs it never holds, and where CEL says the same it is told.

mod authority;
mod controller;
mod convert;
mod cue;
mod evaluate;
mod images;
mod inner;
mod rego;
mod schema;
mod trust_root;

use serde_json::Value;

use authority::{Kind, Named, Reader};
use images::{Images, Resource};
use inner::{Program, Shown};
use schema::{Document, Mode};

use crate::access::{Access, ObjectName};
use crate::decision::{Action, PolicyKind, PolicyName};
use crate::lint::Lint;
use crate::read::{ReadError, from_value};
use crate::request::Request;

pub use controller::{CONFIG_MAP, CONFIG_NAMESPACE, Namespaces, NoMatch, PolicyController, Settings};
pub(crate) use convert::convert;
pub use trust_root::{Compiled, RemoteRepository, TrustRootObject};

/// Where policy-controller looks for Secrets and ConfigMaps.
const CONTROLLER_NAMESPACE: &str = "cosign-system";
/// The group and versions of the objects.
const VERSIONS: [&str; 2] = ["policy.sigstore.dev/v1beta1", "policy.sigstore.dev/v1alpha1"];
/// The most authorities of one policy.
const MAX_AUTHORITIES: usize = 256;

/// A `ClusterImagePolicy`, read and checked.
///
/// ```
/// use countersign_policy::Policy as _;
/// use countersign_policy::cluster_image::ClusterImagePolicy;
/// let policy = ClusterImagePolicy::read(&serde_json::json!({
///     "apiVersion": "policy.sigstore.dev/v1beta1",
///     "kind": "ClusterImagePolicy",
///     "metadata": {"name": "signed-by-ci"},
///     "spec": {
///         "images": [{"glob": "ghcr.io/acme/**"}],
///         "authorities": [{"keyless": {"identities": [{
///             "issuer": "https://token.actions.githubusercontent.com",
///             "subjectRegExp": "https://github.com/acme/.*",
///         }]}}],
///     },
/// }))?;
/// assert_eq!(policy.name().to_string(), "ClusterImagePolicy signed-by-ci");
/// # Ok::<(), countersign_policy::ReadError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClusterImagePolicy {
    name: String,
    action: Action,
    images: Images,
    resources: Vec<Resource>,
    authorities: Vec<Named>,
    policy: Option<(Program, Shown)>,
    lints: Vec<Lint>,
}

impl ClusterImagePolicy {
    /// Reads an object.
    ///
    /// # Errors
    /// [`ReadError`]: what is wrong, where, and what to write.
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let document: Document = from_value(value)?;
        header(&document.api_version, &document.kind, "ClusterImagePolicy")?;
        if document.metadata.name.is_empty() {
            return Err(ReadError::new("metadata.name", "expected a name, found nothing"));
        }
        let spec = document.spec;
        let mut lints = Vec::new();
        let images = Images::read(&spec.images, &mut lints)?;
        let resource = |(index, written)| Resource::read(written, &format!("spec.match[{index}]"));
        let resources = spec.matches.iter().enumerate().map(resource).collect::<Result<Vec<_>, _>>()?;
        if spec.authorities.is_empty() {
            let message = "expected at least one authority, found none: nobody would have to sign";
            return Err(ReadError::new("spec.authorities", message));
        }
        if spec.authorities.len() > MAX_AUTHORITIES {
            return Err(ReadError::new("spec.authorities", format!("expected at most {MAX_AUTHORITIES}")));
        }
        let mut authorities: Vec<Named> = Vec::new();
        let mut reader = Reader { lints: &mut lints };
        for (index, written) in spec.authorities.iter().enumerate() {
            let path = format!("spec.authorities[{index}]");
            let authority = reader.read(written, index, &path)?;
            if authorities.iter().any(|other| other.name == authority.name) {
                let message =
                    format!("expected another name than the ones before, found \"{}\"", authority.name);
                return Err(ReadError::new(format!("{path}.name"), message));
            }
            authorities.push(authority);
        }
        let policy = match &spec.policy {
            None => None,
            Some(written) => Some(Program::of_policy(written, "spec.policy")?),
        };
        let action = match spec.mode.unwrap_or(Mode::Enforce) {
            Mode::Enforce => Action::Deny,
            Mode::Warn => Action::Warn,
        };
        Ok(Self { name: document.metadata.name, action, images, resources, authorities, policy, lints })
    }

    fn policy_name(&self) -> PolicyName {
        name(&self.name)
    }

    /// What the registries of one request may be asked with: pull secrets are those of the object's namespace.
    fn pull_secrets(&self, request: &Request) -> Access {
        let namespace = namespace_of(request);
        let secrets = self.authorities.iter().flat_map(|authority| &authority.pull_secrets);
        let name = |name: &String| ObjectName { namespace: namespace.to_owned(), name: name.clone() };
        Access { secrets: secrets.map(name).collect(), ..Access::default() }
    }

    /// Whether something may pass without a signature.
    fn passes_unsigned(&self) -> bool {
        self.authorities.iter().any(|authority| matches!(authority.kind, Kind::Pass))
    }
}

/// The name of a policy in decisions.
fn name(name: &str) -> PolicyName {
    PolicyName { kind: PolicyKind::ClusterImagePolicy, namespace: String::new(), name: name.to_owned() }
}

/// The namespace of a request's object; what is in a file without one goes into `default`.
fn namespace_of(request: &Request) -> &str {
    match request.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    }
}

/// Checks version and kind of an object.
fn header(api_version: &str, kind: &str, expected: &str) -> Result<(), ReadError> {
    if kind != expected {
        return Err(ReadError::new("kind", format!("expected {expected}, found {kind}")));
    }
    if !VERSIONS.contains(&api_version) {
        let message = format!("expected {}, found {api_version}", VERSIONS.join(" or "));
        return Err(ReadError::new("apiVersion", message));
    }
    Ok(())
}
