//! The webhook's own configurations: the `caBundle`, and rules for custom resources that policies look into.
//!
//! Rules that people wrote stay. Those that are added here stand in an annotation as well, so that they are taken away again
//! when no policy needs them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::encoding::base64_encode;
use countersign_policy::CustomObject;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::discovery::Discovery;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Trouble, in_time};
use crate::admit::Admission;
use crate::certificate::Certificates;

/// How often the configurations are looked at. Somebody may have applied the manifests again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often it is asked which group serves a kind.
const DISCOVER_AGAIN: Duration = Duration::from_secs(60);
/// How long that may take: each group is asked.
const DISCOVERY: Duration = Duration::from_secs(30);
/// Where the rules stand that were added.
const ADDED: &str = "countersign.dev/added-rules";

/// Keeps the bundle and the rules right in the mutating and the validating configuration of this name, for ever.
pub async fn keep_configurations(
    client: Client,
    name: String,
    certificates: Arc<Certificates>,
    admission: Arc<Admission>,
) {
    let kinds = [
        ApiResource::erase::<MutatingWebhookConfiguration>(&()),
        ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
    ];
    let mut served = Served::default();
    let mut tick = tokio::time::interval(LOOK_AGAIN);
    loop {
        tick.tick().await;
        let bundle = base64_encode(certificates.bundle().as_bytes());
        // Before the policies are known, nobody knows which rules are needed.
        let rules = match admission.policies() {
            Some(policies) => served.rules(&client, &policies.custom_objects()).await,
            None => None,
        };
        for kind in &kinds {
            match put(&client, kind, &name, &bundle, rules.as_deref()).await {
                Ok(true) => tracing::info!(kind = kind.kind, name, "the configuration was put right"),
                // Another replica was faster.
                Ok(false) | Err(Trouble::Conflict) => {}
                Err(error) => {
                    tracing::warn!(%error, kind = kind.kind, name, "the configuration cannot be put right");
                }
            }
        }
    }
}

/// Which rules the objects need, and when that was found out.
#[derive(Default)]
struct Served(Option<(Instant, BTreeSet<CustomObject>, Vec<Value>)>);

impl Served {
    /// The rules for these objects; `None` while nobody can tell.
    async fn rules(&mut self, client: &Client, objects: &BTreeSet<CustomObject>) -> Option<Vec<Value>> {
        if let Some((at, known, rules)) = &self.0
            && known == objects
            && (at.elapsed() < DISCOVER_AGAIN || !has_kinds(objects))
        {
            return Some(rules.clone());
        }
        let rules = match resources(client, objects).await {
            Ok(resources) => resources.iter().map(|(group, resource)| rule(group, resource)).collect(),
            Err(error) => {
                tracing::warn!(
                    error,
                    "the API server cannot be asked which groups serve the kinds of policies"
                );
                return None;
            }
        };
        self.0 = Some((Instant::now(), objects.clone(), rules));
        self.0.as_ref().map(|(_, _, rules)| rules.clone())
    }
}

fn has_kinds(objects: &BTreeSet<CustomObject>) -> bool {
    objects.iter().any(|object| matches!(object, CustomObject::Kind(_)))
}

/// The objects by group and plural name. A kind that nobody serves is none: nobody can make one.
async fn resources(
    client: &Client,
    objects: &BTreeSet<CustomObject>,
) -> Result<BTreeSet<(String, String)>, String> {
    let mut found = BTreeSet::new();
    let all = match has_kinds(objects) {
        false => None,
        true => {
            let asked = tokio::time::timeout(DISCOVERY, Discovery::new(client.clone()).run()).await;
            let asked = asked.map_err(|_| format!("no answer within {} s", DISCOVERY.as_secs()))?;
            Some(asked.map_err(|e| e.to_string())?)
        }
    };
    for object in objects {
        match object {
            CustomObject::Resource { group, resource } => {
                found.insert((group.clone(), resource.clone()));
            }
            CustomObject::Kind(kind) => {
                let groups = all.iter().flat_map(Discovery::groups);
                let served = groups.flat_map(|group| group.resources_by_stability());
                let same = served.filter(|(resource, _)| resource.kind == *kind);
                found.extend(same.map(|(resource, _)| (resource.group, resource.plural)));
            }
        }
    }
    Ok(found)
}

/// A rule as the API server gives it back.
fn rule(group: &str, resource: &str) -> Value {
    json!({"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource],
        "scope": "*"})
}

