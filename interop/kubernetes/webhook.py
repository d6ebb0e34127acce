"""The admission webhook beside a control plane: its process, its rights, its configurations."""

import base64
import json
import re
import urllib.request

from control_plane import MANIFESTS, ControlPlane, free_port, wait_for
from driver.table import Fail

NAMESPACE = "countersign"
NAME = "countersign-admission"


def webhooks(cluster: ControlPlane, url: str):
    """The configurations of deploy/kubernetes, with an address instead of a service: nothing routes to services here."""
    text = cluster.done("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", MANIFESTS / "webhooks.yaml")
    # One document behind the other.
    decoder, documents, at = json.JSONDecoder(), [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        documents += document.get("items", [document])
    for document in documents:
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"].pop("service")["path"]
            webhook["clientConfig"]["url"] = url + path
        done = cluster.apply(document)
        if done.returncode != 0:
            raise Fail(done.stderr)


class Webhook:
    """The webhook with the rights of its service account, and no others."""

    def __init__(self, binary, cluster, instance, processes):
        self.binary, self.cluster, self.instance, self.processes = binary, cluster, instance, processes
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        token = cluster.done("create", "token", NAME, "-n", NAMESPACE).strip()
        self.kubeconfig = cluster.write_kubeconfig("webhook", token)
        self.starts = 0
        self.start()

    def start(self):
        self.starts += 1
        self.process = self.processes.start(f"webhook-{self.starts}", [
            self.binary, "admission", "serve", "--cluster", "--kubeconfig", self.kubeconfig, "--namespace", NAMESPACE,
            "--listen", f"127.0.0.1:{self.port}", "--trusted-root", self.instance.trusted_root])

    def wait_ready(self):
        def ready():
            try:
                return self.get("/readyz").strip() == "ready"
            except OSError:
                return False
        wait_for("the webhook", ready)

    def get(self, path: str) -> str:
        import ssl
        kept = json.loads(self.cluster.done("get", "secret", f"{NAME}-tls", "-n", NAMESPACE, "-o", "json"))
        text = base64.b64decode(kept.get("data", {}).get("ca.pem", "")).decode()
        found = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
        if not found:
            raise OSError("the secret has no certificate yet")
        context = ssl.create_default_context(cadata="\n".join(found))
        with urllib.request.urlopen(self.url + path, context=context, timeout=10) as answer:
            return answer.read().decode()
