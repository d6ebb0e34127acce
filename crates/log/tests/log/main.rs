//! Tests of the log as its users see it, on a real disk and on a simulated one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]
#![allow(unreachable_pub, reason = "one binary of several modules")]

mod backup;
mod crash;
mod database_contract;
mod freezing;
mod fsck;
mod kill_loop;
mod lease_races;
mod migration;
mod past_one_machine;
mod races;
mod refusals;
mod rekor_v1;
mod search;
mod simulator;
mod stores;
mod support;
mod usage;
