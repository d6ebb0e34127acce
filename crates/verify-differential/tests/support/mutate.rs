//! Mutations of bundles, the same ones in every run.

use std::fs;

use countersign_crypto::encoding::{base64_decode, base64_encode};
use serde_json::{Value, json};

use super::vectors::Case;

/// A bundle that was changed, or its artifact.
pub(crate) struct Mutation {
    pub(crate) what: String,
    pub(crate) bundle: Vec<u8>,
    pub(crate) artifact: Vec<u8>,
}

/// A small generator with a fixed seed (splitmix64): the mutations are the same everywhere.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn seeded_by(text: &str) -> Self {
        Self(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// Every place in a JSON value, as JSON pointers.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let path = format!("{at}/{name}");
                out.push(path.clone());
                places(inner, &path, out);
            }
        }
        Value::Array(list) => {
            for (i, inner) in list.iter().enumerate() {
                let path = format!("{at}/{i}");
                out.push(path.clone());
                places(inner, &path, out);
            }
        }
        _ => {}
    }
}

fn set(value: &Value, path: &str, new: Value) -> Value {
    let mut out = value.clone();
    *out.pointer_mut(path).unwrap() = new;
    out
}

fn delete(value: &Value, path: &str) -> Value {
    let mut out = value.clone();
    let (parent, name) = path.rsplit_once('/').unwrap();
    match out.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.remove(name)),
        Value::Array(list) => drop(list.remove(name.parse().unwrap())),
        _ => {}
    }
    out
}

fn flipped(bytes: &[u8], at: usize, bit: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] ^= 1 << (bit % 8);
    out
}

/// Other texts near a text: bytes flipped if it is base64, lines moved if it has any, numbers counted on.
fn near(text: &str, numbers: &mut Numbers) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    let compact = text.replace(['\r', '\n'], "");
    if let Ok(bytes) = base64_decode(&compact)
        && !bytes.is_empty()
        && text.len() > 3
        && !text.chars().all(|c| c.is_ascii_digit())
    {
        let mut at = vec![0, bytes.len() - 1, bytes.len() / 2];
        at.extend((0..7).map(|_| numbers.below(bytes.len())));
        for at in at {
            let bit = numbers.below(8);
            out.push((format!("bit {bit} of byte {at}"), json!(base64_encode(&flipped(&bytes, at, bit)))));
        }
        out.push(("last byte gone".into(), json!(base64_encode(&bytes[..bytes.len() - 1]))));
        let longer = [bytes.as_slice(), &[0]].concat();
        out.push(("a zero byte more".into(), json!(base64_encode(&longer))));
        out.push(("bad base64".into(), json!(format!("{}!", &compact[1..]))));
        return out;
    }
    if let Ok(number) = text.parse::<i64>() {
        for other in [number + 1, number - 1, 0, -1, i64::MAX, number + 100_000_000] {
            out.push((format!("{other}"), json!(other.to_string())));
        }
        out.push(("as a number".into(), json!(number)));
        out.push(("with a leading zero".into(), json!(format!("0{number}"))));
        return out;
    }
    let lines: Vec<&str> = text.split('\n').collect();
    if lines.len() > 2 {
        for i in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(i);
            out.push((format!("line {i} gone"), json!(fewer.join("\n"))));
            let mut twice = lines.clone();
            twice.insert(i, lines[i]);
            out.push((format!("line {i} twice"), json!(twice.join("\n"))));
            if i > 0 {
                let mut swapped = lines.clone();
                swapped.swap(i, i - 1);
                out.push((format!("lines {i} and {} swapped", i - 1), json!(swapped.join("\n"))));
            }
        }
    }
    let chars: Vec<char> = text.chars().collect();
    for _ in 0..8 {
        let at = numbers.below(chars.len());
        let mut other = chars.clone();
        if let Some(c) = other.get_mut(at) {
            *c = if *c == 'A' { 'B' } else { 'A' };
        }
        out.push((format!("character {at}"), json!(other.iter().collect::<String>())));
    }
    out.push(("longer".into(), json!(format!("{text}x"))));
    out.push(("upper case".into(), json!(text.to_uppercase())));
    out
}

/// Every change of one place in a JSON value.
fn changed_places(value: &Value, numbers: &mut Numbers) -> Vec<(String, Value)> {
    let mut paths = Vec::new();
    places(value, "", &mut paths);
    let mut out = Vec::new();
    for path in &paths {
        let found = value.pointer(path).unwrap();
        out.push((format!("{path} gone"), delete(value, path)));
        for new in [Value::Null, json!(""), json!(0), json!([]), json!({}), json!("AAAA"), json!(true)] {
            if *found != new {
                out.push((format!("{path} = {new}"), set(value, path, new)));
            }
        }
        if let Value::String(text) = found {
            for (what, new) in near(text, numbers) {
                out.push((format!("{path}: {what}"), set(value, path, new)));
            }
        }
        if let Value::Array(list) = found
            && let Some(first) = list.first()
        {
            let mut twice = list.clone();
            twice.push(first.clone());
            out.push((format!("{path}: first item twice"), set(value, path, json!(twice))));
        }
    }
    let mut unknown = value.clone();
    if let Value::Object(map) = &mut unknown {
        map.insert("unknown".into(), json!(1));
    }
    out.push(("a member more".into(), unknown));
    out
}

