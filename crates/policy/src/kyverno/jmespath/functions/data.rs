//! Functions that read other formats: JSON, YAML, versions, certificates, names of images; and hashes.

use std::net::{IpAddr, Ipv4Addr};

use countersign_crypto::encoding;
use countersign_registry::Reference;
use countersign_x509::{Certificate, Name, San};
use md5::Md5;
use serde_json::{Map, Value, json};
use sha1::{Digest as _, Sha1};
use url::{Host, Url};

use super::Kind::Text;
use super::{Call, Function, Outcome, function};
use crate::kyverno::units::{Range, version};

/// The longest text that is read as JSON or YAML.
const MAX_DOCUMENT: usize = 1 << 20;

pub(super) const FUNCTIONS: &[Function] = &[
    function("sha256", &[&[Text]], |call| {
        Ok(Value::from(encoding::hex_encode(&countersign_crypto::sha256(call.text(0)?.as_bytes()))))
    }),
    function("sha1", &[&[Text]], |call| Ok(Value::from(encoding::hex_encode(&Sha1::digest(call.text(0)?))))),
    function("md5", &[&[Text]], |call| Ok(Value::from(encoding::hex_encode(&Md5::digest(call.text(0)?))))),
    function("semver_compare", &[&[Text], &[Text]], semver_compare),
    function("parse_json", &[&[Text]], parse_json),
    function("parse_yaml", &[&[Text]], parse_yaml),
    function("x509_decode", &[&[Text]], x509_decode),
    function("image_normalize", &[&[Text]], image_normalize),
    function("is_external_url", &[&[Text]], is_external_url),
    function("random", &[&[Text]], random),
];

/// `semver_compare(version, range)`. What is no version is an error; Kyverno takes it for 0.0.0.
fn semver_compare(call: &Call<'_>) -> Outcome {
    let (text, range) = (call.text(0)?, call.text(1)?);
    let version = version(text)
        .ok_or_else(|| call.error(format!("expected a version such as 1.2.3, found \"{text}\"")))?;
    let range = Range::parse(range)
        .ok_or_else(|| call.error(format!("expected a range such as >=1.2.0 <2.0.0, found \"{range}\"")))?;
    Ok(Value::Bool(range.holds(&version)))
}

impl Call<'_> {
    /// A text that is to be read, within its limit and charged as what may come of it.
    fn document(&self) -> Result<&str, super::Error> {
        let text = self.text(0)?;
        if text.len() > MAX_DOCUMENT {
            return Err(self.error(format!("expected at most {MAX_DOCUMENT} bytes, found {}", text.len())));
        }
        self.budget().steps(text.len() / 2)?;
        Ok(text)
    }
}

fn parse_json(call: &Call<'_>) -> Outcome {
    serde_json::from_str(call.document()?)
        .map_err(|error| call.error(format!("expected JSON, found something else: {error}")))
}

fn parse_yaml(call: &Call<'_>) -> Outcome {
    serde_saphyr::from_str(call.document()?)
        .map_err(|error| call.error(format!("expected YAML, found something else: {error}")))
}

/// `x509_decode(pem)`: the certificate under Go's names of its fields. As in Kyverno, its key must be RSA.
///
/// The fields that policies use are there: versions, names, times, the key, what it may do, alternative names. One that
/// is not there is an unknown key, never an empty value.
fn x509_decode(call: &Call<'_>) -> Outcome {
    let certificate = Certificate::from_pem(call.text(0)?).map_err(|error| {
        call.error(format!("expected a certificate in PEM, found something else: {error}"))
    })?;
    let (modulus, exponent) = certificate
        .public_key()
        .rsa_numbers()
        .ok_or_else(|| call.error("expected a certificate with an RSA key, found another key"))?;
    let exponent = exponent.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    let names = |pick: fn(&San) -> Option<&str>| -> Value {
        let found: Vec<&str> = certificate.sans().iter().filter_map(pick).collect();
        if found.is_empty() { Value::Null } else { Value::from(found) }
    };
    let key_id = |id: Option<&[u8]>| id.map_or(Value::Null, |id| Value::from(encoding::base64_encode(id)));
    Ok(json!({
        "Raw": encoding::base64_encode(certificate.der()),
        "RawTBSCertificate": encoding::base64_encode(certificate.tbs_der()),
        "PublicKeyAlgorithm": 1,
        "PublicKey": {"N": decimal(&modulus), "E": exponent},
        "Version": 3,
        "SerialNumber": number(call, &decimal(certificate.serial()))?,
        "Issuer": name(call, certificate.issuer())?,
        "Subject": name(call, certificate.subject())?,
        "NotBefore": certificate.not_before().to_string(),
        "NotAfter": certificate.not_after().to_string(),
        "BasicConstraintsValid": certificate.basic_constraints().is_some(),
        "IsCA": certificate.is_ca(),
        "SubjectKeyId": key_id(certificate.subject_key_id()),
        "AuthorityKeyId": key_id(certificate.authority_key_id()),
        "DNSNames": names(|san| if let San::Dns(name) = san { Some(name) } else { None }),
        "EmailAddresses": names(|san| if let San::Email(name) = san { Some(name) } else { None }),
    }))
}

