"""The chart under deploy/helm: it says what the manifests say, and installs, upgrades and goes."""

import json
import subprocess
from pathlib import Path

from control_plane import MANIFESTS, ControlPlane, Processes, free_port, wait_for
from driver import install
from driver.table import Fail, Skip, Table
from webhook import NAMESPACE, read

CHART = MANIFESTS.parent / "helm" / "countersign"
NAME, ELSEWHERE = "chart-admission", "countersign-chart"
# As in the manifests.
IMAGE = ["--set", "image.repository=registry.example.com/countersign", "--set", f"image.digest=sha256:{'0' * 64}"]
# Every value that adds something.
EVERYTHING = {
    "image": {"repository": "registry.example.com/countersign", "digest": f"sha256:{'0' * 64}", "pullSecrets": ["pull"]},
    "webhooks": {"enabled": True},
    "policies": {"files": {"a.yaml": "kind: ImagePolicy"}, "exceptionNamespaces": ["ops-*"]},
    "trust": {"inline": "{}"},
    "registry": {"credentials": "login", "authorities": "authorities"},
    "alerts": {"webhook": "hook", "webhookSigned": True,
               "email": {"to": ["a@example.com"], "from": "b@example.com", "smtp": "smtps://mail.example.com", "user": "u",
                         "password": "mail"}},
    "revocation": {"key": "revocation", "urls": ["https://sign.example.com/revocations.json"]},
    "extraArgs": ["--verify-rate=5"], "nodeSelector": {"a": "b"}, "priorityClassName": "system-cluster-critical",
    "tolerations": [{"operator": "Exists"}], "podAnnotations": {"a": "b"}, "affinity": {"podAntiAffinity": {}},
}


def rows(table: Table, cluster: ControlPlane, binary: Path, processes: Processes):
    table.row("helm", "chart", "it says what deploy/kubernetes says", lambda: same(cluster))
    table.row("helm", "chart", "the API server takes what every value makes", lambda: everything(cluster))
    table.row("helm", "chart", "installed, its rights are enough; an upgrade leaves the caBundle and the authority alone",
              lambda: upgraded(cluster, binary, processes))


def helm(cluster: ControlPlane, *arguments, given=None) -> str:
    try:
        program = install.go("helm")
    except install.Unavailable as reason:
        raise Skip(str(reason)) from reason
    done = subprocess.run([str(program), f"--kubeconfig={cluster.kubeconfig}", *map(str, arguments)], input=given,
                          capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Fail(f"helm {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def template(cluster: ControlPlane, *arguments, given=None) -> list:
    """What the chart makes, as this API server would be given it."""
    text = helm(cluster, "template", "countersign", CHART, "--namespace", NAMESPACE, "--kube-version", "1.36.0", *arguments,
                given=given)
    return read(cluster, text=text)


def same(cluster: ControlPlane):
    def objects(documents: list) -> dict:
        named = {}
        for document in documents:
            metadata = document["metadata"]
            # The chart's own marks; and a chart does not make the namespace that it is installed in.
            metadata.pop("labels", None)
            metadata.pop("creationTimestamp", None)
            if document["kind"] != "Namespace":
                named[f"{document['kind']} {metadata['name']}"] = document
        return named
    chart = objects(template(cluster, *IMAGE, "--set", "webhooks.enabled=true"))
    manifests = objects(read(cluster, MANIFESTS / "admission.yaml", MANIFESTS / "webhooks.yaml"))
    different = [name for name in sorted(chart.keys() | manifests.keys()) if chart.get(name) != manifests.get(name)]
    if different:
        raise Fail(f"different: {', '.join(different)}")
    return f"{len(chart)} objects"


def everything(cluster: ControlPlane):
    documents = template(cluster, "--values", "-", given=json.dumps(EVERYTHING))
    for document in documents:
        done = cluster.apply(document, "--dry-run=server", "--validate=strict")
        if done.returncode != 0:
            raise Fail(done.stderr)
    return f"{len(documents)} objects"


def upgraded(cluster: ControlPlane, binary: Path, processes: Processes):
    values = [*IMAGE, "--set", f"name={NAME}"]
    release = ["countersign", CHART, "--namespace", ELSEWHERE]
    helm(cluster, "install", *release, "--create-namespace", *values)
    # Nobody is there to answer.
    asks = ["--set", "webhooks.enabled=true", "--set", "webhooks.failurePolicy=Ignore"]
    helm(cluster, "upgrade", *release, *values, *asks)
    token = cluster.done("create", "token", NAME, "-n", ELSEWHERE).strip()
    process = processes.start("chart", [
        binary, "admission", "serve", "--cluster", "--kubeconfig", cluster.write_kubeconfig("chart", token),
        "--namespace", ELSEWHERE, "--name", NAME, "--listen", f"127.0.0.1:{free_port()}", "--reverify=10s"])

    def get(kind: str, name=NAME, *arguments):
        return json.loads(cluster.done("get", kind, name, *arguments, "-o", "json"))

    def bundles() -> list:
        kinds = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"]
        return [webhook["clientConfig"].get("caBundle") for kind in kinds for webhook in get(kind)["webhooks"]]
    try:
        wait_for("the caBundle", lambda: all(bundles()), 60)
        wait_for("the lease", lambda: get("lease", f"{NAME}-reverify", "-n", ELSEWHERE)["spec"].get("holderIdentity"), 60)
    finally:
        # From here on nothing repairs what an upgrade breaks.
        processes.stop(process)
    log = (processes.folder / "chart.log").read_text()
    if "forbidden" in log:
        raise Fail(f"a right is missing: {[line for line in log.splitlines() if 'forbidden' in line][0]}")
    before = bundles(), get("secret", f"{NAME}-tls", "-n", ELSEWHERE)["data"]
    helm(cluster, "upgrade", *release, *values, *asks, "--set", "webhooks.timeoutSeconds=5", "--set", "replicas=3")
    if (bundles(), get("secret", f"{NAME}-tls", "-n", ELSEWHERE)["data"]) != before:
        raise Fail("the upgrade changed the caBundle or the authority")
    if get("mutatingwebhookconfiguration")["webhooks"][0]["timeoutSeconds"] != 5:
        raise Fail("the upgrade did nothing")
    helm(cluster, "uninstall", "countersign", "--namespace", ELSEWHERE)
    if cluster.kubectl("get", "validatingwebhookconfiguration", NAME).returncode == 0:
        raise Fail("after it was uninstalled, the API server still asks")
