//! A plan in words: for terminals, and for tickets.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use countersign_http::text::printable;
use countersign_slsa::text::markdown;

use super::{Counts, Effect, Finding, Plan};

/// The longest message in a table, in characters.
const LONGEST: usize = 300;

/// A head, and what stands below it.
type Column = (&'static str, fn(&Counts) -> usize);

/// The columns of counts.
const COLUMNS: [Column; 6] = [
    ("judged", |counts| counts.workloads),
    ("denied", |counts| counts.denied),
    ("denied, not checked", |counts| counts.denied_unchecked),
    ("warned", |counts| counts.warned),
    ("let in, not checked", |counts| counts.admitted_unchecked),
    ("reported", |counts| counts.audited),
];

impl Plan {
    /// For a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (policy, findings) in self.by_policy() {
            let _ = writeln!(out, "{}", printable(policy));
            for finding in findings {
                let _ = writeln!(out, "  {}: {}{}", named(finding), finding.effect.words(), rule(finding));
                let image = finding.image.as_deref().filter(|image| !finding.message.contains(image));
                let image = image.map(|image| format!("{}: ", printable(image))).unwrap_or_default();
                let _ = writeln!(out, "    {image}{}", printable(&finding.message));
                if !finding.next.is_empty() {
                    let _ = writeln!(out, "    next: {}", printable(&finding.next));
                }
            }
            out.push('\n');
        }
        for missing in &self.not_listed {
            let _ = writeln!(out, "not known: {}", printable(missing));
        }
        if !self.not_listed.is_empty() {
            out.push('\n');
        }
        out.push_str(&table("Policy", &self.policies));
        out.push('\n');
        out.push_str(&table("Namespace", &self.namespaces));
        out.push('\n');
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    /// For a ticket.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = format!("## What admission would do\n\n{}\n", escaped(&self.summary()));
        for missing in &self.not_listed {
            let _ = writeln!(out, "\nNot known: {}", escaped(missing));
        }
        for (title, groups) in [("Policy", &self.policies), ("Namespace", &self.namespaces)] {
            let heads: Vec<&str> = COLUMNS.iter().map(|(head, _)| *head).collect();
            let _ = writeln!(
                out,
                "\n| {title} | {} |\n|---|{}",
                heads.join(" | "),
                "---:|".repeat(COLUMNS.len())
            );
            for (name, counts) in groups {
                let cells: Vec<String> = COLUMNS.iter().map(|(_, of)| of(counts).to_string()).collect();
                let _ = writeln!(out, "| {} | {} |", escaped(name), cells.join(" | "));
            }
        }
        for (policy, findings) in self.by_policy() {
            let _ = writeln!(
                out,
                "\n### {}\n\n| workload | image | what | why | next |\n|---|---|---|---|---|",
                escaped(policy)
            );
            for finding in findings {
                // Between these marks nothing else is one.
                let next = printable(&finding.next).replace(['|', '`'], " ");
                let next = if next.is_empty() { next } else { format!("`{next}`") };
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} | {next} |",
                    escaped(&named(finding)),
                    escaped(finding.image.as_deref().unwrap_or_default()),
                    finding.effect.words(),
                    escaped(&finding.message),
                );
            }
        }
        out
    }

    fn by_policy(&self) -> BTreeMap<&str, Vec<&Finding>> {
        let mut groups: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.findings {
            groups.entry(&finding.policy).or_default().push(finding);
        }
        for findings in groups.values_mut() {
            findings.sort_by(|a, b| (a.effect, &a.resource).cmp(&(b.effect, &b.resource)));
        }
        groups
    }

    /// In a sentence.
    fn summary(&self) -> String {
        let all = &self.all;
        let count = |number: usize, effect: Effect| match number {
            0 => None,
            number => Some(format!("{number} {}", effect.words())),
        };
        let parts: Vec<String> = [
            count(all.denied, Effect::Denied),
            count(all.denied_unchecked, Effect::DeniedUnchecked),
            count(all.warned, Effect::Warned),
            count(all.admitted_unchecked, Effect::AdmittedUnchecked),
            count(all.audited, Effect::Audited),
        ]
        .into_iter()
        .flatten()
        .collect();
        let parts = if parts.is_empty() { "all would be admitted".to_owned() } else { parts.join("; ") };
        let exempt = match self.exempt {
            0 => String::new(),
            number => {
                let names = self.exempt_namespaces.iter().map(|name| printable(name)).collect::<Vec<_>>();
                format!("; {number} in namespaces that are never judged ({})", names.join(", "))
            }
        };
        let what = if all.workloads == 1 { "workload is" } else { "workloads are" };
        let missing = if self.not_listed.is_empty() { "" } else { "; not everything could be listed" };
        format!("{} {what} judged: {parts}{exempt}{missing}", all.workloads)
    }
}

