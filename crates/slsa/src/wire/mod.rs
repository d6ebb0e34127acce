//! Provenance as it circulates: Sigstore bundles, lines of envelopes, npm's and PyPI's documents, what gcloud prints. Each
//! becomes bundles, which the engine verifies like any other; nothing here is verified, and nothing is left out in silence.
//!
//! | form | written by | log entry |
//! |---|---|---|
//! | Sigstore bundle v0.1 to v0.3, one or a line each | slsa-github-generator, GitHub, Countersign | within |
//! | DSSE envelopes, a line each, `cert` beside the signature | slsa-github-generator before v2.1 | none |
//! | `{"attestations": [{"bundle": …}]}` | npm's registry, GitHub's API | within |
//! | PEP 740, a single attestation or a file's provenance | PyPI | within |
//! | `{"provenance_summary": …}` | gcloud artifacts docker images describe | none |

mod envelope;
mod pep740;

use std::collections::BTreeMap;

use countersign_attestation::JsonError;
use countersign_attestation::json::{self, Bounded};
use countersign_bundle::{Bundle, BundleError};
use countersign_crypto::{Digest, HashAlgorithm};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The largest document read, in bytes.
pub const MAX_DOCUMENT_LEN: usize = 32 * 1024 * 1024;
/// The most pieces read from one document.
pub const MAX_PIECES: usize = 256;

/// A document with statements: where it was, and which bytes it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// A file's name, or an address.
    pub uri: String,
    /// The digest of all of it.
    pub digest: Digest,
}

/// One signed statement of a document, or why it cannot be read.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The document, when whoever read it said which it is.
    pub document: Option<Document>,
    /// Where in the document: a line, a member; empty for the whole of it.
    pub place: String,
    /// What is there, unverified.
    pub bundle: Result<Bundle, BundleError>,
}

/// Reads a document of any of the forms.
///
/// ```
/// use countersign_slsa::wire;
/// let lines = br#"{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAE="}]}
/// {"some": "thing else"}"#;
/// let pieces = wire::read(lines)?;
/// assert!(pieces[0].bundle.is_ok() && pieces[1].bundle.is_err());
/// # Ok::<(), countersign_bundle::BundleError>(())
/// ```
///
/// # Errors
/// [`BundleError`]: limits, and that there is nothing in it. What is wrong with one piece stands with that piece.
pub fn read(bytes: &[u8]) -> Result<Vec<Piece>, BundleError> {
    json::check(bytes, MAX_DOCUMENT_LEN)?;
    let mut pieces = Vec::new();
    if let Ok(whole) = serde_json::from_slice::<&RawValue>(bytes) {
        value(whole.get(), "", &mut pieces)?;
    } else {
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace)) {
            let place = format!("line {}", number + 1);
            match serde_json::from_slice::<&RawValue>(line) {
                Ok(found) => value(found.get(), &place, &mut pieces)?,
                Err(error) => push(&mut pieces, place, Err(JsonError::from(error).into()))?,
            }
        }
    }
    if pieces.is_empty() {
        return Err(shape("expected signed statements, found none"));
    }
    Ok(pieces)
}

/// Reads a document that is called so. What is wrong with the whole of it becomes its only piece, so that another document
/// beside it can still be enough.
#[must_use]
pub fn read_named(uri: &str, bytes: &[u8]) -> Vec<Piece> {
    let document = Document { uri: uri.to_owned(), digest: HashAlgorithm::Sha256.digest(bytes) };
    let broken = |error| vec![Piece { document: None, place: String::new(), bundle: Err(error) }];
    let mut pieces = read(bytes).unwrap_or_else(broken);
    for piece in &mut pieces {
        piece.place = beside(uri, &piece.place);
        piece.document = Some(document.clone());
    }
    pieces
}

fn shape(text: impl Into<String>) -> BundleError {
    BundleError::Shape(text.into())
}

fn push(
    pieces: &mut Vec<Piece>,
    place: String,
    bundle: Result<Bundle, BundleError>,
) -> Result<(), BundleError> {
    if pieces.len() == MAX_PIECES {
        return Err(shape(format!("more than {MAX_PIECES} statements in one document")));
    }
    pieces.push(Piece { document: None, place, bundle });
    Ok(())
}

/// The members of an object, each still text.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Takes one JSON value apart by what its members say it is.
fn value(text: &str, place: &str, pieces: &mut Vec<Piece>) -> Result<(), BundleError> {
    let Ok(members) = serde_json::from_str::<Members<'_>>(text) else {
        return push(pieces, place.to_owned(), Err(shape("expected an object")));
    };
    let has = |name: &str| members.contains_key(name);
    if has("mediaType") || has("media_type") {
        return push(pieces, place.to_owned(), Bundle::from_json(text.as_bytes()));
    }
    if has("payload") {
        return envelope::read(text, place, pieces);
    }
    if has("verification_material") && has("envelope") {
        return push(pieces, place.to_owned(), pep740::attestation(text));
    }
    if let Some(bundles) = members.get("attestation_bundles") {
        return pep740::provenance(bundles.get(), place, pieces);
    }
    if let Some(list) = members.get("attestations") {
        return listed(list.get(), place, pieces);
    }
    if let Some(summary) = members.get("provenance_summary") {
        return summarised(summary.get(), place, pieces);
    }
    push(
        pieces,
        place.to_owned(),
        Err(shape("expected a Sigstore bundle, a DSSE envelope, or a document with such in it")),
    )
}

