//! Who may have signed, as arguments.

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_client::verify::Who;
use countersign_crypto::{PublicKey, encoding};
use countersign_keys::{KeyRef, load_public_key};
use countersign_verify::{Identity, Matcher};

use crate::failure::Failure;

const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
const GITLAB_ISSUER: &str = "https://gitlab.com";

/// Arguments about who may have signed. Several mean: one of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who may have signed")]
pub(crate) struct IdentityArgs {
    /// The name in the certificate: an e-mail address or a URI
    #[arg(long = "identity", visible_alias = "certificate-identity", value_name = "NAME")]
    identities: Vec<String>,
    /// A regular expression for the whole of the name
    #[arg(long = "identity-regexp", visible_alias = "certificate-identity-regexp", value_name = "REGEXP")]
    identity_patterns: Vec<String>,
    /// Who vouched for the name: the issuer of the token
    #[arg(long = "issuer", visible_alias = "certificate-oidc-issuer", value_name = "URL")]
    issuers: Vec<String>,
    /// A regular expression for the whole of the issuer
    #[arg(long = "issuer-regexp", visible_alias = "certificate-oidc-issuer-regexp", value_name = "REGEXP")]
    issuer_patterns: Vec<String>,
    /// A workflow of this repository on GitHub
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Vec<String>,
    /// A pipeline of this project on gitlab.com
    #[arg(long, value_name = "GROUP/PROJECT")]
    gitlab: Vec<String>,
    /// A person by e-mail address; goes with --issuer
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
    /// A workload by SPIFFE id; goes with --issuer
    #[arg(long, value_name = "SPIFFE-ID")]
    spiffe: Vec<String>,
    /// A public key: a file, env://VARIABLE, https://… or a key elsewhere (docs/keys.md)
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// The event that started the GitHub workflow
    #[arg(long, value_name = "EVENT", hide_short_help = true)]
    certificate_github_workflow_trigger: Option<String>,
    /// The commit of the GitHub workflow
    #[arg(long, value_name = "SHA", hide_short_help = true)]
    certificate_github_workflow_sha: Option<String>,
    /// The name of the GitHub workflow
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    certificate_github_workflow_name: Option<String>,
    /// The repository of the GitHub workflow
    #[arg(long, value_name = "OWNER/NAME", hide_short_help = true)]
    certificate_github_workflow_repository: Option<String>,
    /// The branch or tag of the GitHub workflow
    #[arg(long, value_name = "REF", hide_short_help = true)]
    certificate_github_workflow_ref: Option<String>,
}

fn usage(error: countersign_verify::RequirementsError) -> Failure {
    countersign_client::ClientError::from(error).into()
}

/// `owner/name` with nothing in it that a pattern would read.
fn repository<'a>(flag: &str, text: &'a str) -> Result<&'a str, Failure> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if text.contains('/') && text.split('/').all(plain) {
        Ok(text)
    } else {
        Err(Failure::usage(format!("{flag}: expected owner/name, found \"{text}\"")))
    }
}

impl IdentityArgs {
    /// Whether keys, not identities, are asked for.
    pub(crate) fn by_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether anybody is named at all.
    pub(crate) fn is_given(&self) -> bool {
        let lists =
            [&self.identities, &self.identity_patterns, &self.issuers, &self.issuer_patterns, &self.repo];
        let others = [&self.gitlab, &self.email, &self.spiffe, &self.key];
        lists.into_iter().chain(others).any(|list| !list.is_empty()) || !self.workflow().is_empty()
    }

    /// Whether nobody is asked for.
    pub(crate) fn names_nobody(&self) -> bool {
        let names =
            [&self.identities, &self.identity_patterns, &self.repo, &self.gitlab, &self.email, &self.spiffe];
        let others = [&self.issuers, &self.issuer_patterns, &self.key];
        names.iter().chain(&others).all(|list| list.is_empty()) && self.workflow().is_empty()
    }

