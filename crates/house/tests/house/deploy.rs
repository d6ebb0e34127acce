//! The manifests and the chart are one thing in two forms. `interop/kubernetes` renders the chart and compares; what needs
//! no program of others is looked at here.

use std::fs;

use crate::assert_none;
use crate::workspace::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join("deploy").join(path)).unwrap_or_else(|e| panic!("deploy/{path}: {e}"))
}

#[test]
fn the_chart_brings_the_definitions_of_the_manifests() {
    let same = read("kubernetes/crds.yaml") == read("helm/countersign/crds/crds.yaml");
    let command = "cp deploy/kubernetes/crds.yaml deploy/helm/countersign/crds/".to_owned();
    assert_none("the definitions differ; say:", &if same { Vec::new() } else { vec![command] });
}

#[test]
fn each_rule_of_the_manifests_roles_stands_in_the_chart() {
    let (manifests, chart) =
        (read("kubernetes/admission.yaml"), read("helm/countersign/templates/rbac.yaml"));
    let rules = manifests
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("resources: [") || line.starts_with("- apiGroups:"));
    let missing = rules.filter(|rule| !chart.contains(rule)).map(str::to_owned);
    assert_none(
        "these stand in admission.yaml and not in the chart's rbac.yaml:",
        &missing.collect::<Vec<_>>(),
    );
}

#[test]
fn every_value_of_the_chart_is_used_and_every_value_used_is_there() {
    let values = read("helm/countersign/values.yaml");
    let folder = root().join("deploy/helm/countersign/templates");
    let templates: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let top = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphabetic());
    let names: Vec<&str> = values.lines().filter(top).filter_map(|line| line.split(':').next()).collect();
    let unused = names.iter().filter(|name| {
        !templates.contains(&format!(".Values.{name}")) && !templates.contains(&format!("\"{name}\""))
    });
    assert_none(
        "values.yaml has what no template uses:",
        &unused.map(ToString::to_string).collect::<Vec<_>>(),
    );
    let used = templates
        .split(".Values.")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next());
    let unknown = used.filter(|name| !names.contains(name));
    assert_none(
        "templates use what values.yaml does not have:",
        &unknown.map(str::to_owned).collect::<Vec<_>>(),
    );
}
