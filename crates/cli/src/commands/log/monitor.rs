//! `countersign log monitor`: follows a log, and tells what it did that it must not, and what those one watches signed.

mod event;
mod told;
mod untold;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use countersign_client::ClientError;
use countersign_client::artifact::read_limited;
use countersign_client::looking::{Hit, hits, looked_for};
use countersign_client::monitor::{Finding, How, Kept, Seen, compare, poll};
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_http::text::printable;
use countersign_kubernetes::continuous::Told as _;
use countersign_tlog::NoteKind;
use countersign_tlog::monitor::{Monitor, Standing};
use countersign_tlog::note::MAX_NOTE_BYTES;
use countersign_verify::revocation::Revocations;

use super::{Followed, Kind, LogArgs, Place};
use crate::args::alerts::SinkArgs;
use crate::commands::revoke::target::TargetArgs;
use crate::commands::serve::{LogFormat, log_to_stderr, server_runtime, told_to_end};
use crate::failure::{Failure, NETWORK, Outcome, REJECTED};
use crate::out::{Terminal, counted, parse_duration, within};
use event::EventArgs;
use told::{Journal, LogAlert};
use untold::Untold;

/// How often it is looked, unless the person says otherwise.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long it is tried again at a look to tell whoever is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follow a log: tell when it breaks a promise, and what those you watch sign
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log monitor --state watch --watch-identity alice@example.com
  countersign log monitor --state watch --watch-key release.pub --alert-file alerts.jsonl
  countersign log monitor --state watch --alert-event-namespace countersign
  countersign log monitor --state watch-v1 --rekor-v1 --watch-identity alice@example.com
  countersign log monitor --state watch --once --seen-by-others theirs.txt
  countersign log monitor --state w --log https://log.example --log-key log.pub --origin log.example",
    after_help = "At each look the checkpoint's signature is checked, every entry since the last look is fetched, and together with what \
was seen before they must make the tree that was signed; and one bundle of 256 old entries is read once more, each time the next one. The \
first look begins with what is there now (--whole: with the first entry). \
One log is followed: of an instance its log of Rekor v2, with --rekor-v1 that of Rekor v1, each in a directory of its own. \
In the directory are state.json, from which the next run goes on; alerts.jsonl, with all that was told; untold.json, with what somebody \
did not take, for the next look; and a file of evidence for each thing the log did. With --once the exit code is 0 when the log keeps \
its promises, 2 when it does not, 6 when it could not be looked at or somebody could not be told. See docs/log.md."
)]
pub(super) struct MonitorCommand {
    /// The directory in which is kept what was seen of this log
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Look once, then end
    #[arg(long, conflicts_with = "interval")]
    once: bool,
    /// How often to look, such as 5m (60s unless given)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// The first time, begin with the log's first entry
    #[arg(long)]
    whole: bool,
    /// Read all old entries again at each look, not one bundle of 256 of them in turn: a log that changes what it shows of
    /// them, and signs nothing, is found at once
    #[arg(long)]
    again: bool,
    /// A checkpoint that somebody else was shown; it must be of the same history
    #[arg(long = "seen-by-others", value_name = "FILE")]
    others: Vec<PathBuf>,
    /// The log of Rekor v1: the trusted instance's, or the one of --log
    #[arg(long)]
    rekor_v1: bool,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    sinks: SinkArgs,
    #[command(flatten)]
    events: EventArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Whose signatures are told.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who is watched")]
struct WatchArgs {
    /// A name in certificates: an e-mail address or a URI
    #[arg(long, value_name = "NAME")]
    watch_identity: Vec<String>,
    /// A regular expression for the whole of the name
    #[arg(long, value_name = "REGEXP")]
    watch_identity_regexp: Vec<String>,
    /// A key: a file, a key elsewhere (docs/keys.md), or sha256: and the fingerprint of its public half
    #[arg(long, value_name = "KEY|SHA256")]
    watch_key: Vec<String>,
    /// An artifact, or the envelope or payload of a statement
    #[arg(long, value_name = "SHA256")]
    watch_digest: Vec<String>,
    /// A builder, as the build signer in certificates
    #[arg(long, value_name = "URI")]
    watch_builder: Vec<String>,
}

impl WatchArgs {
    /// What is looked for in each entry; `None` when nobody is watched.
    fn read(&self, now: Timestamp) -> Result<Option<Revocations>, Failure> {
        let targets = TargetArgs {
            identity: self.watch_identity.clone(),
            identity_regexp: self.watch_identity_regexp.clone(),
            key: self.watch_key.clone(),
            digest: self.watch_digest.clone(),
            builder: self.watch_builder.clone(),
            prefix: "watch-",
            ..TargetArgs::default()
        };
        let lists = [
            &self.watch_identity,
            &self.watch_identity_regexp,
            &self.watch_key,
            &self.watch_digest,
            &self.watch_builder,
        ];
        if lists.iter().all(|list| list.is_empty()) {
            return Ok(None);
        }
        Ok(Some(looked_for(targets.sought()?, now)?))
    }
}

/// A monitor that is set up.
struct Watching<'a> {
    command: &'a MonitorCommand,
    terminal: &'a Terminal,
    followed: Followed,
    monitor: Monitor,
    kept: Kept,
    journal: Journal,
    wanted: Option<Revocations>,
    others: Vec<(String, Vec<u8>)>,
    untold: RefCell<Untold>,
}

