//! Arguments about the reports that are kept in a cluster.

use std::time::Duration;

use clap::ValueEnum;
use countersign_kubernetes::api::ReportOptions;
use countersign_kubernetes::policy_report::Family;

/// How much longer than three rounds a report stays that no round brings up to date: the first one may take its time.
const ROUND: Duration = Duration::from_secs(3600);

/// Which reports are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportsName {
    /// Those that the cluster has
    Auto,
    /// `PolicyReport` of wgpolicyk8s.io
    Policyreport,
    /// `Report` of openreports.io
    Openreports,
    /// None
    Off,
}

impl ReportsName {
    /// What is written, where each workload is verified in this interval; nothing when that is switched off.
    pub(crate) fn options(self, interval: Duration) -> Option<ReportOptions> {
        let families = match self {
            Self::Auto => Family::ALL.to_vec(),
            Self::Policyreport => vec![Family::PolicyReport],
            Self::Openreports => vec![Family::OpenReports],
            Self::Off => return None,
        };
        Some(ReportOptions { families, stale: interval.saturating_mul(3).saturating_add(ROUND) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_means_its_reports() {
        let families =
            |name: ReportsName| name.options(Duration::from_secs(600)).map(|options| options.families);
        assert_eq!(families(ReportsName::Auto), Some(Family::ALL.to_vec()));
        assert_eq!(families(ReportsName::Policyreport), Some(vec![Family::PolicyReport]));
        assert_eq!(families(ReportsName::Openreports), Some(vec![Family::OpenReports]));
        assert_eq!(families(ReportsName::Off), None);
        let options = ReportsName::Auto.options(Duration::from_secs(600)).unwrap();
        assert_eq!(options.stale, Duration::from_secs(3 * 600 + 3600));
    }
}
