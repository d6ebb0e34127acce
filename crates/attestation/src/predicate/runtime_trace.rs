//! Traces of what a build did while it ran.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resource::{self, Resource};
use super::small::{Predicate, filled, whenever};
use crate::json::JsonError;

/// What watched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitor {
    /// Its URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_source: Option<Resource>,
    /// What it was told to watch.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub trace_policy: Map<String, Value>,
}

/// What was watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitoredProcess {
    /// Where it ran.
    #[serde(rename = "hostID")]
    pub host: String,
    /// What it was, a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// The run of it.
    pub event: String,
}

/// What was seen: a list that is absent was not watched, an empty one is of things that did not happen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorLog {
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Vec<Value>>,
    /// Connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Vec<Value>>,
    /// Files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_access: Option<Vec<Resource>>,
}

/// When it was watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceMetadata {
    /// When it began.
    #[serde(default, with = "whenever", skip_serializing_if = "Option::is_none")]
    pub build_started_on: Option<Timestamp>,
    /// When it ended.
    #[serde(default, with = "whenever", skip_serializing_if = "Option::is_none")]
    pub build_finished_on: Option<Timestamp>,
}

/// A trace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeTrace {
    /// What watched.
    pub monitor: Monitor,
    /// What was watched.
    pub monitored_process: MonitoredProcess,
    /// What was seen.
    pub monitor_log: MonitorLog,
    /// When.
    #[serde(default)]
    pub metadata: TraceMetadata,
}

impl Predicate for RuntimeTrace {
    const TYPES: &'static [&'static str] = &["https://in-toto.io/attestation/runtime-trace/v0.1"];

    fn check(&self) -> Result<(), JsonError> {
        filled("monitor.type", &self.monitor.kind)?;
        filled("monitoredProcess.hostID", &self.monitored_process.host)?;
        filled("monitoredProcess.type", &self.monitored_process.kind)?;
        filled("monitoredProcess.event", &self.monitored_process.event)?;
        let log = &self.monitor_log;
        if log.process.is_none() && log.network.is_none() && log.file_access.is_none() {
            let text = "monitorLog: expected one of process, network and fileAccess, found none";
            return Err(JsonError::Shape(text.into()));
        }
        resource::check("monitor.configSource", self.monitor.config_source.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::small::tests::refused;
    use super::*;

    #[test]
    fn a_trace_is_read_and_each_defect_alone_refuses_it() {
        let good = json!({ "monitor": { "type": "https://example.com/monitor", "configSource": { "uri": "u" } },
            "monitoredProcess": { "hostID": "h", "type": "t", "event": "e" }, "monitorLog": { "network": [] },
            "metadata": { "buildStartedOn": "2026-01-01T00:00:00Z" } });
        refused::<RuntimeTrace>(
            &good,
            &[
                ("/monitor/type", json!(""), "monitor.type"),
                ("/monitor/configSource", json!({}), "configSource"),
                ("/monitoredProcess/hostID", json!(""), "hostID"),
                ("/monitoredProcess/type", json!(""), "monitoredProcess.type"),
                ("/monitoredProcess/event", Value::Null, "event"),
                ("/monitorLog", json!({}), "monitorLog"),
                ("/monitorLog", json!({ "network": null }), "monitorLog"),
                ("/metadata/buildStartedOn", json!("now"), "buildStartedOn"),
            ],
        );
    }
}
