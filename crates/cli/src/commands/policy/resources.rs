//! The resources of a test, by what is said of them.

use countersign_policy::Document;
use serde::Deserialize;

use super::cluster::member;

/// A resource by its parts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourceSpec {
    group: Option<String>,
    version: Option<String>,
    kind: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    name: String,
}

/// A resource by what is said of it.
pub(super) struct Meant<'a> {
    group: Option<&'a str>,
    version: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    name: &'a str,
    /// As it is written.
    pub(super) shown: String,
}

impl<'a> Meant<'a> {
    /// Reads `name`, `namespace/name`, and `[group/]version/kind/namespace/name`, where a star is any version.
    ///
    /// # Errors
    /// In words.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let given = |text: &'a str| Some(text).filter(|text| !matches!(*text, "" | "*"));
        let (group, version, kind, namespace, name) = match parts.as_slice() {
            [name] => (None, None, None, None, *name),
            [namespace, name] => (None, None, None, Some(*namespace), *name),
            ["*", kind, namespace, name] => (None, None, Some(*kind), given(namespace), *name),
            [version, kind, namespace, name] => {
                (Some(""), Some(*version), Some(*kind), given(namespace), *name)
            }
            [group, version, kind, namespace, name] => {
                (given(group), given(version), Some(*kind), given(namespace), *name)
            }
            _ => {
                return Err(format!(
                    "resources: expected name, namespace/name or version/kind/namespace/name, found {text}"
                ));
            }
        };
        Ok(Self { group, version, kind, namespace, name, shown: text.to_owned() })
    }

    /// What a specification says.
    ///
    /// # Errors
    /// In words.
    pub(super) fn specified(of: &'a ResourceSpec) -> Result<Self, String> {
        if !of.subresource.is_empty() {
            return Err("resourceSpecs: expected whole resources, found a subresource".into());
        }
        Ok(Self {
            group: of.group.as_deref(),
            version: of.version.as_deref(),
            kind: Some(&of.kind),
            namespace: Some(of.namespace.as_str()).filter(|namespace| !namespace.is_empty()),
            name: &of.name,
            shown: format!("{} {}", of.kind, of.name),
        })
    }

    /// Whether it is this resource.
    pub(super) fn is(&self, resource: &Document) -> bool {
        let (group, version) =
            resource.api_version.split_once('/').unwrap_or(("", resource.api_version.as_str()));
        let own = member(resource, "namespace");
        let fits = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
        member(resource, "name") == self.name
            && fits(self.group, group)
            && fits(self.version, version)
            && fits(self.kind, &resource.kind)
            && self.namespace.is_none_or(|wanted| own == wanted || (own.is_empty() && wanted == "default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_policy::read_documents;

    fn means(text: &str, resource: &str) -> bool {
        Meant::parse(text).unwrap().is(&read_documents(resource).unwrap()[0])
    }

    #[test]
    fn each_part_of_a_name_alone_decides() {
        let object = |version: &str, kind: &str, namespace: &str, name: &str| {
            format!(
                "{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}}}}}"
            )
        };
        let deployment = object("apps/v1", "Deployment", "prod", "a");
        for (text, expected) in [
            ("a", true),
            ("b", false),
            ("prod/a", true),
            ("test/a", false),
            ("*/Deployment/prod/a", true),
            ("*/Deployment//a", true),
            ("*/Pod/prod/a", false),
            ("apps/v1/Deployment/prod/a", true),
            ("apps/v2/Deployment/prod/a", false),
            ("batch/v1/Deployment/prod/a", false),
            ("v1/Deployment/prod/a", false),
        ] {
            assert_eq!(means(text, &deployment), expected, "{text}");
        }
        assert!(means("v1/Pod/prod/a", &object("v1", "Pod", "prod", "a")));
        assert!(Meant::parse("a/b/c").is_err() && Meant::parse("a/b/c/d/e/f").is_err());
    }

    #[test]
    fn each_field_of_a_specification_alone_decides() {
        let resource = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: prod}}";
        let is = |more: &str| {
            let spec: ResourceSpec = countersign_policy::from_value(
                &read_documents(&format!("{{apiVersion: v1, kind: x, spec: {{{more}}}}}")).unwrap()[0].value
                    ["spec"],
            )
            .unwrap();
            Meant::specified(&spec).is_ok_and(|meant| meant.is(&read_documents(resource).unwrap()[0]))
        };
        assert!(is("kind: Deployment, name: a"));
        assert!(is("kind: Deployment, name: a, group: apps, version: v1, namespace: prod"));
        for other in ["group: batch", "group: \"\"", "version: v2", "namespace: test", "subresource: scale"] {
            assert!(!is(&format!("kind: Deployment, name: a, {other}")), "{other}");
        }
        assert!(!is("kind: Pod, name: a") && !is("kind: Deployment, name: b"));
    }
}
