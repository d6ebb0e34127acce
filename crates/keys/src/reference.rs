//! Key references: how the command line and the configuration name a key, in cosign's spelling.
//!
//! | form | home |
//! |---|---|
//! | `path/to/cosign.key` | a file |
//! | `env://VARIABLE` | an environment variable holding PEM |
//! | `https://HOST/PATH` | a web server: public keys only |
//! | `k8s://NAMESPACE/SECRET` | a Kubernetes secret |
//! | `gitlab://OWNER/PROJECT`, `gitlab://ID` | variables of a GitLab project |
//! | `github://OWNER`, `github://OWNER/REPO` | secrets of GitHub Actions, which are only written |
//! | `pkcs11:…` | a hardware module (RFC 7512) |
//! | `awskms://[ENDPOINT]/KEY` | AWS KMS: a key id, `alias/NAME` or an ARN of either |
//! | `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K[/cryptoKeyVersions/V]` | Google Cloud KMS |
//! | `azurekms://VAULT.vault.azure.net/KEY[/VERSION]` | Azure Key Vault |
//! | `hashivault://KEY`, `openbao://KEY` | the transit engine of HashiCorp Vault or OpenBao |
//! | another `name://…` | a program `sigstore-kms-name` |
//!
//! What ends up in the path of an address is checked here, so that no reference reaches another address than the
//! one it names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use countersign_http::text::printable;
use countersign_http::{is_loopback, shown};
use url::Url;

use crate::KeyError;
use crate::pkcs11::Pkcs11Uri;

/// The longest reference, in bytes.
const MAX_REFERENCE: usize = 4096;

/// The hosts of Azure Key Vault and Managed HSM: nobody else gets a token for them.
const AZURE_HOSTS: [&str; 6] = [
    ".vault.azure.net",
    ".managedhsm.azure.net",
    ".vault.azure.cn",
    ".managedhsm.azure.cn",
    ".vault.usgovcloudapi.net",
    ".managedhsm.usgovcloudapi.net",
];

/// Where a key lives.
///
/// ```
/// use countersign_keys::KeyRef;
/// assert_eq!(KeyRef::parse("cosign.key")?, KeyRef::File("cosign.key".into()));
/// assert_eq!(KeyRef::parse("env://MY_KEY")?, KeyRef::Env("MY_KEY".into()));
/// assert_eq!(
///     KeyRef::parse("k8s://release/signing")?,
///     KeyRef::Kubernetes { namespace: "release".into(), secret: "signing".into() }
/// );
/// assert!(KeyRef::parse("awskms:///no such key").is_err());
/// # Ok::<(), countersign_keys::KeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRef {
    /// A PEM file.
    File(PathBuf),
    /// An environment variable whose value is PEM.
    Env(String),
    /// A public key on a web server.
    Https(Url),
    /// A Kubernetes secret with `cosign.key`, `cosign.pub` and `cosign.password`.
    Kubernetes {
        /// The namespace.
        namespace: String,
        /// The secret's name.
        secret: String,
    },
    /// The variables of a GitLab project: its path or its number.
    GitLab {
        /// `group/project`, or the number.
        project: String,
    },
    /// The secrets of GitHub Actions, of a repository or of an organisation.
    GitHub {
        /// The user or organisation.
        owner: String,
        /// The repository; none means the organisation's secrets.
        repository: Option<String>,
    },
    /// A key in a hardware module.
    Pkcs11(Box<Pkcs11Uri>),
    /// A key in AWS KMS.
    AwsKms {
        /// `host` or `host:port` of another endpoint than AWS's own for the region.
        endpoint: Option<String>,
        /// Key id, `alias/NAME`, or the ARN of either.
        key: String,
    },
    /// A key in Google Cloud KMS.
    GcpKms {
        /// The project.
        project: String,
        /// The location, such as `global`.
        location: String,
        /// The key ring.
        ring: String,
        /// The key.
        key: String,
        /// The version; none means the newest that is enabled.
        version: Option<String>,
    },
    /// A key in Azure Key Vault or Managed HSM.
    AzureKms {
        /// The vault's host name.
        vault: String,
        /// The key.
        key: String,
        /// The version; none means the current one.
        version: Option<String>,
    },
    /// A key in the transit engine of HashiCorp Vault or OpenBao.
    HashiVault {
        /// The key's name.
        key: String,
    },
    /// A key which a program named `sigstore-kms-<scheme>` reaches.
    Plugin {
        /// The scheme, which names the program.
        scheme: String,
        /// What follows `://`, for the program to understand.
        resource: String,
    },
}

