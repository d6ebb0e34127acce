//! The images of a Dockerfile, by digest.

use std::collections::BTreeMap;

use countersign_registry::Reference;

use super::{Digests, List, MaterialsError, purl};
use crate::dockerfile;

/// Reads a Dockerfile. An image that is named by an argument is loose: whoever builds can give another.
pub(super) fn images(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let found = dockerfile::images(text, &BTreeMap::new()).map_err(MaterialsError::Form)?;
    for name in found.all.iter().map(|image| &image.written).chain(&found.syntax) {
        image(name, list)?;
    }
    Ok(())
}

fn image(name: &str, list: &mut List) -> Result<(), MaterialsError> {
    let Some((reference, digest)) =
        Reference::parse(name).ok().and_then(|r| r.digest().copied().map(|digest| (r, digest)))
    else {
        return list.loose(&format!("image {name}"));
    };
    let repository = reference.repository();
    let last = repository.path().rsplit('/').next().unwrap_or_default();
    let mut purl = purl("oci", "", last, &digest.to_string());
    purl.qualifiers
        .insert("repository_url".into(), format!("{}/{}", repository.registry(), repository.path()));
    if let Some(tag) = reference.tag() {
        purl.qualifiers.insert("tag".into(), tag.to_string());
    }
    let digests = Digests::from([(digest.algorithm().name().into(), digest.to_hex())]);
    list.package(&purl, digests, "")
}

#[cfg(test)]
mod tests {
    use super::super::LockFile;
    use super::super::tests::read;

    #[test]
    fn images_by_digest_are_pinned_and_others_are_not() {
        let digest = |byte: &str| format!("sha256:{}", byte.repeat(32));
        let text = format!(
            "# syntax=docker/dockerfile:1@{}\nARG BASE=r.example/base@{}\n\
             FROM --platform=$BUILDPLATFORM r.example/team/go:1.25@{} AS Build\nFROM $BASE\nFROM scratch\n\
             COPY \\\n  # between\n  --chown=1 --from=r.example/tools@{} /b /b\nFROM alpine\n",
            digest("aa"),
            digest("bb"),
            digest("cc"),
            digest("dd"),
        );
        let (pinned, loose) = read(LockFile::Dockerfile, &text);
        let names: Vec<&str> = pinned.iter().map(|line| line.split('@').next().unwrap()).collect();
        assert_eq!(names, ["pkg:oci/dockerfile", "pkg:oci/go", "pkg:oci/tools"]);
        assert!(
            pinned[1].ends_with("?repository_url=r.example%2Fteam%2Fgo&tag=1.25 sha256:cccc"),
            "{}",
            pinned[1]
        );
        assert_eq!(loose, ["image $BASE", "image alpine"]);
    }

    #[test]
    fn a_digest_of_another_spelling_pins_nothing() {
        for digest in ["sha256:AB", "sha1:aa", &format!("sha256:{}", "AB".repeat(32))] {
            let (pinned, loose) = read(LockFile::Dockerfile, &format!("FROM r.example/a@{digest}\n"));
            assert_eq!((pinned.len(), loose.len()), (0, 1), "{digest}");
        }
        assert!(LockFile::Dockerfile.read(b"RUN make\n").is_err(), "no Dockerfile");
    }
}
