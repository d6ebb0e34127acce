//! Key references: how the command line and the configuration name a key.
//!
//! | form | home | here |
//! |---|---|---|
//! | `path/to/cosign.key` | a file | yes |
//! | `env://VAR` | an environment variable holding PEM | yes |
//! | `k8s://NAMESPACE/SECRET`, `gitlab://…`, `github://…` | a secret store | not in this build |
//! | `pkcs11:…` | a hardware module (RFC 7512) | not in this build |
//! | `awskms://…`, `gcpkms://…`, `azurekms://…`, `hashivault://…` | a key service | not in this build |
//! | `http://…`, `https://…` | a web server | never for a private key |
//! | another `name://…` | a plugin `sigstore-kms-name` | not in this build |

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::KeyError;
use crate::encrypted::printable;

/// What an error names as the way out.
const SUPPORTED: &str = "a file path, env://VARIABLE";

/// Where a key lives.
///
/// ```
/// use countersign_keys::KeyRef;
/// assert_eq!(KeyRef::parse("cosign.key")?, KeyRef::File("cosign.key".into()));
/// assert_eq!(KeyRef::parse("env://MY_KEY")?, KeyRef::Env("MY_KEY".into()));
/// assert!(KeyRef::parse("awskms:///alias/release").is_err());
/// # Ok::<(), countersign_keys::KeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRef {
    /// A PEM file.
    File(PathBuf),
    /// An environment variable whose value is PEM.
    Env(String),
}

impl KeyRef {
    /// Reads a reference as cosign spells it.
    ///
    /// # Errors
    /// [`KeyError::UnsupportedScheme`] naming the scheme and what is supported, [`KeyError::Reference`] for an
    /// empty reference or variable name.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() || text.contains('\0') {
            return Err(KeyError::Reference(format!("it is empty or holds a NUL; expected {SUPPORTED}")));
        }
        if text.starts_with("pkcs11:") {
            return Err(unsupported("pkcs11:", "keys in hardware modules are not in this build"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        let detail = match scheme {
            "env" => {
                return if rest.is_empty() || rest.contains('=') {
                    Err(KeyError::Reference(format!("\"{}\" names no variable", printable(text))))
                } else {
                    Ok(Self::Env(rest.to_owned()))
                };
            }
            "k8s" => "keys in Kubernetes secrets are not in this build",
            "gitlab" | "github" => "keys in CI variables are not in this build",
            "awskms" => "keys in AWS KMS are not in this build",
            "gcpkms" => "keys in Google Cloud KMS are not in this build",
            "azurekms" => "keys in Azure Key Vault are not in this build",
            "hashivault" => "keys in HashiCorp Vault are not in this build",
            "http" | "https" => "keys are not fetched from the network; download the file and check it first",
            _ => "no such scheme is known, and signing plugins are not in this build",
        };
        Err(unsupported(&format!("{}://", printable(scheme)), detail))
    }
}

fn unsupported(scheme: &str, detail: &'static str) -> KeyError {
    KeyError::UnsupportedScheme { scheme: scheme.to_owned(), detail, supported: SUPPORTED }
}

impl FromStr for KeyRef {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Env(variable) => write!(f, "env://{variable}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_round_trip_through_their_text() {
        for text in ["cosign.key", "/a/b c.pem", "C:\\keys\\k.pem", "env://COSIGN_KEY", "./env:x"] {
            assert_eq!(KeyRef::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_other_home_is_refused_by_name_with_what_is_supported() {
        for text in [
            "k8s://ns/secret",
            "gitlab://owner/project",
            "github://owner/repo",
            "pkcs11:token=t;object=o",
            "awskms:///alias/x",
            "gcpkms://projects/p",
            "azurekms://v.vault.azure.net/k",
            "hashivault://k",
            "https://example.com/cosign.key",
            "ovh://thing",
        ] {
            let error = KeyRef::parse(text).unwrap_err().to_string();
            let scheme =
                text.split_inclusive("//").next().unwrap().split_inclusive("pkcs11:").next().unwrap();
            assert!(error.contains(scheme), "{text}: {error}");
            assert!(error.contains("env://VARIABLE"), "{text}: {error}");
        }
    }

    #[test]
    fn empty_names_are_refused() {
        for text in ["", "env://", "env://A=B", "a\0b"] {
            assert!(matches!(KeyRef::parse(text), Err(KeyError::Reference(_))), "{text:?}");
        }
    }
}
