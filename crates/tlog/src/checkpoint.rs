//! Checkpoints (C2SP `tlog-checkpoint`): the text by which a log states its size and root.

use countersign_crypto::encoding;

use crate::note::{Note, NoteError};
use crate::{Hash, NoteSigner, NoteVerifier};

/// The most extension lines read.
const MAX_EXTENSIONS: usize = 100;

/// A log's statement of its size and root.
///
/// ```
/// use countersign_tlog::Checkpoint;
/// let text = "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
/// let checkpoint = Checkpoint::parse(text)?;
/// assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("log.example", 0));
/// assert_eq!(checkpoint.to_text(), text);
/// # Ok::<(), countersign_tlog::note::NoteError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log speaks: its host name in Rekor v2, `host - tree id` in Rekor v1, host and path in CT.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root of the tree of that size.
    pub root: Hash,
    /// Lines after the root, without their newlines. Signed, but without meaning here.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// Writes the text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, encoding::base64_encode(&self.root));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads the text of a checkpoint. This verifies nothing; see [`Checkpoint::from_note`].
    ///
    /// # Errors
    /// [`NoteError::Checkpoint`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bad = |what: &str| NoteError::Checkpoint(what.to_owned());
        let body = text.strip_suffix('\n').ok_or_else(|| bad("it does not end with a newline"))?;
        let mut lines = body.split('\n');
        let origin = lines.next().unwrap_or_default();
        if origin.is_empty() {
            return Err(bad("the first line, the origin, is empty"));
        }
        let size_line = lines.next().ok_or_else(|| bad("the second line, the tree's size, is missing"))?;
        let canonical = size_line.bytes().all(|b| b.is_ascii_digit())
            && (size_line == "0" || !size_line.starts_with('0'))
            && !size_line.is_empty();
        let size = size_line.parse::<u64>().ok().filter(|_| canonical).ok_or_else(|| {
            let shown: String = size_line.chars().take(40).flat_map(char::escape_debug).collect();
            NoteError::Checkpoint(format!(
                "the second line should be the tree's size, a decimal number without leading zeroes below 2^64, found \"{shown}\""
            ))
        })?;
        let root_line = lines.next().ok_or_else(|| bad("the third line, the root hash, is missing"))?;
        let root = encoding::base64_decode(root_line)
            .ok()
            .and_then(|r| Hash::try_from(r).ok())
            .ok_or_else(|| bad("the third line should be the root hash, 32 bytes in base64"))?;
        let extensions: Vec<String> = lines.take(MAX_EXTENSIONS + 1).map(str::to_owned).collect();
        if extensions.len() > MAX_EXTENSIONS {
            return Err(bad("there are more than 100 extension lines"));
        }
        if extensions.iter().any(String::is_empty) {
            return Err(bad("an extension line is empty"));
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }

    /// Reads the checkpoint out of a note after verifying the signature of one key.
    ///
    /// The origin is signed but not compared with the key's name here: in Rekor v1 they differ. Callers who
    /// know the origin compare it with [`Checkpoint::origin`].
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn from_note(note: &Note, verifier: &NoteVerifier) -> Result<Self, NoteError> {
        verifier.verify(note)?;
        Self::parse(note.text())
    }

    /// Signs the checkpoint, one line per signer in their order.
    ///
    /// `time_ms` is the time of signing in milliseconds since 1970; the kinds of signature that carry a time
    /// state it, the others ignore it.
    ///
    /// # Errors
    /// [`NoteError::Signing`] when a signer fails, [`NoteError::Key`] when a signature cannot cover this
    /// checkpoint, [`NoteError::Malformed`] when there are no signers or an origin or extension holds a newline.
    pub fn sign(&self, signers: &[NoteSigner], time_ms: u64) -> Result<Note, NoteError> {
        let text = self.to_text();
        if Self::parse(&text)? != *self {
            return Err(NoteError::Checkpoint("the origin or an extension line holds a newline".into()));
        }
        let signatures = signers.iter().map(|s| s.sign(&text, time_ms)).collect::<Result<_, _>>()?;
        Note::new(&text, signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn extension_lines_are_kept() {
        let text = format!("o\n18446744073709551615\n{ROOT}\nTimestamp: 1\nmore\n");
        let checkpoint = Checkpoint::parse(&text).unwrap();
        assert_eq!(checkpoint.size, u64::MAX);
        assert_eq!(checkpoint.extensions, ["Timestamp: 1", "more"]);
        assert_eq!(checkpoint.to_text(), text);
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        for bad in [
            String::new(),
            "\n".into(),
            "o\n".into(),
            "o\n1\n".into(),
            format!("o\n1\n{ROOT}"),
            format!("\n1\n{ROOT}\n"),
            format!("o\n\n{ROOT}\n"),
            format!("o\n01\n{ROOT}\n"),
            format!("o\n+1\n{ROOT}\n"),
            format!("o\n-1\n{ROOT}\n"),
            format!("o\n 1\n{ROOT}\n"),
            format!("o\n0x1\n{ROOT}\n"),
            format!("o\n18446744073709551616\n{ROOT}\n"),
            format!("1\n{ROOT}\n"),
            format!("o\n{ROOT}\n1\n"),
            "o\n1\nAAAA\n".into(),
            format!("o\n1\n{ROOT}\n\nx\n"),
            format!("o\n1\n{ROOT}\n{}", "x\n".repeat(101)),
        ] {
            assert!(matches!(Checkpoint::parse(&bad), Err(NoteError::Checkpoint(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_newline_in_the_origin_cannot_be_signed() {
        let checkpoint = Checkpoint { origin: "o\n5".into(), size: 1, root: [0; 32], extensions: vec![] };
        assert!(checkpoint.sign(&[], 0).is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_back(text in "[a-z\n0-9=+/]{0,120}") {
            if let Ok(checkpoint) = Checkpoint::parse(&text) {
                proptest::prop_assert_eq!(checkpoint.to_text(), text);
            }
        }
        #[test]
        fn what_is_written_is_read_back(
            origin in "[a-z/. -]{1,30}", size in proptest::num::u64::ANY, root in proptest::array::uniform32(0_u8..),
            extensions in proptest::collection::vec("[ -~]{1,20}", 0..4)
        ) {
            let checkpoint = Checkpoint { origin, size, root, extensions };
            proptest::prop_assert_eq!(Checkpoint::parse(&checkpoint.to_text()).unwrap(), checkpoint);
        }
    }
}
