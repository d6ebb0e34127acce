//! What a checked token says about its holder: the certificate's name and Fulcio's extensions
//! (<https://github.com/sigstore/fulcio/blob/main/docs/oidc.md>, `oid-info.md`).

use countersign_x509::{FulcioExtensions, San};
use serde_json::{Map, Value};
use url::Url;

use crate::config::{CiProvider, Kind};
use crate::json;
use crate::oidc::{VerifiedToken, for_log};

/// The longest text that goes into a certificate, in bytes.
pub const MAX_TEXT_BYTES: usize = 2048;

/// Why a good token gives no name that can be certified. For the operator's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdentityError(String);

impl IdentityError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Who asks, as far as the issuer of a token vouches for it.
///
/// There is one way to make it: [`Principal::from_token`], and one way to its argument:
/// [`crate::oidc::TokenVerifier::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    san: San,
    extensions: FulcioExtensions,
    name: String,
}

impl Principal {
    /// Reads the identity in a token by the rules of its issuer's type.
    ///
    /// # Errors
    /// [`IdentityError`] when a claim is missing, of another JSON type, or not a name of the form the type asks for.
    pub fn from_token(token: &VerifiedToken) -> Result<Self, IdentityError> {
        let claims = token.claims();
        let subject = token.subject();
        let issuer = token.issuer().url();
        let mut extensions = FulcioExtensions::default();
        let mut certified_issuer = issuer.to_owned();
        let mut name = match token.issuer().challenge_claim() {
            "email" => text(claims, "email")?.to_owned(),
            _ => subject.to_owned(),
        };
        let san = match token.issuer().kind() {
            Kind::Email { issuer_path, skip_verification } => {
                let address = text(claims, "email")?;
                if !skip_verification && !email_verified(claims) {
                    return Err(IdentityError::new("expected \"email_verified\" true"));
                }
                if !is_email(address) {
                    return Err(IdentityError::new(format!("not an e-mail address: {}", for_log(address))));
                }
                if let Some(path) = issuer_path {
                    certified_issuer = at_path(claims, path)?.to_owned();
                }
                San::Email(address.to_owned())
            }
            Kind::Username { domain } => San::username(username(subject, domain)?),
            Kind::Uri { scheme, host } => San::Uri(subject_uri(subject, scheme, host)?),
            Kind::Spiffe { trust_domain } => San::Uri(spiffe_id(subject, trust_domain)?),
            Kind::Kubernetes => San::Uri(service_account(claims)?),
            Kind::Chainguard => {
                // What clients of this issuer sign: the address if there is a verified one.
                if claims.contains_key("email") && token.issuer().challenge_claim() == "sub" {
                    if !email_verified(claims) {
                        return Err(IdentityError::new("expected \"email_verified\" true beside \"email\""));
                    }
                    name = text(claims, "email")?.to_owned();
                }
                San::Uri(certificate_uri(&format!("{}/{subject}", issuer.trim_end_matches('/')))?)
            }
            Kind::Ci(provider) => San::Uri(ci_job(provider, claims, &mut extensions)?),
        };
        extensions.issuer_v1 = Some(certified_issuer.clone());
        extensions.issuer_v2 = Some(certified_issuer);
        extensions.token_subject = Some(subject.to_owned());
        for extension in extensions.iter() {
            if extension.value.len() > MAX_TEXT_BYTES || extension.value.chars().any(char::is_control) {
                return Err(IdentityError::new(format!(
                    "expected {} of at most {MAX_TEXT_BYTES} bytes without control characters, found {} bytes",
                    extension.name,
                    extension.value.len()
                )));
            }
        }
        Ok(Self { san, extensions, name })
    }

    /// The subject alternative name.
    #[must_use]
    pub const fn san(&self) -> &San {
        &self.san
    }

    /// Fulcio's extensions, the issuer among them.
    #[must_use]
    pub const fn extensions(&self) -> &FulcioExtensions {
        &self.extensions
    }

    /// The text which a proof of possession signs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<&'a str, IdentityError> {
    match claims.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(other) => Err(IdentityError::new(format!(
            "claim \"{name}\": expected a string that is not empty, found {}",
            json::kind(other)
        ))),
        None => Err(IdentityError::new(format!("claim \"{name}\": expected a string, found nothing"))),
    }
}

fn at_path<'a>(claims: &'a Map<String, Value>, path: &[String]) -> Result<&'a str, IdentityError> {
    let missing = || IdentityError::new(format!("expected a string at $.{}", path.join(".")));
    let (last, parents) = path.split_last().ok_or_else(missing)?;
    let mut object = claims;
    for part in parents {
        object = object.get(part).and_then(Value::as_object).ok_or_else(missing)?;
    }
    object.get(last).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(missing)
}