const BODY: &str = "/verificationMaterial/tlogEntries/0/canonicalizedBody";

/// Parts that can be taken from another bundle.
const PARTS: [&str; 16] = [
    "/mediaType",
    "/verificationMaterial",
    "/verificationMaterial/certificate",
    "/verificationMaterial/x509CertificateChain",
    "/verificationMaterial/publicKey",
    "/verificationMaterial/tlogEntries",
    "/verificationMaterial/tlogEntries/0",
    "/verificationMaterial/tlogEntries/0/logId",
    "/verificationMaterial/tlogEntries/0/inclusionPromise",
    "/verificationMaterial/tlogEntries/0/inclusionProof",
    "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint",
    BODY,
    "/verificationMaterial/tlogEntries/0/kindVersion",
    "/verificationMaterial/timestampVerificationData",
    "/messageSignature",
    "/dsseEnvelope",
];

fn from_another(own: &Value, other: &Value, name: &str) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for part in PARTS {
        let (Some(mine), Some(theirs)) = (own.pointer(part), other.pointer(part)) else { continue };
        if mine != theirs {
            out.push((format!("{part} of {name}"), set(own, part, theirs.clone())));
        }
    }
    for list in [
        "/verificationMaterial/tlogEntries",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps",
    ] {
        let (Some(mine), Some(theirs)) = (own.pointer(list), other.pointer(list)) else { continue };
        let (Some(mine), Some(theirs)) = (mine.as_array(), theirs.as_array()) else { continue };
        if let Some(item) = theirs.first() {
            let more: Vec<&Value> = mine.iter().chain([item]).collect();
            out.push((format!("{list} and one of {name}"), set(own, list, json!(more))));
            let before: Vec<&Value> = [item].into_iter().chain(mine).collect();
            out.push((format!("{list} after one of {name}"), set(own, list, json!(before))));
        }
    }
    // A timestamp where there was none.
    let stamps = "timestampVerificationData";
    let theirs = other.pointer(&format!("/verificationMaterial/{stamps}"));
    if let Some(theirs) = theirs
        && own.pointer(&format!("/verificationMaterial/{stamps}")).is_none()
    {
        let mut with = own.clone();
        with["verificationMaterial"][stamps] = theirs.clone();
        out.push((format!("{stamps} of {name} added"), with));
    }
    out
}

/// At most `limit` mutations of a case, spread over all kinds.
pub(crate) fn mutations(case: &Case, others: &[Case], limit: usize) -> Vec<Mutation> {
    let mut numbers = Numbers::seeded_by(&case.name);
    let (bundle, artifact) = (fs::read(&case.bundle).unwrap(), fs::read(&case.artifact).unwrap());
    let own: Value = serde_json::from_slice(&bundle).unwrap();
    let mut values = changed_places(&own, &mut numbers);
    if let Some(Value::String(body)) = own.pointer(BODY) {
        let body: Value = serde_json::from_slice(&base64_decode(body).unwrap()).unwrap();
        for (what, changed) in changed_places(&body, &mut numbers) {
            let encoded = base64_encode(changed.to_string().as_bytes());
            values.push((format!("body{what}"), set(&own, BODY, json!(encoded))));
        }
    }
    for other in others.iter().filter(|o| o.name != case.name) {
        if let Ok(value) = serde_json::from_slice(&fs::read(&other.bundle).unwrap()) {
            values.extend(from_another(&own, &value, &other.name));
        }
    }
    let mut out: Vec<Mutation> = values
        .into_iter()
        .filter(|(_, value)| *value != own)
        .map(|(what, value)| Mutation {
            what,
            bundle: value.to_string().into_bytes(),
            artifact: artifact.clone(),
        })
        .collect();
    // A shuffle with the fixed seed, then the first ones: a fair share of every kind.
    for i in (1..out.len()).rev() {
        out.swap(i, numbers.below(i + 1));
    }
    out.truncate(limit.saturating_sub(4));
    let artifacts = [
        ("artifact empty", Vec::new()),
        ("artifact longer", [artifact.as_slice(), b"x"].concat()),
        ("artifact shorter", artifact[..artifact.len() - 1].to_vec()),
        ("artifact flipped", flipped(&artifact, 0, 0)),
    ];
    for (what, artifact) in artifacts {
        out.push(Mutation { what: what.into(), bundle: bundle.clone(), artifact });
    }
    out
}
