//! A lease, `coordination.k8s.io/v1`: of several replicas one does what need not be done by all.
//!
//! Nobody's clock is compared with anybody else's. Whoever waits counts a lease as over when it has not changed for as long as
//! it says, by the waiting one's own stopwatch. Whoever holds it counts from before it asked to renew it, and stops a third of
//! the time earlier. The times in the object are for people.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_clock::Clock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Trouble, in_time};

/// How long a lease holds.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed, or looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(4);
/// The longest that somebody else's lease is believed to hold.
const LONGEST: Duration = Duration::from_secs(120);

type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// Where the lease lies.
trait Place: Send + Sync {
    fn read(&self) -> Asking<'_, Option<Lease>>;

    /// Writes it if it is still as it was read.
    fn write<'a>(&'a self, lease: &'a Lease) -> Asking<'a, ()>;
}

struct InCluster {
    api: Api<Lease>,
    name: String,
}

impl Place for InCluster {
    fn read(&self) -> Asking<'_, Option<Lease>> {
        Box::pin(async {
            match in_time(self.api.get(&self.name)).await {
                Ok(lease) => Ok(Some(lease)),
                Err(Trouble::NotFound) => Ok(None),
                Err(trouble) => Err(trouble),
            }
        })
    }

    fn write<'a>(&'a self, lease: &'a Lease) -> Asking<'a, ()> {
        let post = PostParams::default();
        Box::pin(async move {
            let written = match &lease.metadata.resource_version {
                Some(_) => in_time(self.api.replace(&self.name, &post, lease)).await,
                None => in_time(self.api.create(&post, lease)).await,
            };
            written.map(|_| ())
        })
    }
}

