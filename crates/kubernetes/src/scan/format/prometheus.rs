//! Prometheus' text form, under the names that Kubescape's dashboards know; what Kubescape does not count is under ours.

use crate::scan::report::{Counts, Report};

pub(super) fn write(report: &Report) -> String {
    let mut out = String::new();
    let mut family = |name: &str, help: &str, samples: Vec<(String, f64)>| {
        if samples.is_empty() {
            return;
        }
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in samples {
            out.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let bare = |value: f64| vec![(String::new(), value)];
    if let Some(score) = report.compliance_score {
        family("kubescape_cluster_ComplianceScore", "Mean of the controls' scores, in percent.", bare(score));
    }
    for (name, count) in counts(&report.resources) {
        let help = "Resources by how they ended.";
        family(&format!("{}_count_resources_{name}", prefix("cluster", name)), help, bare(number(count)));
    }
    let labels = |control: &crate::scan::ControlSummary| {
        format!(
            "{{name=\"{}\",id=\"{}\",severity=\"{}\"}}",
            quoted(control.name),
            control.id.id(),
            control.severity.name()
        )
    };
    let scores = report.controls.iter().filter_map(|c| Some((labels(c), c.compliance_score?))).collect();
    family("kubescape_control_complianceScore", "Passed of all resources, in percent.", scores);
    for name in ["failed", "skipped", "passed", "unchecked", "excepted"] {
        let samples = report
            .controls
            .iter()
            .flat_map(|control| {
                counts(&control.resources)
                    .into_iter()
                    .filter(|(own, _)| *own == name)
                    .map(|(_, count)| (labels(control), number(count)))
            })
            .collect();
        let help = "Resources of a control by how they ended.";
        family(&format!("{}_count_resources_{name}", prefix("control", name)), help, samples);
    }
    if let Some(audit) = &report.audit {
        for (name, help, of) in [
            (
                "unsigned",
                "Images without a signature.",
                (|usage| usage.unsigned) as fn(&crate::scan::Usage) -> usize,
            ),
            ("unchecked", "Images at which nobody could look.", |usage| usage.unchecked),
        ] {
            let samples = audit
                .registries
                .iter()
                .map(|(registry, usage)| {
                    (format!("{{registry=\"{}\"}}", quoted(registry)), number(of(usage)))
                })
                .collect();
            family(&format!("countersign_scan_registry_images_{name}"), help, samples);
        }
    }
    out
}

fn prefix(of: &str, name: &str) -> String {
    let program = if matches!(name, "unchecked" | "excepted") { "countersign_scan" } else { "kubescape" };
    format!("{program}_{of}")
}

fn counts(counts: &Counts) -> [(&'static str, usize); 5] {
    [
        ("failed", counts.failed),
        ("skipped", counts.skipped),
        ("passed", counts.passed),
        ("unchecked", counts.unchecked),
        ("excepted", counts.excepted),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "counts of objects are far below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

/// A label's value.
fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