impl KeyRef {
    /// Reads a reference as cosign spells it.
    ///
    /// # Errors
    /// [`KeyError::Reference`] saying what was expected, for a reference which is empty, too long or malformed.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() || text.len() > MAX_REFERENCE || text.chars().any(char::is_control) {
            return Err(KeyError::Reference(format!(
                "it is empty, longer than {MAX_REFERENCE} bytes or holds control characters; expected a file, \
                 env://VARIABLE or the reference of a key service"
            )));
        }
        if text.starts_with("pkcs11:") {
            return Pkcs11Uri::parse(text).map(Box::new).map(Self::Pkcs11);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        let parsed = match scheme {
            "env" => (!rest.is_empty() && !rest.contains('=')).then(|| Self::Env(rest.to_owned())),
            "http" | "https" => web(text),
            "k8s" => kubernetes(rest),
            "gitlab" => gitlab(rest),
            "github" => github(rest),
            "awskms" => aws(rest),
            "gcpkms" => gcp(rest),
            "azurekms" => azure(rest),
            "hashivault" | "openbao" => is_name(rest).then(|| Self::HashiVault { key: rest.to_owned() }),
            _ => plugin(scheme, rest),
        };
        parsed.ok_or_else(|| {
            // An address that is refused may be so for the password in it, which is not repeated.
            let found = match Url::parse(text) {
                Ok(url) if matches!(scheme, "http" | "https") => shown(&url),
                _ => printable(text),
            };
            KeyError::Reference(format!("expected {}, found \"{found}\"", expected(scheme)))
        })
    }
}

/// The form of a scheme's references, for people.
fn expected(scheme: &str) -> &'static str {
    match scheme {
        "env" => "env://VARIABLE",
        "http" | "https" => "https://HOST/PATH of a public key (http only on this machine)",
        "k8s" => "k8s://NAMESPACE/SECRET",
        "gitlab" => "gitlab://OWNER/PROJECT or gitlab://ID",
        "github" => "github://OWNER or github://OWNER/REPO",
        "awskms" => {
            "awskms:///KEY or awskms://ENDPOINT/KEY, where KEY is a key id, alias/NAME or an ARN of either"
        }
        "gcpkms" => {
            "gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, with or without \
             /cryptoKeyVersions/VERSION"
        }
        "azurekms" => "azurekms://VAULT.vault.azure.net/KEY, with or without /VERSION",
        "hashivault" | "openbao" => "hashivault://KEY",
        _ => "a scheme of lower case letters, digits and hyphens, and what its plugin should find",
    }
}

/// A name that stays one part of a path: letters, digits, `-`, `_`, `.`, and neither `.` nor `..`.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !text.bytes().all(|b| b == b'.')
}

/// A host with or without a port, and nothing else.
fn is_host(text: &str) -> bool {
    Url::parse(&format!("https://{text}/")).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default();
        url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && (text == host || text.strip_prefix(host).is_some_and(|rest| rest.starts_with(':')))
    })
}

fn web(text: &str) -> Option<KeyRef> {
    // The URL standard forgives more slashes than two.
    let two = text.split_once("://").is_some_and(|(_, rest)| !rest.starts_with('/'));
    let url = Url::parse(text).ok().filter(|_| two && !text.contains('\\'))?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (safe && plain && url.has_host()).then_some(KeyRef::Https(url))
}

fn kubernetes(rest: &str) -> Option<KeyRef> {
    let (namespace, secret) = rest.split_once('/')?;
    (is_name(namespace) && is_name(secret))
        .then(|| KeyRef::Kubernetes { namespace: namespace.to_owned(), secret: secret.to_owned() })
}

