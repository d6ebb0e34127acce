//! What policy-controller is set to in a cluster: its ConfigMap.

use std::sync::Arc;
use std::time::Duration;

use countersign_policy::cluster_image::{CONFIG_MAP, NoMatch};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::{ApiError, Trouble, in_time};
use crate::policies::Policies;

/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How soon it is looked at again when nothing is known of it.
const PAUSE: Duration = Duration::from_secs(1);

/// What the ConfigMap in this namespace says now; nothing, if there is none.
///
/// # Errors
/// [`ApiError`]: it cannot be read, or not understood.
pub async fn read_controller(client: &Client, namespace: &str) -> Result<Option<NoMatch>, ApiError> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let unusable = |error: &dyn std::fmt::Display| {
        ApiError(format!("the ConfigMap {CONFIG_MAP} in the namespace {namespace}: {error}"))
    };
    match in_time(api.get(CONFIG_MAP)).await {
        Ok(found) => NoMatch::of_config_map(&found.data.unwrap_or_default()).map_err(|e| unusable(&e)),
        Err(Trouble::NotFound) => Ok(None),
        Err(trouble) => Err(unusable(&trouble)),
    }
}

/// Looks at the ConfigMap in this namespace, for ever. What cannot be read, or not understood, is no permission: then an
/// image that no policy is about is refused, as without a ConfigMap.
pub async fn follow_controller(client: Client, namespace: String, policies: Arc<Policies>) {
    let api = Api::<ConfigMap>::namespaced(client, &namespace);
    let (mut known, mut told) = (false, None);
    loop {
        let found = match in_time(api.get(CONFIG_MAP)).await {
            Ok(found) => NoMatch::of_config_map(&found.data.unwrap_or_default()),
            Err(Trouble::NotFound) => Ok(None),
            Err(trouble @ Trouble::Forbidden(_)) => Err(trouble.to_string()),
            // What was known holds on.
            Err(trouble) => {
                tracing::warn!(%trouble, namespace, "the ConfigMap {CONFIG_MAP} cannot be asked for");
                tokio::time::sleep(if known { LOOK_AGAIN } else { PAUSE }).await;
                continue;
            }
        };
        let (no_match, wrong) = match found {
            Ok(no_match) => (no_match, None),
            Err(error) => (Some(NoMatch::Deny), Some(error)),
        };
        if let Some(error) = wrong.as_ref().filter(|_| wrong != told) {
            tracing::error!(
                error,
                namespace,
                "the ConfigMap {CONFIG_MAP} cannot be used; no-match-policy is deny"
            );
        }
        told = wrong;
        policies.set_controller(no_match);
        known = true;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
