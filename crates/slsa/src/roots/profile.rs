//! What is known of builders that many use: their ids, who signs for them, and up to which level their own documents and
//! the rules of SLSA carry. Keys are never among it: a profile whose builder signs with one has to be given it.

use countersign_verify::Matcher;

use super::{Builder, Root, RootsError, Signer, Text};

/// Who vouches for workflows on GitHub.
pub(crate) const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// Who vouches for pipelines on GitLab.
const GITLAB: &str = "https://gitlab.com";
/// The reusable workflows of slsa-github-generator.
const GENERATOR: &str = r"https://github\.com/slsa-framework/slsa-github-generator/\.github/workflows/";
/// A release: main branches and pre-releases are not what was assessed.
const RELEASE: &str = r"@refs/tags/v(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)";
/// Any workflow on GitHub.
const WORKFLOW: &str = r"https://github\.com/[^/@]+/[^/@]+/\.github/workflows/[^/@]+@[^@]+";

/// The type of PyPI's publish attestations: who uploaded, and nothing of a build.
pub(crate) const PYPI_PUBLISH: &str = "https://docs.pypi.org/attestations/publish/v1";

/// The profiles, and what each is in a few words.
pub const PROFILES: [(&str, &str); 9] = [
    (
        "slsa-github-generator",
        "its builders for Go, generic, container and container-based, and the delegators",
    ),
    ("github-attestations", "GitHub's own attestations: the workflow that signed is the builder"),
    ("npm", "npm publish --provenance on GitHub"),
    ("pypi", "PyPI's publish attestations: who uploaded, no level"),
    ("google-cloud-build", "Google Cloud Build; needs a signer"),
    ("tekton-chains", "Tekton Chains; needs a signer"),
    ("witness", "witness; needs a signer"),
    ("countersign", "countersign build, isolated; needs a signer"),
    ("countersign-development", "countersign build on the tools of the host; needs a signer"),
];

/// The profiles that are asked when no roots are given: public builders whose signers are known.
pub const DEFAULT_PROFILES: [&str; 4] = ["slsa-github-generator", "github-attestations", "npm", "pypi"];

/// The roots of a profile. `signer` is whoever signs for it, where that is not known beforehand.
pub(super) fn expand(name: &str, signer: Option<&Signer>) -> Result<Vec<Root>, RootsError> {
    let from = format!("profile {name}");
    let root = |signer: Signer, builder: Builder, level: u8| Root {
        signer,
        builder,
        level,
        unlogged: false,
        self_hosted: false,
        from: from.clone(),
    };
    let matching = |pattern: &str| {
        Matcher::pattern(pattern).map(Builder::Matching).map_err(|e| RootsError::new(&from, e.to_string()))
    };
    let known = match name {
        "slsa-github-generator" => {
            let own = "(?:builder_go|generator_generic|generator_container|builder_container-based|builder_docker-based)";
            let delegators =
                format!("{GENERATOR}delegator_(?:generic|lowperms-generic)_slsa3\\.yml{RELEASE}");
            let delegated = format!("{GENERATOR}builder_(?:nodejs|maven|gradle|bazel)_slsa3\\.yml{RELEASE}");
            let jreleaser = r"https://github\.com/jreleaser/release-action/\.github/workflows/builder_slsa3\.yml@refs/tags/v[0-9]+\.[0-9]+\.[0-9]+-java";
            vec![
                root(on_github(&format!("{GENERATOR}{own}_slsa3\\.yml{RELEASE}")), Builder::SignerItself, 3),
                root(on_github(&delegators), matching(&delegated)?, 3),
                root(on_github(&delegators), matching(jreleaser)?, 3),
            ]
        }
        // Signed within the job that builds: the platform vouches for who, not for what is said. That is level 2.
        "github-attestations" => vec![root(on_github(WORKFLOW), Builder::SignerItself, 2)],
        "npm" => {
            let runner = |end: &str| Builder::Exact(format!("https://github.com/actions/runner{end}"));
            let own = Root { self_hosted: true, ..root(on_github(WORKFLOW), runner("/self-hosted"), 1) };
            vec![
                root(on_github(WORKFLOW), runner("/github-hosted"), 2),
                // What npm wrote before it told hosted runners from others.
                root(on_github(WORKFLOW), runner(""), 2),
                own,
            ]
        }
        "pypi" => {
            let gitlab = Signer::Identity {
                subject: Text::Expression(r"https://gitlab\.com/[^@]+//[^@]+@[^@]+".into()),
                issuer: Text::Exact(GITLAB.into()),
            };
            let publish = || Builder::Exact(PYPI_PUBLISH.into());
            vec![root(on_github(WORKFLOW), publish(), 0), root(gitlab, publish(), 0)]
        }
        _ => Vec::new(),
    };
    if !known.is_empty() {
        return match signer {
            None => Ok(known),
            Some(_) => Err(RootsError::new(from, "expected no signer: who signs is known")),
        };
    }
    let needs = || {
        let message =
            "expected a signer beside it (key, or subject and issuer): who signs is not known beforehand";
        signer.cloned().ok_or_else(|| RootsError::new(&from, message))
    };
    let exact = |id: &str| Builder::Exact(id.to_owned());
    Ok(match name {
        "google-cloud-build" => {
            let hosted = "https://cloudbuild.googleapis.com/GoogleHostedWorker";
            let levels =
                [(hosted.to_owned(), 3), (format!("{hosted}@v0.3"), 3), (format!("{hosted}@v0.2"), 2)];
            let mut all = Vec::new();
            for (id, level) in levels {
                // Google writes its provenance into no log.
                all.push(Root { unlogged: true, ..root(needs()?, exact(&id), level) });
            }
            all
        }
        "tekton-chains" => vec![root(needs()?, exact("https://tekton.dev/chains/v2"), 2)],
        // Made within the build, by what is built.
        "witness" => {
            let id = r"https://witness\.dev/witness-(?:default-builder|github-action-builder|gitlab-component-builder)@v0\.1";
            vec![root(needs()?, matching(id)?, 1)]
        }
        "countersign" => vec![root(needs()?, exact("https://countersign.dev/builders/userns/v1"), 3)],
        "countersign-development" => {
            vec![root(needs()?, exact("https://countersign.dev/builders/development/v1"), 1)]
        }
        _ => {
            let known = PROFILES.map(|(name, _)| name).join(", ");
            return Err(RootsError::new(from, format!("expected one of {known}")));
        }
    })
}

