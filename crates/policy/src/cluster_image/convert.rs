//! A policy in our own language, as far as that has words for it.

use serde_json::{Map, Value, json};

use super::ClusterImagePolicy;
use super::authority::{Kind, Named, Said};
use super::schema::Document;
use crate::authority::Authority;
use crate::convert::{Converted, cannot, image_policy, refused};
use crate::decision::Action;
use crate::lint::Lint;
use crate::own::{Signers, shared};
use crate::read::{ReadError, from_value};

/// Writes a policy as one of our own.
///
/// # Errors
/// [`ReadError`], for what cannot be said.
pub(crate) fn convert(value: &Value) -> Result<Converted, ReadError> {
    let policy = ClusterImagePolicy::read(value)?;
    let written: Document = from_value(value)?;
    if !policy.resources.is_empty() {
        return cannot("spec.match", "some kinds of objects; everything that makes pods is judged");
    }
    if policy.policy.is_some() {
        return cannot("spec.policy", "a policy over all that was verified");
    }
    let mut differences = vec![Lint::new(
        "metadata",
        "every_namespace",
        "every namespace is judged; policy-controller judges those with the label policy.sigstore.dev/include. Add \
         namespaceSelector to mean these alone",
    )];
    let mut spec = Map::new();
    let mut images = Vec::new();
    for (index, pattern) in written.spec.images.iter().enumerate() {
        images.push(repository(&pattern.glob, &format!("spec.images[{index}].glob"), &mut differences)?);
    }
    spec.insert("images".into(), json!(images));
    signers(&policy.authorities, &mut spec, &mut differences)?;
    if policy.action == Action::Warn {
        spec.insert("action".into(), "warn".into());
    }
    Ok(Converted { documents: vec![image_policy(&policy.name, &spec)], differences })
}

/// A pattern over names as one over repositories.
fn repository(glob: &str, path: &str, differences: &mut Vec<Lint>) -> Result<String, ReadError> {
    let glob = match glob {
        "**" => return Ok(glob.to_owned()),
        "*" => "index.docker.io/library/*",
        "*/*" => "index.docker.io/*/*",
        other => other,
    };
    let name = glob.strip_suffix(":*").unwrap_or(glob);
    if name != glob {
        differences.push(Lint::new(path, "digests_too", "images that are named by digest alone match too"));
    }
    let Some((registry, rest)) = name.split_once('/') else {
        return cannot(path, "an image without its registry; write docker.io/library/…");
    };
    if !registry.contains(['.', ':', '*']) && registry != "localhost" {
        return cannot(path, "an image without its registry; write docker.io/library/…");
    }
    if rest.contains([':', '@']) {
        return cannot(path, "tags or digests in a pattern; a policy holds for a whole repository");
    }
    if name.split('/').any(|segment| segment.contains("**") && segment != "**") {
        return cannot(path, "two stars within a segment; they stand in a segment of their own");
    }
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    Ok(format!("{registry}/{rest}"))
}

/// Of the authorities one is enough.
fn signers(
    authorities: &[Named],
    spec: &mut Map<String, Value>,
    differences: &mut Vec<Lint>,
) -> Result<(), ReadError> {
    let mut found: Vec<(&Authority, &[Said], String)> = Vec::new();
    for (index, named) in authorities.iter().enumerate() {
        let path = format!("spec.authorities[{index}]");
        if !named.pull_secrets.is_empty() {
            return cannot(format!("{path}.source"), "credentials; those of the pod are used");
        }
        match &named.kind {
            Kind::Pass => return cannot(format!("{path}.static"), "images that may run without a signature"),
            Kind::Unsupported(_) => return cannot(path, "what cannot be checked here"),
            // It never holds, and the others are as they are.
            Kind::Fail(_) => {}
            Kind::Signed { authority, attestations } => found.push((authority, attestations, path)),
        }
    }
    let Some((first, said, path)) = found.first() else {
        return cannot("spec.authorities", "authorities of which none can hold");
    };
    let same = |other: &&(&Authority, &[Said], String)| {
        matches!((*said, other.1), ([one], [another]) if one.uri == another.uri)
            || said.is_empty() && other.1.is_empty()
    };
    if let Some((_, _, path)) = found.iter().skip(1).find(|other| !same(other)) {
        return cannot(path, "authorities of which one is enough, and which say different things");
    }
    if let Some(said) = found.iter().flat_map(|(_, said, _)| *said).find(|said| said.policy.is_some()) {
        return cannot(path, &format!("a policy over the attestation {}", said.name));
    }
    if !first.forms.bundles || !first.forms.older {
        let path = format!("{path}.signatureFormat");
        differences.push(Lint::new(path, "other_forms_too", "signatures of both forms count"));
    }
    let all: Vec<Signers> =
        found.iter().map(|(authority, ..)| Signers::One(Box::new((*authority).clone()))).collect();
    let by = match <[Signers; 1]>::try_from(all) {
        Ok([only]) => only,
        Err(several) => Signers::Several { need: 1, of: several },
    };
    let written = by.written().map_err(refused(path.as_str()))?;
    if said.is_empty() {
        spec.insert("signedBy".into(), written);
    } else {
        let attestation =
            |said: &Said| json!({"name": said.name, "predicate": said.uri, "signedBy": written});
        spec.insert("attestations".into(), said.iter().map(attestation).collect());
    }
    spec.extend(shared(&by.authorities()).map_err(refused(path.as_str()))?);
    Ok(())
}