fn gitlab(rest: &str) -> Option<KeyRef> {
    let number = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    let path = rest.contains('/') && rest.split('/').all(is_name);
    (number || path).then(|| KeyRef::GitLab { project: rest.to_owned() })
}

fn github(rest: &str) -> Option<KeyRef> {
    let (owner, repository) = match rest.split_once('/') {
        Some((owner, repository)) => (owner, Some(repository.to_owned())),
        None => (rest, None),
    };
    (is_name(owner) && repository.as_deref().is_none_or(is_name))
        .then(|| KeyRef::GitHub { owner: owner.to_owned(), repository })
}

fn aws(rest: &str) -> Option<KeyRef> {
    let (endpoint, key) = rest.split_once('/')?;
    let endpoint = match endpoint {
        "" => None,
        host if is_host(host) => Some(host.to_owned()),
        _ => return None,
    };
    is_aws_key(key).then(|| KeyRef::AwsKms { endpoint, key: key.to_owned() })
}

/// A key id, an alias, or `arn:PARTITION:kms:REGION:ACCOUNT:` before `key/ID` or an alias.
fn is_aws_key(key: &str) -> bool {
    let Some(arn) = key.strip_prefix("arn:") else { return is_aws_key_id(key) || is_aws_alias(key) };
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let account = |part: &str| part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = arn.splitn(5, ':').collect();
    matches!(parts.as_slice(), [partition, "kms", region, owner, resource]
        if word(partition) && word(region) && account(owner)
            && (is_aws_alias(resource) || resource.strip_prefix("key/").is_some_and(is_aws_key_id)))
}

fn is_aws_alias(text: &str) -> bool {
    text.strip_prefix("alias/").is_some_and(|name| {
        !name.is_empty()
            && name.len() <= 250
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b))
    })
}

/// A key id of AWS: a UUID, or `mrk-` and 32 hexadecimal digits for a key of several regions.
fn is_aws_key_id(text: &str) -> bool {
    let digits = text.strip_prefix("mrk-").unwrap_or(text);
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    hex && digits.bytes().filter(u8::is_ascii_hexdigit).count() == 32 && digits.len() <= 36
}

fn gcp(rest: &str) -> Option<KeyRef> {
    let parts: Vec<&str> = rest.split('/').collect();
    let (names, version) = match parts.as_slice() {
        ["projects", p, "locations", l, "keyRings", r, "cryptoKeys", k] => ([*p, *l, *r, *k], None),
        [
            "projects",
            p,
            "locations",
            l,
            "keyRings",
            r,
            "cryptoKeys",
            k,
            "cryptoKeyVersions" | "versions",
            v,
        ] => ([*p, *l, *r, *k], Some(*v)),
        _ => return None,
    };
    let [project, location, ring, key] = names;
    // Projects of a domain are called `example.com:name`.
    let known_project = project.split(':').count() <= 2 && project.split(':').all(is_name);
    let number = |v: &str| !v.is_empty() && v.len() <= 10 && v.bytes().all(|b| b.is_ascii_digit());
    let valid = known_project && [location, ring, key].into_iter().all(is_name) && version.is_none_or(number);
    valid.then(|| KeyRef::GcpKms {
        project: project.to_owned(),
        location: location.to_owned(),
        ring: ring.to_owned(),
        key: key.to_owned(),
        version: version.map(str::to_owned),
    })
}

fn azure(rest: &str) -> Option<KeyRef> {
    let mut parts = rest.split('/');
    let (vault, key, version) = (parts.next()?, parts.next()?, parts.next().filter(|v| !v.is_empty()));
    let url = Url::parse(&format!("https://{vault}/")).ok()?;
    let named = AZURE_HOSTS.iter().any(|suffix| vault.strip_suffix(suffix).is_some_and(is_name));
    let valid = is_host(vault)
        && (named || is_loopback(&url))
        && is_name(key)
        && version.is_none_or(|v| v.bytes().all(|b| b.is_ascii_alphanumeric()))
        && parts.next().is_none();
    valid.then(|| KeyRef::AzureKms {
        vault: vault.to_owned(),
        key: key.to_owned(),
        version: version.map(str::to_owned),
    })
}

