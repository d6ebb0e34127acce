"""Kyverno's admission controller over images in the instance's log of Rekor v1: what its command line says
(`driver/policy_peers.py`), said to the API server, and bundles, for which only it can be told of a private instance."""

import json
from types import SimpleNamespace

from control_plane import ControlPlane, Processes, free_port, wait_for
from driver import install
from driver.clients import Refused
from driver.evidence import Evidence
from driver.image_clients import Cosign2, Cosign3, Trust
from driver.instance import EMAIL, Instance
from driver.policy_peers import STRANGER, Image, Kyverno, Way, images, judge, services, sign
from driver.proxy import Proxy
from driver.rekor_v1 import Labelled, OlderCosign, Told, told
from driver.table import Fail, Skip, Table


def define(cluster: ControlPlane):
    """The kinds of Kyverno, as it defines them itself."""
    for definitions in sorted((install.kyverno_module() / "config" / "crds").iterdir()):
        cluster.done("apply", "--server-side", "-f", definitions)


def start(program, cluster: ControlPlane, processes: Processes, *options, **variables):
    """Starts the admission controller outside of the cluster, and gives its process."""
    port = free_port()
    cluster.done("create", "namespace", "kyverno")
    for name in ["kyverno", "kyverno-metrics"]:
        cluster.done("create", "configmap", name, "-n", "kyverno")
    environment = {
        "KYVERNO_NAMESPACE": "kyverno", "KYVERNO_SVC": "kyverno-svc", "KYVERNO_POD_NAME": "kyverno-0", "INIT_CONFIG": "kyverno",
        "METRICS_CONFIG": "kyverno-metrics", "KYVERNO_SERVICEACCOUNT_NAME": "kyverno", "KYVERNO_DEPLOYMENT": "kyverno",
        "KUBECONFIG": str(cluster.kubeconfig), **variables}
    return processes.start("kyverno", [
        program, f"--kubeconfig={cluster.kubeconfig}", f"--serverIP=127.0.0.1:{port}", f"--webhookServerPort={port}",
        "--webhookServerHost=127.0.0.1", "--caSecretName=kyverno-ca", "--tlsSecretName=kyverno-tls",
        "--allowInsecureRegistry=true", "--disableMetrics=true", "--otelConfig=", "--admissionReports=false",
        f"--controllerRuntimeMetricsAddress=127.0.0.1:{free_port()}", "--v=1", *options], environment)


class Webhook:
    """Asked by a dry run: the API server asks it as for a pod that is to be."""

    name, reasons = "Kyverno's webhook", Kyverno.reasons

    def __init__(self, cluster: ControlPlane):
        self.cluster = cluster

    def judge(self, image: str, way: Way):
        done = self.cluster.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": image}]}}))
        if done.returncode != 0 and "denied the request" not in done.stderr:
            raise Fail(done.stderr)
        if done.returncode != 0:
            raise Refused(done.stderr, done.returncode)


def rows(table: Table, binary, programs, folder, instance, registry, ended: list):
    """With a control plane of its own, since on the other one the kinds are those that our webhook needs."""
    table, folder = Labelled(table), folder / "kyverno"
    folder.mkdir()
    proxy = Proxy(instance.url.removeprefix("http://"))
    ended.append(proxy.stop)
    way = Way("signature", trust(instance, folder, EMAIL), trust(instance, folder, STRANGER))
    made, webhooks = {}, []

    def signed():
        made.update(signatures(binary, folder, instance, registry.host, way, ended))

    def begin():
        try:
            program = install.kyverno("kyverno")
        except install.Unavailable as reason:
            raise Skip(str(reason)) from None
        processes = Processes(folder)
        ended.append(processes.stop_all)
        cluster = ControlPlane(programs, folder / "control-plane", processes)
        define(cluster)
        wait_for("the default service account", lambda: cluster.kubectl(
            "get", "serviceaccount", "default", "-n", "default").returncode == 0)
        start(program, cluster, processes, "--enableTuf=true", f"--tufRoot={instance.tuf_root}", f"--tufMirror={instance.tuf_url}",
              HOME=str(folder), TUF_ROOT=str(folder / "tuf"))
        webhook = Webhook(cluster)
        by_tuf = {"keyless": {"subject": way.trust.identity, "issuer": way.trust.issuer}}
        for name, demand in [
            ("logged", Kyverno.demand(services(instance, proxy), way)),
            ("bundles", {"type": "SigstoreBundle", "attestors": [{"entries": [by_tuf]}]}),
        ]:
            policy = Kyverno.policy(name, f"{registry.host}/{name}/*", demand)
            wait_for(f"the policy {name}", lambda: cluster.apply(policy).returncode == 0, 120)
        for form in made:
            wait_for("the policies to hold", lambda: refuses(webhook, made[form]["none"], way), 120)
        webhooks.append(webhook)

    if table.row("cosign", "signs for Kyverno's webhook", "cosign 2 and cosign 3", signed) and table.row(
            "Kyverno's webhook", "holds policies", "which name the instance", begin):
        asked = [*((image, "older") for image in images(webhooks[0], made["older"], way)),
                 *((image, "bundle") for image in of_bundles(made["bundle"]))]
        for image, form in asked:
            table.row(webhooks[0].name, image.what, f"{way}, {form}", lambda: judge(webhooks[0], proxy, way, image))


def signatures(binary, folder, instance, host: str, way: Way, ended: list) -> dict:
    """Images in both forms: where each is, by what is the matter with it."""
    try:
        programs = install.go("cosign-2"), install.go("cosign")
    except install.Unavailable as reason:
        raise Skip(str(reason)) from None
    (folder / "elsewhere").mkdir()
    elsewhere, view = Instance(binary, folder / "elsewhere"), told(instance, "kyverno")
    ended.append(elsewhere.stop)
    cast = SimpleNamespace(instance=instance, cosign2=Cosign2("cosign 2", programs[0], instance, folder))
    older = sign(OlderCosign(cast, view), OlderCosign(cast, view, elsewhere), None, host, way)
    return {"older": older, "bundle": bundles(Told(Cosign3("cosign 3", programs[1], instance, folder), view), host, way)}


def trust(instance, folder, address: str) -> Trust:
    token = folder / f"{address}.token"
    token.write_text(instance.email_token(address))
    return Trust("keyless", token=token, identity=address, issuer=instance.claims(token.read_text())["iss"])


def bundles(signer: Told, host: str, way: Way) -> dict:
    made = {what: Evidence(host, f"bundles/{what}", "bundle", way.trust, way.kind) for what in ("good", "none", "another")}
    signer.sign(made["good"].reference, way.trust, "bundle")
    signer.sign(made["another"].reference, way.other, "bundle")
    made["unlogged"] = made["good"].without_entry()
    return {what: evidence.reference for what, evidence in made.items()}


def of_bundles(made: dict) -> list:
    # Kyverno has one reason for all; what else was wrong stands in its log.
    reason = "sigstore bundle verification failed: no matching signatures found"
    return [Image("admits what is logged", made["good"]), Image("refuses an image that has none", made["none"], reason),
            Image("refuses another identity", made["another"], reason),
            Image("refuses what is not logged", made["unlogged"], reason)]


def refuses(webhook: Webhook, image: str, way: Way) -> bool:
    try:
        webhook.judge(image, way)
    except Refused:
        return True
    except Fail:
        pass
    return False