    /// Who may have signed. Under an authority of one's own no issuer need be named: the authority itself answers for
    /// the names it writes.
    pub(crate) fn who(&self, own_authority: bool) -> Result<Who, Failure> {
        let names_given =
            [&self.identities, &self.identity_patterns, &self.repo, &self.gitlab, &self.email, &self.spiffe]
                .iter()
                .any(|list| !list.is_empty());
        let issuers_given = !self.issuers.is_empty() || !self.issuer_patterns.is_empty();
        if self.by_key() {
            if names_given || issuers_given || !self.workflow().is_empty() {
                return Err(Failure::usage(
                    "both a key and an identity are given; a signature has one or the other, so one of them would not \
                     be checked",
                ));
            }
            return Ok(Who::Keys(self.keys()?));
        }
        if !names_given {
            return Err(Failure::usage("nobody is named who may have signed; a signature by just anyone says nothing")
                .next(
                    "ask the sender for the name and its issuer, then: --email ADDRESS --issuer URL, --repo OWNER/NAME, \
                     --identity NAME --issuer URL, or --key FILE",
                ));
        }
        let mut issuers = Vec::new();
        for text in &self.issuers {
            issuers.push(Matcher::exact(text).map_err(usage)?);
        }
        for text in &self.issuer_patterns {
            issuers.push(Matcher::pattern(text).map_err(usage)?);
        }
        let mut names = Vec::new();
        for text in self.identities.iter().chain(&self.email) {
            names.push(Matcher::exact(text).map_err(usage)?);
        }
        for text in &self.spiffe {
            if !text.starts_with("spiffe://") {
                return Err(Failure::usage(format!("--spiffe: expected spiffe://…, found \"{text}\"")));
            }
            names.push(Matcher::exact(text).map_err(usage)?);
        }
        for text in &self.identity_patterns {
            names.push(Matcher::pattern(text).map_err(usage)?);
        }
        if !names.is_empty() && !issuers_given && own_authority {
            let mut all = Vec::with_capacity(names.len());
            for name in names {
                all.push(self.with_workflow(Identity::dangerous_any_issuer(name))?);
            }
            return Ok(Who::Identities(all));
        }
        if !names.is_empty() && !issuers_given {
            return Err(Failure::usage(
                "no issuer is named; anyone can run one that vouches for any name, so a name alone says nothing",
            )
            .next("ask the sender which identity provider vouched for the name, then add --issuer URL"));
        }
        let mut all = Vec::new();
        for name in &names {
            all.extend(issuers.iter().map(|issuer| Identity::new(name.clone(), issuer.clone())));
        }
        for text in &self.repo {
            let home = format!("https://github.com/{}", repository("--repo", text)?);
            all.extend(forge(&home, "/.*", GITHUB_ISSUER, &issuers)?);
        }
        for text in &self.gitlab {
            let home = format!("https://gitlab.com/{}", repository("--gitlab", text)?);
            all.extend(forge(&home, "//.*", GITLAB_ISSUER, &issuers)?);
        }
        let finished =
            all.into_iter().map(|identity| self.with_workflow(identity)).collect::<Result<_, _>>()?;
        Ok(Who::Identities(finished))
    }

    /// An identity with the demands on its GitHub workflow.
    fn with_workflow(&self, mut identity: Identity) -> Result<Identity, Failure> {
        for (extension, value) in self.workflow() {
            identity = identity.extension(extension, Matcher::exact(value).map_err(usage)?).map_err(usage)?;
        }
        Ok(identity)
    }

    /// The demands on a GitHub workflow: the extension and its value.
    fn workflow(&self) -> Vec<(&'static str, &str)> {
        [
            ("1.3.6.1.4.1.57264.1.2", &self.certificate_github_workflow_trigger),
            ("1.3.6.1.4.1.57264.1.3", &self.certificate_github_workflow_sha),
            ("1.3.6.1.4.1.57264.1.4", &self.certificate_github_workflow_name),
            ("1.3.6.1.4.1.57264.1.5", &self.certificate_github_workflow_repository),
            ("1.3.6.1.4.1.57264.1.6", &self.certificate_github_workflow_ref),
        ]
        .into_iter()
        .filter_map(|(oid, value)| Some((oid, value.as_deref()?)))
        .collect()
    }

