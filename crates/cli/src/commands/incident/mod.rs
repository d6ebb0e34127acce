//! `countersign incident`: what an identity, a key or a builder signed, where that lies and runs, and making it count no more.

mod places;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_client::artifact::write_atomically;
use countersign_client::incident::Evidence;
use countersign_client::log_tree::LogTree;
use countersign_client::looking::looked_for;
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_http::text::printable;
use countersign_registry::{Reference, Repository, parse_digest};
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{Revocations, Target};
use serde_json::json;

use super::log::LogArgs;
use super::log::trees::{Logged, Looked, hits, say_alarms};
use super::revoke::blocking::{Blocked, Blocking, Cluster};
use super::revoke::place::PlaceArgs;
use super::revoke::target::TargetArgs;
use super::revoke::when::{When, past};
use crate::args::OutputArgs;
use crate::args::registry::RegistryArgs;
use crate::failure::{Failure, NETWORK, NO_SIGNATURE, Outcome, REJECTED};
use crate::out::{Terminal, block_on};
use places::{Looking, Places};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    before_help = "Examples:
  countersign incident --identity alice@example.com --since 2h
  countersign incident --identity alice@example.com --in registry.example/app --cluster
  countersign incident --identity alice@example.com --since 2h --evidence alice.json
  countersign incident --key release.pub --dry-run --dir /srv/countersign
  countersign incident --key release.pub --block --reason 'key leaked' --dir /srv/countersign
  countersign incident --key release.pub --block --reason 'key leaked' --cluster
  countersign incident verify alice.json --trusted-root trusted_root.json",
    after_help = "Nothing is changed without --block, which writes the instance's list, and with --cluster or --kubeconfig puts it into that \
cluster too. Every log that the trust root names is read (--log: those at one address), of Rekor v1 \
too, and must make the tree of its checkpoint. Places that could \
not be looked at are named, and end it with exit code 6: what was not seen is not said to be clean. A closed log that does \
not verify is an alarm, with exit code 2. Exit code 3 when there is \
nothing. See docs/log.md."
)]
pub(crate) struct Incident {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten, next_help_heading = "What to look for")]
    targets: TargetArgs,
    /// Only what was signed from this time on: 2026-11-26T01:00:00Z, a day, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<When>,
    /// A repository whose images are looked through by all of its tags; may be given several times
    #[arg(long = "in", value_name = "REPOSITORY")]
    repositories: Vec<String>,
    /// Look at what a cluster runs: the one of KUBECONFIG, ~/.kube/config or the pod this runs in
    #[arg(long)]
    cluster: bool,
    /// Look at what the cluster of this kubeconfig runs
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Write what was found, with its proofs, into one file
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    block: BlockArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Making it count no more.
#[derive(Debug, Args)]
#[command(next_help_heading = "Making it count no more")]
struct BlockArgs {
    /// Revoke it, for everyone who follows the list, and in the cluster that is named
    #[arg(long, requires = "reason")]
    block: bool,
    /// Show what --block would write, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Why: whoever is refused reads it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who decided it; else the name of the user
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    Verify(verify::Verify),
}