/// True, or "true" as some providers write it; nothing else.
fn email_verified(claims: &Map<String, Value>) -> bool {
    match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    }
}

/// An address of the plain form, ASCII only, as an `rfc822Name` must be (RFC 5280 section 4.2.1.6): a dot-atom of at
/// most 64 bytes, `@`, and a host name of at least two labels.
fn is_email(address: &str) -> bool {
    let Some((local, domain)) = address.split_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    address.len() <= 254
        && local.len() <= 64
        && local.split('.').all(atom)
        && domain.contains('.')
        && domain.split('.').all(label)
}

fn username(subject: &str, domain: &str) -> Result<String, IdentityError> {
    if subject.contains('!') {
        return Err(IdentityError::new("expected a user name without \"!\""));
    }
    if is_email(subject) {
        return Err(IdentityError::new("expected a user name, found an e-mail address"));
    }
    let name = format!("{subject}!{domain}");
    if name.len() > MAX_TEXT_BYTES || name.chars().any(char::is_control) {
        return Err(IdentityError::new("a user name that is too long or has control characters"));
    }
    Ok(name)
}

fn subject_uri(subject: &str, scheme: &str, host: &str) -> Result<String, IdentityError> {
    let bad = |what: &str| IdentityError::new(format!("{what}: {}", for_log(subject)));
    // The reader of URLs is that of browsers, which repairs much. What needs repair is refused before.
    if !subject.bytes().all(is_uri_byte) || !subject.contains("://") {
        return Err(bad("expected a URI as the subject"));
    }
    let url = Url::parse(subject).map_err(|_| bad("expected a URI as the subject"))?;
    if url.scheme() != scheme || url.host_str() != Some(host) {
        return Err(bad(&format!("expected a subject under {scheme}://{host}")));
    }
    if !url.username().is_empty() || url.password().is_some() || is_email(subject) {
        return Err(bad("expected a subject without a user"));
    }
    certificate_uri(subject)
}

/// Whether a text is a SPIFFE trust domain name (SPIFFE-ID section 2.1).
pub(crate) fn is_trust_domain(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b))
}

/// Checks a SPIFFE id (SPIFFE-ID section 2) of this trust domain.
fn spiffe_id(subject: &str, trust_domain: &str) -> Result<String, IdentityError> {
    let bad =
        || IdentityError::new(format!("expected a SPIFFE id of {trust_domain}, found {}", for_log(subject)));
    let rest = subject.strip_prefix("spiffe://").ok_or_else(bad)?;
    let (domain, path) = match rest.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (rest, None),
    };
    let segment = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    };
    let sound = subject.len() <= MAX_TEXT_BYTES
        && domain == trust_domain
        && path.is_none_or(|path| path.split('/').all(segment));
    if sound { Ok(subject.to_owned()) } else { Err(bad()) }
}

fn service_account(claims: &Map<String, Value>) -> Result<String, IdentityError> {
    let part = |path: &[&str]| {
        let path: Vec<String> = path.iter().map(|p| (*p).to_owned()).collect();
        let name = at_path(claims, &path)?;
        let plain = name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
        if plain {
            Ok(name)
        } else {
            Err(IdentityError::new(format!("expected a Kubernetes name, found {}", for_log(name))))
        }
    };
    let namespace = part(&["kubernetes.io", "namespace"])?;
    let account = part(&["kubernetes.io", "serviceaccount", "name"])?;
    Ok(format!("https://kubernetes.io/namespaces/{namespace}/serviceaccounts/{account}"))
}

fn ci_job(
    provider: &CiProvider,
    claims: &Map<String, Value>,
    extensions: &mut FulcioExtensions,
) -> Result<String, IdentityError> {
    let values = provider.values(claims).map_err(IdentityError::new)?;
    let subject = provider
        .subject
        .render(&values)
        .map_err(|e| IdentityError::new(format!("subject alternative name: {e}")))?;
    for (name, template) in &provider.extensions {
        let value =
            template.render(&values).map_err(|e| IdentityError::new(format!("extension {name}: {e}")))?;
        let known = FulcioExtensions::arc_of(name).is_some_and(|arc| extensions.set(arc, &value));
        if !known {
            return Err(IdentityError::new(format!("there is no extension {name}")));
        }
    }
    let uri = certificate_uri(&subject)?;
    match Url::parse(&uri) {
        Ok(url) if url.has_host() && url.username().is_empty() => Ok(uri),
        _ => Err(IdentityError::new(format!("expected a URI with a host, found {}", for_log(&subject)))),
    }
}

