//! Which level of SLSA's Build track provenance made within a build can have, and by which evidence. Never the third: the
//! steps of the build run where the statement is written.

use countersign_x509::{FulcioExtensions, is_hosted_runner};

use crate::environment::Environment;

/// A level, and why it is that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// 1 or 2.
    pub level: u8,
    /// The evidence for the second level, or what is missing for it.
    pub because: String,
}

/// The level of a statement about a build here that was signed with this certificate, or with a key.
///
/// The second needs an identity of the platform, in a certificate which says that the runner is the platform's own, and
/// names the same repository and commit as the statement: then a verifier need not take the build's word for them.
#[must_use]
pub fn level(environment: &Environment, certificate: Option<&FulcioExtensions>) -> Level {
    match second(environment, certificate) {
        Ok(because) => Level { level: 2, because },
        Err(because) => Level { level: 1, because },
    }
}

fn second(environment: &Environment, certificate: Option<&FulcioExtensions>) -> Result<String, String> {
    let certificate = certificate
        .ok_or("a key signed, not the build platform: whoever holds the key can sign any statement")?;
    let issuer = certificate.issuer().ok_or("the certificate does not say who vouched for the identity")?;
    let told = |name: &str| certificate.get_by_name(name).unwrap_or_default();
    let runner = told("runnerEnvironment");
    if runner.is_empty() {
        return Err("the certificate is for no run of a build platform".into());
    }
    if !is_hosted_runner(runner) {
        return Err(format!(
            "the certificate says that the runner is {runner}: its owner can change what is built"
        ));
    }
    let source = environment.source.as_ref().ok_or("the source is not recorded")?;
    let commit = source.digest.get("gitCommit").map_or("", String::as_str);
    if commit.is_empty() || told("sourceRepositoryDigest") != commit {
        return Err(format!(
            "the certificate is for commit {}, not {commit}",
            told("sourceRepositoryDigest")
        ));
    }
    let said = source.uri.strip_prefix("git+").unwrap_or(&source.uri);
    let vouched = format!("{}@{}", told("sourceRepositoryURI"), told("sourceRepositoryRef"));
    if vouched != said {
        return Err(format!("the certificate is for {vouched}, not {said}"));
    }
    Ok(format!("the certificate says so: {runner} runner, {said}, commit {commit}, by the word of {issuer}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Platform, Variables};

    fn environment() -> Environment {
        let text = include_str!("environment/recorded/github-actions.env");
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let variables: Variables = pairs.map(|(name, value)| (name.into(), value.into())).collect();
        Environment::read(Platform::GithubActions, &variables, &[], None).unwrap()
    }

    fn certificate() -> Vec<(u8, &'static str)> {
        vec![
            (8, "https://token.actions.githubusercontent.com"),
            (11, "github-hosted"),
            (12, "https://github.com/acme/shop"),
            (13, "3f786850e387550fdab836ed7e6dc881de23001b"),
            (14, "refs/heads/main"),
        ]
    }

    fn with(values: &[(u8, &str)]) -> Level {
        let mut extensions = FulcioExtensions::default();
        for (arc, value) in values {
            assert!(extensions.set(*arc, value));
        }
        level(&environment(), Some(&extensions))
    }

    #[test]
    fn a_certificate_of_a_hosted_run_of_the_same_commit_is_evidence_for_the_second_level() {
        let found = with(&certificate());
        assert_eq!(found.level, 2, "{}", found.because);
        assert!(
            found
                .because
                .contains("github-hosted runner, https://github.com/acme/shop@refs/heads/main, commit 3f78")
        );
    }

    #[test]
    fn each_part_of_the_evidence_alone_missing_or_different_leaves_the_first() {
        for (index, (arc, _)) in certificate().into_iter().enumerate() {
            let mut without = certificate();
            without.remove(index);
            assert_eq!(with(&without).level, 1, "without {arc}");
            if arc != 8 {
                let mut other = certificate();
                other[index].1 = "https://other.example";
                assert_eq!(with(&other).level, 1, "another {arc}");
            }
        }
        assert!(with(&[(8, "https://idp.example")]).because.contains("no run of a build platform"));
        let mut own = certificate();
        own[1].1 = "self-hosted";
        assert!(with(&own).because.contains("self-hosted"));
    }

    #[test]
    fn a_key_and_a_shell_never_come_to_the_second() {
        assert_eq!(level(&environment(), None).level, 1);
        let shell = Environment::read(Platform::Shell, &Variables::new(), &[], None).unwrap();
        let mut extensions = FulcioExtensions::default();
        for (arc, value) in certificate() {
            extensions.set(arc, value);
        }
        assert_eq!(level(&shell, Some(&extensions)).because, "the source is not recorded");
    }
}
