//! Whose cosignatures of a log count, as arguments.

use std::path::Path;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_http::text::printable;
use countersign_tlog::Witnesses;

use crate::args::number;
use crate::failure::Failure;

const MAX_FILE: usize = 64 * 1024;

/// Arguments about witnesses: those who see a log and vouch that it shows everyone the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Witnesses of the log")]
pub(crate) struct WitnessArgs {
    /// A witness that counts: its key as it is published (name+hint+key), or a file with one key a line
    #[arg(long = "witness", value_name = "KEY|FILE")]
    witnesses: Vec<String>,
    /// At least this many of the witnesses named must have cosigned; one, unless said otherwise
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>)]
    min_witnesses: Option<usize>,
}

impl WitnessArgs {
    /// The witnesses, and how many of them must have cosigned.
    pub(crate) fn load(&self) -> Result<(Witnesses, usize), Failure> {
        let mut all = Witnesses::default();
        for text in &self.witnesses {
            all.extend(read(text)?);
        }
        let count = all.count();
        match self.min_witnesses {
            None => Ok((all, usize::from(count > 0))),
            Some(least) if least > count => Err(Failure::usage(format!(
                "--min-witnesses {least} can never hold: {count} different keys of witnesses are named"
            ))
            .next("name each witness with --witness KEY, as it publishes its key, or all in a file")),
            Some(0) if count > 0 => Err(Failure::usage(
                "--min-witnesses 0 and --witness are given; the witnesses named would count for nothing",
            )),
            Some(least) => Ok((all, least)),
        }
    }
}

/// A key, or the keys in a file.
fn read(text: &str) -> Result<Witnesses, Failure> {
    let refused =
        |place: &str, e: &dyn std::fmt::Display| Failure::usage(printable(&format!("--witness: {place}{e}")));
    if text.contains('+') && !Path::new(text).exists() {
        return Witnesses::parse(text).map_err(|e| refused("", &e));
    }
    let bytes = read_limited(Path::new(text), MAX_FILE)?;
    let keys = std::str::from_utf8(&bytes).map_err(|_| refused(&format!("{text}: "), &"it is not text"))?;
    Witnesses::parse(keys).map_err(|e| refused(&format!("{text}: "), &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use countersign_crypto::{KeyPair, KeyType, Signer as _, encoding};
    use countersign_tlog::NoteVerifier;

    /// The key of a witness made for a test, as it is published.
    fn published() -> String {
        let key = KeyPair::generate(KeyType::Ed25519).unwrap().public_key().clone();
        let hint = NoteVerifier::cosignature_v1("a.example", key.clone()).unwrap().hint();
        let key = encoding::base64_encode(&[&[4], key.raw()].concat());
        format!("a.example+{}+{key}", encoding::hex_encode(&hint))
    }

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        witness: WitnessArgs,
    }

    fn load(arguments: &[&str]) -> Result<(usize, usize), String> {
        let parsed =
            Only::try_parse_from(std::iter::once(&"x").chain(arguments)).map_err(|e| e.to_string())?;
        parsed.witness.load().map(|(all, least)| (all.count(), least)).map_err(|f| f.message)
    }

    #[test]
    fn a_witness_named_is_required_and_a_number_that_cannot_be_reached_is_refused() {
        let (a, b) = (&published()[..], &published()[..]);
        assert_eq!(load(&["--witness", a, "--witness", b, "--min-witnesses", "2"]), Ok((2, 2)));
        assert_eq!(load(&[]), Ok((0, 0)));
        assert_eq!(load(&["--min-witnesses", "0"]), Ok((0, 0)));
        assert_eq!(load(&["--witness", a]), Ok((1, 1)));
        assert_eq!(load(&["--witness", a, "--min-witnesses", "1"]), Ok((1, 1)));
        assert!(load(&["--min-witnesses", "1"]).unwrap_err().contains("0 different keys"));
        assert!(
            load(&["--witness", a, "--witness", a, "--min-witnesses", "2"])
                .unwrap_err()
                .contains("1 different")
        );
        assert!(load(&["--witness", a, "--min-witnesses", "0"]).unwrap_err().contains("count for nothing"));
    }

    #[test]
    fn keys_come_from_a_file_too_and_mistakes_name_it() {
        let a = published();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witnesses");
        let path = path.to_str().unwrap();
        std::fs::write(path, format!("# ours\n{a}\n")).unwrap();
        assert_eq!(load(&["--witness", path]), Ok((1, 1)));
        for (content, told) in [(&b"\n"[..], "at least one"), (b"\xff", "not text"), (b"x+y\n", "line 1")] {
            std::fs::write(path, content).unwrap();
            let error = load(&["--witness", path]).unwrap_err();
            assert!(error.contains(told) && error.contains(path), "{error}");
        }
        assert!(load(&["--witness", "not-there"]).is_err());
        assert!(load(&["--witness", &a.replace("a.example", "b.example")]).unwrap_err().contains("the hint"));
    }
}
