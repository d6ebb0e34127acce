//! `countersign log`: reading a transparency log and checking that it keeps its promises.

mod at_rest;
mod backup;
mod check_fork;
mod entry;
mod fsck;
mod migrate;
mod monitor;
mod opened;
mod reindex;
pub(super) mod trees;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_client::ClientError;
use countersign_client::artifact::read_limited;
use countersign_client::log::{LogReader, LogSource, VerifiedCheckpoint};
use countersign_client::monitor::{Feed, RekorV1};
use countersign_client::rekor::RekorVersion;
use countersign_client::trust::verifier_of;
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::{KeyType, PublicKey, encoding};
use countersign_http::text::{printable, printable_lines};
use countersign_http::{Http, parse_url};
use countersign_tlog::{Checkpoint, NoteKind, NoteVerifier, Witnesses};
use serde_json::json;
use url::Url;

use crate::args::OutputArgs;
use crate::args::services::{HttpArgs, TrustArgs};
use crate::args::witness::WitnessArgs;
use crate::commands::log_find::Find;
use crate::commands::log_search::Search;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on, counted};

const MAX_FILE: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign log checkpoint                     how large the log is, signed
  countersign log verify --kept checkpoint.txt   that it only grew since then
  countersign log search --email a@example.com   what somebody signed, from the index, proven
  countersign log find --identity a@example.com --since 2h   the same by reading everything
  countersign log fsck /srv/countersign          that every byte of a log at rest is as it was signed
  countersign log monitor --state DIR --watch-identity a@example.com   follow it, be told")]
pub(crate) struct LogCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Backup(backup::Backup),
    CheckFork(check_fork::CheckFork),
    Checkpoint(CheckpointCommand),
    Find(Box<Find>),
    Fsck(fsck::Fsck),
    Get(entry::Get),
    Migrate(migrate::Migrate),
    Monitor(Box<monitor::MonitorCommand>),
    Proof(entry::Proof),
    Reindex(reindex::Reindex),
    Restore(backup::Restore),
    Search(Box<Search>),
    Verify(verify::Verify),
}

impl LogCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Action::Backup(command) => command.run(terminal),
            Action::CheckFork(command) => command.run(terminal),
            Action::Checkpoint(command) => command.run(terminal),
            Action::Find(command) => command.run(terminal),
            Action::Fsck(command) => command.run(terminal),
            Action::Get(command) => command.run(terminal),
            Action::Migrate(command) => command.run(terminal),
            Action::Monitor(command) => command.run(terminal),
            Action::Proof(command) => command.run(terminal),
            Action::Reindex(command) => command.run(terminal),
            Action::Restore(command) => command.run(terminal),
            Action::Search(command) => command.run(terminal),
            Action::Verify(command) => command.run(terminal),
        }
    }
}

/// Which log, and by which key it is known.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// The log: its address or a directory with its tiles; else the trusted instance's newest (find, search
    /// and incident: all of them)
    #[arg(long, value_name = "URL|DIR")]
    log: Option<String>,
    /// The log's public key (PEM), instead of the trust root's
    #[arg(long, value_name = "FILE", requires = "origin")]
    log_key: Option<PathBuf>,
    /// The log's name, as its checkpoints begin; goes with --log-key
    #[arg(long, value_name = "NAME", requires = "log_key")]
    origin: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    witness: WitnessArgs,
}

impl LogArgs {
    /// Where the trusted root comes from; `None` when the log is known by a key instead.
    pub(super) fn trust(&self) -> Option<&TrustArgs> {
        self.log_key.is_none().then_some(&self.trust)
    }