impl MonitorCommand {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        if terminal.timeout.is_some() && !self.once {
            return Err(Failure::usage(
                "--timeout is for --once: else a monitor runs until it is told to end",
            ));
        }
        if self.interval.is_some_and(|interval| interval.is_zero()) {
            return Err(Failure::usage("expected an interval such as 60s, found none at all"));
        }
        log_to_stderr(LogFormat::Text, if terminal.quiet { "error" } else { "warn" })?;
        let runtime = server_runtime()?;
        let begun = Instant::now();
        let ended = runtime.block_on(async {
            let mut watching = self.set_up(terminal).await?;
            let looked = if self.once {
                within(terminal, watching.look()).await
            } else {
                watching.follow().await.map(|()| true)
            };
            let left = terminal.timeout.map_or(PATIENCE, |limit| limit.saturating_sub(begun.elapsed()));
            let told = watching.untold.get_mut().deliver(left.min(PATIENCE)).await;
            Ok(match (looked?, told?) {
                (false, _) => REJECTED,
                // Whoever follows was told in the log, and what is left is told at the next start.
                (true, false) if self.once => NETWORK,
                (true, _) => 0,
            })
        });
        runtime.shutdown_background();
        ended
    }

    async fn set_up<'a>(&'a self, terminal: &'a Terminal) -> Result<Watching<'a>, Failure> {
        let mut sinks = self.sinks.open()?;
        let followed = self.log.followed(if self.rekor_v1 { Kind::RekorV1 } else { Kind::Tiles })?;
        if matches!(followed.place, Place::Directory(_)) && followed.verifier.kind == NoteKind::RekorV1 {
            return Err(Failure::usage("a log of Rekor v1 has no tiles in a directory: give its address"));
        }
        if !self.rekor_v1
            && let Some(base) = self.log.left_aside()?
        {
            terminal.talk(&printable(&format!(
                "the log of Rekor v1 at {} is not followed; next: countersign log monitor --rekor-v1 --state {}-v1",
                countersign_http::shown(&base),
                self.state.display()
            )));
        }
        let others = self
            .others
            .iter()
            .map(|path| Ok((path.display().to_string(), read_limited(path, MAX_NOTE_BYTES)?)));
        sinks.extend(self.events.open().await?);
        Ok(Watching {
            command: self,
            terminal,
            monitor: Monitor::new(followed.verifier.clone()),
            others: others.collect::<Result<_, ClientError>>()?,
            followed,
            kept: Kept::open(&self.state)?,
            journal: Journal::open(&self.state)?,
            wanted: self.watch.read(SystemClock.now())?,
            untold: RefCell::new(Untold::open(&self.state, sinks)?),
        })
    }
}