fn of_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BundleError> {
    serde_json::from_str(text).map_err(|e| JsonError::from(e).into())
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    bundle: &'a RawValue,
}

/// npm's and GitHub's lists. What type the list says a statement is of is not asked: the statement says it itself.
fn listed(text: &str, place: &str, pieces: &mut Vec<Piece>) -> Result<(), BundleError> {
    let list: Bounded<&RawValue, MAX_PIECES> = match of_json(text) {
        Ok(list) => list,
        Err(error) => return push(pieces, place.to_owned(), Err(error)),
    };
    for (index, item) in list.0.into_iter().enumerate() {
        let bundle = of_json::<Listed<'_>>(item.get())
            .and_then(|item| Bundle::from_json(item.bundle.get().as_bytes()));
        push(pieces, beside(place, &format!("attestations[{index}]")), bundle)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Summary<'a> {
    #[serde(borrow)]
    provenance: Bounded<Occurrence<'a>, MAX_PIECES>,
}

#[derive(Deserialize)]
struct Occurrence<'a> {
    #[serde(borrow)]
    envelope: &'a RawValue,
}

/// What gcloud prints. The readable copy of a statement beside its envelope is not looked at: it is not signed.
fn summarised(text: &str, place: &str, pieces: &mut Vec<Piece>) -> Result<(), BundleError> {
    let place = beside(place, "provenance_summary");
    let summary: Summary<'_> = match of_json(text) {
        Ok(summary) => summary,
        Err(error) => return push(pieces, place, Err(error)),
    };
    for (index, occurrence) in summary.provenance.0.into_iter().enumerate() {
        envelope::read(occurrence.envelope.get(), &format!("{place}.provenance[{index}]"), pieces)?;
    }
    Ok(())
}

fn beside(place: &str, member: &str) -> String {
    match (place, member) {
        ("", only) | (only, "") => only.to_owned(),
        _ => format!("{place}, {member}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_bundle::KeyMaterial;

    fn envelope(payload: &str) -> String {
        format!(
            r#"{{"payload":"{payload}","payloadType":"application/vnd.in-toto+json","signatures":[{{"sig":"AAE=","keyid":"k"}}]}}"#
        )
    }

    #[test]
    fn lines_are_read_one_by_one_and_a_broken_one_spoils_no_other() {
        let text = format!("{}\n\n{{broken\n[1]\n{}\n", envelope("e30="), envelope("e30K"));
        let pieces = read(text.as_bytes()).unwrap();
        let places: Vec<(&str, bool)> = pieces.iter().map(|p| (p.place.as_str(), p.bundle.is_ok())).collect();
        assert_eq!(places, [("line 1", true), ("line 3", false), ("line 4", false), ("line 5", true)]);
        let KeyMaterial::PublicKeyHint(hint) =
            &pieces[0].bundle.as_ref().unwrap().verification_material.content
        else {
            panic!("no certificate is there");
        };
        assert_eq!(hint, "", "what an envelope calls its key binds nobody");
    }

    #[test]
    fn a_document_with_nothing_in_it_is_an_error_and_not_an_empty_answer() {
        for text in [
            "",
            "\n \n",
            "{\"attestations\": []}",
            "{\"provenance_summary\": {\"provenance\": []}}",
            "{\"attestation_bundles\": []}",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        for text in
            ["{}", "null", "{\"attestations\": 1}", "{\"provenance_summary\": null}", "{\"mediaType\": 1}"]
        {
            let pieces = read(text.as_bytes()).unwrap();
            assert!(pieces.iter().all(|piece| piece.bundle.is_err()), "{text}");
        }
    }

    #[test]
    fn limits_come_before_parsing() {
        assert!(read(&vec![b' '; MAX_DOCUMENT_LEN + 1]).is_err());
        assert!(read("[".repeat(200).as_bytes()).is_err());
        let many = format!("{}\n", envelope("e30=")).repeat(MAX_PIECES + 1);
        assert!(read(many.as_bytes()).unwrap_err().to_string().contains("more than 256"));
    }

    #[test]
    fn what_gcloud_prints_has_its_envelopes_and_the_unsigned_copy_is_left_alone() {
        let envelope = envelope("e30=").replace("[{", "[{\"sig\":\"-_8=\",\"keyid\":\"other\"},{");
        let text = format!(
            r#"{{"image_summary": {{}}, "provenance_summary": {{"provenance": [
                {{"build": {{"intotoStatement": {{"predicateType": "lies"}}}}, "kind": "BUILD", "envelope": {envelope}}}]}}}}"#
        );
        let pieces = read(text.as_bytes()).unwrap();
        assert_eq!(pieces.len(), 2, "one for each signature: any of them may be by a trusted key");
        assert_eq!(pieces[0].place, "provenance_summary.provenance[0], signatures[0]");
        let signature = |i: usize| pieces[i].bundle.as_ref().unwrap().content.signature().to_vec();
        assert_eq!((signature(0), signature(1)), (vec![0xfb, 0xff], vec![0, 1]));
    }

    #[test]
    fn a_list_holds_bundles_whatever_it_calls_them() {
        let text = r#"{"attestations": [{"predicateType": "x", "bundle": {"mediaType": "y"}}, {"predicateType": "z"}]}"#;
        let pieces = read(text.as_bytes()).unwrap();
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].bundle.is_err(), "{:?}", pieces[0]);
        assert!(pieces[1].bundle.as_ref().unwrap_err().to_string().contains("bundle"));
    }
}