impl Incident {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if let Some(Action::Verify(verify)) = &self.action {
            return verify.run(terminal);
        }
        if (self.block.reason.is_some() || self.block.by.is_some()) && !self.blocks() {
            return Err(Failure::usage("--reason and --by are for --block, or for --dry-run before it"));
        }
        self.registry.check()?;
        let now = SystemClock.now();
        let since = self.since.map(|since| since.at(now)).transpose()?;
        let targets = self.targets.sought()?;
        let wanted = looked_for(targets.clone(), now)?;
        // What is wrong with the list is said before a log is read.
        let blocking = self.blocking(&targets, since)?;
        let (Looked { found: logged, unseen, alarms }, evidence) =
            self.log(terminal, &targets, since, &wanted, now)?;
        let mut places = self.places(terminal, &targets, &logged, &wanted, now)?;
        places.unseen.extend(unseen);
        places.unseen.sort();
        let kept = self.keep(evidence, &places)?;
        let mut blocked = blocking.map(Blocking::run).transpose()?;
        if let Some(blocked) = blocked.as_mut().filter(|_| self.asks_cluster()) {
            let cluster =
                Cluster { kubeconfig: self.kubeconfig.as_deref(), context: self.context.as_deref() };
            block_on(terminal, async {
                blocked.apply(&cluster).await;
                Ok(())
            })?;
        }
        if self.output.is_json() {
            self.json(terminal, (&logged, &alarms), &places, blocked.as_ref())?;
        } else {
            self.text(terminal, &logged, &places)?;
            say_alarms(terminal, &alarms);
            if let Some(blocked) = &blocked {
                blocked.show(terminal)?;
            }
        }
        if let Some(path) = kept {
            terminal.talk(&format!(
                "the evidence is in {0}; next: countersign incident verify {0} --trusted-root FILE",
                path.display()
            ));
        }
        let is_clean = hits(&logged).next().is_none()
            && places.images.is_empty()
            && places.doubtful.is_empty()
            && places.runs.is_empty();
        let is_missing = blocked.as_ref().is_some_and(Blocked::is_missing);
        Ok(match (places.unseen.is_empty() && !is_missing, is_clean) {
            _ if !alarms.is_empty() => REJECTED,
            (false, _) => NETWORK,
            (true, true) => NO_SIGNATURE,
            (true, false) => 0,
        })
    }

    const fn blocks(&self) -> bool {
        self.block.block || self.block.dry_run
    }

    const fn asks_cluster(&self) -> bool {
        self.cluster || self.kubeconfig.is_some() || self.context.is_some()
    }

    fn blocking(&self, targets: &[Target], since: Option<Timestamp>) -> Result<Option<Blocking>, Failure> {
        if !self.blocks() {
            return Ok(None);
        }
        let BlockArgs { dry_run, reason, by, place, .. } = &self.block;
        Blocking::new(place, targets, since, (reason.clone(), by.clone()), *dry_run).map(Some)
    }

    /// What the logs have, each with its proof where evidence is wanted.
    fn log(
        &self,
        terminal: &Terminal,
        targets: &[Target],
        since: Option<Timestamp>,
        wanted: &Revocations,
        now: Timestamp,
    ) -> Result<(Looked<Logged>, Option<Evidence>), Failure> {
        let root = match (&self.evidence, self.log.trust()) {
            (None, _) => None,
            (Some(_), Some(trust)) => Some(trust.load(None)?.root),
            (Some(_), None) => {
                return Err(Failure::usage(
                    "--evidence names the trusted root that it is verified by: leave --log-key and --origin out",
                ));
            }
        };
        let begin = |root| Evidence::new(targets.to_vec(), since, &root, now);
        let mut evidence = root.map(begin).transpose()?;
        let looked = self.log.with_trees(terminal, async |tree: &LogTree<'_>| {
            let logged = Logged::read(tree, wanted, since, now).await?;
            if let Some(evidence) = &mut evidence {
                evidence.add_log(tree.note(), tree.prove(&logged.indexes()).await?)?;
            }
            Ok(logged)
        })?;
        Ok((looked, evidence))
    }

    fn places(
        &self,
        terminal: &Terminal,
        targets: &[Target],
        logged: &[Logged],
        wanted: &Revocations,
        now: Timestamp,
    ) -> Result<Places, Failure> {
        let mut places = Places::default();
        let named = targets.iter().filter_map(|target| match target {
            Target::Digest(digest) => Some(digest.as_str()),
            _ => None,
        });
        let in_log = hits(logged).map(|(hit, _)| hit.digest.as_str());
        places.know(named.chain(in_log).filter_map(|digest| parse_digest(digest).ok()));
        let asks_cluster = self.asks_cluster();
        if self.repositories.is_empty() && !asks_cluster {
            return Ok(places);
        }
        let material = match self.log.trust() {
            Some(trust) => TrustMaterial::from_trusted_root(&trust.load(None)?.root)
                .map_err(|e| Failure::internal(e.to_string()))?,
            None => {
                return Err(Failure::usage(
                    "signatures in registries are verified by a trusted root: leave --log-key and --origin out",
                ));
            }
        };
        let inside = |text: &String| {
            let repository = Repository::parse(text)?;
            Reference::parse(&format!("{repository}:latest"))
        };
        let references = self.repositories.iter().map(inside).collect::<Result<Vec<_>, _>>()?;
        let images = self.registry.images(&references)?;
        let looking = Looking { wanted, material: &material, now };
        block_on(terminal, async {
            for repository in &self.repositories {
                places.repository(&images, repository, &looking).await;
            }
            if asks_cluster {
                places.cluster(&images, self.kubeconfig.clone(), self.context.as_deref(), &looking).await;
            }
            Ok(())
        })?;
        Ok(places)
    }

    fn keep(&self, evidence: Option<Evidence>, places: &Places) -> Result<Option<&PathBuf>, Failure> {
        let (Some(path), Some(mut evidence)) = (&self.evidence, evidence) else { return Ok(None) };
        for image in &places.images {
            evidence.add_image(&image.image, &image.bundle)?;
        }
        write_atomically(path, &evidence.to_json()?)?;
        Ok(Some(path))
    }

    fn text(&self, terminal: &Terminal, logged: &[Logged], places: &Places) -> Result<(), Failure> {
        let mut out = String::new();
        let mut line = |text: String| out.push_str(&format!("{}\n", printable(&text)));
        line("signed, as the logs have it:".into());
        hits(logged).for_each(|(hit, log)| line(hit.to_line(log)));
        if !self.repositories.is_empty() || places.asked_cluster {
            line("images with its signature:".into());
        }
        for image in &places.images {
            line(format!("  {}  {}", image.image, image.signer));
        }
        if places.asked_cluster {
            line("runs now:".into());
        }
        for runs in &places.runs {
            line(format!("  {} {}: {} ({})", runs.workload, runs.container, runs.image, runs.digest));
        }
        for doubtful in &places.doubtful {
            line(format!("says it is by what is looked for, and does not verify: {doubtful}"));
        }
        for unseen in &places.unseen {
            line(format!("could not be looked at: {unseen}"));
        }
        terminal.data(&out)?;
        if self.repositories.is_empty() {
            terminal.talk("no registry was looked at: name repositories with --in");
        }
        if !places.asked_cluster {
            terminal.talk("no cluster was looked at: --cluster, or --kubeconfig FILE");
        }
        logged.iter().for_each(|log| log.say(terminal));
        if !self.blocks() {
            terminal
                .talk("nothing was revoked; next: the same with --dry-run, then with --block --reason TEXT");
        }
        Ok(())
    }

    fn json(
        &self,
        terminal: &Terminal,
        (logged, alarms): (&[Logged], &[String]),
        places: &Places,
        blocked: Option<&Blocked>,
    ) -> Result<(), Failure> {
        let entries: Vec<_> = hits(logged).map(|(hit, log)| hit.to_json(log)).collect();
        let logs: Vec<_> = logged.iter().map(Logged::log).collect();
        let content = json!({
            "logs": logs, "entries": entries,
            // Absent where nobody looked, which is not the same as nothing.
            "images": (!self.repositories.is_empty() || places.asked_cluster).then_some(&places.images),
            "runs": places.asked_cluster.then_some(&places.runs),
            "doubtful": places.doubtful, "notLookedAt": places.unseen, "alarms": alarms,
            "revoked": blocked.map(Blocked::json),
        });
        terminal.json("incident", 2, &content)
    }
}
