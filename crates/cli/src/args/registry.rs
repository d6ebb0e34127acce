//! How to reach registries, and what a name on the command line is, as arguments.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use countersign_client::image::Images;
use countersign_crypto::Digest;
use countersign_http::HttpOptions;
use countersign_http::text::printable;
use countersign_registry::auth::{Credential, Credentials};
use countersign_registry::{Reference, Registry, RegistryError, RegistryOptions, Repository};
use zeroize::Zeroizing;

use crate::args::authority::certificates;
use crate::args::refused::RegistryRefused;
use crate::failure::Failure;

/// The variable with which cosign names one repository for all evidence.
const REPOSITORY_VARIABLE: &str = "COSIGN_REPOSITORY";

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        countersign_client::ClientError::from(error).into()
    }
}

/// Arguments about registries, by cosign's names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryArgs {
    /// One repository for the evidence of all images, instead of each image's own; else COSIGN_REPOSITORY
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    /// Allow registries on other machines to be reached without TLS
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    allow_http_registry: Option<bool>,
    /// The same; certificates are checked all the same, so name a private authority with --registry-cacert
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    allow_insecure_registry: Option<bool>,
    /// A file with certificates of authorities to trust for registries, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    registry_cacert: Option<PathBuf>,
    /// The user, for the registries named in this command; else Docker's and podman's configuration
    #[arg(long, value_name = "NAME", hide_short_help = true, requires = "registry_password")]
    registry_username: Option<String>,
    /// The password of the user; better: `countersign login`
    #[arg(long, value_name = "PASSWORD", hide_short_help = true, requires = "registry_username")]
    registry_password: Option<String>,
    /// A token that is sent to the registry as it is
    #[arg(long, value_name = "TOKEN", hide_short_help = true, conflicts_with = "registry_username")]
    registry_token: Option<String>,
    /// A host, with its port, that gives out the tokens of the registries named in this command: it gets their login
    #[arg(long, value_name = "HOST", hide_short_help = true)]
    registry_token_server: Vec<String>,
    #[command(flatten)]
    refused: RegistryRefused,
}

impl RegistryArgs {
    /// Refuses what is not taken, before anything else is looked at.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.refused.check()
    }

    /// The one repository for all evidence, when there is one.
    pub(crate) fn evidence(&self) -> Option<String> {
        let variable = || std::env::var(REPOSITORY_VARIABLE).ok().filter(|text| !text.is_empty());
        self.repository.clone().or_else(variable)
    }

    /// Refuses to carry an image when its evidence is kept elsewhere: what is carried is what lies beside it, and evidence that
    /// is left behind would look like none.
    pub(crate) fn check_beside(&self) -> Result<(), Failure> {
        self.check()?;
        match self.evidence() {
            None => Ok(()),
            Some(place) => Err(Failure::usage(format!(
                "all evidence is kept in {place} (--repository, {REPOSITORY_VARIABLE}), and only what lies beside an image is \
                 carried along with it"
            ))
            .next(format!("unset {REPOSITORY_VARIABLE} to carry what lies beside the image"))),
        }
    }

    /// A client for these images. Given credentials go to the registries of these names and to no other.
    pub(crate) fn images<'a>(
        &self,
        references: impl IntoIterator<Item = &'a Reference>,
    ) -> Result<Images, Failure> {
        let evidence = self.evidence().map(|text| Repository::parse(&text)).transpose()?;
        let own = references.into_iter().map(Reference::registry).collect::<Vec<_>>();
        let hosts = own.into_iter().chain(evidence.as_ref().map(Repository::registry));
        Ok(Images::new(self.registry(hosts)?, evidence.clone()))
    }

    /// How registries are talked to that nobody has named yet. What is only for those which a command names is refused.
    pub(crate) fn options_for_any(&self) -> Result<RegistryOptions, Failure> {
        let given = [
            ("--registry-username", self.registry_username.is_some()),
            ("--registry-token", self.registry_token.is_some()),
            ("--registry-token-server", !self.registry_token_server.is_empty()),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format!(
                "{flag} is for registries that the command names, and here policies and objects name them"
            ))
            .next("countersign login REGISTRY, or a pull secret"));
        }
        self.options([])
    }

    /// A client for registries. Given credentials go to these hosts and to no other.
    pub(crate) fn registry<'a>(&self, hosts: impl IntoIterator<Item = &'a str>) -> Result<Registry, Failure> {
        Ok(Registry::new(self.options(hosts)?))
    }

    /// Refuses credentials for all registries that strangers' files name.
    pub(crate) fn check_no_login(&self) -> Result<(), Failure> {
        if self.registry_username.is_none()
            && self.registry_token.is_none()
            && self.registry_token_server.is_empty()
        {
            return Ok(());
        }
        Err(Failure::usage("a login here would go to whatever registry the files name")
            .next("countersign login REGISTRY, which keeps it for that one"))
    }

    /// The options of such a client.
    pub(crate) fn options<'a>(
        &self,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Result<RegistryOptions, Failure> {
        self.check()?;
        let given = match (&self.registry_username, &self.registry_password, &self.registry_token) {
            (Some(user), Some(password), _) => Some(Credential::password(user, password)),
            (_, _, Some(token)) => Some(Credential::Token(Zeroizing::new(token.clone()))),
            _ => None,
        };
        let mut credentials = Credentials::from_environment()?;
        let mut token_servers = Vec::new();
        for host in hosts {
            if let Some(given) = &given {
                credentials = credentials.with(host, given.clone());
            }
            token_servers
                .extend(self.registry_token_server.iter().map(|server| (host.to_owned(), server.clone())));
        }
        let authorities = match &self.registry_cacert {
            None => Vec::new(),
            Some(path) => certificates(path)?.iter().map(|found| found.to_pem().into_bytes()).collect(),
        };
        let plain = self.allow_http_registry == Some(true) || self.allow_insecure_registry == Some(true);
        let http = HttpOptions {
            allow_plain_http: plain,
            timeout: Duration::from_secs(60),
            authorities,
            ..HttpOptions::default()
        };
        Ok(RegistryOptions { http, credentials, token_servers, ..RegistryOptions::default() })
    }
}

