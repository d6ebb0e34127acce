//! Where the password of an encrypted key comes from.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::KeyError;
use crate::encrypted;
use crate::once::OnePassword;

/// The environment variable cosign reads the password from.
pub const PASSWORD_VARIABLE: &str = "COSIGN_PASSWORD";

/// The longest password read from a file, in bytes.
const MAX_PASSWORD: usize = 4096;

/// Asks a person for a password. The argument says for what; the command line passes a function which reads
/// the terminal without echo.
pub type PromptFn = dyn Fn(&str) -> io::Result<Zeroizing<String>> + Send + Sync;

/// Where the password of an encrypted key comes from. It is asked for only when a key turns out encrypted.
///
/// ```
/// use countersign_keys::PasswordSource;
/// let source = PasswordSource::literal("hunter2");
/// assert!(!format!("{source:?}").contains("hunter2"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum PasswordSource {
    /// An environment variable; set but empty means the empty password, as in cosign.
    Env(String),
    /// The content of a file, without one final line break.
    File(PathBuf),
    /// A password at hand.
    Literal(Zeroizing<String>),
    /// A question to a person.
    Prompt(Arc<PromptFn>),
    /// One password for several keys: see [`PasswordSource::once`].
    Once(Arc<OnePassword>),
    /// The first of these that has one: an [`PasswordSource::Env`] whose variable is not set is passed over.
    FirstSet(Vec<PasswordSource>),
}

impl PasswordSource {
    /// The variable `COSIGN_PASSWORD`.
    #[must_use]
    pub fn cosign_env() -> Self {
        Self::Env(PASSWORD_VARIABLE.into())
    }

    /// A password at hand.
    #[must_use]
    pub fn literal(password: &str) -> Self {
        Self::Literal(Zeroizing::new(password.to_owned()))
    }

    /// The same password for several keys: it is had once, and what is derived from it is kept while this value lives.
    /// Keys written under it share a salt, so that loading all of them costs one derivation instead of one for each.
    #[must_use]
    pub fn once(self) -> Self {
        Self::Once(Arc::new(OnePassword::new(self)))
    }

    /// Encrypts a key under this password into the text of a key file.
    pub(crate) fn encrypt(&self, purpose: &str, pkcs8: &[u8]) -> Result<String, KeyError> {
        match self {
            Self::Once(one) => {
                encrypted::encrypt_with(pkcs8, &one.salt()?, |salt, n| one.derive(purpose, salt, n))
            }
            other => encrypted::encrypt(pkcs8, &other.get(purpose)?),
        }
    }

    /// Decrypts the content of a key file.
    pub(crate) fn decrypt(&self, purpose: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        encrypted::decrypt_with(body, |salt, n| match self {
            Self::Once(one) => one.derive(purpose, salt, n),
            other => encrypted::derive(&other.get(purpose)?, salt, n),
        })
    }