fn plugin(scheme: &str, rest: &str) -> Option<KeyRef> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let name =
        !scheme.is_empty() && scheme.len() <= 64 && scheme.bytes().all(known) && !scheme.starts_with('-');
    (name && !rest.is_empty())
        .then(|| KeyRef::Plugin { scheme: scheme.to_owned(), resource: rest.to_owned() })
}

impl FromStr for KeyRef {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |value: &Option<String>, before: &str| {
            value.as_ref().map(|v| format!("{before}{v}")).unwrap_or_default()
        };
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Env(variable) => write!(f, "env://{variable}"),
            Self::Https(url) => url.fmt(f),
            Self::Kubernetes { namespace, secret } => write!(f, "k8s://{namespace}/{secret}"),
            Self::GitLab { project } => write!(f, "gitlab://{project}"),
            Self::GitHub { owner, repository } => write!(f, "github://{owner}{}", part(repository, "/")),
            Self::Pkcs11(uri) => uri.fmt(f),
            Self::AwsKms { endpoint, key } => write!(f, "awskms://{}/{key}", part(endpoint, "")),
            Self::GcpKms { project, location, ring, key, version } => write!(
                f,
                "gcpkms://projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}{}",
                part(version, "/cryptoKeyVersions/")
            ),
            Self::AzureKms { vault, key, version } => {
                write!(f, "azurekms://{vault}/{key}{}", part(version, "/"))
            }
            Self::HashiVault { key } => write!(f, "hashivault://{key}"),
            Self::Plugin { scheme, resource } => write!(f, "{scheme}://{resource}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn an_address_that_changes_when_it_is_read_stays_the_same_from_then_on() {
        let read = KeyRef::parse("https://host://a/:///./b").unwrap();
        assert_eq!(KeyRef::parse(&read.to_string()).unwrap(), read);
    }

