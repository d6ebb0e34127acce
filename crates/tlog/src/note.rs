//! Signed notes (C2SP `signed-note`): a text and lines of signatures under it.
//!
//! A [`Note`] is what was read; nothing in it is verified. [`NoteVerifier`] picks its
//! signature by key name and four-byte hint together and ignores all the others.

use countersign_crypto::{CryptoError, encoding};

pub use crate::signature::{NoteKind, NoteSigner, NoteVerifier, VerifiedSignature};

/// The longest note read, in bytes, signatures included.
pub const MAX_NOTE_BYTES: usize = 1 << 20;
/// The most signature lines read.
pub const MAX_SIGNATURES: usize = 100;

const EM_DASH: &str = "\u{2014} ";

/// Why a note was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Larger than [`MAX_NOTE_BYTES`] or with more than [`MAX_SIGNATURES`].
    #[error("the note has {found} {unit}, at most {limit} are read")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What was found.
        found: usize,
        /// What was counted.
        unit: &'static str,
    },
    /// Not of a note's form.
    #[error("malformed note: {0}")]
    Malformed(&'static str),
    /// A signature line not of the form `— name base64`.
    #[error("malformed signature line {line}: {reason}")]
    MalformedSignature {
        /// The line, counted from 1 after the text.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is not that of a checkpoint.
    #[error("malformed checkpoint: {0}")]
    Checkpoint(String),
    /// No line carries both the name and the hint of the key.
    #[error(
        "no signature by {name} with key hint {}; the note is signed by: {found}",
        encoding::hex_encode(hint)
    )]
    NoSignature {
        /// The name of the key looked for.
        name: String,
        /// Its hint.
        hint: [u8; 4],
        /// Names and hints of the signatures found.
        found: String,
    },
    /// A line carries the name and the hint of the key, and its signature does not verify.
    #[error("the signature by {name} does not verify")]
    SignatureInvalid {
        /// The name of the key.
        name: String,
    },
    /// The key cannot be used for this kind of signature.
    #[error("a {kind} signature cannot be made or checked with this key: {reason}")]
    Key {
        /// The kind of signature.
        kind: &'static str,
        /// What stands against it.
        reason: String,
    },
    /// The signer failed.
    #[error(transparent)]
    Signing(#[from] CryptoError),
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key.
    pub name: String,
    /// The first four bytes of the key's id.
    pub hint: [u8; 4],
    /// What follows the hint: the signature, with a timestamp before it in some kinds.
    pub bytes: Vec<u8>,
}

impl NoteSignature {
    /// The line as it stands in a note, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut blob = self.hint.to_vec();
        blob.extend_from_slice(&self.bytes);
        format!("{EM_DASH}{} {}\n", self.name, encoding::base64_encode(&blob))
    }

    fn parse(line: &str) -> Result<Self, &'static str> {
        let rest = line.strip_prefix(EM_DASH).ok_or("it does not begin with an em dash and a space")?;
        let (name, blob) = rest.split_once(' ').ok_or("there is no space after the key's name")?;
        check_name(name)?;
        let blob = encoding::base64_decode(blob).map_err(|_| "the signature is not base64")?;
        match blob.split_first_chunk::<4>() {
            Some((hint, bytes)) if !bytes.is_empty() => {
                Ok(Self { name: name.to_owned(), hint: *hint, bytes: bytes.to_vec() })
            }
            _ => Err("the signature is shorter than a key hint and one byte"),
        }
    }
}

/// Whether a name can stand in a signature line.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("the key's name is empty")
    } else if name.chars().any(|c| c.is_whitespace() || c == '+' || c.is_control()) {
        Err("the key's name has a space, a plus sign or a control character")
    } else {
        Ok(())
    }
}