/// Puts a configuration right. False when it was.
async fn put(
    client: &Client,
    kind: &ApiResource,
    name: &str,
    bundle: &str,
    rules: Option<&[Value]>,
) -> Result<bool, Trouble> {
    let api = Api::<DynamicObject>::all_with(client.clone(), kind);
    let mut object = in_time(api.get(name)).await?;
    let bundled = set_bundle(&mut object.data, bundle);
    if !rules.is_some_and(|rules| set_rules(&mut object, rules)) && !bundled {
        return Ok(false);
    }
    // Under the version that was read: what somebody else changes meanwhile is not undone.
    in_time(api.replace(name, &PostParams::default(), &object)).await.map(|_| true)
}

fn webhooks(configuration: &mut Value) -> impl Iterator<Item = &mut Value> {
    configuration.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets the bundle of every webhook. False when there was nothing to do.
fn set_bundle(configuration: &mut Value, bundle: &str) -> bool {
    let mut changed = false;
    for webhook in webhooks(configuration) {
        let Some(client) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) else { continue };
        if client.get("caBundle").and_then(Value::as_str) != Some(bundle) {
            client.insert("caBundle".into(), bundle.into());
            changed = true;
        }
    }
    changed
}

/// Adds the rules that are wanted to every webhook, and takes away those that were added before and are not. False when
/// there was nothing to do.
fn set_rules(object: &mut DynamicObject, wanted: &[Value]) -> bool {
    let annotation = object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ADDED));
    let before: Vec<Value> = annotation.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let (mut changed, mut added) = (false, Vec::new());
    for webhook in webhooks(&mut object.data) {
        let Some(fields) = webhook.as_object_mut() else { continue };
        let Some(rules) = fields.entry("rules").or_insert_with(|| json!([])).as_array_mut() else { continue };
        let old = rules.clone();
        rules.retain(|rule| !before.contains(rule));
        for rule in wanted {
            if !rules.contains(rule) {
                rules.push(rule.clone());
                if !added.contains(rule) {
                    added.push(rule.clone());
                }
            }
        }
        changed |= *rules != old;
    }
    if changed || added != before {
        let annotations = object.metadata.annotations.get_or_insert_default();
        match added.is_empty() {
            true => drop(annotations.remove(ADDED)),
            false => drop(annotations.insert(ADDED.into(), Value::from(added).to_string())),
        }
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_webhook_gets_the_bundle_and_the_rest_stays() {
        let mut configuration = json!({"webhooks": [
            {"name": "a", "clientConfig": {"service": {"name": "s"}}, "unknown": 1},
            {"name": "b", "clientConfig": {"url": "https://x", "caBundle": "old"}}]});
        assert!(set_bundle(&mut configuration, "new"));
        assert_eq!(
            configuration,
            json!({"webhooks": [
                {"name": "a", "clientConfig": {"service": {"name": "s"}, "caBundle": "new"}, "unknown": 1},
                {"name": "b", "clientConfig": {"url": "https://x", "caBundle": "new"}}]})
        );
        assert!(!set_bundle(&mut configuration, "new"), "nothing is written for nothing");
    }

    #[test]
    fn rules_are_added_and_taken_away_again_and_those_of_people_stay() {
        let own = json!({"apiGroups": ["apps"], "resources": ["deployments"]});
        let (task, pipeline) = (rule("tekton.dev", "tasks"), rule("tekton.dev", "pipelines"));
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration", "metadata": {"name": "countersign-admission"},
            "webhooks": [{"name": "a", "rules": [own, pipeline]}, {"name": "b"}]});
        let mut object: DynamicObject = serde_json::from_value(configuration.clone()).unwrap();
        let wanted = [task.clone(), pipeline.clone()];
        assert!(set_rules(&mut object, &wanted));
        assert_eq!(object.data["webhooks"][0]["rules"], json!([own, pipeline, task]));
        assert_eq!(object.data["webhooks"][1]["rules"], json!([task, pipeline]));
        assert!(!set_rules(&mut object, &wanted), "nothing is written for nothing");

        // The manifests are applied again, and take the rules away, but not what others annotated.
        object.data["webhooks"][0]["rules"] = json!([own]);
        assert!(set_rules(&mut object, &wanted[..1]));
        assert_eq!(object.data["webhooks"][0]["rules"], json!([own, task]));
        assert!(set_rules(&mut object, &[]));
        assert_eq!(
            object.data["webhooks"],
            json!([{"name": "a", "rules": [own]}, {"name": "b", "rules": []}])
        );
        assert_eq!(object.metadata.annotations.as_ref().and_then(|found| found.get(ADDED)), None);
        assert!(!set_rules(&mut object, &[]));
    }
}