/// What RFC 3986 allows in a URI, `%` included.
fn is_uri_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b)
}

/// A URI as a certificate holds it: ASCII, with everything in its path escaped that RFC 3986 does not allow there
/// (a workflow file's name may hold a space). Query and fragment are taken as they are or not at all.
fn certificate_uri(text: &str) -> Result<String, IdentityError> {
    let bad = |what: &str| IdentityError::new(format!("{what}: {}", for_log(text)));
    let (scheme, rest) = text.split_once(':').ok_or_else(|| bad("expected a URI"))?;
    let plain_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !plain_scheme || text.chars().any(char::is_control) {
        return Err(bad("expected a URI"));
    }
    let path_end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, tail) = rest.split_at_checked(path_end).ok_or_else(|| bad("expected a URI"))?;
    if !tail.bytes().all(is_uri_byte) {
        return Err(bad("a query or fragment with characters a URI cannot have"));
    }
    let mut uri = format!("{scheme}:");
    for byte in path.bytes() {
        if is_uri_byte(byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str(tail);
    let escapes_sound = uri
        .split('%')
        .skip(1)
        .all(|rest| rest.get(..2).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())));
    if !escapes_sound {
        return Err(bad("a \"%\" which is not an escape"));
    }
    if uri.len() > MAX_TEXT_BYTES {
        return Err(bad("a URI that is too long"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ascii_and_plain() {
        for good in ["alice@example.com", "a.b+c@sub.example.co", "x!y@a-b.de"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "",
            "alice",
            "@example.com",
            "alice@",
            "alice@localhost",
            "a@b@example.com",
            "älice@example.com",
            "alice@exämple.com",
            "a b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@-example.com",
            "a@example..com",
            "\"a\"@example.com",
            "a@[127.0.0.1]",
            "a@example.com\n",
            "a@example.com\0",
            &long,
        ] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }

    #[test]
    fn uris_are_escaped_where_they_must_be() {
        for (text, uri) in [
            ("https://github.com/o/r/.github/workflows/x.yml@refs/heads/main", None),
            (
                "https://github.com/o/r/.github/workflows/my file.yml@x",
                Some("https://github.com/o/r/.github/workflows/my%20file.yml@x"),
            ),
            ("https://github.com/o/r/é@x", Some("https://github.com/o/r/%C3%A9@x")),
            ("https://github.com/o/r/x.yml@refs/heads/fix#12", None),
            ("https://gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main", None),
            ("https://x/a%20b", None),
        ] {
            assert_eq!(certificate_uri(text).unwrap(), uri.unwrap_or(text));
        }
        for bad in [
            "",
            "no-scheme",
            ":x",
            "https://x/%zz",
            "https://x/%2",
            "https://x/a#b c",
            "https://x/\n",
            "1a:b",
        ] {
            assert!(certificate_uri(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn uri_subjects_belong_to_their_domain() {
        let check = |subject: &str| subject_uri(subject, "https", "users.example.com");
        assert!(check("https://users.example.com/alice").is_ok());
        for bad in [
            "https://users.example.com.evil.org/alice",
            "https://evil.org/users.example.com",
            "http://users.example.com/alice",
            "https://alice@users.example.com/",
            "https://users.example.com@evil.org/",
            "https:/users.example.com/alice",
            "https:\\\\users.example.com\\alice",
            " https://users.example.com/alice",
            "https://users.exa\tmple.com/alice",
            "alice@users.example.com",
            "users.example.com",
            "https://",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spiffe_ids_have_their_exact_form() {
        let check = |subject: &str| spiffe_id(subject, "example.org");
        for good in
            ["spiffe://example.org/ns/default/sa/x", "spiffe://example.org", "spiffe://example.org/A.b-c_1"]
        {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "spiffe://example.org/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/",
            "spiffe://example.org/..",
            "spiffe://EXAMPLE.org/a",
            "spiffe://other.org/a",
            "spiffe://example.org:1/a",
            "spiffe://u@example.org/a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/%41",
            "https://example.org/a",
            "SPIFFE://example.org/a",
            "spiffe://example.org.evil/a",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_names_are_neither_addresses_nor_two_names() {
        assert_eq!(username("alice", "example.com").unwrap(), "alice!example.com");
        for bad in ["a!b", "alice@example.com", "a\nb", &"a".repeat(3000)] {
            assert!(username(bad, "example.com").is_err(), "{bad:?}");
        }
    }
}