/// A number as JSON has them: one that is too long for that loses its last digits, as in Kyverno.
fn number(call: &Call<'_>, digits: &str) -> Outcome {
    if let Ok(number) = digits.parse::<u64>() {
        return Ok(Value::from(number));
    }
    digits
        .parse()
        .map_or_else(|_| Err(call.error("the serial number is no number")), |number| call.numeric(number))
}

/// A distinguished name under Go's names of its parts.
fn name(call: &Call<'_>, name: &Name) -> Outcome {
    const LISTS: [(&str, &str); 7] = [
        ("2.5.4.6", "Country"),
        ("2.5.4.10", "Organization"),
        ("2.5.4.11", "OrganizationalUnit"),
        ("2.5.4.7", "Locality"),
        ("2.5.4.8", "Province"),
        ("2.5.4.9", "StreetAddress"),
        ("2.5.4.17", "PostalCode"),
    ];
    let attributes = name.attributes().map_err(|error| call.error(error.to_string()))?;
    let values = |oid: &str| -> Vec<&str> {
        let of_kind = attributes.iter().filter(|(kind, _)| kind.to_string() == oid);
        of_kind.filter_map(|(_, value)| value.as_deref()).collect()
    };
    let mut parts = Map::new();
    for (oid, part) in LISTS {
        let values = values(oid);
        parts.insert(part.to_owned(), if values.is_empty() { Value::Null } else { Value::from(values) });
    }
    for (oid, part) in [("2.5.4.5", "SerialNumber"), ("2.5.4.3", "CommonName")] {
        parts.insert(part.to_owned(), Value::from(values(oid).last().copied().unwrap_or_default()));
    }
    Ok(Value::Object(parts))
}

/// A large number in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    // Nine digits in each, the lowest first.
    const BASE: u64 = 1_000_000_000;
    let mut parts: Vec<u64> = vec![0];
    for byte in bytes {
        let mut carry = u64::from(*byte);
        for part in &mut parts {
            let value = (*part << 8) + carry;
            *part = value % BASE;
            carry = value / BASE;
        }
        if carry > 0 {
            parts.push(carry);
        }
    }
    let mut parts = parts.iter().rev();
    let first = parts.next().map_or_else(String::new, ToString::to_string);
    parts.fold(first, |digits, part| format!("{digits}{part:09}"))
}

/// `image_normalize(image)`: with its registry, and with its digest or else its tag. An image without a registry is
/// one of docker.io.
fn image_normalize(call: &Call<'_>) -> Outcome {
    let image = call.text(0)?;
    let host = image.split_once('/').map(|(host, _)| host);
    let has_host = host.is_some_and(|host| {
        host.contains(['.', ':']) || host == "localhost" || host.chars().any(char::is_uppercase)
    });
    let full = if has_host { image.to_owned() } else { format!("docker.io/{image}") };
    Reference::parse(&full).map_err(|error| call.error(error.to_string()))?;
    let (named, digest) =
        full.split_once('@').map_or((full.as_str(), None), |(named, digest)| (named, Some(digest)));
    let slash = named.rfind('/').unwrap_or(0);
    let (path, tag) = match named.get(slash..).and_then(|last| last.rfind(':')) {
        Some(colon) => (named.get(..slash + colon), named.get(slash + colon + 1..)),
        None => (Some(named), None),
    };
    let path = path.unwrap_or(named);
    Ok(Value::from(match digest {
        Some(digest) => format!("{path}@{digest}"),
        None => format!("{path}:{}", tag.unwrap_or("latest")),
    }))
}

/// `is_external_url(url)`: for an address. Kyverno asks DNS what a name means; an evaluation here asks nobody.
fn is_external_url(call: &Call<'_>) -> Outcome {
    let text = call.text(0)?;
    let url =
        Url::parse(text).map_err(|error| call.error(format!("expected a URL, found \"{text}\": {error}")))?;
    let address = match url.host() {
        Some(Host::Domain("localhost")) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(address.to_canonical()),
        Some(Host::Domain(name)) => name.parse::<IpAddr>().ok(),
        None => None,
    };
    let inside = match address {
        Some(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Some(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        None => {
            return Err(call.error(format!(
                "expected a URL with an IP address, found \"{text}\"; what a name means in DNS is not asked"
            )));
        }
    };
    Ok(Value::Bool(!inside))
}

/// A policy that decides by chance decides nothing.
fn random(call: &Call<'_>) -> Outcome {
    Err(call.error("expected no chance in a policy over images; the same request gets the same answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_in_decimal() {
        assert_eq!(decimal(&[]), "0");
        assert_eq!(decimal(&[0, 1, 0]), "256");
        assert_eq!(decimal(&[0xff; 16]), u128::MAX.to_string());
        assert_eq!(decimal(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), "18446744073709551616");
    }
}
