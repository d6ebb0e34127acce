//! A repository of a registry, over the OCI distribution protocol.

use std::collections::BTreeSet;

use bytes::Bytes;
use countersign_crypto::Digest;
use countersign_http::{Method, Response, is_near, shown};
use serde::Deserialize;
use url::Url;

use crate::blob::{Blob, Content, Source};
use crate::client::{Action, Answer, Ask, Payload, Place, Registry};
use crate::descriptor::media_type;
use crate::manifest::{Kind, MAX_MANIFEST_LEN, Manifest};
use crate::reference::{Name, Repository, Tag, parse_digest};
use crate::store::{Linked, Pending, Store, Turn};
use crate::{Descriptor, RegistryError};

/// What manifests are understood, in one header.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// The most pages of a list that are read.
const MAX_PAGES: usize = 100;

/// The most entries of a list that are read.
const MAX_ENTRIES: usize = 10_000;

/// The most bytes of all pages of a list.
const MAX_LIST_LEN: usize = 8 * MAX_MANIFEST_LEN;

/// How many tags are asked for at once.
const PAGE: usize = 1000;

/// A repository of a registry.
#[derive(Debug, Clone)]
pub struct RemoteRepository {
    registry: Registry,
    repository: Repository,
}

#[derive(Deserialize)]
struct TagList {
    #[serde(deserialize_with = "crate::descriptor::or_null")]
    tags: Vec<String>,
}

impl RemoteRepository {
    pub(crate) fn new(registry: Registry, repository: Repository) -> Self {
        Self { registry, repository }
    }