    #[test]
    fn references_round_trip_through_their_text() {
        let aws = [
            format!("awskms:///{ID}"),
            "awskms:///mrk-1234abcd12ab34cd56ef1234567890ab".to_owned(),
            "awskms:///alias/release/signing".to_owned(),
            "awskms://localhost:4566/alias/x".to_owned(),
            "awskms://[::1]:4566/alias/x".to_owned(),
            format!("awskms:///arn:aws:kms:us-east-2:111122223333:key/{ID}"),
            "awskms:///arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/release".to_owned(),
        ];
        let others = [
            "cosign.key",
            "/a/b c.pem",
            "C:\\keys\\k.pem",
            "env://COSIGN_KEY",
            "./env:x",
            "https://example.com/keys/cosign.pub",
            "http://127.0.0.1:8080/k.pub",
            "k8s://ns/secret",
            "gitlab://group/sub/project",
            "gitlab://4711",
            "github://owner",
            "github://owner/repo",
            "pkcs11:token=t;object=o%20x",
            "pkcs11:token=t;object=o?module-path=/usr/lib/m.so&pin-source=/run/pin",
            "gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k",
            "gcpkms://projects/example.com:p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3",
            "azurekms://v.vault.azure.net/k",
            "azurekms://v.managedhsm.azure.net/k/0123abcd",
            "azurekms://127.0.0.1:9/k",
            "hashivault://release-key.1",
            "ovhcloud://thing/with?anything",
        ];
        for text in aws.iter().map(String::as_str).chain(others) {
            assert_eq!(KeyRef::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_spellings_mean_the_same() {
        for (text, same) in [
            ("openbao://k", "hashivault://k"),
            (
                "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/1",
                "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            ),
            ("azurekms://v.vault.azure.net/k/", "azurekms://v.vault.azure.net/k"),
        ] {
            assert_eq!(KeyRef::parse(text).unwrap(), KeyRef::parse(same).unwrap());
        }
    }

    #[test]
    fn malformed_references_are_refused_with_the_form_that_was_expected() {
        for (text, form) in [
            ("", "a file"),
            ("a\0b", "a file"),
            ("env://", "env://VARIABLE"),
            ("env://A=B", "env://VARIABLE"),
            ("http://example.com/k.pub", "https://HOST"),
            ("https://user:pw@example.com/k.pub", "https://HOST"),
            ("https:///k", "https://HOST"),
            ("k8s://secret", "k8s://NAMESPACE"),
            ("k8s://ns/a/b", "k8s://NAMESPACE"),
            ("k8s://ns/..", "k8s://NAMESPACE"),
            ("gitlab://project", "gitlab://OWNER"),
            ("gitlab://o/../p", "gitlab://OWNER"),
            ("gitlab://o/p?x", "gitlab://OWNER"),
            ("github://", "github://OWNER"),
            ("github://o/r/x", "github://OWNER"),
            ("awskms://", "awskms:///KEY"),
            ("awskms:///", "awskms:///KEY"),
            ("awskms:///release", "awskms:///KEY"),
            ("awskms:///alias/", "awskms:///KEY"),
            ("awskms:///alias/a b", "awskms:///KEY"),
            ("awskms://user@host/alias/x", "awskms:///KEY"),
            ("awskms://host?x/alias/x", "awskms:///KEY"),
            ("awskms:///arn:aws:s3:us-east-2:111122223333:key/x", "awskms:///KEY"),
            ("awskms:///arn:aws:kms:us-east-2:1:alias/x", "awskms:///KEY"),
            ("gcpkms://projects/p", "gcpkms://projects"),
            ("gcpkms://projects/p/locations/../keyRings/r/cryptoKeys/k", "gcpkms://projects"),
            ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/x", "gcpkms://projects"),
            ("azurekms://v.vault.azure.net", "azurekms://VAULT"),
            ("azurekms://example.com/k", "azurekms://VAULT"),
            ("azurekms://evil.com#.vault.azure.net/k", "azurekms://VAULT"),
            ("azurekms://evil.com\\.vault.azure.net/k", "azurekms://VAULT"),
            ("azurekms://a@v.vault.azure.net/k", "azurekms://VAULT"),
            ("azurekms://v.vault.azure.net/k/1/2", "azurekms://VAULT"),
            ("hashivault://a/b", "hashivault://KEY"),
            ("hashivault://..", "hashivault://KEY"),
            ("pkcs11:", "RFC 7512"),
            ("pkcs11:token", "RFC 7512"),
            ("ovh://", "plugin"),
            ("../evil://x", "plugin"),
            ("UPPER://x", "plugin"),
        ] {
            let error = KeyRef::parse(text).unwrap_err().to_string();
            assert!(error.contains(form), "{text}: {error}");
        }
    }

    #[test]
    fn v59_a_token_for_azure_has_no_other_host_to_go_to() {
        for vault in
            ["evil.io", "vault.azure.net.evil.io", "evilvault.azure.net", ".vault.azure.net", "evil.io:443"]
        {
            assert!(KeyRef::parse(&format!("azurekms://{vault}/x")).is_err(), "{vault}");
        }
    }

    #[test]
    fn a_pin_in_a_reference_is_refused_and_not_repeated() {
        for text in ["pkcs11:token=t;object=o?pin-value=1234", "pkcs11:token=t;pin-value=1234"] {
            let error = KeyRef::parse(text).unwrap_err().to_string();
            assert!(error.contains("COSIGN_PKCS11_PIN") && !error.contains("1234"), "{error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for text in ["https://user:hunter2@example.com/k.pub", "https://hunter2@example.com/k.pub"] {
            let error = KeyRef::parse(text).unwrap_err().to_string();
            assert!(error.contains("example.com/k.pub") && !error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_reads_the_same_again(text in "[a-z0-9]{1,9}://[ -~]{0,40}|[ -~]{1,30}") {
            if let Ok(reference) = KeyRef::parse(&text) {
                prop_assert_eq!(KeyRef::parse(&reference.to_string()).unwrap(), reference);
            }
        }
    }
}
