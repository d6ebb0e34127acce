//! Which registries are drawn from, and how much of it is unsigned: by registry and by namespace.

use std::collections::{BTreeMap, BTreeSet};

use countersign_registry::Reference;
use serde::Serialize;

use super::control::Control;
use super::report::{ResourceResult, Status};

/// How many images are signed, each counted once in its group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// How many workloads draw from here.
    pub resources: usize,
    /// Different images.
    pub images: usize,
    /// Those that have a signature.
    pub signed: usize,
    /// Those that have none.
    pub unsigned: usize,
    /// Those at which nobody could look.
    pub unchecked: usize,
}

/// Which registries are drawn from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// By registry; what is no image's name stands under an empty one.
    pub registries: BTreeMap<String, Usage>,
    /// By namespace; what names none stands under an empty one.
    pub namespaces: BTreeMap<String, Usage>,
}

impl std::fmt::Display for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::format::audit(self))
    }
}

/// What is gathered of a group.
#[derive(Default)]
struct Group {
    resources: usize,
    images: BTreeMap<String, Status>,
}

impl Audit {
    /// From the results of the control that looks for signatures.
    #[must_use]
    pub fn of(results: &[ResourceResult]) -> Self {
        let mut registries: BTreeMap<String, Group> = BTreeMap::new();
        let mut namespaces: BTreeMap<String, Group> = BTreeMap::new();
        for result in results {
            let found = result.controls.iter().find(|control| control.control == Control::SignatureExists);
            let images = || found.into_iter().flat_map(|control| &control.images);
            let mut drawn = BTreeSet::new();
            let namespace = namespaces.entry(result.resource.namespace.clone()).or_default();
            namespace.resources += 1;
            for image in images().filter(|image| !image.image.is_empty()) {
                let registry =
                    Reference::parse(&image.image).map(|r| r.registry().to_owned()).unwrap_or_default();
                let group = registries.entry(registry.clone()).or_default();
                group.resources += usize::from(drawn.insert(registry));
                // One tag may run with several digests.
                let key = format!("{}@{}", image.image, image.digest.as_deref().unwrap_or_default());
                namespace.images.insert(key.clone(), image.status);
                group.images.insert(key, image.status);
            }
        }
        let usage = |groups: BTreeMap<String, Group>| {
            groups.into_iter().map(|(name, group)| (name, group.usage())).collect()
        };
        Self { registries: usage(registries), namespaces: usage(namespaces) }
    }
}

impl Group {
    fn usage(&self) -> Usage {
        let count =
            |statuses: &[Status]| self.images.values().filter(|status| statuses.contains(status)).count();
        Usage {
            resources: self.resources,
            images: self.images.len(),
            signed: count(&[Status::Passed]),
            unsigned: count(&[Status::Failed, Status::Excepted]),
            unchecked: count(&[Status::Unchecked]),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::scan::tests::sample;

    #[test]
    fn registries_and_namespaces_are_counted_by_images() {
        let audit = sample().audit.unwrap();
        let usage = &audit.registries["registry.example"];
        assert_eq!((usage.resources, usage.images, usage.signed, usage.unsigned), (3, 3, 2, 1));
        assert_eq!(audit.registries["away.example"].unchecked, 1);
        assert_eq!(audit.namespaces["prod"].images, 3);
        assert_eq!(audit.namespaces[""].unchecked, 1);
    }
}
