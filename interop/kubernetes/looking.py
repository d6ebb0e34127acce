"""What people see before anything is enforced: scans of what runs, plans of what would be denied. And that it comes so."""

import json

from control_plane import wait_for
from driver.table import Fail, Table
from objects import deployment, kind, pod
from scene import Scene

NAMESPACE = "looking"
REPORTS = kind("wgpolicyk8s.io", "PolicyReport", "policyreports", "v1alpha2", "Namespaced")


def workloads(scene: Scene) -> dict:
    """By their names, in the plan's spelling."""
    found = {}
    for tag in ["signed", "unsigned", "wrong"]:
        found[f"Deployment/{NAMESPACE}/{tag}"] = deployment(tag, scene.image(tag))
    found[f"Pod/{NAMESPACE}/alone"] = pod("alone", scene.image("signed"), scene.image("unsigned"))
    for document in found.values():
        document["metadata"]["namespace"] = NAMESPACE
    return found


def rows(table: Table, scene: Scene, policy: dict):
    """Before the API server asks the webhook."""
    table.row("scan", "kubectl", "what runs is scanned by workload, and what is not signed is told", lambda: scanned(scene))
    table.row("scan", "kubectl", "its report can be applied", lambda: applied(scene))
    table.row("plan", "kubectl", "what would be denied is told beforehand", lambda: planned(scene, policy))


def after(table: Table, scene: Scene, policy: dict):
    """Once it asks, by that policy."""
    table.row("plan", "admission", "what was planned is what comes", lambda: kept(scene, policy))


def scanned(scene: Scene) -> str:
    scene.cluster.done("create", "namespace", NAMESPACE)
    for document in workloads(scene).values():
        scene.admitted(document)
    wait_for("the pods", lambda: len(scene.get("pods", "-n", NAMESPACE)["items"]) == 7)
    told = scene.run("scan", "control", "C-0237", "-v", "-n", NAMESPACE, code=2).stdout
    for name, word in [("signed", "passed"), ("unsigned", "failed"), ("wrong", "passed"), ("alone", "failed")]:
        part = told.partition(f"Name: {name}\n")[2].partition("####")[0]
        if word not in part:
            raise Fail(f"expected {name} {word}, found {part}")
    if "Kind: ReplicaSet" in told or told.count("Kind: Pod") != 1:
        raise Fail(f"expected each workload once, found {told}")
    return told[told.index("Resources:"):].splitlines()[0]


def applied(scene: Scene) -> str:
    scene.admitted(REPORTS)
    report = scene.run("scan", "control", "C-0237", "-n", NAMESPACE, "--format", "policyreport", code=2).stdout
    wait_for("the report", lambda: scene.cluster.kubectl("apply", "-f", "-", given=report).returncode == 0, 30)
    summary = scene.get("policyreport", "countersign-scan", "-n", NAMESPACE)["summary"]
    if (summary["fail"], summary["error"]) != (2, 0):
        raise Fail(f"expected 2 failures, found {summary}")
    return str(summary)


def plan(scene: Scene, policy: dict, code: int) -> dict:
    path = scene.home / "policy.json"
    path.write_text(json.dumps(policy))
    return json.loads(scene.run(
        "admission", "plan", "--policy", path, "-n", NAMESPACE, "--format", "json", "--trusted-root",
        scene.instance.trusted_root, code=code).stdout)


def denied(found: dict) -> set:
    name = "{kind}/{namespace}/{name}".format_map
    return {name(finding["resource"]) for finding in found["findings"] if finding["effect"] == "denied"}


def planned(scene: Scene, policy: dict) -> str:
    names = denied(plan(scene, policy, 2))
    if names != {name for name in workloads(scene) if not name.endswith("/signed")}:
        raise Fail(f"expected all but the signed Deployment, found {names}")
    return ", ".join(sorted(names))


def kept(scene: Scene, policy: dict) -> str:
    names = denied(plan(scene, policy, 2))
    scene.cluster.done("delete", "deployments,pods", "--all", "-n", NAMESPACE, "--wait=false")
    for name, document in workloads(scene).items():
        document["metadata"]["name"] += "-anew"
        done = scene.cluster.apply(document, "--dry-run=server")
        if ("denied the request" in done.stderr) != (name in names):
            raise Fail(f"{name}: planned {'denied' if name in names else 'admitted'}, found {done.stdout}{done.stderr}")
    return f"{len(names)} denied, {len(workloads(scene)) - len(names)} admitted"