fn on_github(subject: &str) -> Signer {
    Signer::Identity { subject: Text::Expression(subject.into()), issuer: Text::Exact(GITHUB.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_roots_and_those_with_unknown_signers_want_one() {
        let signer = Signer::Key("k".into());
        for (name, about) in PROFILES {
            let needs = about.ends_with("needs a signer");
            assert_eq!(expand(name, None).is_err(), needs, "{name}");
            assert_eq!(expand(name, Some(&signer)).is_ok(), needs, "{name}");
            let roots = expand(name, needs.then_some(&signer)).unwrap();
            assert!(!roots.is_empty() && roots.iter().all(|root| root.level <= 3), "{name}");
        }
        assert!(expand("github", None).unwrap_err().to_string().contains("expected one of"));
    }

    fn level(roots: &[Root], subject: &str, builder: &str) -> Option<u8> {
        let fits = |root: &&Root| match &root.signer {
            Signer::Identity { subject: own, .. } => {
                own.matcher().unwrap().matches(subject) && root.builder.matches(builder, Some(subject))
            }
            Signer::Key(_) => false,
        };
        roots.iter().filter(fits).map(|root| root.level).max()
    }

    #[test]
    fn the_generator_counts_at_its_releases_only() {
        let roots = expand("slsa-github-generator", None).unwrap();
        let at = |workflow: &str, reference: &str| {
            format!(
                "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/{workflow}@{reference}"
            )
        };
        for workflow in
            ["builder_go_slsa3.yml", "generator_generic_slsa3.yml", "generator_container_slsa3.yml"]
        {
            let id = at(workflow, "refs/tags/v2.1.0");
            assert_eq!(level(&roots, &id, &id), Some(3), "{id}");
        }
        for reference in [
            "refs/heads/main",
            "refs/heads/v2.1.0",
            "refs/tags/v2.1",
            "refs/tags/v2.1.0-rc.1",
            "refs/tags/v02.1.0",
            "refs/tags/v2.1.0+x",
            "1234567890123456789012345678901234567890",
        ] {
            let id = at("builder_go_slsa3.yml", reference);
            assert_eq!(level(&roots, &id, &id), None, "{id}");
        }
        let go = at("builder_go_slsa3.yml", "refs/tags/v2.1.0");
        let generic = at("generator_generic_slsa3.yml", "refs/tags/v2.1.0");
        assert_eq!(level(&roots, &generic, &go), None, "one builder does not speak for another");
        let delegator = at("delegator_generic_slsa3.yml", "refs/tags/v2.1.0");
        let maven = at("builder_maven_slsa3.yml", "refs/tags/v2.1.0");
        assert_eq!(level(&roots, &delegator, &maven), Some(3));
        assert_eq!(level(&roots, &delegator, &delegator), None, "a delegator builds nothing itself");
        assert_eq!(level(&roots, &delegator, &go), None);
        assert_eq!(level(&roots, &go, &maven), None, "only a delegator delegates");
    }

    #[test]
    fn g04_valid_provenance_from_npm_is_level_2_and_never_3() {
        let roots = expand("npm", None).unwrap();
        let workflow = "https://github.com/acme/shop/.github/workflows/publish.yml@refs/heads/main";
        assert_eq!(level(&roots, workflow, "https://github.com/actions/runner/github-hosted"), Some(2));
        assert_eq!(level(&roots, workflow, "https://github.com/actions/runner/self-hosted"), Some(1));
        assert_eq!(level(&roots, workflow, "https://github.com/actions/runner/github-hosted.evil"), None);
        assert!(roots.iter().all(|root| root.level < 3));
    }
}
