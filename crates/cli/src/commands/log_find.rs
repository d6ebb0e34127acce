//! `countersign log find`: what an identity, a key or a builder has signed, for who has to know what to revoke.

use clap::Args;
use countersign_bundle::rekor::{HashedRekordV2, Verifier};
use countersign_client::log::LogReader;
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_crypto::PublicKey;
use countersign_http::text::printable;
use countersign_verify::revocation::{Entry, Revocation, RevocationList, Revocations, Signature};
use countersign_x509::Certificate;
use serde_json::json;

use super::log::LogArgs;
use super::revoke::target::TargetArgs;
use super::revoke::when::{When, past};
use crate::args::OutputArgs;
use crate::failure::{Failure, NO_SIGNATURE, Outcome};
use crate::out::{Terminal, counted};

/// List what an identity, a key or a builder has signed
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log find --identity alice@example.com --since 2h
  countersign log find --key release.pub --output json
  countersign log find --builder 'https://ci.example/build.yml@refs/heads/main' --since 2026-11-26",
    after_help = "The whole log is read and must make the tree of its checkpoint, so nothing is left out. A log says by which certificate \
or key each entry is, and of which digest: that of a file, or of the envelope around a statement. When a certificate was issued is \
when it was used, within its ten minutes; of a bare key nobody knows, so --since leaves none of its entries out. Exit code 3 when \
there is nothing."
)]
pub(super) struct Find {
    #[command(flatten)]
    targets: TargetArgs,
    /// Only what was signed from this time on: 2026-11-26T01:00:00Z, a day, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<When>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// An entry that was looked for.
pub(super) struct Hit {
    index: u64,
    /// When its certificate was issued.
    pub(super) issued: Option<Timestamp>,
    signer: String,
    digest: String,
}

impl Hit {
    /// An entry in words. `None` when it is of a kind that says nothing of signers.
    pub(super) fn read(index: u64, body: &[u8]) -> Option<Self> {
        let (entry, certificate, key) = parts(body)?;
        Self::of(index, &entry, certificate.as_ref(), key.as_ref())
    }

    fn of(
        index: u64,
        entry: &HashedRekordV2,
        certificate: Option<&Certificate>,
        key: Option<&PublicKey>,
    ) -> Option<Self> {
        let signer = match (certificate, key) {
            (Some(leaf), _) => {
                let name = leaf.sans().iter().find_map(|san| san.as_text()).unwrap_or("(no name)");
                format!("{name} ({})", leaf.fulcio().issuer().unwrap_or("no issuer"))
            }
            (None, Some(key)) => format!("{key:?}"),
            (None, None) => return None,
        };
        let issued = certificate.map(Certificate::not_before);
        Some(Self { index, issued, signer, digest: entry.digest.to_string() })
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        json!({"index": self.index, "issued": self.issued.map(|time| time.to_string()),
            "signer": self.signer, "digest": self.digest})
    }

    pub(super) fn to_line(&self) -> String {
        let issued = self.issued.map_or_else(|| "at a time nobody knows".into(), |time| time.to_string());
        printable(&format!("{:>8}  {issued}  {}  {}", self.index, self.digest, self.signer))
    }
}

/// An entry with the certificate or key in it.
fn parts(body: &[u8]) -> Option<(HashedRekordV2, Option<Certificate>, Option<PublicKey>)> {
    let entry = HashedRekordV2::parse_body(body).ok()?;
    let (certificate, key) = match &entry.verifier {
        Verifier::Certificate(der) => (Some(Certificate::from_der(der).ok()?), None),
        Verifier::PublicKey(spki) => (None, Some(PublicKey::from_spki_der(spki).ok()?)),
    };
    Some((entry, certificate, key))
}

impl Find {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let now = SystemClock.now();
        let since = self.since.map(|since| since.at(now)).transpose()?;
        let wanted = self.wanted(now)?;
        let (hits, unread, size) = self.log.with_reader(terminal, async |reader: &LogReader<'_>| {
            let checkpoint = reader.checkpoint().await?.checkpoint;
            let (mut hits, mut unread) = (Vec::new(), 0_u64);
            reader
                .each(&checkpoint, |index, body| match hit(index, body, &wanted, now) {
                    Some(hit) => hits.extend(hit),
                    None => unread += 1,
                })
                .await?;
            Ok((hits, unread, checkpoint.size))
        })?;
        let is_old = |hit: &Hit| hit.issued.zip(since).is_some_and(|(issued, since)| issued < since);
        let hits: Vec<Hit> = hits.into_iter().filter(|hit| !is_old(hit)).collect();
        if self.output.is_json() {
            let entries: Vec<_> = hits.iter().map(Hit::to_json).collect();
            terminal.json(
                "log.find",
                1,
                &json!({"treeSize": size, "notRead": unread, "entries": entries}),
            )?;
        } else {
            for hit in &hits {
                terminal.line(&hit.to_line())?;
            }
        }
        terminal.talk(&format!(
            "{} of {}; {unread} of another kind were not read",
            counted(hits.len() as u64, "entry", "entries"),
            counted(size, "entry", "entries")
        ));
        Ok(if hits.is_empty() { NO_SIGNATURE } else { 0 })
    }

    /// What is looked for, as a list that would revoke it: what is found here is what `revoke` would stop.
    fn wanted(&self, now: Timestamp) -> Result<Revocations, Failure> {
        let mut entries = Vec::new();
        for (id, target) in (1..).zip(self.targets.targets()?) {
            let revoke = Some(Revocation { target, since: None, until: None, expires: None });
            let (reason, by) = ("looked for".to_owned(), "this command".to_owned());
            entries.push(Entry { id, revoke, undo: None, reason, by, at: now });
        }
        let usage = |e: &dyn std::fmt::Display| Failure::usage(e.to_string());
        let list = RevocationList { number: 1, issued_at: now, expires: Timestamp::MAX, entries };
        let json = list.to_json().map_err(|e| usage(&e))?;
        Revocations::read(&json, "this command").map_err(|e| usage(&e))
    }
}

/// The entry, if it is one that is looked for. `None` when it is of a kind that says nothing of signers.
fn hit(index: u64, body: &[u8], wanted: &Revocations, now: Timestamp) -> Option<Option<Hit>> {
    let (entry, certificate, key) = parts(body)?;
    let signature = Signature {
        certificates: certificate.iter().collect(),
        key: key.as_ref(),
        digest: Some(entry.digest),
        ..Signature::default()
    };
    if wanted.ask(&signature, now).is_ok() {
        return Some(None);
    }
    Hit::of(index, &entry, certificate.as_ref(), key.as_ref()).map(Some)
}
