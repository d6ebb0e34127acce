//! One image in all its spellings, against patterns in all four languages: nobody leaves a policy behind by writing a name
//! in another way.

use countersign_crypto::Signer as _;
use countersign_policy::{Policy, ReadError, Request, Status};

use crate::languages::{self, ALL, Language, Signer};
use crate::support::{Cluster, key, pod};

const DIGEST: &str = "@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

use Language::{ClusterImage, ClusterPolicy as Kyverno, ImageValidating, Own};

/// Those in which tags and digests stand in patterns.
const WITH_TAGS: [Language; 3] = [Kyverno, ImageValidating, ClusterImage];

/// A policy over the images of a pattern, by somebody who signed nothing.
fn policy(language: Language, pattern: &str) -> Result<Box<dyn Policy>, ReadError> {
    languages::policy(language, pattern, &Signer::Key(key().public_key().to_pem()), None)
}

/// Whether the policy is about an image: then it refuses it, or cannot check it.
fn is_about(language: Language, pattern: &str, image: &str) -> bool {
    let policy = policy(language, pattern).unwrap_or_else(|error| panic!("{language:?} {pattern}: {error}"));
    let decision = Cluster::new().decide_all(vec![policy], Vec::new(), &Request::of_object(pod(&[image])));
    decision.results.iter().any(|result| matches!(result.status, Status::Fail | Status::Error))
}

#[test]
fn an_image_is_the_same_however_it_is_spelled_in_every_language() {
    let digest = |name: &str| format!("{name}{DIGEST}");
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (languages, patterns, same, others) in [
        (
            &ALL[..],
            names(&["registry:5000/app", "registry:5000/*"]),
            vec![
                "registry:5000/app".to_owned(),
                "registry:5000/app:v1".into(),
                "REGISTRY:5000/app:v1".into(),
                digest("registry:5000/app"),
                digest("registry:5000/app:v1"),
            ],
            names(&["registry:5001/app:v1", "registry/app:v1", "registry.example:5000/app:v1"]),
        ),
        (
            &WITH_TAGS,
            names(&["registry:5000/app:*", "REGISTRY:5000/App:*"]),
            vec!["registry:5000/app".to_owned(), "registry:5000/app:v1".into(), digest("registry:5000/app")],
            names(&["registry:5000/app2:v1", "registry:5000/team/app:v1"]),
        ),
        (
            &ALL,
            names(&["docker.io/library/nginx", "index.docker.io/library/nginx"]),
            vec![
                "nginx".to_owned(),
                "nginx:1".into(),
                "library/nginx:1".into(),
                "docker.io/nginx:1".into(),
                "docker.io/library/nginx:1".into(),
                "index.docker.io/library/nginx".into(),
                "docker.io:443/library/nginx:1".into(),
                digest("nginx"),
            ],
            names(&["ghcr.io/library/nginx:1", "other/nginx:1", "docker.io.evil.example/library/nginx:1"]),
        ),
        (
            &WITH_TAGS,
            names(&["nginx", "nginx:*", "library/nginx:*", "docker.io/nginx:*", "docker.io/library/nginx:*"]),
            vec!["nginx".to_owned(), "docker.io/library/nginx:1".into(), digest("library/nginx")],
            names(&["nginx.example/nginx:1", "nginx/nginx:1"]),
        ),
        (
            &ALL,
            names(&["ghcr.io/acme/app", "ghcr.io/acme/*"]),
            vec![
                "ghcr.io/acme/app".to_owned(),
                "GHCR.io/acme/app:v1".into(),
                "ghcr.io:443/acme/app:v1".into(),
                "ghcr.io:80/acme/app:v1".into(),
                digest("ghcr.io/acme/app:v1"),
            ],
            names(&["ghcr.io/acme-evil/app:v1", "evil.example/ghcr.io/acme/app", "ghcr.io:8443/acme/app:v1"]),
        ),
        (
            &WITH_TAGS,
            names(&["ghcr.io:443/acme/app:*", "GHCR.IO/acme/app:*"]),
            vec!["ghcr.io/acme/app:v1".to_owned(), digest("ghcr.io/acme/app")],
            names(&["ghcr.io:8443/acme/app:v1"]),
        ),
        (
            &WITH_TAGS,
            names(&["ghcr.io/acme/app:v1"]),
            vec![
                "ghcr.io/acme/app:v1".to_owned(),
                digest("ghcr.io/acme/app:v1"),
                // Nobody can tell that it is not this one.
                digest("ghcr.io/acme/app"),
            ],
            vec![
                "ghcr.io/acme/app:v2".to_owned(),
                "ghcr.io/acme/app:V1".into(),
                digest("ghcr.io/acme/app:v2"),
            ],
        ),
        (
            &WITH_TAGS,
            vec![digest("ghcr.io/acme/app"), "ghcr.io/acme/app@sha256:44136*".to_owned()],
            vec![digest("ghcr.io/acme/app"), digest("ghcr.io/acme/app:v1")],
            names(&["ghcr.io/acme/app:v1"]),
        ),
        (
            &[Kyverno],
            names(&["[::1]:5000/app", "[::1]:5000/*"]),
            names(&["[::1]:5000/app:v1"]),
            names(&["[::2]:5000/app:v1"]),
        ),
    ] {
        for language in languages {
            for pattern in &patterns {
                for image in &same {
                    assert!(is_about(*language, pattern, image), "{language:?}: {pattern} is about {image}");
                }
                for image in &others {
                    assert!(
                        !is_about(*language, pattern, image),
                        "{language:?}: {pattern} is not about {image}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_no_image_could_match_is_refused_in_every_language() {
    for (languages, pattern) in [
        (&ALL[..], "ghcr.io/acme/"),
        (&ALL, "ghcr.io//app"),
        (&ALL, "/acme/app"),
        (&ALL, "https://ghcr.io/acme/app"),
        (&ALL, ""),
        (&[Own, ImageValidating, ClusterImage], "[::1]:5000/app"),
        (&[Own], "nginx"),
        (&[Own], "ghcr.io/acme/app:v1"),
        (&[Own], "GHCR.io/acme/app"),
    ] {
        for language in languages {
            assert!(policy(*language, pattern).is_err(), "{language:?}: {pattern}");
        }
    }
}

#[test]
fn a_name_that_cannot_be_read_is_refused_in_every_language() {
    for language in ALL {
        for image in ["ghcr.io/acme/App:v1", "ghcr.io/acme/app@sha256:00", "ghcr.io./acme/app", "a:b:c"] {
            assert!(
                is_about(
                    language,
                    if language == Own { "ghcr.io/other/*" } else { "ghcr.io/other/**" },
                    image
                ),
                "{language:?}: {image}"
            );
        }
    }
}
