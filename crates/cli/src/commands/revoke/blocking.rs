//! A revocation that another command makes of what it found: in the list, and in a cluster that was looked at.

use std::path::{Path, PathBuf};

use countersign_client::artifact::read_limited;
use countersign_clock::Timestamp;
use countersign_http::text::printable;
use countersign_kubernetes::api::put_revocations;
use countersign_verify::revocation::{Change, MAX_SIGNED_LIST, Revocation, RevocationList, Target};
use serde_json::json;

use super::place::{Place, PlaceArgs, Written};
use super::show::NAME;
use super::{Already, WhyArgs, show_new, sort_out, tell, tell_already, tell_cluster, tell_dry, tell_nothing};
use crate::args::cluster::connect;
use crate::failure::Failure;
use crate::out::Terminal;

/// What is to be revoked, and where.
pub(crate) struct Blocking {
    place: Place,
    file: PathBuf,
    /// The command that prints the list as an object.
    printed: String,
    /// `None` when all of it is revoked already.
    change: Option<Change>,
    already: Vec<Already>,
    dry_run: bool,
}

/// A cluster that the list is put into.
pub(crate) struct Cluster<'a> {
    pub(crate) kubeconfig: Option<&'a Path>,
    pub(crate) context: Option<&'a str>,
}

/// What became of it.
pub(crate) struct Blocked {
    before: Option<RevocationList>,
    list: RevocationList,
    /// Nothing on a dry run, and when there was nothing to add.
    written: Option<Written>,
    file: PathBuf,
    printed: String,
    already: Vec<Already>,
    /// Whether there was anything to add.
    adds: bool,
    dry_run: bool,
    /// Whether the cluster took the list, or why it did not and what to do then; `None` when it was not asked to.
    cluster: Option<Result<(), (String, String)>>,
}

impl Blocking {
    /// Looks whether it can be made, and makes nothing.
    pub(crate) fn new(
        args: &PlaceArgs,
        targets: &[Target],
        since: Option<Timestamp>,
        (reason, by): (Option<String>, Option<String>),
        dry_run: bool,
    ) -> Result<Self, Failure> {
        // On a dry run it need not be known yet: what will be demanded stands in its place.
        let or =
            |given: Option<String>, option: &str| given.or_else(|| dry_run.then(|| format!("({option})")));
        let by = by.or_else(super::user);
        let why = WhyArgs { reason: or(reason, "--reason"), by: or(by, "--by"), dry_run };
        let place = args.open()?;
        let revoke =
            |target: &Target| Revocation { target: target.clone(), since, until: None, expires: None };
        let (already, new) = sort_out(place.list.as_ref(), targets.iter().map(revoke).collect());
        let entries: Vec<_> =
            new.into_iter().map(|new| why.entry(Some(new), None)).collect::<Result<_, _>>()?;
        let change = (!entries.is_empty()).then_some(Change::Add(entries));
        if let Some(change) = &change {
            place.preview(change)?;
        }
        Ok(Self { place, file: args.file(), printed: args.printing(), change, already, dry_run })
    }

    pub(crate) fn run(self) -> Result<Blocked, Failure> {
        let Self { place, file, printed, change, already, dry_run } = self;
        let written = match &change {
            Some(change) if !dry_run => Some(place.write(change)?),
            _ => None,
        };
        let list = match (&written, &change, &place.list) {
            (Some(written), ..) => written.list.clone(),
            (None, Some(change), _) => place.preview(change)?,
            (None, None, Some(list)) => list.clone(),
            (None, None, None) => return Err(Failure::internal("nothing is revoked, and there is no list")),
        };
        let (before, adds) = (place.list, change.is_some());
        Ok(Blocked { before, list, written, file, printed, already, adds, dry_run, cluster: None })
    }
}

impl Blocked {
    /// Puts the list into a cluster, so that it holds there at once. That it could not be is told, and takes nothing back.
    pub(crate) async fn apply(&mut self, cluster: &Cluster<'_>) {
        if self.dry_run {
            return;
        }
        let put = async {
            let bytes = read_limited(&self.file, MAX_SIGNED_LIST)?;
            let text = String::from_utf8(bytes).map_err(|e| Failure::usage(e.to_string()))?;
            let client = connect(cluster.kubeconfig, cluster.context).await?;
            put_revocations(&client, NAME, &text).await.map_err(|e| Failure::usage(e.to_string()))
        };
        let put = put.await.map_err(|failure: Failure| {
            let kubeconfig = cluster.kubeconfig.map(|path| format!(" --kubeconfig {}", path.display()));
            let context = cluster.context.map(|name| format!(" --context {name}"));
            let which = kubeconfig.unwrap_or_default() + &context.unwrap_or_default();
            (failure.message, format!("{} | kubectl apply --server-side{which} -f -", self.printed))
        });
        self.cluster = Some(put);
    }

    /// Whether the cluster does not have what it was to have.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self.cluster, Some(Err(_)))
    }

    pub(crate) fn show(&self, terminal: &Terminal) -> Result<(), Failure> {
        tell_already(terminal, &self.already);
        show_new(terminal, self.before.as_ref(), &self.list)?;
        match &self.written {
            Some(written) => tell(terminal, written),
            None if self.adds => tell_dry(terminal, &self.list),
            None => tell_nothing(terminal, &self.list),
        }
        match &self.cluster {
            None if self.written.is_some() => tell_cluster(terminal),
            None => {}
            Some(Ok(())) => terminal.talk(&format!(
                "{} the cluster has list {} as RevocationList {NAME}",
                terminal.yes(),
                self.list.number
            )),
            Some(Err((why, next))) => {
                terminal.talk(&printable(&format!(
                    "{} the cluster does not have list {}: {why}",
                    terminal.no_mark(),
                    self.list.number
                )));
                terminal.talk(&printable(&format!("next: {next}")));
            }
        }
        Ok(())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let file = self.written.as_ref().map(|written| written.path.display().to_string());
        let already = self.already.iter().map(|own| json!({"target": own.target, "entry": own.entry}));
        let cluster = self.cluster.as_ref().map(|put| match put {
            Ok(()) => json!({"applied": true}),
            Err((why, next)) => json!({"applied": false, "error": why, "next": next}),
        });
        json!({"dryRun": self.dry_run, "list": self.list.number, "file": file,
            "already": already.collect::<Vec<_>>(), "cluster": cluster})
    }
}