impl Watching<'_> {
    /// Looks again and again, until told to end.
    async fn follow(&mut self) -> Result<(), Failure> {
        let told = told_to_end()?;
        tokio::pin!(told);
        let mut tick = tokio::time::interval(self.command.interval.unwrap_or(INTERVAL));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut told => return Ok(()),
                _ = tick.tick() => {}
            }
            let looked = tokio::select! {
                () = &mut told => return Ok(()),
                looked = self.look() => looked,
            };
            match looked {
                Ok(_) => {}
                // Somebody who was away may be back at the next look. What is wrong with the state stays wrong.
                Err(failure) if failure.code == NETWORK => {
                    tracing::warn!(error = failure.message, "the log could not be looked at");
                }
                Err(failure) => return Err(failure),
            }
            tokio::select! {
                () = &mut told => return Ok(()),
                delivered = self.untold.get_mut().deliver(PATIENCE) => drop(delivered?),
            }
        }
    }

    /// Looks once; whether the log keeps its promises.
    async fn look(&mut self) -> Result<bool, Failure> {
        let now = SystemClock.now();
        let standing = self.kept.standing(&self.monitor).map_err(|error| {
            let next =
                "look at what happened to the directory; a new one begins anew, and forgets what was seen";
            Failure::from(error).next(next)
        })?;
        let how = How { whole: self.command.whole, again: self.command.again };
        let (mut found, mut unread) = (Vec::new(), 0_u64);
        let feed = self.followed.feed();
        let look = |index, body: &[u8]| {
            let Some(wanted) = &self.wanted else { return };
            match hits(index, body, wanted, now) {
                Some(hits) => found.extend(hits),
                None => unread += 1,
            }
        };
        let good = match poll(&feed, &self.monitor, standing.as_ref(), how, now, look).await? {
            Seen::Bad(finding) => return self.tell_finding(&feed.place(), &finding, now).map(|()| false),
            Seen::Good(good) => good,
        };
        let mut keeps = true;
        for (name, theirs) in &self.others {
            let compared = compare(&feed, &self.monitor, &good, theirs).await;
            let compared = compared.map_err(|error| {
                let failure = Failure::from(error);
                Failure { message: format!("{name}: {}", failure.message), ..failure }
            })?;
            if let Some(finding) = compared {
                self.tell_finding(&feed.place(), &finding, now)?;
                keeps = false;
            }
        }
        for hit in found {
            self.tell(LogAlert::of_hit(&feed.place(), &good, hit, now))?;
        }
        self.untold.borrow().keep()?;
        // What is to be told is on the disk before the state goes on: after a crash it is told again, never left out.
        self.kept.keep(&good)?;
        self.say(standing.as_ref(), &good, unread);
        Ok(keeps)
    }

    fn say(&self, before: Option<&Standing>, good: &Standing, unread: u64) {
        let size = good.checkpoint().size;
        let new = before.map_or_else(
            || "seen for the first time".to_owned(),
            |old| format!("{} new", size.saturating_sub(old.checkpoint().size)),
        );
        let unread = match unread {
            0 => String::new(),
            count => format!("; {count} of another kind were not read"),
        };
        let line = format!(
            "{} {}: {}, {new}; it keeps its promises{unread}",
            self.terminal.yes(),
            printable(&good.checkpoint().origin),
            counted(size, "entry", "entries")
        );
        self.terminal.talk(&line);
    }

    fn tell_finding(&self, place: &str, finding: &Finding, now: Timestamp) -> Result<(), Failure> {
        let (path, is_known) = self.kept.evidence_of(finding)?;
        let alert = LogAlert::of_finding(place, finding, &path, now);
        if is_known {
            // It was told when it began; it is still so.
            let still = format!("{} still: {}", self.terminal.no_mark(), alert.message());
            self.terminal.talk(&printable(&still));
            return Ok(());
        }
        self.tell(alert)?;
        self.untold.borrow().keep()?;
        // Last: from now on it is known, and is not told again.
        Ok(self.kept.keep_evidence(finding)?)
    }

    fn tell(&self, alert: LogAlert) -> Result<(), Failure> {
        self.journal.add(&alert)?;
        self.terminal.data(&alert.to_string())?;
        alert.note();
        self.untold.borrow_mut().add(alert);
        Ok(())
    }
}
