//! Rate limits per client address: a token bucket each, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many addresses are remembered at most. When full, idle ones go first; a full table of busy addresses
/// forgets all: an attacker with that many addresses is not stopped by a limit per address.
const ADDRESSES: usize = 100_000;

/// What a client may still do, for the `RateLimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Whether this request may go on.
    pub(crate) allowed: bool,
    /// The size of the bucket in requests.
    pub(crate) limit: u32,
    /// Requests left right now.
    pub(crate) remaining: u32,
    /// Seconds until the next request is possible, or until the bucket is full again.
    pub(crate) reset: u32,
}

/// Token buckets by client.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_second: u32,
    burst: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Tokens in thousandths.
    millitokens: u64,
    refilled: Instant,
}

impl RateLimiter {
    /// `per_second` requests on average, `burst` at once. Returns `None` when `per_second` is 0: no limit.
    pub(crate) fn new(per_second: u32, burst: u32) -> Option<Self> {
        (per_second > 0).then(|| Self {
            per_second,
            burst: burst.max(1),
            buckets: Mutex::new(HashMap::new()),
        })
    }

    /// Takes one token of a client.
    pub(crate) fn take(&self, client: IpAddr, now: Instant) -> Allowance {
        let client = network(client);
        let full = u64::from(self.burst) * 1000;
        // A poisoned lock only means that another request panicked between two plain assignments.
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&client) {
            buckets.retain(|_, b| now.saturating_duration_since(b.refilled) < Duration::from_secs(10));
            if buckets.len() >= ADDRESSES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(client).or_insert(Bucket { millitokens: full, refilled: now });
        let rate = u64::from(self.per_second);
        let elapsed = now.saturating_duration_since(bucket.refilled).as_micros();
        let gained = u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(rate) / 1000;
        bucket.millitokens = bucket.millitokens.saturating_add(gained).min(full);
        // Only the time that gave something is used up: who asks more often than that still gets the rate.
        bucket.refilled = match bucket.millitokens {
            millitokens if millitokens == full => now,
            _ => bucket.refilled + Duration::from_micros((gained * 1000).div_ceil(rate)),
        };
        let allowed = bucket.millitokens >= 1000;
        if allowed {
            bucket.millitokens -= 1000;
        }
        let missing = if allowed { full - bucket.millitokens } else { 1000 - bucket.millitokens };
        let reset = missing.div_ceil(1000 * u64::from(self.per_second)).max(1);
        Allowance {
            allowed,
            limit: self.burst,
            remaining: u32::try_from(bucket.millitokens / 1000).unwrap_or(u32::MAX),
            reset: u32::try_from(reset).unwrap_or(u32::MAX),
        }
    }
}

/// IPv6 clients own a /64, so they are counted by it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_burst_then_its_rate() {
        let limiter = RateLimiter::new(2, 3).unwrap();
        let client = IpAddr::from([127, 0, 0, 1]);
        let start = Instant::now();
        let allowed = |at: Instant| limiter.take(client, at).allowed;
        assert!(allowed(start) && allowed(start) && allowed(start));
        let refused = limiter.take(client, start);
        assert_eq!(refused, Allowance { allowed: false, limit: 3, remaining: 0, reset: 1 });
        assert!(allowed(start + Duration::from_millis(500)));
        assert!(!allowed(start + Duration::from_millis(500)));
        let other = IpAddr::from([127, 0, 0, 2]);
        assert!(limiter.take(other, start).allowed, "another client is not held back");
    }

    #[test]
    fn who_asks_all_the_time_still_gets_the_rate() {
        for (rate, pause) in [(100, 500), (3, 70), (1, 10), (1000, 1)] {
            let limiter = RateLimiter::new(rate, 1).unwrap();
            let client = IpAddr::from([127, 0, 0, 1]);
            let start = Instant::now();
            let asked = (0..2_000_000 / pause).map(|n| start + Duration::from_micros(n * pause));
            let allowed = asked.filter(|at| limiter.take(client, *at).allowed).count();
            let expected = 2 * usize::try_from(rate).unwrap();
            assert!((expected - 1..=expected + 1).contains(&allowed), "{allowed} at {rate}, each {pause} µs");
        }
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let limiter = RateLimiter::new(1, 1).unwrap();
        let now = Instant::now();
        assert!(limiter.take("2001:db8::1".parse().unwrap(), now).allowed);
        assert!(!limiter.take("2001:db8::2".parse().unwrap(), now).allowed);
        assert!(limiter.take("2001:db8:0:1::1".parse().unwrap(), now).allowed);
    }

    #[test]
    fn zero_means_no_limit() {
        assert!(RateLimiter::new(0, 10).is_none());
    }
}
