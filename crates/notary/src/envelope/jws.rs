//! The JWS form (`signature-envelope-jws.md`): flattened JSON of exactly four members, nothing more.

use countersign_attestation::json::{self, UniqueMap};
use countersign_crypto::encoding::{base64_decode, base64_encode, base64url_decode, base64url_encode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{MAX_CHAIN, MAX_ENVELOPE_LEN, Parts, Protected, Unsigned, malformed, names};
use crate::payload::MEDIA_TYPE;
use crate::{Algorithm, Reason, Refusal};

/// How many header attributes there may be.
const MAX_ATTRIBUTES: usize = 64;

type Header = UniqueMap<Value, MAX_ATTRIBUTES>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    protected: String,
    header: Header,
    signature: String,
}

pub(super) fn read(bytes: &[u8]) -> Result<Parts, Refusal> {
    let wire: Wire = json::from_slice(bytes, MAX_ENVELOPE_LEN)
        .map_err(|e| malformed("a JWS of payload, protected, header and signature", e.to_string()))?;
    let part = |name: &str, text: &str| {
        base64url_decode(text).map_err(|e| malformed(format!("\"{name}\" in base64url"), e.to_string()))
    };
    let protected: Header = json::from_slice(&part("protected", &wire.protected)?, MAX_ENVELOPE_LEN)
        .map_err(|e| malformed("a protected header", e.to_string()))?;
    refuse_in_both_places(&protected, &wire.header)?;
    let unprotected = &wire.header.0;
    let timestamp = text_of(unprotected.get(names::TIMESTAMP), names::TIMESTAMP)?
        .map(|text| base64_decode(text).map_err(|e| malformed("a timestamp in base64", e.to_string())))
        .transpose()?;
    Ok(Parts {
        payload: part("payload", &wire.payload)?,
        signature: part("signature", &wire.signature)?,
        chain: chain(unprotected.get("x5c"))?,
        timestamp,
        agent: text_of(unprotected.get(names::AGENT), names::AGENT)?.map(str::to_owned),
        signed: format!("{}.{}", wire.protected, wire.payload).into_bytes(),
        protected: protected_header(&protected)?,
    })
}

/// The same name under the signature and beside it, or an attribute beside it that must be under it, could be read in
/// two ways (RFC 7515 section 7.2.1 forbids the first).
fn refuse_in_both_places(protected: &Header, unprotected: &Header) -> Result<(), Refusal> {
    for name in unprotected.0.keys() {
        let must_be_signed =
            ["alg", "cty", "crit", "b64"].contains(&name.as_str()) || names::SIGNED.contains(&name.as_str());
        if must_be_signed || protected.0.contains_key(name) {
            return Err(malformed(
                "each header attribute in its one place",
                format!("{name:?} outside of the signature"),
            ));
        }
    }
    for name in ["x5c", "b64", names::TIMESTAMP, names::AGENT] {
        if protected.0.contains_key(name) {
            return Err(malformed(
                "each header attribute in its one place",
                format!("{name:?} under the signature"),
            ));
        }
    }
    Ok(())
}

fn text_of<'a>(value: Option<&'a Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed(format!("{name} as a text"), "another type")),
    }
}

fn chain(value: Option<&Value>) -> Result<Vec<Vec<u8>>, Refusal> {
    let Some(Value::Array(items)) = value else {
        return Err(malformed("a certificate chain \"x5c\"", "none"));
    };
    // One more than is accepted, so that the limit is told by the one who knows it.
    let decode = |item: &Value| match item {
        Value::String(text) => {
            base64_decode(text).map_err(|e| malformed("certificates in base64", e.to_string()))
        }
        _ => Err(malformed("certificates in base64", "another type")),
    };
    items.iter().take(MAX_CHAIN + 1).map(decode).collect()
}

