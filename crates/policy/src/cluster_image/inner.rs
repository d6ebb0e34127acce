//! Policies within a policy: over one attestation, or over all that was verified.

use std::borrow::Cow;

use serde_json::Value;

use super::rego::{Rego, Verdict};
use super::schema::{Inner, Language};
use super::{CONTROLLER_NAMESPACE, cue};
use crate::access::ObjectName;
use crate::ask::{Ask, Stop};
use crate::question::{CouldNot, CouldNotReason};
use crate::read::ReadError;

/// A policy in Rego, or where it is.
#[derive(Debug, Clone)]
pub(super) enum Program {
    Here(Box<Rego>),
    ConfigMap {
        name: ObjectName,
        key: String,
    },
    /// One that is not evaluated, and why.
    Cue(String),
}

/// What a policy over all that was verified is shown beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) config: bool,
    pub(super) spec: bool,
    pub(super) metadata: bool,
    pub(super) type_meta: bool,
}

impl Program {
    /// Reads a policy over an attestation, which is shown nothing else.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn of_attestation(written: &Inner, path: &str) -> Result<Self, ReadError> {
        for (field, value) in [
            ("fetchConfigFile", written.fetch_config_file),
            ("includeSpec", written.include_spec),
            ("includeObjectMeta", written.include_object_meta),
            ("includeTypeMeta", written.include_type_meta),
        ] {
            if value.is_some() {
                let message =
                    "expected it in spec.policy only: a policy over an attestation sees the attestation";
                return Err(ReadError::new(format!("{path}.{field}"), message));
            }
        }
        Self::read(written, path)
    }

    /// Reads the policy over all that was verified. In CUE it is refused: nothing could pass.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn of_policy(written: &Inner, path: &str) -> Result<(Self, Shown), ReadError> {
        let shown = Shown {
            config: written.fetch_config_file.unwrap_or_default(),
            spec: written.include_spec.unwrap_or_default(),
            metadata: written.include_object_meta.unwrap_or_default(),
            type_meta: written.include_type_meta.unwrap_or_default(),
        };
        match Self::read(written, path)? {
            Self::Cue(advice) => Err(ReadError::new(format!("{path}.type"), advice)),
            program => Ok((program, shown)),
        }
    }

    fn read(written: &Inner, path: &str) -> Result<Self, ReadError> {
        let wrong = |field: &str, message: String| Err(ReadError::new(format!("{path}.{field}"), message));
        if let Some(remote) = &written.remote {
            return wrong(
                "remote",
                format!(
                    "expected data or configMapRef: nothing is fetched while a request waits. Fetch it once (curl -fsSL \
                     {} -o policy.rego; sha256sum policy.rego must say {}), and put the text there",
                    remote.url,
                    if remote.sha256sum.is_empty() { "what its author says" } else { &remote.sha256sum },
                ),
            );
        }
        match (&written.config_map_ref, written.data.trim(), written.language) {
            (Some(_), "", Language::Cue) => Ok(Self::Cue(cue::advice(""))),
            (Some(reference), "", Language::Rego) => {
                for (field, text) in [("name", &reference.name), ("key", &reference.key)] {
                    if text.is_empty() {
                        return wrong(
                            &format!("configMapRef.{field}"),
                            "expected a name, found nothing".into(),
                        );
                    }
                }
                let namespace = match reference.namespace.as_str() {
                    "" => CONTROLLER_NAMESPACE,
                    namespace => namespace,
                };
                let name = ObjectName { namespace: namespace.to_owned(), name: reference.name.clone() };
                Ok(Self::ConfigMap { name, key: reference.key.clone() })
            }
            (None, "", _) => {
                wrong("data", "expected the policy's text, or configMapRef, found neither".into())
            }
            (None, text, Language::Cue) => Ok(Self::Cue(cue::advice(text))),
            (None, text, Language::Rego) => match Rego::read(text) {
                Ok(rego) => Ok(Self::Here(Box::new(rego))),
                Err(error) => wrong("data", error),
            },
            (Some(_), ..) => wrong("configMapRef", "expected data or configMapRef, found both".into()),
        }
    }

    /// The program, fetched if it is elsewhere.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn ready(&self, ask: &Ask<'_>) -> Result<Cow<'_, Rego>, Stop> {
        match self {
            Self::Here(rego) => Ok(Cow::Borrowed(rego)),
            Self::Cue(advice) => Err(CouldNot::new(CouldNotReason::Unsupported, advice).into()),
            Self::ConfigMap { name, key } => {
                let data = ask.config_map(name)?;
                let Some(text) = data.get(key) else {
                    let text = format!(
                        "expected the policy under the key \"{key}\" of the ConfigMap {name}, found none"
                    );
                    return Err(CouldNot::new(CouldNotReason::NotFound, text).into());
                };
                Rego::read(text).map(Cow::Owned).map_err(|e| unusable(format!("the ConfigMap {name}: {e}")))
            }
        }
    }
}

/// Evaluates a policy.
///
/// # Errors
/// [`Stop`] when that cannot be done within its bounds.
pub(super) fn evaluate(rego: &Rego, input: &Value) -> Result<Verdict, Stop> {
    rego.evaluate(input).map_err(unusable)
}

fn unusable(text: String) -> Stop {
    CouldNot::new(CouldNotReason::Unusable, text).into()
}
