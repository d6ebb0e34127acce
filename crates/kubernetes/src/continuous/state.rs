//! How the checks of a workload stand, and which changes of that are told.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_clock::Timestamp;
use tokio::time::Instant;

use super::alert::{Change, Standing};
use crate::scan::{Control, ImageResult, ResourceResult, Status};

/// One check: a control or a policy, over one place of a workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    control: Control,
    policy: Option<String>,
    path: String,
}

#[derive(Debug)]
struct Check {
    /// How it stands now.
    now: Standing,
    /// What people believe.
    told: Option<Standing>,
    /// Since when nobody can look.
    unchecked: Option<(Instant, Timestamp)>,
}

/// When something was found, and how long it may be impossible to look before that is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) instant: Instant,
    pub(super) time: Timestamp,
    pub(super) patience: Duration,
}

/// How the checks of a workload stand.
#[derive(Debug, Default)]
pub(super) struct State(BTreeMap<Key, Check>);

impl State {
    /// Takes what was found, and gives what is to be told of it.
    pub(super) fn take(&mut self, found: &ResourceResult, at: At) -> Vec<Change> {
        let mut worst: BTreeMap<Key, &ImageResult> = BTreeMap::new();
        for (control, image) in
            found.controls.iter().flat_map(|c| c.images.iter().map(|image| (c.control, image)))
        {
            if image.status == Status::Skipped {
                continue;
            }
            let key = Key { control, policy: image.policy.clone(), path: image.path.clone() };
            let kept = worst.entry(key).or_insert(image);
            if standing(image) > standing(kept) {
                *kept = image;
            }
        }
        let mut changes = Vec::new();
        let checked = |key: &Key| worst.contains_key(key);
        let dropped: Vec<Key> = self.0.keys().filter(|key| !checked(key)).cloned().collect();
        for key in dropped {
            changes.extend(self.drop_check(key, at, "it is no longer checked"));
        }
        for (key, image) in &worst {
            changes.extend(self.check(key, image, at));
        }
        changes
    }

    fn check(&mut self, key: &Key, image: &ImageResult, at: At) -> Option<Change> {
        let now = standing(image);
        let check = self.0.entry(key.clone()).or_insert(Check { now, told: None, unchecked: None });
        check.now = now;
        let since = if now == Standing::Unchecked {
            let (instant, time) = *check.unchecked.get_or_insert((at.instant, at.time));
            // A hiccup is no news.
            if at.instant.duration_since(instant) < at.patience {
                return None;
            }
            time
        } else {
            check.unchecked = None;
            at.time
        };
        let was = check.told.replace(now);
        // That something new is in order is no news.
        if was == Some(now) || (was.is_none() && now == Standing::Passed) {
            return None;
        }
        Some(Change {
            control: key.control,
            severity: key.control.severity(),
            policy: key.policy.clone(),
            path: key.path.clone(),
            image: image.image.clone(),
            digest: image.digest.clone(),
            was,
            is: now,
            since,
            reason: image.reason.clone(),
            message: image.message.clone(),
            next: image.next.clone(),
        })
    }

    /// Nobody could look, for a reason that lies here.
    pub(super) fn unchecked(&mut self, at: At) {
        for check in self.0.values_mut() {
            check.now = Standing::Unchecked;
            check.unchecked.get_or_insert((at.instant, at.time));
        }
    }

    /// The workload is gone. Only what stood badly is news.
    pub(super) fn end(mut self, at: At) -> Vec<Change> {
        let keys: Vec<Key> = self.0.keys().cloned().collect();
        keys.into_iter().filter_map(|key| self.drop_check(key, at, "the workload is gone")).collect()
    }

    fn drop_check(&mut self, key: Key, at: At, why: &str) -> Option<Change> {
        let check = self.0.remove(&key)?;
        let was = check.told.filter(|told| matches!(told, Standing::Failed | Standing::Unchecked))?;
        Some(Change {
            control: key.control,
            severity: key.control.severity(),
            policy: key.policy,
            path: key.path,
            image: String::new(),
            digest: None,
            was: Some(was),
            is: Standing::Gone,
            since: at.time,
            reason: "gone".into(),
            message: why.into(),
            next: String::new(),
        })
    }

    /// How each check stands.
    pub(super) fn standings(&self) -> impl Iterator<Item = (Control, Standing)> {
        self.0.iter().map(|(key, check)| (key.control, check.now))
    }

    /// How the workload stands: as the worst of its checks. `None` before it was judged.
    pub(super) fn worst(&self) -> Option<Standing> {
        self.0.values().map(|check| check.now).max()
    }
}

