//! What else fails: the cluster, the clock, and the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_client::policy::{Cluster, SecretData, Told};
use countersign_clock::{Clock, Timestamp};
use countersign_policy::{CouldNot, CouldNotReason, ObjectName};
use zeroize::Zeroizing;

use super::dice::Dice;

/// How many of a thousand questions to the cluster something happens to.
const FAULTS: usize = 30;

/// A cluster whose API fails by chance. `shop/signer` holds a public key, `shop/pull` credentials for nobody.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) dice: Arc<Dice>,
    pub(super) calm: Arc<AtomicBool>,
    pub(super) key: String,
}

impl Failing {
    async fn happens(&self, what: &str) -> Result<(), CouldNot> {
        if self.calm.load(Ordering::Relaxed) || !self.dice.permille(FAULTS) {
            return Ok(());
        }
        let reason = match self.dice.below(6) {
            0 => return std::future::pending().await,
            1 | 2 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                return Ok(());
            }
            3 => CouldNotReason::NotFound,
            4 => CouldNotReason::Unauthorized,
            _ => CouldNotReason::Unreachable,
        };
        Err(CouldNot::new(reason, format!("{what}: the API server fails")))
    }
}

impl Cluster for Failing {
    fn config_map<'a>(&'a self, name: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        Box::pin(async move {
            self.happens(&name.to_string()).await?;
            Ok(BTreeMap::new())
        })
    }

    fn namespace_labels<'a>(&'a self, name: &'a str) -> Told<'a, BTreeMap<String, String>> {
        Box::pin(async move {
            self.happens(name).await?;
            Ok(BTreeMap::new())
        })
    }

    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData> {
        Box::pin(async move {
            self.happens(&name.to_string()).await?;
            let (key, value) = match name.name.as_str() {
                "signer" => ("cosign.pub", self.key.clone()),
                "pull" => (".dockerconfigjson", "{\"auths\":{}}".to_owned()),
                _ => return Err(CouldNot::new(CouldNotReason::NotFound, format!("{name}: no such secret"))),
            };
            Ok(BTreeMap::from([(key.to_owned(), Zeroizing::new(value.into_bytes()))]))
        })
    }

    fn pull_secrets<'a>(&'a self, service_account: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        Box::pin(async move {
            self.happens(&service_account.to_string()).await?;
            Ok(Vec::new())
        })
    }
}

/// A clock that steps, forwards and back.
#[derive(Debug)]
pub(super) struct Stepping(AtomicI64);

impl Stepping {
    pub(super) fn new() -> Self {
        Self(AtomicI64::new(crate::sigstore::T + 3600))
    }

    /// To within half an hour of where it began.
    pub(super) fn step(&self, dice: &Dice) {
        let minutes = i64::try_from(dice.below(61)).unwrap() - 30;
        self.0.store(crate::sigstore::T + 3600 + 60 * minutes, Ordering::Relaxed);
    }
}

impl Clock for Stepping {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// How late the machine is by itself: threads that wait for processors. An answer that is as late is not the webhook's fault.
#[derive(Debug)]
pub(super) struct Machine {
    /// In microseconds, the most that was seen.
    lag: Arc<AtomicU64>,
}

impl Machine {
    /// Watches until this is gone.
    pub(super) fn watch() -> Self {
        let lag = Arc::<AtomicU64>::default();
        let seen = Arc::downgrade(&lag);
        std::thread::spawn(move || {
            let pause = Duration::from_millis(5);
            while let Some(lag) = seen.upgrade() {
                let started = Instant::now();
                std::thread::sleep(pause);
                let late = started.elapsed().saturating_sub(pause).as_micros();
                lag.fetch_max(u64::try_from(late).unwrap(), Ordering::Relaxed);
            }
        });
        Self { lag }
    }

    pub(super) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.load(Ordering::Relaxed))
    }
}