    /// A password that lay beside its key.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| KeyError::Password("the one beside the key is not UTF-8".into()))?;
        Ok(Self::literal(text))
    }

    /// The password.
    ///
    /// # Errors
    /// [`KeyError::Password`] when the variable is not set, the person or the terminal gives none, or there is no
    /// source at all; [`KeyError::Io`] for an unreadable file.
    pub fn get(&self, purpose: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.get_with(purpose, &|name| std::env::var_os(name))
    }

    #[cfg(all(unix, feature = "pkcs11"))]
    /// The question to a person, if asking one is among the sources.
    pub(crate) fn prompt(&self) -> Option<&PromptFn> {
        match self {
            Self::Prompt(ask) => Some(ask.as_ref()),
            Self::FirstSet(sources) => sources.iter().find_map(Self::prompt),
            Self::Once(one) => one.source().prompt(),
            _ => None,
        }
    }

    fn get_with(
        &self,
        purpose: &str,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        match self {
            Self::Env(name) => match env(name).map(OsString::into_string) {
                Some(Ok(value)) => Ok(Zeroizing::new(value.into_bytes())),
                Some(Err(_)) => Err(KeyError::Password(format!("the variable {name} is not UTF-8"))),
                None => Err(KeyError::Password(format!("the environment variable {name} is not set"))),
            },
            Self::File(path) => {
                let file = std::fs::File::open(path).map_err(KeyError::io("open the password file", path))?;
                let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 1));
                file.take(MAX_PASSWORD as u64 + 1)
                    .read_to_end(&mut bytes)
                    .map_err(KeyError::io("read the password file", path))?;
                if bytes.len() > MAX_PASSWORD {
                    return Err(KeyError::Password(format!(
                        "{} is larger than {MAX_PASSWORD} bytes",
                        path.display()
                    )));
                }
                for end in [b'\n', b'\r'] {
                    if bytes.last() == Some(&end) {
                        bytes.pop();
                    }
                }
                Ok(bytes)
            }
            Self::Literal(password) => Ok(Zeroizing::new(password.as_bytes().to_vec())),
            Self::Once(one) => one.password(purpose),
            Self::Prompt(ask) => ask(purpose)
                .map(|password| Zeroizing::new(password.as_bytes().to_vec()))
                .map_err(|e| KeyError::Password(format!("asking for it failed: {e}"))),
            Self::FirstSet(sources) => {
                for source in sources {
                    match source {
                        Self::Env(name) if env(name).is_none() => {}
                        other => return other.get_with(purpose, env),
                    }
                }
                Err(KeyError::Password(format!("set {PASSWORD_VARIABLE} or name a password file")))
            }
        }
    }
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "Env({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::Once(one) => one.fmt(f),
            Self::Prompt(_) => f.write_str("Prompt"),
            Self::FirstSet(sources) => f.debug_list().entries(sources).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<OsString> {
        match name {
            "SET" => Some("pw".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        }
    }

    #[test]
    fn a_set_variable_counts_even_when_empty_and_an_unset_one_does_not() {
        let get = |name: &str| PasswordSource::Env(name.into()).get_with("key", &env);
        assert_eq!(get("SET").unwrap().as_slice(), b"pw");
        assert_eq!(get("EMPTY").unwrap().as_slice(), b"");
        assert!(matches!(get("UNSET"), Err(KeyError::Password(m)) if m.contains("UNSET")));
    }

    #[test]
    fn the_first_source_that_has_one_wins() {
        let prompt = PasswordSource::Prompt(Arc::new(|_| Ok(Zeroizing::new("asked".to_owned()))));
        let chain =
            |name: &str| PasswordSource::FirstSet(vec![PasswordSource::Env(name.into()), prompt.clone()]);
        assert_eq!(chain("UNSET").get_with("key", &env).unwrap().as_slice(), b"asked");
        assert_eq!(chain("EMPTY").get_with("key", &env).unwrap().as_slice(), b"");
        assert!(PasswordSource::FirstSet(vec![]).get("key").is_err());
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_part_of_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        for (content, expected) in
            [("pw\n", "pw"), ("pw\r\n", "pw"), ("pw\n\n", "pw\n"), ("pw ", "pw "), ("", "")]
        {
            std::fs::write(&path, content).unwrap();
            let found = PasswordSource::File(path.clone()).get("key").unwrap();
            assert_eq!(found.as_slice(), expected.as_bytes());
        }
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(PasswordSource::File(path).get("key").is_err());
        assert!(PasswordSource::File(dir.path().join("none")).get("key").is_err());
    }

    #[test]
    fn a_prompt_that_fails_is_no_password() {
        let source = PasswordSource::Prompt(Arc::new(|_| Err(io::Error::other("no terminal"))));
        assert!(matches!(source.get("key"), Err(KeyError::Password(m)) if m.contains("no terminal")));
    }

    #[test]
    fn debug_output_holds_no_password() {
        let text = format!("{:?}", PasswordSource::FirstSet(vec![PasswordSource::literal("hunter2")]));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