const fn standing(image: &ImageResult) -> Standing {
    match image.status {
        Status::Failed if !image.known => Standing::Failed,
        Status::Unchecked => Standing::Unchecked,
        Status::Skipped | Status::Passed | Status::Excepted | Status::Failed => Standing::Passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{ControlResult, ResourceName};

    fn result(found: &[(Control, &str, Status)]) -> ResourceResult {
        let controls = found.iter().map(|(control, policy, status)| {
            let image = ImageResult {
                path: "spec.containers[0].image".into(),
                list: "containers".into(),
                container: "a".into(),
                image: "r.example/a:1".into(),
                digest: None,
                policy: (!policy.is_empty()).then(|| (*policy).to_owned()),
                status: *status,
                reason: "why".into(),
                message: "expected, found".into(),
                next: "countersign tree r.example/a:1".into(),
                known: false,
                line: None,
                vulnerabilities: std::sync::Arc::default(),
            };
            ControlResult::new(*control, vec![image])
        });
        let name = ResourceName {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "shop".into(),
            name: "a".into(),
            source: "cluster".into(),
        };
        ResourceResult { resource: name, controls: controls.collect() }
    }

    /// A state, told one status of one check after another, a minute between them.
    fn story(statuses: &[Status]) -> Vec<Option<(Option<Standing>, Standing)>> {
        let (mut state, begun) = (State::default(), Instant::now());
        let take = |(minute, status): (u64, &Status)| {
            let instant = begun + Duration::from_secs(60 * minute);
            let at = At { instant, time: Timestamp::UNIX_EPOCH, patience: Duration::from_secs(120) };
            let changes = state.take(&result(&[(Control::SignatureExists, "", *status)]), at);
            assert!(changes.len() <= 1);
            changes.first().map(|change| (change.was, change.is))
        };
        (0..).zip(statuses).map(take).collect()
    }

    #[test]
    fn only_changes_are_told() {
        use Standing as S;
        use Status::{Excepted, Failed, Passed, Skipped, Unchecked};
        assert_eq!(story(&[Passed, Passed, Excepted]), [None, None, None]);
        assert_eq!(
            story(&[Failed, Failed, Passed, Failed]),
            [
                Some((None, S::Failed)),
                None,
                Some((Some(S::Failed), S::Passed)),
                Some((Some(S::Passed), S::Failed))
            ]
        );
        // A hiccup.
        assert_eq!(story(&[Passed, Unchecked, Unchecked, Passed]), [None; 4]);
        assert_eq!(story(&[Failed, Unchecked, Failed])[1..], [None, None]);
        // It lasts.
        assert_eq!(
            story(&[Passed, Unchecked, Unchecked, Unchecked, Unchecked, Passed])[2..],
            [None, Some((Some(S::Passed), S::Unchecked)), None, Some((Some(S::Unchecked), S::Passed))]
        );
        assert_eq!(story(&[Unchecked, Unchecked, Unchecked])[2], Some((None, S::Unchecked)));
        // What is no longer checked.
        assert_eq!(story(&[Failed, Skipped])[1], Some((Some(S::Failed), S::Gone)));
        assert_eq!(story(&[Passed, Skipped])[1], None);
    }

    #[test]
    fn each_check_is_told_by_itself() {
        use Control::{PinnedToDigest, Policy, SignatureExists};
        use Status::{Failed, Passed};
        let at = At { instant: Instant::now(), time: Timestamp::UNIX_EPOCH, patience: Duration::ZERO };
        let mut state = State::default();
        let first = result(&[
            (PinnedToDigest, "", Failed),
            (SignatureExists, "", Passed),
            (Policy, "a", Failed),
            (Policy, "b", Passed),
        ]);
        assert_eq!(state.take(&first, at).len(), 2);
        // What failed all along hides nothing.
        let then = result(&[
            (PinnedToDigest, "", Failed),
            (SignatureExists, "", Failed),
            (Policy, "a", Failed),
            (Policy, "b", Failed),
        ]);
        let changes = state.take(&then, at);
        let told: Vec<_> = changes.iter().map(|change| (change.control, change.policy.as_deref())).collect();
        assert_eq!(told, [(SignatureExists, None), (Policy, Some("b"))]);
        assert_eq!(state.worst(), Some(Standing::Failed));
        state.unchecked(at);
        assert!(state.standings().all(|(_, standing)| standing == Standing::Unchecked));
        assert_eq!(state.end(at).len(), 4, "all of them failed, as far as anybody was told");
    }

    #[test]
    fn what_the_baseline_knows_is_no_news() {
        let mut found = result(&[(Control::SignatureExists, "", Status::Failed)]);
        found.controls[0].images[0].known = true;
        let at = At { instant: Instant::now(), time: Timestamp::UNIX_EPOCH, patience: Duration::ZERO };
        assert!(State::default().take(&found, at).is_empty());
    }
}