/// What a name on the command line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A file, or a digest by itself.
    File(String),
    /// An image in a registry.
    Image(Box<Reference>),
}

impl Named {
    /// Reads a name. `file:` and `oci:` in front force what it is. Else a digest is a digest, what is on disk is a file,
    /// and what names a registry, a tag or a digest is an image; what could be both is refused.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        if let Some(rest) = text.strip_prefix("file:") {
            return Ok(Self::File(rest.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return Ok(Self::Image(Box::new(Reference::parse(rest)?)));
        }
        if text == "-" || Digest::parse(text).is_ok() {
            return Ok(Self::File(text.to_owned()));
        }
        let reference = Reference::parse(text).ok().filter(|reference| is_whole(text, reference));
        match (reference, Path::new(text).symlink_metadata().is_ok()) {
            (Some(_), true) => {
                Err(Failure::usage(format!("\"{}\" is a file and could be an image", printable(text)))
                    .next(format!("write file:{0} or oci:{0}", printable(text))))
            }
            (Some(reference), false) => Ok(Self::Image(Box::new(reference))),
            (None, true) => Ok(Self::File(text.to_owned())),
            (None, false) if Reference::parse(text).is_ok() && !text.contains("./") => {
                let shown = printable(text);
                Err(Failure::usage(format!(
                    "there is no file \"{shown}\", and as an image it names neither registry nor tag"
                ))
                .next(format!("write file:{shown} for a file, oci:{shown} for an image")))
            }
            (None, false) => Ok(Self::File(text.to_owned())),
        }
    }
}

/// Whether a name says by itself that it is of an image: with a registry, a tag or a digest.
fn is_whole(text: &str, reference: &Reference) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    let has_registry = text.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    // `./dist/app` is a path, whatever else it may be.
    let is_path = text.starts_with(['.', '/', '~']);
    let has_tag = reference.tag().is_some_and(|tag| text.ends_with(&format!(":{tag}")));
    !is_path && (has_registry || has_tag || reference.digest().is_some())
}

/// An image by its name, `oci:` in front or not: for commands which take nothing else.
pub(crate) fn image(text: &str) -> Result<Reference, Failure> {
    Ok(Reference::parse(text.strip_prefix("oci:").unwrap_or(text))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<&'static str, String> {
        Named::read(text)
            .map(|named| match named {
                Named::File(_) => "file",
                Named::Image(_) => "image",
            })
            .map_err(|failure| failure.next.unwrap_or(failure.message))
    }

    #[test]
    fn names_of_images_are_told_from_files() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let by_digest = format!("user/app@{digest}");
        for (text, expected) in [
            ("ghcr.io/acme/app", "image"),
            ("localhost:5000/app", "image"),
            ("localhost/app", "image"),
            ("alpine:3.20", "image"),
            ("user/app:v1", "image"),
            (by_digest.as_str(), "image"),
            ("oci:alpine", "image"),
            (digest.as_str(), "file"),
            ("-", "file"),
            ("Cargo.toml", "file"),
            ("file:nowhere", "file"),
            ("file:ghcr.io/acme/app", "file"),
            ("./dist/app:v1", "file"),
            ("/tmp/no/such/file", "file"),
            ("No Such File", "file"),
        ] {
            assert_eq!(kind(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_could_be_both_is_refused_with_both_spellings() {
        assert_eq!(kind("alpine").unwrap_err(), "write file:alpine for a file, oci:alpine for an image");
        assert!(kind("dist/app").is_err());
        let dir = tempfile::tempdir().unwrap();
        let both = dir.path().join("app:v1");
        std::fs::write(&both, "x").unwrap();
        // An absolute path is a path; the same name seen from its folder could be either.
        assert_eq!(kind(&both.display().to_string()), Ok("file"));
    }
}
