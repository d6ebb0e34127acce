//! The `caBundle` of the webhook's own configurations.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::encoding::base64_encode;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::Value;

use super::{Trouble, in_time};
use crate::certificate::Certificates;

/// How often the configurations are looked at. Somebody may have applied the manifests again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Keeps the bundle right in the mutating and the validating configuration of this name, for ever.
pub async fn keep_bundle(client: Client, name: String, certificates: Arc<Certificates>) {
    let kinds = [
        ApiResource::erase::<MutatingWebhookConfiguration>(&()),
        ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
    ];
    let mut tick = tokio::time::interval(LOOK_AGAIN);
    loop {
        tick.tick().await;
        let bundle = base64_encode(certificates.bundle().as_bytes());
        for kind in &kinds {
            match put_bundle(&client, kind, &name, &bundle).await {
                Ok(true) => tracing::info!(kind = kind.kind, name, "the caBundle was put right"),
                // Another replica was faster.
                Ok(false) | Err(Trouble::Conflict) => {}
                Err(error) => {
                    tracing::warn!(%error, kind = kind.kind, name, "the caBundle cannot be put right");
                }
            }
        }
    }
}

/// Puts the bundle right. False when it was.
async fn put_bundle(client: &Client, kind: &ApiResource, name: &str, bundle: &str) -> Result<bool, Trouble> {
    let api = Api::<DynamicObject>::all_with(client.clone(), kind);
    let mut object = in_time(api.get(name)).await?;
    if !set_bundle(&mut object.data, bundle) {
        return Ok(false);
    }
    // Under the version that was read: what somebody else changes meanwhile is not undone.
    in_time(api.replace(name, &PostParams::default(), &object)).await.map(|_| true)
}

/// Sets the bundle of every webhook. False when there was nothing to do.
fn set_bundle(configuration: &mut Value, bundle: &str) -> bool {
    let webhooks = configuration.get_mut("webhooks").and_then(Value::as_array_mut);
    let mut changed = false;
    for webhook in webhooks.into_iter().flatten() {
        let Some(client) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) else { continue };
        if client.get("caBundle").and_then(Value::as_str) != Some(bundle) {
            client.insert("caBundle".into(), bundle.into());
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
