//! Continuous verification: what runs is verified again and again, and at once when something changes.
//!
//! - [`News`] tell what runs; [`Verifier`] keeps a bounded map of it and has each workload judged by a [`Judge`], spread
//!   evenly over an interval, with no evidence that is older.
//! - What holds of a workload is a state. Only a change of it is an [`Alert`], told once, to [`Sinks`]: a file, a webhook,
//!   e-mail, events. A sink that is away holds nothing up.
//! - [`Rechecker`] is for whoever changes what is judged by: policies, trust, revocations.
//! - [`Metrics`] are what is so now.

mod alert;
mod exporter;
mod judge;
mod metrics;
mod schedule;
pub mod sink;
mod state;
mod verifier;
mod workloads;

pub use alert::{Alert, Change, Standing};
pub use exporter::serve_metrics;
pub use judge::{AdmissionJudge, Judge, Judging, ScanJudge};
pub use metrics::Metrics;
pub use sink::{Sink, SinkError, Sinks, Told};
pub use verifier::{Options, Rechecker, Verifier};
pub use workloads::{Limits, News, Origin};
