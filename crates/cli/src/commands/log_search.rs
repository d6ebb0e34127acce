//! `countersign log search`: who signed what, from the log's index, which proves that its answer is complete.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use countersign_client::ClientError;
use countersign_client::log::LogReader;
use countersign_client::log_search::commitment;
use countersign_client::log_tree::LogTree;
use countersign_client::looking::{Hit, every};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::Digest;
use countersign_http::text::printable;
use countersign_keys::file;
use countersign_tlog::Checkpoint;
use countersign_verify::terms::{self, SearchKey};
use serde_json::{Value, json};

use super::log::LogArgs;
use super::log::trees::described;
use super::revoke::target::key_print;
use super::revoke::when::{When, past};
use crate::args::OutputArgs;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, counted};

/// Ask the log's index what has been signed, and check that its answer is complete
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log search --email alice@example.com
  countersign log search --repository https://git.example/a/b --since 7d
  countersign log search --digest $(sha256sum app.tgz | cut -c-64) --output json
  countersign log search --email alice@example.com --search-key search.key",
    after_help = "Every log that the trust root names is asked (--log: those at one address). The log signs the root of its index with its checkpoint, and the answer must be the one that this root proves. What the \
index does not reach yet is read from the log itself, and each entry named must be in the tree and have what was asked for. Where \
nobody answers (a directory, a log without an index) or nothing can be proven (Rekor v1), the whole log is read. A log that could not be \
is named; the answer is not complete then, and the exit code 6; a closed one that does not verify is an alarm, with exit code 2. Several options find the entries that have all of it; \
`countersign log find` reads the whole log and trusts no index. An index may hide identities: it has hashes of them under a key of the \
instance. Without that key (--search-key) each entry named is still checked, but that none is missing is the log's word, and the answer is \
not called complete. Exit code 3 when there is nothing."
)]
pub(super) struct Search {
    /// An e-mail address in a certificate
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A URI, or a name of another kind, in a certificate
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// What was signed: sha256:<hex>
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    digest: Option<String>,
    /// A key: a file, a key elsewhere (docs/keys.md), or sha256: and the fingerprint of its public half
    #[arg(long, value_name = "KEY|SHA256")]
    key: Option<String>,
    /// Who vouched for the identity
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The repository that was built
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
    /// The build instructions, with their ref
    #[arg(long, value_name = "URI")]
    workflow: Option<String>,
    /// Only what was signed from this time on: 2026-11-26T01:00:00Z, a day, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<When>,
    /// Only what was signed before this time
    #[arg(long, value_name = "TIME", value_parser = past)]
    until: Option<When>,
    /// The key of an index that hides identities: keys/search.key of the instance
    #[arg(long, value_name = "FILE")]
    search_key: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// More than a search key has, in bytes.
const MAX_KEY: usize = 256;

fn digest(text: &str) -> Result<String, String> {
    let named =
        if text.contains(':') { text.to_lowercase() } else { format!("sha256:{}", text.to_lowercase()) };
    Digest::parse(&named).map(|digest| digest.to_string()).map_err(|e| e.to_string())
}

/// What was found in a tree.
struct Found {
    label: String,
    hits: Vec<Hit>,
    size: u64,
    /// How far the index reached; 0 when the whole tree was read.
    index: u64,
    /// Whether the index says that it hides no identities.
    plain: bool,
    /// Why the answer may not be complete.
    missing: Option<String>,
    log: Value,
}

impl Found {
    /// For how large a tree the answer is complete, and how that is known.
    fn tree(&self) -> String {
        let how = match self.index {
            0 => "all of it read".to_owned(),
            size => format!("the index proven for {size}, the rest read"),
        };
        format!("a tree of {} ({how})", counted(self.size, "entry", "entries"))
    }
}

impl Search {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let now = SystemClock.now();
        let since = self.since.map(|since| since.at(now)).transpose()?;
        let until = self.until.map(|until| until.at(now)).transpose()?;
        if since.zip(until).is_some_and(|(since, until)| until <= since) {
            return Err(Failure::usage(
                "until is before since: nothing was signed from the one on and before the other",
            )
            .next("give --since the earlier time: --since 2h --until 1h"));
        }
        let wanted = self.terms()?;
        let key = self.read_search_key()?;
        let mut looked = self
            .log
            .with_trees(terminal, async |tree: &LogTree<'_>| search(tree, &wanted, key.as_ref()).await)?;
        for found in &mut looked.found {
            // Of a bare key nobody knows when it was used, so none of its entries is left out.
            found.hits.retain(|hit| {
                hit.issued.is_none_or(|at| {
                    since.is_none_or(|since| since <= at) && until.is_none_or(|until| at < until)
                })
            });
        }
        let hits = || looked.found.iter().flat_map(|found| found.hits.iter().map(|hit| (hit, &*found.label)));
        let number = hits().count();
        let unseen = looked.unseen.iter().map(|unseen| format!("could not be looked at: {unseen}"));
        let alarms = looked.alarms.iter().map(|alarm| format!("ALARM: {alarm}"));
        let missing: Vec<String> = looked
            .found
            .iter()
            .filter_map(|found| found.missing.clone())
            .chain(unseen)
            .chain(alarms)
            .collect();
        let missing = (!missing.is_empty()).then(|| missing.join("; "));
        if self.output.is_json() {
            let entries: Vec<_> = hits().map(|(hit, log)| hit.to_json(log)).collect();
            let logs: Vec<_> = looked.found.iter().map(|found| &found.log).collect();
            let content = json!({"terms": wanted, "logs": logs, "notLookedAt": looked.unseen, "alarms": looked.alarms,
                "complete": missing.is_none(), "missing": missing, "entries": entries});
            terminal.json("log.search", 2, &content)?;
        } else {
            for (hit, log) in hits() {
                terminal.line(&hit.to_line(log))?;
            }
        }
        if key.is_some() && looked.found.iter().any(|found| found.plain) {
            terminal.talk("this index hides nothing; --search-key is not needed");
        }
        let entries = counted(number as u64, "entry", "entries");
        let trees: Vec<String> = looked.found.iter().map(Found::tree).collect();
        terminal.talk(&match &missing {
            None => format!("{} {entries}; complete for {}", terminal.yes(), trees.join(" and ")),
            Some(why) => format!("{entries}; not complete: {}", printable(why)),
        });
        Ok(looked.code(number == 0))
    }