/// One who would hold a lease.
pub struct Candidate {
    place: Box<dyn Place>,
    metadata: ObjectMeta,
    holder: String,
    clock: Arc<dyn Clock>,
    /// The version that was seen last, and when first.
    seen: Option<(String, Instant)>,
    /// Until when it is ours.
    until: Option<Instant>,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("holder", &self.holder)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// For the lease of this name. No two processes may call themselves the same.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, holder: String, clock: Arc<dyn Clock>) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        let place = Box::new(InCluster { api: Api::namespaced(client, namespace), name: name.to_owned() });
        Self { place, metadata, holder, clock, seen: None, until: None }
    }

    /// Tries to get the lease and to keep it for as long as somebody listens, and gives it up then. What is told is true
    /// only while the lease holds.
    pub async fn run(mut self, leads: watch::Sender<bool>) {
        while !leads.is_closed() {
            let (asked, until) = (Instant::now(), self.until);
            let trying = self.round();
            // While it is ours, nothing that hangs keeps it longer.
            let tried = match until {
                Some(until) => timeout_at(until, trying).await.unwrap_or(Ok(false)),
                None => trying.await,
            };
            match tried {
                Ok(true) => self.until = Some(asked + DURATION * 2 / 3),
                Ok(false) => self.until = None,
                // As long as it holds, it holds.
                Err(error) => tracing::warn!(%error, "the lease cannot be asked for"),
            }
            self.until = self.until.filter(|until| *until > Instant::now());
            leads.send_if_modified(|leads| {
                std::mem::replace(leads, self.until.is_some()) != self.until.is_some()
            });
            let next = (asked + LOOK_AGAIN).min(self.until.unwrap_or(asked + LOOK_AGAIN));
            tokio::select! {
                () = sleep_until(next) => {}
                () = leads.closed() => {}
            }
        }
        if self.until.is_some()
            && let Err(error) = self.give_up().await
        {
            tracing::warn!(%error, "the lease cannot be given up; it ends by itself");
        }
    }

    /// Writes that the lease is nobody's, so that who waits need not wait until it is over.
    async fn give_up(&self) -> Result<(), Trouble> {
        let Some(mut lease) = self.place.read().await?.filter(|lease| holder(lease) == self.holder) else {
            return Ok(());
        };
        lease.spec.get_or_insert_default().holder_identity = None;
        self.place.write(&lease).await
    }

    /// Looks at the lease once. Whether it is ours by now, as of before this was asked.
    async fn round(&mut self) -> Result<bool, Trouble> {
        let there = self.place.read().await?;
        if let Some(other) = there.as_ref().filter(|lease| !self.may_take(lease)) {
            tracing::debug!(holder = holder(other), "somebody else holds the lease");
            return Ok(false);
        }
        let lease = self.ours(there);
        match self.place.write(&lease).await {
            Ok(()) => Ok(true),
            // Somebody else was faster.
            Err(Trouble::Conflict) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether the lease is ours, nobody's, or has not been renewed for as long as it holds.
    fn may_take(&mut self, lease: &Lease) -> bool {
        let holder = holder(lease);
        if holder.is_empty() || holder == self.holder {
            return true;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let first = match &self.seen {
            Some((seen, first)) if *seen == version => *first,
            _ => {
                let now = Instant::now();
                self.seen = Some((version, now));
                now
            }
        };
        let said = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let said = Duration::from_secs(said.and_then(|s| u64::try_from(s).ok()).unwrap_or_default());
        first.elapsed() >= said.clamp(DURATION, LONGEST)
    }

    /// The lease as it is to be written.
    fn ours(&self, there: Option<Lease>) -> Lease {
        let now = Some(MicroTime(self.clock.now()));
        let mut lease =
            there.unwrap_or_else(|| Lease { metadata: self.metadata.clone(), ..Lease::default() });
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.holder) {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
            spec.acquire_time = now.clone();
        }
        spec.holder_identity = Some(self.holder.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = now;
        lease
    }
}

/// Runs something while the lease is ours: it is dropped when it no longer is, and begun anew when it is again.
pub async fn while_leading<F: Future<Output = ()>>(
    mut leads: watch::Receiver<bool>,
    mut begin: impl FnMut() -> F,
) {
    while leads.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            biased;
            _ = leads.wait_for(|leads| !*leads) => {}
            () = begin() => return,
        }
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec: &LeaseSpec| spec.holder_identity.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use countersign_clock::{ManualClock, Timestamp};
    use tokio::time::sleep;

    use super::*;

    /// A lease in memory, and whether who asks by this way gets no answer at all.
    #[derive(Clone, Default)]
    struct Memory {
        lease: Arc<Mutex<Option<Lease>>>,
        hangs: Arc<AtomicBool>,
        refuses: Arc<AtomicBool>,
    }

    impl Memory {
        async fn reach(&self) -> Result<(), Trouble> {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.refuses.load(Ordering::SeqCst) { Err(Trouble::Other("no".into())) } else { Ok(()) }
        }

        /// Another way to the same lease.
        fn other(&self) -> Self {
            Self { lease: Arc::clone(&self.lease), ..Self::default() }
        }
    }

    impl Place for Memory {
        fn read(&self) -> Asking<'_, Option<Lease>> {
            Box::pin(async {
                self.reach().await?;
                Ok(self.lease.lock().unwrap().clone())
            })
        }

        fn write<'a>(&'a self, lease: &'a Lease) -> Asking<'a, ()> {
            Box::pin(async move {
                self.reach().await?;
                let mut there = self.lease.lock().unwrap();
                let version = |lease: &Lease| lease.metadata.resource_version.clone();
                if there.as_ref().and_then(version) != version(lease) {
                    return Err(Trouble::Conflict);
                }
                let next = version(lease).map_or(1, |v| v.parse::<u64>().unwrap() + 1);
                let mut lease = lease.clone();
                lease.metadata.resource_version = Some(next.to_string());
                *there = Some(lease);
                Ok(())
            })
        }
    }

    /// Runs one whose clock shows this year.
    fn run(memory: &Memory, holder: &str, year: i64) -> (watch::Receiver<bool>, tokio::task::JoinHandle<()>) {
        let (leads, told) = watch::channel(false);
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(year * 31_556_952).unwrap()));
        let candidate = Candidate {
            place: Box::new(memory.clone()),
            metadata: ObjectMeta::default(),
            holder: holder.to_owned(),
            clock,
            seen: None,
            until: None,
        };
        (told, tokio::spawn(candidate.run(leads)))
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_leads_whatever_their_clocks_say() {
        let memory = Memory::default();
        let (one, running) = run(&memory, "one", 10);
        sleep(Duration::from_secs(1)).await;
        // Years ahead: by its clock the lease is long over.
        let (two, _) = run(&memory.other(), "two", 50);
        let (three, _) = run(&memory.other(), "three", -50);
        for _ in 0..200 {
            sleep(Duration::from_secs(1)).await;
            assert_eq!((*one.borrow(), *two.borrow(), *three.borrow()), (true, false, false));
        }
        running.abort();
        sleep(Duration::from_secs(25)).await;
        assert_eq!(u8::from(*two.borrow()) + u8::from(*three.borrow()), 1, "one of those that are left");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_ends_gives_the_lease_up_and_only_its_own() {
        let memory = Memory::default();
        let (one, ending) = run(&memory, "one", 10);
        sleep(Duration::from_secs(1)).await;
        let (two, waiting) = run(&memory.other(), "two", 10);
        let (three, also_waiting) = run(&memory.other(), "three", 10);
        sleep(Duration::from_secs(30)).await;
        assert_eq!((*one.borrow(), *two.borrow(), *three.borrow()), (true, false, false));
        drop(three);
        also_waiting.await.unwrap();
        sleep(Duration::from_secs(30)).await;
        assert!(*one.borrow(), "whoever has no lease gives none up");
        drop(one);
        ending.await.unwrap();
        sleep(LOOK_AGAIN + Duration::from_secs(1)).await;
        assert!(*two.borrow(), "at its next look");
        // Away when it ends: nobody waits for it for ever, and nobody takes what another has.
        memory.refuses.store(true, Ordering::SeqCst);
        drop(two);
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_cannot_renew_stops_before_another_begins() {
        for hangs in [true, false] {
            let (memory, begun) = (Memory::default(), Instant::now());
            let (one, _one) = run(&memory, "one", 10);
            sleep(Duration::from_secs(1)).await;
            let (two, _two) = run(&memory.other(), "two", 10);
            sleep(Duration::from_secs(30)).await;
            assert!(*one.borrow());
            if hangs { &memory.hangs } else { &memory.refuses }.store(true, Ordering::SeqCst);
            let (mut ended, mut taken) = (None, None);
            while taken.is_none() {
                sleep(Duration::from_millis(100)).await;
                assert!(!(*one.borrow() && *two.borrow()), "never both");
                ended = ended.or((!*one.borrow()).then(Instant::now));
                taken = taken.or((*two.borrow()).then(Instant::now));
                assert!(begun.elapsed() < Duration::from_secs(90));
            }
            assert!(taken.unwrap() - ended.unwrap() >= Duration::from_secs(4), "with time between them");
            // It comes back, and waits.
            memory.hangs.store(false, Ordering::SeqCst);
            memory.refuses.store(false, Ordering::SeqCst);
            sleep(Duration::from_secs(60)).await;
            assert_eq!((*one.borrow(), *two.borrow()), (false, true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_while_leading_ends_with_it_and_begins_anew() {
        let (leads, told) = watch::channel(false);
        let (begun, running) = (Arc::new(Mutex::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, on) = (Arc::clone(&begun), Arc::clone(&running));
        struct Off(Arc<AtomicBool>);
        impl Drop for Off {
            fn drop(&mut self) {
                self.0.store(false, Ordering::SeqCst);
            }
        }
        let task = tokio::spawn(while_leading(told, move || {
            *count.lock().unwrap() += 1;
            on.store(true, Ordering::SeqCst);
            let off = Off(Arc::clone(&on));
            async move {
                let _off = off;
                std::future::pending().await
            }
        }));
        for round in 1..=2 {
            assert!(!running.load(Ordering::SeqCst));
            leads.send_replace(true);
            sleep(Duration::from_secs(1)).await;
            assert_eq!((*begun.lock().unwrap(), running.load(Ordering::SeqCst)), (round, true));
            leads.send_replace(false);
            sleep(Duration::from_secs(1)).await;
        }
        drop(leads);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_trouble_does_not_end_it() {
        let memory = Memory::default();
        let (one, _one) = run(&memory, "one", 10);
        sleep(Duration::from_secs(1)).await;
        memory.refuses.store(true, Ordering::SeqCst);
        sleep(Duration::from_secs(6)).await;
        assert!(*one.borrow());
        memory.refuses.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(30)).await;
        assert!(*one.borrow());
        let lease = memory.lease.lock().unwrap().clone().unwrap().spec.unwrap();
        assert_eq!((lease.lease_duration_seconds, lease.lease_transitions), (Some(15), Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_claims_to_hold_for_ever_is_not_believed() {
        let memory = Memory::default();
        let spec = LeaseSpec {
            holder_identity: Some("gone".into()),
            lease_duration_seconds: Some(i32::MAX),
            ..LeaseSpec::default()
        };
        let mut lease = Lease { spec: Some(spec), ..Lease::default() };
        lease.metadata.resource_version = Some("7".into());
        *memory.lease.lock().unwrap() = Some(lease);
        let (one, _one) = run(&memory, "one", 10);
        sleep(LONGEST - Duration::from_secs(5)).await;
        assert!(!*one.borrow());
        sleep(Duration::from_secs(10)).await;
        assert!(*one.borrow());
    }
}