fn protected_header(header: &Header) -> Result<Protected, Refusal> {
    let text = |name: &str| {
        text_of(header.0.get(name), name)?.ok_or_else(|| malformed(format!("the attribute {name}"), "none"))
    };
    let time = |name: &str| text_of(header.0.get(name), name)?.map(|text| read_time(name, text)).transpose();
    let said = text("alg")?;
    let algorithm = Algorithm::from_jws_name(said).ok_or_else(|| {
        let expected = Algorithm::ALL.map(Algorithm::jws_name).join(", ");
        Refusal::new(Reason::AlgorithmUnsupported, format!("one of {expected}"), format!("{said:?}"))
    })?;
    let critical = match header.0.get("crit") {
        Some(Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| {
                item.as_str().map(str::to_owned).ok_or_else(|| malformed("\"crit\" of texts", "another type"))
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(malformed("a list \"crit\" that is not empty", "none")),
    };
    Ok(Protected {
        algorithm,
        content_type: text("cty")?.to_owned(),
        critical,
        scheme: text(names::SCHEME)?.to_owned(),
        signing_time: time(names::SIGNING_TIME)?,
        authentic_time: time(names::AUTHENTIC_TIME)?,
        expiry: time(names::EXPIRY)?,
        names: header.0.keys().cloned().collect(),
    })
}

/// RFC 3339, section 5.6. jiff reads more than that, so the shape is looked at first.
fn read_time(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    let bad = || malformed(format!("{name} as RFC 3339 writes it"), format!("{text:?}"));
    let shape = b"0000-00-00T00:00:00";
    let (date, rest) = text.as_bytes().split_at_checked(shape.len()).ok_or_else(bad)?;
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if !date.iter().zip(shape).all(fits) {
        return Err(bad());
    }
    let zone = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| (1..=9).contains(&digits)).ok_or_else(bad)?
        }
    };
    let is_zone = match zone {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    if is_zone { text.parse().map_err(|_| bad()) } else { Err(bad()) }
}

pub(super) fn to_be_signed(unsigned: &Unsigned<'_>) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let attributes = &unsigned.attributes;
    let mut header = Map::new();
    let mut put = |name: &str, value: Value| header.insert(name.to_owned(), value);
    put("alg", unsigned.algorithm.jws_name().into());
    put("cty", MEDIA_TYPE.into());
    put("crit", unsigned.critical().into());
    put(names::SCHEME, attributes.scheme.name().into());
    put(attributes.scheme.time_attribute(), attributes.signing_time.to_string().into());
    if let Some(expiry) = attributes.expiry {
        put(names::EXPIRY, expiry.to_string().into());
    }
    let protected = base64url_encode(Value::Object(header).to_string().as_bytes());
    let input = format!("{protected}.{}", base64url_encode(unsigned.payload));
    Ok((protected.into_bytes(), input.into_bytes()))
}

pub(super) fn encode(
    unsigned: &Unsigned<'_>,
    protected: &[u8],
    signature: &[u8],
    timestamp: Option<&[u8]>,
) -> Result<Vec<u8>, Refusal> {
    #[derive(Serialize)]
    struct Written<'a> {
        payload: String,
        protected: &'a str,
        header: WrittenHeader<'a>,
        signature: String,
    }
    #[derive(Serialize)]
    struct WrittenHeader<'a> {
        #[serde(rename = "io.cncf.notary.timestampSignature", skip_serializing_if = "Option::is_none")]
        timestamp: Option<String>,
        x5c: Vec<String>,
        #[serde(rename = "io.cncf.notary.signingAgent", skip_serializing_if = "Option::is_none")]
        agent: Option<&'a str>,
    }
    let bad = |found: String| malformed("an envelope that can be written", found);
    let written = Written {
        payload: base64url_encode(unsigned.payload),
        protected: std::str::from_utf8(protected).map_err(|e| bad(e.to_string()))?,
        header: WrittenHeader {
            timestamp: timestamp.map(base64_encode),
            x5c: unsigned.chain.iter().map(|certificate| base64_encode(certificate.der())).collect(),
            agent: unsigned.agent,
        },
        signature: base64url_encode(signature),
    };
    serde_json::to_vec(&written).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339_and_no_others() {
        for good in [
            "2022-04-06T07:01:20Z",
            "2022-04-06T07:01:20.5Z",
            "2022-04-06T07:01:20+02:00",
            "2022-04-06T07:01:20.123456789-00:30",
        ] {
            assert!(read_time("t", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "2022-04-06",
            "2022-04-06 07:01:20Z",
            "2022-04-06t07:01:20z",
            "2022-04-06T07:01:20",
            "2022-04-06T07:01Z",
            "2022-04-06T07:01:20.Z",
            "2022-04-06T07:01:20+0200",
            "2022-13-06T07:01:20Z",
            "2022-04-06T07:01:20Z[UTC]",
            "+002022-04-06T07:01:20Z",
            " 2022-04-06T07:01:20Z",
        ] {
            assert!(read_time("t", bad).is_err(), "{bad}");
        }
    }
}