    fn read_search_key(&self) -> Result<Option<SearchKey>, Failure> {
        let Some(path) = &self.search_key else { return Ok(None) };
        let text = file::read_private(path, MAX_KEY)?;
        let key = SearchKey::parse(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
        Ok(Some(key))
    }

    /// What the entries must have, as the index calls it.
    fn terms(&self) -> Result<Vec<String>, Failure> {
        let identity = self.identity.as_ref().map(|name| {
            let kind = match name {
                name if name.contains("://") => "uri",
                name if name.contains('@') => "email",
                _ => "subject",
            };
            terms::term(kind, name)
        });
        let key = match &self.key {
            Some(text) => {
                let print = digest(&format!("sha256:{}", key_print(text)?));
                let print = print.map_err(|e| Failure::usage(format!("--key {text}: {e}")))?;
                Some(terms::term("key", &print))
            }
            None => None,
        };
        let named = |kind: &str, value: &Option<String>| value.as_ref().map(|value| terms::term(kind, value));
        let all = [
            named("email", &self.email),
            identity,
            key,
            named("digest", &self.digest),
            named("issuer", &self.issuer),
            named("repository", &self.repository),
            named("workflow", &self.workflow),
        ];
        let wanted: Vec<String> = all.into_iter().flatten().collect();
        if wanted.is_empty() {
            return Err(Failure::usage(
                "nothing to look for: give --email, --identity, --digest, --key, --issuer, --repository or --workflow",
            ));
        }
        Ok(wanted)
    }
}

async fn search(tree: &LogTree<'_>, wanted: &[String], key: Option<&SearchKey>) -> Result<Found, Failure> {
    let has_all = |own: &[String]| wanted.iter().all(|term| own.contains(term));
    let mut hits = Vec::new();
    let (index, missing) = match tree.tiles() {
        Some(reader) => {
            let has_all = |body: &[u8]| has_all(&terms::of_body(body));
            let checkpoint = tree.checkpoint();
            let (named, index, missing) = ask(reader, checkpoint, wanted, key).await?;
            for number in named {
                let (body, _) = reader.entry(number, checkpoint).await?;
                let found = every(number, &body).filter(|_| has_all(&body));
                hits.extend(found.ok_or_else(|| {
                    ClientError::Proof(format!(
                        "the index of {} names entry {number}, which is another",
                        reader.place()
                    ))
                })?);
            }
            let since = |number: u64, body: &[u8]| {
                hits.extend(every(number, body).filter(|_| has_all(body)).into_iter().flatten());
            };
            reader.each_from(index, checkpoint, since).await?;
            (index, missing)
        }
        // The index of Rekor v1 proves nothing, so that all is read.
        None => {
            let look = |number: u64, body: &[u8]| {
                let found = every(number, body).filter(|_| has_all(&terms::of_body_v1(body)));
                hits.extend(found.into_iter().flatten());
            };
            tree.each(look).await?;
            (0, None)
        }
    };
    // Of a log without an index there is nothing to say.
    let plain =
        tree.tiles().is_some() && commitment(tree.checkpoint())?.is_some_and(|index| index.key_id.is_none());
    let log = described(tree, "indexSize", index);
    Ok(Found { label: tree.label(), hits, size: tree.checkpoint().size, index, plain, missing, log })
}

/// The entries that the index names for all of the terms, how far it reaches, and why there may be more; nothing up to 0
/// when there is no index to ask.
async fn ask(
    reader: &LogReader<'_>,
    checkpoint: &Checkpoint,
    wanted: &[String],
    key: Option<&SearchKey>,
) -> Result<(BTreeSet<u64>, u64, Option<String>), Failure> {
    let nothing = (BTreeSet::new(), 0, None);
    let Some(index) = commitment(checkpoint)?.filter(|_| reader.answers()) else { return Ok(nothing) };
    let (mut all, mut missing) = (None::<BTreeSet<u64>>, Vec::new());
    for term in wanted {
        let Some(found) = reader.indexed(term, &index, key).await? else { return Ok(nothing) };
        if !found.own {
            missing.push(format!(
                "the index hides identities, and that none of {term} is missing is the log's word; give its key with \
                 --search-key, or read all of the log: countersign log find"
            ));
        }
        if found.older > 0 {
            let older = counted(found.older, "older entry", "older entries");
            missing
                .push(format!("{older} of {term} were not listed; countersign log find reads all of them"));
        }
        let these: BTreeSet<u64> = found.entries.into_iter().collect();
        all = Some(all.map_or(these.clone(), |all| &all & &these));
    }
    let missing = (!missing.is_empty()).then(|| missing.join("; "));
    Ok((all.unwrap_or_default(), index.size, missing))
}