    /// Its name.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, RegistryError> {
        self.registry.ask(&self.repository, ask).await
    }

    /// Asks, and reads the whole answer.
    async fn whole(&self, ask: &Ask<'_>) -> Result<(Response, Url), RegistryError> {
        let answer = self.ask(ask).await?;
        let response = answer.streaming.whole().await.map_err(|e| RegistryError::network(ask.what, e))?;
        Ok((response, answer.url))
    }

    fn named(&self, name: &Name) -> String {
        match name {
            Name::Tag(tag) => format!("{}:{tag}", self.repository),
            Name::Digest(digest) => format!("{}@{digest}", self.repository),
        }
    }

    async fn get_manifest(&self, name: &Name) -> Result<Manifest, RegistryError> {
        let what = self.named(name);
        let place = format!("manifests/{name}");
        let mut ask = Ask::new(&what, Action::Pull, Method::GET, Place::Path(&place));
        ask.accept = Some(ACCEPT);
        ask.limit = MAX_MANIFEST_LEN;
        let (answer, _) = self.whole(&ask).await?;
        let answer = expect(&what, answer, &[200])?;
        let said = answer.header("content-type").map(str::to_owned);
        let manifest = match name {
            Name::Tag(_) => Manifest::parse(&what, said.as_deref(), answer.body.clone())?,
            Name::Digest(digest) => {
                Manifest::parse_checked(&what, said.as_deref(), digest, answer.body.clone())?
            }
        };
        self.check_digest_header(&what, &answer, &manifest)?;
        Ok(manifest)
    }

    /// A registry that names another digest than that of the bytes it sends is broken or lies.
    fn check_digest_header(
        &self,
        what: &str,
        answer: &Response,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        let Some(said) = answer.header("docker-content-digest") else { return Ok(()) };
        let expected = parse_digest(said)
            .map_err(|_| RegistryError::malformed(what, "it came with a digest that is none"))?;
        let found = expected.algorithm().digest(&manifest.bytes);
        if found == expected {
            return Ok(());
        }
        Err(RegistryError::wrong_digest(what, &expected, &found))
    }

    async fn get_blob(&self, blob: &Descriptor) -> Result<Blob, RegistryError> {
        let what = format!("{}@{}", self.repository, blob.digest);
        let place = format!("blobs/{}", blob.digest);
        let mut ask = Ask::new(&what, Action::Pull, Method::GET, Place::Path(&place));
        ask.elsewhere = true;
        // An error's words may be longer than a small blob; the blob's own length is checked as it is read.
        ask.limit = usize::try_from(blob.size.max(64 << 10)).unwrap_or(usize::MAX);
        let answer = self.ask(&ask).await?;
        if answer.streaming.status() != 200 {
            let response = answer.streaming.whole().await.map_err(|e| RegistryError::network(&what, e))?;
            return Err(RegistryError::network(&what, response.into_error()));
        }
        let source = Source::Network { answer: Box::new(answer.streaming), _permit: answer.permit };
        Ok(Blob::new(what, blob, source))
    }

    async fn head_blob(&self, blob: &Descriptor) -> Result<bool, RegistryError> {
        let what = format!("{}@{}", self.repository, blob.digest);
        let place = format!("blobs/{}", blob.digest);
        let mut ask = Ask::new(&what, Action::Pull, Method::HEAD, Place::Path(&place));
        ask.elsewhere = true;
        let (answer, _) = self.whole(&ask).await?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(RegistryError::network(&what, answer.into_error())),
        }
    }

    /// Every page of a list, each given to `read`, which says how many entries it had.
    async fn pages(
        &self,
        what: &str,
        first: &str,
        accept: &'static str,
        mut read: impl FnMut(&Response) -> Result<usize, RegistryError> + Send,
    ) -> Result<bool, RegistryError> {
        let mut place = Place::Path(first);
        let mut seen = BTreeSet::new();
        let (mut entries, mut bytes) = (0_usize, 0_usize);
        for _ in 0..MAX_PAGES {
            let mut ask = Ask::new(what, Action::Pull, Method::GET, place);
            ask.accept = Some(accept);
            ask.limit = MAX_MANIFEST_LEN;
            let (answer, url) = self.whole(&ask).await?;
            if answer.status == 404 && seen.is_empty() {
                return Ok(false);
            }
            let answer = expect(what, answer, &[200])?;
            bytes = bytes.saturating_add(answer.body.len());
            if bytes > MAX_LIST_LEN {
                return Err(RegistryError::too_large(what, format!("{MAX_LIST_LEN} bytes")));
            }
            entries = entries.saturating_add(read(&answer)?);
            if entries > MAX_ENTRIES {
                return Err(RegistryError::too_large(what, format!("{MAX_ENTRIES} entries")));
            }
            let Some(next) = answer.header("link").and_then(next_page) else { return Ok(true) };
            let next = url
                .join(next)
                .ok()
                .filter(|next| next.origin() == url.origin())
                .ok_or_else(|| RegistryError::malformed(what, "the next page is on another host"))?;
            if !seen.insert(next.to_string()) {
                return Err(RegistryError::malformed(what, "the pages go in a circle"));
            }
            place = Place::Given(next);
        }
        Err(RegistryError::too_large(what, format!("{MAX_PAGES} pages")))
    }

    async fn api_referrers(&self, image: &Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let what = format!("the referrers of {}@{image}", self.repository);
        let mut found = Vec::new();
        let there = self
            .pages(&what, &format!("referrers/{image}"), media_type::OCI_INDEX, |answer| {
                let said = answer.header("content-type");
                match Manifest::parse(&what, said, answer.body.clone())?.kind {
                    Kind::Index(index) => {
                        let count = index.manifests.len();
                        found.extend(index.manifests);
                        Ok(count)
                    }
                    Kind::Image(_) => {
                        Err(RegistryError::malformed(&what, "expected an index, found an image"))
                    }
                }
            })
            .await?;
        Ok(there.then_some(found))
    }

    async fn list_tags(&self) -> Result<Vec<Tag>, RegistryError> {
        let what = format!("the tags of {}", self.repository);
        let mut found = BTreeSet::new();
        let there = self
            .pages(&what, &format!("tags/list?n={PAGE}"), "application/json", |answer| {
                let list: TagList = serde_json::from_slice(&answer.body)
                    .map_err(|e| RegistryError::malformed(&what, e.to_string()))?;
                for tag in &list.tags {
                    found.insert(Tag::parse(tag)?);
                }
                Ok(list.tags.len())
            })
            .await?;
        if there {
            Ok(found.into_iter().collect())
        } else {
            Err(RegistryError::not_found(what, "no such repository"))
        }
    }

    async fn upload(&self, blob: &Descriptor, content: &Content) -> Result<(), RegistryError> {
        match self.upload_once(blob, content).await {
            // An upload that was lost on the way is begun once more.
            Err(RegistryError::NotFound { .. } | RegistryError::Unreachable { .. }) => {
                self.upload_once(blob, content).await
            }
            other => other,
        }
    }

    async fn upload_once(&self, blob: &Descriptor, content: &Content) -> Result<(), RegistryError> {
        let what = format!("{}@{}", self.repository, blob.digest);
        let begin = Ask::new(&what, Action::Push, Method::POST, Place::Path("blobs/uploads/"));
        let (answer, url) = self.whole(&begin).await?;
        let answer = expect(&what, answer, &[202])?;
        let mut place = answer
            .header("location")
            .and_then(|location| url.join(location).ok())
            .ok_or_else(|| RegistryError::malformed(&what, "no place to upload to"))?;
        if !may_send_on(&url, &place) {
            let message = format!("it wants the upload at {}, which is not done", shown(&place));
            return Err(RegistryError::malformed(&what, message));
        }
        place.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let mut send = Ask::new(&what, Action::Push, Method::PUT, Place::Given(place));
        send.payload = match content {
            Content::Bytes(bytes) => Payload::Bytes(bytes.clone(), "application/octet-stream".into()),
            Content::File(file) => Payload::File(file.path().to_owned(), blob.size),
        };
        let (answer, _) = self.whole(&send).await?;
        expect(&what, answer, &[201, 204]).map(drop)
    }

    async fn upload_manifest(&self, name: &Name, manifest: &Manifest) -> Result<Linked, RegistryError> {
        let what = self.named(name);
        let place = format!("manifests/{name}");
        let mut ask = Ask::new(&what, Action::Push, Method::PUT, Place::Path(&place));
        let bytes = Bytes::copy_from_slice(&manifest.bytes);
        ask.payload = Payload::Bytes(bytes, manifest.descriptor.media_type.clone());
        let (answer, _) = self.whole(&ask).await?;
        let answer = expect(&what, answer, &[200, 201, 202])?;
        self.check_digest_header(&what, &answer, manifest)?;
        let linked = answer.header("oci-subject").is_some() || manifest.subject().is_none();
        Ok(if linked { Linked::Yes } else { Linked::No })
    }
}