    /// Where the log is, and the key it is known by: of the interface of Rekor v2, or of a log kept as tiles.
    fn place(&self) -> Result<(Place, NoteVerifier), Failure> {
        let place = self.log.as_deref().map(Place::parse).transpose()?;
        if let Some((key, origin)) = self.own_key()? {
            let verifier = NoteVerifier::rekor_v2(origin, key).map_err(|e| Failure::usage(e.to_string()))?;
            return Ok((place.ok_or_else(no_place)?, verifier));
        }
        let trust = self.trust.load(None)?;
        match place {
            Some(Place::Web(url)) => {
                let verifier = trust.log_key(&url, RekorVersion::V2).map_err(or_own_key)?;
                Ok((Place::Web(url), verifier))
            }
            other => {
                let log = trust.newest_log()?;
                let place = match other {
                    Some(directory) => directory,
                    None => Place::Web(parse_url(&log.base_url)?),
                };
                Ok((place, verifier_of(log)?))
            }
        }
    }

    /// Where a log of another kind is, and its key. What cannot be is said before anything is fetched.
    fn place_of(&self, kind: Kind) -> Result<(Place, NoteVerifier), Failure> {
        let url = match (self.log.as_deref().map(Place::parse).transpose()?, kind) {
            (_, Kind::Tiles) => return self.place(),
            (Some(Place::Directory(_)), _) => {
                return Err(Failure::usage(
                    "expected the address of a log, found a directory: a log of Rekor v1 or of certificates has no tiles in a \
                     directory by which it is read",
                ));
            }
            (Some(Place::Web(url)), _) => Some(url),
            (None, _) => None,
        };
        let usage = |e: &dyn std::fmt::Display| Failure::usage(e.to_string());
        let own = match (self.own_key()?, kind) {
            (None, _) => None,
            (Some((key, _)), Kind::RekorV1) if key.key_type() == KeyType::Ed25519 => {
                return Err(Failure::usage(
                    "expected the key of a log of Rekor v1 (ECDSA), found an Ed25519 key, which is of Rekor v2",
                )
                .next("leave --rekor-v1 out, or give the key that is served at /api/v1/log/publicKey"));
            }
            (Some((key, origin)), Kind::RekorV1) => Some(NoteVerifier::rekor_v1(origin, key)),
            (Some((key, origin)), _) => Some(NoteVerifier::rfc6962(origin, key)),
        };
        let (url, verifier) = match own {
            Some(verifier) => (url.ok_or_else(no_place)?, verifier.map_err(|e| usage(&e))?),
            None if kind == Kind::RekorV1 => {
                self.trust.load(None)?.newest_v1(url.as_ref()).map_err(or_own_key)?
            }
            None => self.trust.load(None)?.newest_ct(url.as_ref()).map_err(or_own_key)?,
        };
        Ok((Place::Web(url), verifier))
    }

    /// Where the trusted instance's log of Rekor v1 is, when another of its logs is read because none was named.
    fn left_aside(&self) -> Result<Option<Url>, Failure> {
        if self.log.is_some() || self.log_key.is_some() {
            return Ok(None);
        }
        let (trust, now) = (self.trust.load(None)?, SystemClock.now());
        let own = verifier_of(trust.newest_log()?)?;
        let v1 = trust.logs(None, now)?.into_iter().find(|log| {
            log.verifier.kind == NoteKind::RekorV1 && !log.is_closed && log.verifier.key_id != own.key_id
        });
        Ok(v1.map(|log| log.base))
    }

    /// The key that is given for the log, with its name.
    fn own_key(&self) -> Result<Option<(PublicKey, &str)>, Failure> {
        let (Some(path), Some(origin)) = (&self.log_key, &self.origin) else { return Ok(None) };
        let text = String::from_utf8_lossy(&read_limited(path, 64 * 1024)?).into_owned();
        Ok(Some((PublicKey::from_pem(&text)?, origin)))
    }

    /// The log, to look at it again and again.
    fn followed(&self, kind: Kind) -> Result<Followed, Failure> {
        let (place, verifier) = self.place_of(kind)?;
        let (witnesses, least) = self.witness.load()?;
        if verifier.kind == NoteKind::RekorV1 && least > 0 {
            return Err(Failure::usage("nobody cosigns the checkpoints of Rekor v1: leave --witness out"));
        }
        Ok(Followed { place, verifier, witnesses, least, http: self.http.http() })
    }
}

/// Which of an instance's logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// That of Rekor v2, or any that is kept as tiles.
    Tiles,
    /// That of Rekor v1.
    RekorV1,
    /// That of certificates.
    Ct,
}

