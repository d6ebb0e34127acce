//! Policies of other languages, written in our own.

use serde_json::{Map, Value};

use crate::cluster_image;
use crate::kyverno;
use crate::lint::Lint;
use crate::load::Document;
use crate::own::{API_VERSION, ImagePolicy};
use crate::read::ReadError;

/// A policy in our own language.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// One or several `ImagePolicy` objects, which together say the same.
    pub documents: Vec<Value>,
    /// Where they do not say quite the same.
    pub differences: Vec<Lint>,
}

/// Writes a policy in our own language.
///
/// # Errors
/// [`ReadError`]: it is malformed, or says something that our own language has no words for. Nothing is left out.
pub fn convert(document: &Document) -> Result<Converted, ReadError> {
    let converted = match (document.group(), document.kind.as_str()) {
        ("countersign.dev", "ImagePolicy") => {
            Converted { documents: vec![document.value.clone()], differences: Vec::new() }
        }
        ("kyverno.io", "ClusterPolicy" | "Policy") => kyverno::convert(&document.value)?,
        ("policies.kyverno.io", "ImageValidatingPolicy" | "NamespacedImageValidatingPolicy") => {
            kyverno::convert_image_validating(&document.value)?
        }
        ("policy.sigstore.dev", "ClusterImagePolicy") => cluster_image::convert(&document.value)?,
        _ => {
            let message = format!(
                "expected a policy over images (ClusterPolicy, ImageValidatingPolicy, ClusterImagePolicy), found {} of {}, which \
                 cannot be written as ImagePolicy; it is evaluated as it is",
                document.kind, document.api_version
            );
            return Err(ReadError::new("kind", message));
        }
    };
    // What is written must be what can be read.
    converted.documents.iter().try_for_each(|document| ImagePolicy::read(document).map(drop))?;
    Ok(converted)
}

/// An `ImagePolicy` of this name.
pub(crate) fn image_policy(name: &str, spec: &Map<String, Value>) -> Value {
    serde_json::json!({"apiVersion": API_VERSION, "kind": "ImagePolicy", "metadata": {"name": name}, "spec": spec})
}

/// That something cannot be said.
pub(crate) fn cannot<T>(path: impl Into<String>, what: &str) -> Result<T, ReadError> {
    Err(refused(path)(what.to_owned()))
}

/// The same for what is found out elsewhere.
pub(crate) fn refused(path: impl Into<String>) -> impl FnOnce(String) -> ReadError {
    let path = path.into();
    move |what| ReadError::new(path, format!("expected what an ImagePolicy can say, found {what}"))
}