impl Store for RemoteRepository {
    fn place(&self) -> String {
        self.repository.to_string()
    }

    fn fetch<'a>(&'a self, name: &'a Name) -> Pending<'a, Manifest> {
        Box::pin(self.get_manifest(name))
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, Blob> {
        Box::pin(self.get_blob(blob))
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, bool> {
        Box::pin(self.head_blob(blob))
    }

    fn listed_referrers<'a>(&'a self, image: &'a Digest) -> Pending<'a, Option<Vec<Descriptor>>> {
        Box::pin(self.api_referrers(image))
    }

    fn put_blob<'a>(&'a self, blob: &'a Descriptor, content: &'a Content) -> Pending<'a, ()> {
        Box::pin(self.upload(blob, content))
    }

    fn put_manifest<'a>(&'a self, name: &'a Name, manifest: &'a Manifest) -> Pending<'a, Linked> {
        Box::pin(self.upload_manifest(name, manifest))
    }

    fn turn<'a>(&'a self, tag: &'a Tag) -> Pending<'a, Turn> {
        Box::pin(async { Ok(self.registry.turn(&self.repository, tag).await) })
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Pending<'a, ()> {
        Box::pin(async move {
            let what = self.named(name);
            let place = format!("manifests/{name}");
            let ask = Ask::new(&what, Action::Delete, Method::DELETE, Place::Path(&place));
            let (answer, _) = self.whole(&ask).await?;
            expect(&what, answer, &[200, 202, 204]).map(drop)
        })
    }

    fn tags(&self) -> Pending<'_, Vec<Tag>> {
        Box::pin(self.list_tags())
    }
}

fn expect(what: &str, answer: Response, statuses: &[u16]) -> Result<Response, RegistryError> {
    answer.expect(statuses).map_err(|e| RegistryError::network(what, e))
}

/// Whether a registry may name this place for an upload. As with token servers: nobody sends us to this machine, or from
/// https to where everyone can read along.
fn may_send_on(from: &Url, to: &Url) -> bool {
    (from.scheme() != "https" || to.scheme() == "https") && (is_near(from) || !is_near(to))
}

/// The address of the next page in a `Link` header: `<address>; rel="next"`.
fn next_page(header: &str) -> Option<&str> {
    let (address, parameters) = header.trim().strip_prefix('<')?.split_once('>')?;
    let next = |p: &str| matches!(p.trim(), "rel=\"next\"" | "rel=next");
    parameters.split([';', ',']).any(next).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g04_an_upload_is_not_sent_to_this_machine_or_into_the_clear() {
        let may = |from: &str, to: &str| may_send_on(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
        let registry = "https://r.example/v2/a/blobs/uploads/";
        for to in ["https://r.example/v2/x", "https://uploads.example/x"] {
            assert!(may(registry, to), "{to}");
        }
        for to in [
            "http://r.example/v2/x",
            "https://localhost/x",
            "https://127.0.0.1:8200/v1/x",
            "https://[::1]/x",
            "https://169.254.169.254/latest",
        ] {
            assert!(!may(registry, to), "{to}");
        }
        assert!(may("http://localhost:5000/v2/", "http://localhost:5000/v2/x"));
        assert!(!may("http://r.example/v2/", "http://localhost:5000/v2/x"));
    }
}