fn no_place() -> Failure {
    Failure::usage("--log-key says nothing about where the log is: give --log")
}

/// What else there is for a log that the trust root does not name.
fn or_own_key(error: ClientError) -> Failure {
    Failure::from(error).next("for another log give --log-key and --origin")
}

/// A log that is looked at again and again.
struct Followed {
    place: Place,
    verifier: NoteVerifier,
    witnesses: Witnesses,
    least: usize,
    http: Http,
}

impl Followed {
    /// By what it is read.
    fn feed(&self) -> Feed<'_> {
        match (&self.place, self.verifier.kind) {
            (Place::Web(base), NoteKind::RekorV1) => Feed::RekorV1(RekorV1::new(&self.http, base.clone())),
            _ => Feed::Tiles(Box::new(self.reader())),
        }
    }

    /// As it is to be read now.
    fn reader(&self) -> LogReader<'_> {
        let source = self.place.clone().source(&self.http);
        let witnesses = self.witnesses.clone();
        LogReader::new(source, self.verifier.clone()).witnessed(witnesses, self.least, SystemClock.now())
    }
}

#[derive(Clone)]
enum Place {
    Web(Url),
    Directory(PathBuf),
}

impl Place {
    fn parse(text: &str) -> Result<Self, Failure> {
        if text.contains("://") { Ok(Self::Web(parse_url(text)?)) } else { Ok(Self::Directory(text.into())) }
    }

    fn source(self, http: &Http) -> LogSource<'_> {
        match self {
            Self::Web(base) => LogSource::Web { http, base },
            Self::Directory(path) => LogSource::Directory(path),
        }
    }
}

/// Print the log's newest checkpoint, after checking its signature
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign log checkpoint > checkpoint.txt    keep it, to check later that the log only grew
  countersign log checkpoint --log https://sigstore.example.com
  countersign log checkpoint --rekor-v1 > v1.txt  of the instance's log of Rekor v1
  countersign log checkpoint --ct > ct.txt        of its log of certificates
  countersign log checkpoint --witness witnesses.txt --min-witnesses 2")]
struct CheckpointCommand {
    /// The log of Rekor v1
    #[arg(long, conflicts_with = "ct")]
    rekor_v1: bool,
    /// The log of certificates (static CT)
    #[arg(long)]
    ct: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl CheckpointCommand {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let kind = match (self.rekor_v1, self.ct) {
            (true, _) => Kind::RekorV1,
            (_, true) => Kind::Ct,
            _ => Kind::Tiles,
        };
        let followed = self.log.followed(kind)?;
        let found = block_on(terminal, async {
            Ok(match followed.feed() {
                Feed::RekorV1(log) => log.checkpoint(&followed.verifier).await?,
                Feed::Tiles(reader) => reader.checkpoint().await?,
            })
        })?;
        if self.output.is_json() {
            let content = json!({
                "origin": found.checkpoint.origin, "size": found.checkpoint.size,
                "rootHash": encoding::base64_encode(&found.checkpoint.root), "note": found.note,
                "witnesses": found.witnesses,
            });
            terminal.json("log.checkpoint", 1, &content)?;
        } else {
            // The note itself, byte for byte, so that it can be kept; unless it would speak to a terminal.
            let shown = printable_lines(&found.note);
            terminal.data(&shown)?;
            terminal.talk(&format!("{} signature verified; {}", terminal.yes(), entries(&found.checkpoint)));
            if let Some(line) = witnessed(&found) {
                terminal.talk(&format!("{} {line}", terminal.yes()));
            }
        }
        Ok(0)
    }
}

/// How large a tree is.
fn entries(tree: &Checkpoint) -> String {
    counted(tree.size, "entry", "entries")
}

/// Who cosigned, when anybody was asked for.
fn witnessed(found: &VerifiedCheckpoint) -> Option<String> {
    (!found.witnesses.is_empty()).then(|| format!("cosigned by {}", printable(&found.witnesses.join(", "))))
}
