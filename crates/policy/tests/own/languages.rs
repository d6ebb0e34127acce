//! The same demand in each of the four languages.

use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::kyverno::{ClusterPolicy, ImageValidatingPolicy};
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Policy, ReadError};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Language {
    Own,
    ClusterPolicy,
    ImageValidating,
    ClusterImage,
}

pub(crate) const ALL: [Language; 4] =
    [Language::Own, Language::ClusterPolicy, Language::ImageValidating, Language::ClusterImage];

/// Who must have signed.
#[derive(Debug, Clone)]
pub(crate) enum Signer {
    /// The holder of a key, as PEM.
    Key(String),
    /// Who has this name from this issuer; patterns are regular expressions.
    Person { subject: &'static str, issuer: &'static str, patterns: bool },
}

fn object(version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "p"}, "spec": spec})
}

/// A policy over pods whose images match, which must be signed; or of which a statement of a type must be there.
pub(crate) fn policy(
    language: Language,
    pattern: &str,
    signer: &Signer,
    statement: Option<&str>,
) -> Result<Box<dyn Policy>, ReadError> {
    Ok(match language {
        Language::Own => Box::new(ImagePolicy::read(&own(pattern, signer, statement))?),
        Language::ClusterPolicy => {
            Box::new(ClusterPolicy::read(&cluster_policy(pattern, signer, statement))?)
        }
        Language::ImageValidating => {
            Box::new(ImageValidatingPolicy::read(&image_validating(pattern, signer, statement))?)
        }
        Language::ClusterImage => {
            Box::new(ClusterImagePolicy::read(&cluster_image(pattern, signer, statement))?)
        }
    })
}

fn own(pattern: &str, signer: &Signer, statement: Option<&str>) -> Value {
    let who = match signer {
        Signer::Key(pem) => json!({ "key": pem }),
        Signer::Person { subject, issuer, patterns: false } => json!({"subject": subject, "issuer": issuer}),
        Signer::Person { subject, issuer, patterns: true } => {
            json!({"subjectRegex": subject, "issuerRegex": issuer})
        }
    };
    let mut spec = json!({ "images": [pattern] });
    match statement {
        None => spec["signedBy"] = who,
        Some(kind) => spec["attestations"] = json!([{"predicate": kind, "signedBy": who}]),
    }
    object("countersign.dev/v1alpha1", "ImagePolicy", spec)
}

fn cluster_policy(pattern: &str, signer: &Signer, statement: Option<&str>) -> Value {
    let who = match signer {
        Signer::Key(pem) => json!({"keys": {"publicKeys": pem, "rekor": {"ignoreTlog": true}}}),
        Signer::Person { subject, issuer, patterns } => {
            let mut keyless = json!({"rekor": {"url": "https://log0.example"}});
            let ending = if *patterns { "RegExp" } else { "" };
            keyless[format!("subject{ending}")] = (*subject).into();
            keyless[format!("issuer{ending}")] = (*issuer).into();
            json!({ "keyless": keyless })
        }
    };
    let attestors = json!([{ "entries": [who] }]);
    let entry = match statement {
        None => json!({"imageReferences": [pattern], "attestors": attestors}),
        Some(kind) => {
            json!({"imageReferences": [pattern], "attestations": [{"type": kind, "attestors": attestors}]})
        }
    };
    let rule =
        json!({"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "verifyImages": [entry]});
    object("kyverno.io/v1", "ClusterPolicy", json!({"validationFailureAction": "Enforce", "rules": [rule]}))
}

fn image_validating(pattern: &str, signer: &Signer, statement: Option<&str>) -> Value {
    let who = match signer {
        Signer::Key(pem) => json!({"key": {"data": pem}, "ctlog": {"insecureIgnoreTlog": true}}),
        Signer::Person { subject, issuer, patterns } => {
            let ending = if *patterns { "RegExp" } else { "" };
            let identity = json!({format!("subject{ending}"): subject, format!("issuer{ending}"): issuer});
            json!({"keyless": {"identities": [identity]}, "ctlog": {"url": "https://log0.example"}})
        }
    };
    let call = match statement {
        None => "verifyImageSignatures(i, [attestors.a])",
        Some(_) => "verifyAttestationSignatures(i, attestations.s, [attestors.a])",
    };
    let lists = "(images.containers + images.initContainers + images.ephemeralContainers + images.volumes)";
    let kind = statement.unwrap_or("https://example.com/none");
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}]},
        "matchImageReferences": [{"glob": pattern}],
        "attestors": [{"name": "a", "cosign": who}],
        "attestations": [{"name": "s", "intoto": {"type": kind}}],
        "validations": [{"expression": format!("{lists}.all(i, {call} > 0)")}],
    });
    object("policies.kyverno.io/v1", "ImageValidatingPolicy", spec)
}

fn cluster_image(pattern: &str, signer: &Signer, statement: Option<&str>) -> Value {
    let mut who = match signer {
        Signer::Key(pem) => json!({"key": {"data": pem}}),
        Signer::Person { subject, issuer, patterns } => {
            let ending = if *patterns { "RegExp" } else { "" };
            let identity = json!({format!("subject{ending}"): subject, format!("issuer{ending}"): issuer});
            json!({"keyless": {"identities": [identity]}, "ctlog": {"url": "https://log0.example"}})
        }
    };
    if let Some(kind) = statement {
        who["attestations"] = json!([{"name": "s", "predicateType": kind}]);
    }
    object(
        "policy.sigstore.dev/v1beta1",
        "ClusterImagePolicy",
        json!({"images": [{"glob": pattern}], "authorities": [who]}),
    )
}