/// A workload as people name it.
fn named(finding: &Finding) -> String {
    let made_by = finding.made_by.as_ref().map(|by| format!(" of {}", printable(by))).unwrap_or_default();
    format!("{}{made_by}", printable(&finding.resource.to_string()))
}

fn rule(finding: &Finding) -> String {
    if finding.rule.is_empty() { String::new() } else { format!(" (rule {})", printable(&finding.rule)) }
}

fn table(title: &str, groups: &BTreeMap<String, Counts>) -> String {
    // Columns in which nothing stands say nothing, but for the first two.
    let columns: Vec<_> = COLUMNS
        .into_iter()
        .enumerate()
        .filter(|(index, (_, of))| *index < 2 || groups.values().any(|counts| of(counts) > 0))
        .map(|(_, column)| column)
        .collect();
    let width =
        groups.keys().map(|name| printable(name).chars().count()).chain([title.len()]).max().unwrap_or(0);
    let mut out = format!("{title:width$}");
    for (head, _) in &columns {
        let _ = write!(out, "  {head}");
    }
    out.push('\n');
    for (name, counts) in groups {
        let _ = write!(out, "{:width$}", printable(name));
        for (head, of) in &columns {
            let _ = write!(out, "  {:>1$}", of(counts), head.len());
        }
        out.push('\n');
    }
    out
}

/// A text in a cell of a table.
fn escaped(text: &str) -> String {
    let mut short: String = printable(text).chars().take(LONGEST).collect();
    if short.len() < printable(text).len() {
        short.push('…');
    }
    markdown(&short)
}

#[cfg(test)]
mod tests {
    use countersign_policy::{Action, PolicyKind, PolicyName, RuleResult, Status};

    use super::super::{Plan, Verdict};
    use crate::scan::ResourceName;
    use crate::scan::tests::golden;

    fn result(policy: &str, status: Status, action: Action, reason: &str) -> RuleResult {
        RuleResult {
            policy: PolicyName {
                kind: PolicyKind::Countersign,
                namespace: String::new(),
                name: policy.into(),
            },
            rule: "signedBy".into(),
            image: Some("registry.example/shop:2".into()),
            digest: None,
            status,
            action,
            fail_closed: true,
            reason: reason.into(),
            message: "expected a signature, found \"a\" <none> | _b_ `c`".into(),
            properties: Default::default(),
            decided_by: Vec::new(),
            level: None,
        }
    }

    fn name(kind: &str, namespace: &str) -> ResourceName {
        ResourceName {
            api_version: "apps/v1".into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: "shop".into(),
            source: "cluster".into(),
        }
    }

    fn sample() -> Plan {
        let mut plan = Plan { exempt: 2, ..Plan::default() };
        plan.exempt_namespaces.insert("kube-system".into());
        let (deny, warn) = (Action::Deny, Action::Warn);
        plan.add(
            &name("Deployment", "prod"),
            None,
            vec![
                result("acme", Status::Fail, deny, "no_signature"),
                result("tells", Status::Fail, warn, "no_signature"),
            ],
        );
        plan.add(&name("CronJob", "prod"), None, vec![result("acme", Status::Pass, deny, "passed")]);
        plan.add(
            &name("Pod", "dev"),
            Some(&"ReplicaSet/shop-1".to_owned()),
            vec![
                result("acme", Status::Error, deny, "unreachable"),
                result("tells", Status::Error, warn, "unreachable"),
            ],
        );
        plan.add(
            &name("StatefulSet", "dev"),
            None,
            vec![result("looks", Status::Fail, Action::Audit, "no_signature")],
        );
        plan
    }

    #[test]
    fn plans_are_written_as_they_were() {
        golden("plan.txt", &sample().to_text());
        golden("plan.md", &sample().to_markdown());
        golden("plan.json", &(serde_json::to_string_pretty(&sample()).unwrap() + "\n"));
    }

    #[test]
    fn what_is_not_known_is_neither_good_nor_bad() {
        let only = |status, action| {
            let mut plan = Plan::default();
            plan.add(&name("Pod", "dev"), None, vec![result("acme", status, action, "any")]);
            plan.verdict()
        };
        assert_eq!(only(Status::Pass, Action::Deny), Verdict::Good);
        assert_eq!(only(Status::Skip, Action::Deny), Verdict::Good);
        assert_eq!(only(Status::Fail, Action::Warn), Verdict::Good);
        assert_eq!(only(Status::Fail, Action::Deny), Verdict::Denies);
        assert_eq!(only(Status::Error, Action::Deny), Verdict::Unknown);
        assert_eq!(only(Status::Error, Action::Warn), Verdict::Unknown);
        let missing = Plan { not_listed: vec!["Pod".into()], ..Plan::default() };
        assert_eq!(missing.verdict(), Verdict::Unknown);
        assert_eq!(sample().verdict(), Verdict::Denies);
    }
}
