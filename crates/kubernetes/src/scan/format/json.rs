//! JSON: the report as it is.

use crate::scan::report::Report;

pub(super) fn write(report: &Report) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}