/// A note as it was read: nothing in it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note.
    ///
    /// ```
    /// use countersign_tlog::Note;
    /// let text = "log.example\n1\nJyNfYLcuY/d1y6+0IEX+FY8GcSYhF83hEutTuuVU3SE=\n\n\u{2014} log.example AAAAAAE=\n";
    /// let note = Note::parse(text.as_bytes())?;
    /// assert_eq!(note.signatures()[0].name, "log.example");
    /// assert_eq!(note.to_string(), text);
    /// # Ok::<(), countersign_tlog::note::NoteError>(())
    /// ```
    ///
    /// # Errors
    /// [`NoteError::TooLarge`], [`NoteError::Malformed`], [`NoteError::MalformedSignature`]. A note without
    /// signatures is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge { limit: MAX_NOTE_BYTES, found: bytes.len(), unit: "bytes" });
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
        if all.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(NoteError::Malformed("it has a control character"));
        }
        // The last empty line parts text and signatures; the text keeps its own newline.
        let split =
            all.rfind("\n\n").ok_or(NoteError::Malformed("no empty line parts text and signatures"))?;
        let (text, rest) = all.split_at(split + 1);
        let lines = rest
            .strip_prefix('\n')
            .and_then(|r| r.strip_suffix('\n'))
            .filter(|r| !r.is_empty())
            .ok_or(NoteError::Malformed("it does not end with a signature line and a newline"))?;
        let count = lines.split('\n').count();
        if count > MAX_SIGNATURES {
            return Err(NoteError::TooLarge { limit: MAX_SIGNATURES, found: count, unit: "signatures" });
        }
        let signatures = lines
            .split('\n')
            .enumerate()
            .map(|(i, line)| {
                NoteSignature::parse(line)
                    .map_err(|reason| NoteError::MalformedSignature { line: i + 1, reason })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Puts a note together to be written out with [`to_string`](ToString::to_string).
    ///
    /// # Errors
    /// What [`Note::parse`] would say of the result.
    pub fn new(text: &str, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        let note = Self { text: text.to_owned(), signatures };
        if Self::parse(note.to_string().as_bytes())? == note {
            Ok(note)
        } else {
            Err(NoteError::Malformed("the text does not survive being written and read"))
        }
    }

    /// What is signed, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in their order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line, a witness's say, to the end.
    ///
    /// # Errors
    /// What [`Note::parse`] would say of the result; the note then stays as it is.
    pub fn add_signature(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        let mut signatures = self.signatures.clone();
        signatures.push(signature);
        *self = Self::new(&self.text, signatures)?;
        Ok(())
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        f.write_str("\n")?;
        self.signatures.iter().try_for_each(|s| f.write_str(&s.to_line()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "text\n\n\u{2014} a AAAAAAE=\n";

    #[test]
    fn the_last_empty_line_parts_text_and_signatures() {
        let note =
            Note::parse("one\n\ntwo\n\n\u{2014} a AAAAAAE=\n\u{2014} b AQIDBAU=\n".as_bytes()).unwrap();
        assert_eq!(note.text(), "one\n\ntwo\n");
        assert_eq!(note.signatures().len(), 2);
        assert_eq!(note.signatures()[1].hint, [1, 2, 3, 4]);
        assert_eq!(note.signatures()[1].bytes, [5]);
    }

    #[test]
    fn malformed_notes_are_refused() {
        for bad in [
            "",
            "\n",
            "\n\n",
            "text\n",
            "text\n\n",
            "text\n\n\n",
            "text\n\u{2014} a AAAAAAE=\n",
            "text\n\n\u{2014} a AAAAAAE=",
            "text\n\n- a AAAAAAE=\n",
            "text\n\n\u{2014}a AAAAAAE=\n",
            "text\n\n\u{2014}  AAAAAAE=\n",
            "text\n\n\u{2014} a+b AAAAAAE=\n",
            "text\n\n\u{2014} a\u{a0}b AAAAAAE=\n",
            "text\n\n\u{2014} a AAAAAA==\n",
            "text\n\n\u{2014} a AAAAAAE\n",
            "text\n\n\u{2014} a AAAA AAE=\n",
            "text\n\n\u{2014} a AAAAAAE=\nmore\n",
            "te\txt\n\n\u{2014} a AAAAAAE=\n",
            "text\r\n\n\u{2014} a AAAAAAE=\n",
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Note::parse(GOOD.as_bytes()).is_ok());
        assert!(Note::parse(&[GOOD.as_bytes(), &[0xff]].concat()).is_err(), "not UTF-8");
    }

    #[test]
    fn limits_hold() {
        let mut many = String::from("text\n\n");
        for _ in 0..MAX_SIGNATURES {
            many.push_str("\u{2014} a AAAAAAE=\n");
        }
        let mut full = Note::parse(many.as_bytes()).unwrap();
        assert!(full.add_signature(full.signatures()[0].clone()).is_err());
        many.push_str("\u{2014} a AAAAAAE=\n");
        assert!(matches!(Note::parse(many.as_bytes()), Err(NoteError::TooLarge { found: 101, .. })));
        let long = format!("{}\n{GOOD}", "x".repeat(MAX_NOTE_BYTES));
        assert!(matches!(Note::parse(long.as_bytes()), Err(NoteError::TooLarge { .. })));
    }

    #[test]
    fn a_note_is_written_only_if_it_can_be_read_back() {
        let signature = NoteSignature { name: "a".into(), hint: [0; 4], bytes: vec![1] };
        assert_eq!(Note::new("text\n", vec![signature.clone()]).unwrap().to_string(), GOOD);
        assert!(Note::new("text", vec![signature.clone()]).is_err());
        assert!(Note::new("text\n", vec![]).is_err());
        let forged = NoteSignature { name: "a AAAAAAE=\n\u{2014} b".into(), ..signature.clone() };
        assert!(Note::new("text\n", vec![forged.clone()]).is_err());
        let mut note = Note::new("text\n", vec![signature.clone()]).unwrap();
        assert!(note.add_signature(forged).is_err());
        assert_eq!(note.to_string(), GOOD);
        note.add_signature(NoteSignature { name: "b".into(), ..signature }).unwrap();
        assert_eq!(Note::parse(note.to_string().as_bytes()).unwrap(), note);
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_back(input in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(note) = Note::parse(&input) {
                proptest::prop_assert_eq!(note.to_string().into_bytes(), input);
            }
        }
        #[test]
        fn changed_notes_never_panic(at in 0_usize..20, byte in proptest::num::u8::ANY) {
            let mut bytes = GOOD.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Note::parse(&bytes);
        }
    }
}
