//! The words in which summaries of verification speak of levels: `SLSA_BUILD_LEVEL_3`, `FAILED`, `SLSA_BUILD_REPRODUCED`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The tracks that SLSA has, and their highest levels.
pub const TRACKS: [(&str, u8); 4] = [("BUILD", 3), ("SOURCE", 4), ("DEPENDENCY", 4), ("BUILDENV", 3)];
/// The longest word, in bytes.
pub const MAX_WORD_LEN: usize = 256;

/// One word of a summary.
///
/// ```
/// use countersign_attestation::predicate::levels::Word;
/// let word = Word::parse("SLSA_BUILD_LEVEL_3")?;
/// assert_eq!(word, Word::Level { track: "BUILD".into(), level: 3 });
/// assert!(Word::parse("SLSA_BUILD_LEVEL_9").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Word {
    /// `SLSA_<TRACK>_LEVEL_<n>`. The levels below are meant too.
    Level {
        /// The track: one of [`TRACKS`], or one that is not known here.
        track: String,
        /// The level.
        level: u8,
    },
    /// `SLSA_<TRACK>_LEVEL_UNEVALUATED`: nobody looked.
    Unevaluated(String),
    /// `SLSA_LEVEL_<n>`, from before there were tracks.
    Untracked(u8),
    /// `FAILED`.
    Failed,
    /// Another word of SLSA's: `SLSA_BUILD_REPRODUCED`, `SLSA_SOURCE_TWO_PARTY_REVIEWED`.
    Property(String),
    /// A word of somebody's own.
    Custom(String),
}

impl Word {
    /// Reads a word.
    ///
    /// # Errors
    /// In words: what is no word, a level that its track does not have, and what looks like a word of SLSA's in another
    /// spelling.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_graphic();
        if text.is_empty() || text.len() > MAX_WORD_LEN || !text.bytes().all(plain) {
            return Err(format!(
                "expected a word of 1 to {MAX_WORD_LEN} letters without white space, found {text:?}"
            ));
        }
        if text == "FAILED" {
            return Ok(Self::Failed);
        }
        let Some(own) = text.strip_prefix("SLSA_") else {
            // Somebody could take it for what it resembles.
            if text.to_ascii_uppercase().starts_with("SLSA_") || text.eq_ignore_ascii_case("FAILED") {
                return Err(format!("expected capital letters, found {text:?}"));
            }
            return Ok(Self::Custom(text.to_owned()));
        };
        let part = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if own.is_empty() || !own.bytes().all(part) {
            return Err(format!("expected capital letters behind SLSA_, found {text:?}"));
        }
        if let Some(number) = own.strip_prefix("LEVEL_") {
            return level(number, 4).map(Self::Untracked).map_err(|why| format!("{text:?}: {why}"));
        }
        let Some((track, number)) = own.rsplit_once("_LEVEL_") else {
            return Ok(Self::Property(text.to_owned()));
        };
        if number == "UNEVALUATED" {
            return Ok(Self::Unevaluated(track.to_owned()));
        }
        let highest = TRACKS.iter().find(|(known, _)| *known == track).map_or(9, |(_, highest)| *highest);
        let level = level(number, highest).map_err(|why| format!("{text:?}: {why}"))?;
        Ok(Self::Level { track: track.to_owned(), level })
    }

    /// The track it speaks of, if it gives a level of one or says that it gives none.
    #[must_use]
    pub fn track(&self) -> Option<&str> {
        match self {
            Self::Level { track, .. } | Self::Unevaluated(track) => Some(track),
            _ => None,
        }
    }

    /// Whether whoever says this word says the other one too: the same, or a lower level of the same track.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Level { track, level }, Self::Level { track: of, level: wanted }) => {
                track == of && level >= wanted
            }
            (Self::Untracked(level), Self::Untracked(wanted)) => level >= wanted,
            _ => self == other,
        }
    }
}

/// A digit up to the highest that there is.
fn level(text: &str, highest: u8) -> Result<u8, String> {
    let digit = text.parse().ok().filter(|digit: &u8| digit.to_string() == text && *digit <= highest);
    digit.ok_or_else(|| format!("expected a level of 0 to {highest}"))
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { track, level } => write!(f, "SLSA_{track}_LEVEL_{level}"),
            Self::Unevaluated(track) => write!(f, "SLSA_{track}_LEVEL_UNEVALUATED"),
            Self::Untracked(level) => write!(f, "SLSA_LEVEL_{level}"),
            Self::Failed => f.write_str("FAILED"),
            Self::Property(text) | Self::Custom(text) => f.write_str(text),
        }
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_of_slsa_1_2_is_read_and_its_slips_too() {
        for text in [
            "SLSA_BUILD_LEVEL_0",
            "SLSA_BUILD_LEVEL_3",
            "SLSA_SOURCE_LEVEL_4",
            "SLSA_BUILD_LEVEL_UNEVALUATED",
            "SLSA_BUILD_REPRODUCED",
            "SLSA_SOURCE_TWO_PARTY_REVIEWED",
            "SLSA_LEVEL_3",
            "FAILED",
            "ORG_SOURCE_INTERNAL_REVIEWED",
            "SLSA_NEW_TRACK_LEVEL_9",
        ] {
            assert_eq!(Word::parse(text).unwrap().to_string(), text);
        }
        let long = "A".repeat(MAX_WORD_LEN + 1);
        for bad in [
            "",
            " ",
            "SLSA_",
            "SLSA_BUILD_LEVEL_4",
            "SLSA_SOURCE_LEVEL_5",
            "SLSA_BUILD_LEVEL_03",
            "SLSA_BUILD_LEVEL_+3",
            "SLSA_BUILD_LEVEL_",
            "SLSA_BUILD_LEVEL_-1",
            "SLSA_BUILD_LEVEL_999",
            "SLSA_LEVEL_5",
            "slsa_build_level_3",
            "Slsa_BUILD_LEVEL_3",
            "SLSA_Build_LEVEL_3",
            "failed",
            "SLSA_BUILD_LEVEL_3 ",
            "SLSA_BUILD_LEVEL_\u{0663}",
            &long,
        ] {
            assert!(Word::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_level_covers_those_below_of_its_own_track_alone() {
        let word = |text: &str| Word::parse(text).unwrap();
        assert!(word("SLSA_BUILD_LEVEL_3").covers(&word("SLSA_BUILD_LEVEL_2")));
        for (one, other) in [
            ("SLSA_BUILD_LEVEL_2", "SLSA_BUILD_LEVEL_3"),
            ("SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_2"),
            ("SLSA_LEVEL_3", "SLSA_BUILD_LEVEL_2"),
            ("SLSA_BUILD_LEVEL_3", "SLSA_BUILD_REPRODUCED"),
            ("SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_LEVEL_0"),
        ] {
            assert!(!word(one).covers(&word(other)), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_it_was(text in "(SLSA_)?[A-Z_]{0,9}(_LEVEL_[0-9]{1,2})?") {
            if let Ok(word) = Word::parse(&text) {
                prop_assert_eq!(word.to_string(), text);
            }
        }
    }
}
