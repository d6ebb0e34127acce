//! A store which writes nothing and remembers what it would have written.
//!
//! What writes evidence or copies images runs unchanged on it, so that what a dry run shows is what happens.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use countersign_crypto::Digest;

use crate::blob::{Blob, Content};
use crate::evidence::keeps_list;
use crate::manifest::Manifest;
use crate::reference::{Name, Tag};
use crate::store::{Linked, Pending, Store};
use crate::{Descriptor, RegistryError};

/// A store in front of another, which only reads from it.
#[derive(Debug)]
pub struct DryRun<'s> {
    store: &'s dyn Store,
    written: Mutex<HashMap<Name, Option<Manifest>>>,
}

impl<'s> DryRun<'s> {
    /// A dry run on a store.
    #[must_use]
    pub fn new(store: &'s dyn Store) -> Self {
        Self { store, written: Mutex::new(HashMap::new()) }
    }

    fn remember(&self, name: &Name, manifest: Option<Manifest>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manifest) = &manifest {
            written.insert(Name::Digest(manifest.descriptor.digest), Some(manifest.clone()));
        }
        written.insert(name.clone(), manifest);
    }

    fn remembered(&self, name: &Name) -> Option<Option<Manifest>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Store for DryRun<'_> {
    fn place(&self) -> String {
        self.store.place()
    }

    fn fetch<'a>(&'a self, name: &'a Name) -> Pending<'a, Manifest> {
        match self.remembered(name) {
            Some(Some(manifest)) => Box::pin(async move { Ok(manifest) }),
            Some(None) => Box::pin(async move {
                Err(RegistryError::not_found(format!("{name} in {}", self.place()), "it would be gone"))
            }),
            None => self.store.fetch(name),
        }
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, Blob> {
        self.store.open(blob)
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, bool> {
        self.store.has(blob)
    }

    fn listed_referrers<'a>(&'a self, image: &'a Digest) -> Pending<'a, Option<Vec<Descriptor>>> {
        self.store.listed_referrers(image)
    }

    fn put_blob<'a>(&'a self, _: &'a Descriptor, _: &'a Content) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn put_manifest<'a>(&'a self, name: &'a Name, manifest: &'a Manifest) -> Pending<'a, Linked> {
        Box::pin(async move {
            self.remember(name, Some(manifest.clone()));
            let Some(subject) = manifest.subject() else { return Ok(Linked::Yes) };
            Ok(if keeps_list(self.store, &subject.digest).await? { Linked::Yes } else { Linked::No })
        })
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Pending<'a, ()> {
        Box::pin(async move {
            self.fetch(name).await?;
            self.remember(name, None);
            Ok(())
        })
    }

    fn tags(&self) -> Pending<'_, Vec<Tag>> {
        self.store.tags()
    }
}