    fn keys(&self) -> Result<Vec<PublicKey>, Failure> {
        let mut keys = Vec::with_capacity(self.key.len());
        for text in &self.key {
            let reference = KeyRef::parse(text)?;
            if let KeyRef::File(path) = &reference {
                let pem = read_limited(path, 64 * 1024)?;
                let blocks = encoding::pem_decode(&String::from_utf8_lossy(&pem));
                if blocks.is_ok_and(|b| b.iter().any(|block| block.label.contains("PRIVATE KEY"))) {
                    return Err(Failure::usage(format!(
                        "{text} is a private key; verifying needs the public one"
                    ))
                    .next(format!("countersign public-key --key {text} --outfile KEY.pub")));
                }
            }
            keys.push(load_public_key(&reference)?);
        }
        Ok(keys)
    }
}

/// Identities of a repository on a forge: the name below its home, the forge's issuer unless another is named, and
/// the source repository itself, which a name alone does not pin when workflows are shared.
fn forge(home: &str, rest: &str, issuer: &str, issuers: &[Matcher]) -> Result<Vec<Identity>, Failure> {
    let pattern = format!("{}{rest}", home.replace('.', "\\."));
    let own = [Matcher::exact(issuer).map_err(usage)?];
    let issuers = if issuers.is_empty() { &own[..] } else { issuers };
    issuers
        .iter()
        .map(|issuer| {
            Identity::new(Matcher::pattern(&pattern).map_err(usage)?, issuer.clone())
                .extension("source-repository-uri", Matcher::exact(home).map_err(usage)?)
                .map_err(usage)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        identity: IdentityArgs,
    }

    fn who(arguments: &[&str]) -> Result<usize, String> {
        let parsed =
            Only::try_parse_from(std::iter::once(&"x").chain(arguments)).map_err(|e| e.to_string())?;
        match parsed.identity.who(false).map_err(|f| f.message)? {
            Who::Identities(all) => Ok(all.len()),
            Who::Keys(all) => Ok(all.len()),
        }
    }

    #[test]
    fn a_name_needs_an_issuer_and_nobody_named_is_refused() {
        assert_eq!(who(&["--email", "a@b.c", "--issuer", "https://i"]), Ok(1));
        assert_eq!(who(&["--certificate-identity", "a", "--certificate-oidc-issuer", "i"]), Ok(1));
        assert!(who(&["--email", "a@b.c"]).unwrap_err().contains("no issuer"));
        assert!(who(&["--issuer", "https://i"]).unwrap_err().contains("nobody is named"));
        assert!(who(&[]).unwrap_err().contains("nobody is named"));
        assert!(who(&["--identity", "", "--issuer", "i"]).is_err());
    }

    #[test]
    fn v12_a_key_and_an_identity_together_are_refused() {
        for other in [["--identity", "a"], ["--issuer", "i"], ["--certificate-github-workflow-ref", "r"]] {
            assert!(who(&["--key", "k.pub", other[0], other[1]]).unwrap_err().contains("both a key"));
        }
    }

    #[test]
    fn several_names_and_issuers_mean_each_with_each() {
        assert_eq!(
            who(&["--identity", "a", "--identity", "b", "--issuer", "i", "--issuer-regexp", "j.*"]),
            Ok(4)
        );
        assert_eq!(who(&["--repo", "o/n"]), Ok(1));
        assert_eq!(who(&["--repo", "o/n", "--gitlab", "g/s/p"]), Ok(2));
    }

    #[test]
    fn repositories_are_names_and_not_patterns() {
        for bad in ["o", "o/", "o/.*", "o/n/../x", "o/n?", "/n"] {
            assert!(who(&["--repo", bad]).is_err(), "{bad}");
        }
        assert!(who(&["--spiffe", "https://x", "--issuer", "i"]).is_err());
    }
}
