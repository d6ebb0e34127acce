//! `countersign revoke`: what no longer counts, from now on and for everyone who follows the list.

pub(super) mod blocking;
pub(super) mod place;
mod show;
pub(super) mod target;
pub(super) mod when;

use clap::{Args, Subcommand};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_verify::revocation::{Change, Entry, Revocation, RevocationList};

use crate::failure::{Failure, Outcome};
use crate::out::Terminal;
use place::{Place, PlaceArgs, Written};
use target::TargetArgs;
use when::{ahead, past};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    before_help = "Examples:
  countersign revoke --identity alice@example.com --since 2h --reason 'laptop stolen' --dry-run
  countersign revoke --identity alice@example.com --since 2026-11-26T01:00:00Z --reason stolen
  countersign revoke --key release.pub --reason 'key leaked' --dir /srv/countersign
  countersign revoke --digest sha256:9f86… --reason 'malware in it'
  countersign revoke --builder-regexp 'https://ci\\.example/.*' --since 1h --reason 'taken over'
  countersign revoke undo 3 --reason 'it was found again'
  countersign revoke list                                  what is revoked now
  countersign revoke --list bad.json --sign-with soc.key --digest sha256:9f86… --reason malware",
    after_help = "Without --since nothing signed by it counts any more, whenever it was signed. With --since, what a log or a timestamp \
authority dates before still does. What an entry revokes already is said and not added again, with exit code 0. The instance may be running: what is written is served at once, and obeyed by clients, scanner \
and webhook within 60 s. See docs/revocation.md."
)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten, next_help_heading = "What is revoked")]
    targets: TargetArgs,
    /// Signatures from this time on do not count: 2026-11-26T01:00:00Z, a day, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<when::When>,
    /// Signatures under certificates issued from this time on count again; for identities and builders
    #[arg(long, value_name = "TIME", value_parser = past)]
    until: Option<when::When>,
    /// The entry holds until then: a time, a day, or 12h for twelve hours from now; else until it is undone
    #[arg(long, value_name = "TIME", value_parser = ahead)]
    expires: Option<when::When>,
    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Why, and by whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "For the record")]
struct WhyArgs {
    /// Why: whoever is refused reads it
    #[arg(long, value_name = "TEXT", required = true)]
    reason: Option<String>,
    /// Who decided it; else the name of the user
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    Undo(Undo),
    Renew(Renew),
    List(show::List),
}

impl Revoke {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Some(Action::Undo(undo)) => undo.run(terminal),
            Some(Action::Renew(renew)) => renew.run(terminal),
            Some(Action::List(list)) => list.run(terminal),
            None => self.revoke(terminal),
        }
    }

    fn revoke(&self, terminal: &Terminal) -> Outcome {
        let now = SystemClock.now();
        let at = |when: &Option<when::When>| when.as_ref().map(|when| when.at(now)).transpose();
        let (since, until, expires) = (at(&self.since)?, at(&self.until)?, at(&self.expires)?);
        if let Some(since) = since.filter(|since| *since > now) {
            return Err(Failure::usage(format!("--since: expected a time that has passed, found {since}")));
        }
        if let Some(expires) = expires.filter(|expires| *expires <= now) {
            return Err(Failure::usage(format!("--expires: expected a time to come, found {expires}")));
        }
        let revoke = |target| Revocation { target, since, until, expires };
        let wanted = self.targets.targets()?.into_iter().map(revoke).collect();
        let place = self.place.open()?;
        let (already, new) = sort_out(place.list.as_ref(), wanted);
        let entries = new.into_iter().map(|new| self.why.entry(Some(new), None));
        let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        tell_already(terminal, &already);
        match &place.list {
            Some(list) if entries.is_empty() => {
                tell_nothing(terminal, list);
                Ok(0)
            }
            _ => self.why.write(terminal, &place, &Change::Add(entries)),
        }
    }
}

/// Something that an entry of the list revokes already.
struct Already {
    target: String,
    entry: u32,
}

/// What a list revokes already, and what is to be added to it, each once.
fn sort_out(list: Option<&RevocationList>, wanted: Vec<Revocation>) -> (Vec<Already>, Vec<Revocation>) {
    let (mut already, mut new) = (Vec::new(), Vec::<Revocation>::new());
    for wanted in wanted {
        match list.and_then(|list| list.already(&wanted)) {
            Some(entry) => already.push(Already { target: wanted.target.to_string(), entry: entry.id }),
            None if new.iter().any(|new| new.covers(&wanted)) => {}
            None => new.push(wanted),
        }
    }
    (already, new)
}

