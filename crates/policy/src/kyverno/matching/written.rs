//! `match` and `exclude` as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::kyverno::selector::LabelSelector;

/// `match` or `exclude`: the fields of a filter beside the lists are the older form.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kyverno) struct Block {
    #[serde(default)]
    pub(in crate::kyverno) any: Vec<Filter>,
    #[serde(default)]
    pub(in crate::kyverno) all: Vec<Filter>,
    #[serde(default)]
    pub(in crate::kyverno) resources: Resources,
    #[serde(default)]
    pub(in crate::kyverno) roles: Vec<String>,
    #[serde(default)]
    pub(in crate::kyverno) cluster_roles: Vec<String>,
    #[serde(default)]
    pub(in crate::kyverno) subjects: Vec<SubjectRef>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kyverno) struct Filter {
    #[serde(default)]
    pub(in crate::kyverno) resources: Resources,
    #[serde(default)]
    pub(in crate::kyverno) roles: Vec<String>,
    #[serde(default)]
    pub(in crate::kyverno) cluster_roles: Vec<String>,
    #[serde(default)]
    pub(in crate::kyverno) subjects: Vec<SubjectRef>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kyverno) struct Resources {
    #[serde(default)]
    pub(in crate::kyverno) kinds: Vec<String>,
    #[serde(default)]
    pub(in crate::kyverno) name: String,
    #[serde(default)]
    pub(in crate::kyverno) names: Vec<String>,
    #[serde(default)]
    pub(in crate::kyverno) namespaces: Vec<String>,
    #[serde(default)]
    pub(in crate::kyverno) annotations: BTreeMap<String, String>,
    pub(in crate::kyverno) selector: Option<LabelSelector>,
    pub(in crate::kyverno) namespace_selector: Option<LabelSelector>,
    #[serde(default)]
    pub(in crate::kyverno) operations: Vec<OperationName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::kyverno) enum OperationName {
    Create,
    Update,
    Delete,
    Connect,
}

/// Somebody who asks, as in a role binding.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kyverno) struct SubjectRef {
    pub(in crate::kyverno) kind: SubjectKind,
    pub(in crate::kyverno) name: String,
    #[serde(default)]
    pub(in crate::kyverno) namespace: String,
    /// Says the same as the kind.
    #[serde(default, rename = "apiGroup")]
    pub(in crate::kyverno) _api_group: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(in crate::kyverno) enum SubjectKind {
    User,
    Group,
    ServiceAccount,
}