fn tell_already(terminal: &Terminal, already: &[Already]) {
    for Already { target, entry } in already {
        terminal.talk(&printable(&format!("{target}: already revoked by entry {entry}")));
    }
}

fn tell_nothing(terminal: &Terminal, list: &RevocationList) {
    terminal.talk(&format!("nothing is added to list {}", list.number));
}

fn tell_dry(terminal: &Terminal, list: &RevocationList) {
    terminal.talk(&format!(
        "nothing is written: without --dry-run this becomes list {}, valid until {}",
        list.number, list.expires
    ));
}

/// The name of the user, where it is known.
fn user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.trim().is_empty())
}

impl WhyArgs {
    fn entry(&self, revoke: Option<Revocation>, undo: Option<u32>) -> Result<Entry, Failure> {
        let by = self.by.clone().or_else(user).ok_or_else(|| {
            Failure::usage("nobody is named who decided this, and USER is not set: add --by NAME")
        })?;
        let reason = self.reason.clone().unwrap_or_default();
        // Its number is given when the list is at hand.
        Ok(Entry { id: 0, revoke, undo, reason, by, at: SystemClock.now() })
    }

    fn write(&self, terminal: &Terminal, place: &Place, change: &Change) -> Outcome {
        if self.dry_run {
            let list = place.preview(change)?;
            show_new(terminal, place.list.as_ref(), &list)?;
            tell_dry(terminal, &list);
            return Ok(0);
        }
        let written = place.write(change)?;
        show_new(terminal, place.list.as_ref(), &written.list)?;
        tell(terminal, &written);
        tell_cluster(terminal);
        Ok(0)
    }
}

/// The entries that were not there before.
fn show_new(terminal: &Terminal, old: Option<&RevocationList>, new: &RevocationList) -> Result<(), Failure> {
    let before = old.map_or(0, |old| old.entries.len());
    for entry in new.entries.iter().skip(before) {
        terminal.line(&printable(&show::line(entry)))?;
    }
    Ok(())
}

/// Where the list is, and how to see that it holds.
fn tell(terminal: &Terminal, written: &Written) {
    let list = &written.list;
    terminal.talk(&format!(
        "{} list {} is in {}, valid until {}",
        terminal.yes(),
        list.number,
        written.path.display(),
        list.expires
    ));
    if let Some(url) = &written.url {
        terminal.talk(&format!("served at {url}; clients that follow this instance obey within 60 s"));
        if written.is_first {
            terminal.talk(
                "it is the first list of this instance: clients learn who may revoke with `countersign trust update`, \
                 which they have to run once",
            );
        }
        terminal.talk("next: see that it holds: countersign verify ARTIFACT … must end with \"revoked\"");
    } else {
        terminal.talk(&format!(
            "next: see that it holds: countersign verify ARTIFACT … --revocations {} --revocation-key KEY.pub must end \
             with \"revoked\"",
            written.path.display()
        ));
    }
}

/// How a cluster gets it.
fn tell_cluster(terminal: &Terminal) {
    terminal.talk("in a cluster: countersign revoke list --kubernetes | kubectl apply --server-side -f -");
}

/// Withdraw an entry; it stays in the list, with what withdraws it behind it
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign revoke undo 3 --reason 'the laptop was found, its disk was encrypted'")]
struct Undo {
    /// The entry's number, see `countersign revoke list`
    #[arg(value_name = "ENTRY")]
    entry: u32,
    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Undo {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let entry = self.why.entry(None, Some(self.entry))?;
        self.why.write(terminal, &self.place.open()?, &Change::Add(vec![entry]))
    }
}

/// Sign the list anew, so that it stays valid
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign revoke renew
  countersign revoke renew --number 12       after an old list was put back: above what was seen")]
struct Renew {
    /// The new number, at least
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    number: u64,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Renew {
    fn run(&self, terminal: &Terminal) -> Outcome {
        tell(terminal, &self.place.open()?.write(&Change::Renew(self.number))?);
        tell_cluster(terminal);
        Ok(0)
    }
}
