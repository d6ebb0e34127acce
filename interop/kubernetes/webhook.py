"""The admission webhook beside a control plane: its replicas, its rights, its configurations."""

import base64
import json
import re
import socket
import ssl
import threading
import urllib.request

from control_plane import MANIFESTS, ControlPlane, free_port, wait_for
from driver.table import Fail

NAMESPACE = "countersign"
NAME = "countersign-admission"


def read(cluster: ControlPlane, *files, text: str | None = None) -> list:
    """The objects in files, or in a text, as kubectl reads them."""
    given = [argument for file in files for argument in ("-f", file)] or ["-f", "-"]
    read = cluster.done("create", "--dry-run=client", "--validate=false", "-o", "json", *given, given=text)
    # One document behind the other.
    decoder, documents, at = json.JSONDecoder(), [], 0
    while read[at:].strip():
        at += len(read[at:]) - len(read[at:].lstrip())
        document, at = decoder.raw_decode(read, at)
        documents += document.get("items", [document])
    return documents


def webhooks(cluster: ControlPlane, url: str):
    """The configurations of deploy/kubernetes, with an address instead of a service: nothing routes to services here."""
    for document in read(cluster, MANIFESTS / "webhooks.yaml"):
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"].pop("service")["path"]
            webhook["clientConfig"]["url"] = url + path
        done = cluster.apply(document)
        if done.returncode != 0:
            raise Fail(done.stderr)


class Balancer:
    """What a Service does: a connection goes to one replica after the other, past those that take none."""

    def __init__(self):
        self.ports, self.next, self.open = [], 0, []
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"https://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client):
        replica = self._connect()
        if replica is None:
            client.close()
            return
        self.open = [end for end in self.open if end.fileno() >= 0] + [client, replica]
        threads = [threading.Thread(target=self._copy, args=pair, daemon=True)
                   for pair in [(client, replica), (replica, client)]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        replica.close()

    def _connect(self):
        for _ in range(len(self.ports)):
            self.next += 1
            try:
                return socket.create_connection(("127.0.0.1", self.ports[self.next % len(self.ports)]))
            except OSError:
                pass
        return None

    def _copy(self, source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass
        self._end([source, target])

    @staticmethod
    def _end(ends: list):
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def only(self, ports: list):
        """From now on these replicas, for connections that are open too."""
        self.ports = ports
        self._end(self.open)

    def stop(self):
        self.listening.close()


class Webhook:
    """Replicas of the webhook with the rights of its service account, and no others."""

    def __init__(self, binary, cluster, instance, processes):
        self.binary, self.cluster, self.instance, self.processes = binary, cluster, instance, processes
        self.balancer = Balancer()
        self.url = self.balancer.url
        token = cluster.done("create", "token", NAME, "-n", NAMESPACE).strip()
        self.kubeconfig = cluster.write_kubeconfig("webhook", token)
        self.replicas, self.starts = {}, 0

    def start(self, *options, environment=None) -> int:
        """Starts a replica, and gives its port once it is ready."""
        self.starts += 1
        port = free_port()
        self.replicas[port] = self.processes.start(f"webhook-{self.starts}", [
            self.binary, "admission", "serve", "--cluster", "--kubeconfig", self.kubeconfig,
            "--namespace", NAMESPACE, "--listen", f"127.0.0.1:{port}", "--trusted-root", self.instance.trusted_root,
            *options], environment)
        wait_for("the webhook", lambda: self.is_ready(port))
        self.balancer.ports.append(port)
        return port

    def stop(self, port: int):
        """As Kubernetes ends a pod: first no connections come, then SIGTERM."""
        self.balancer.ports.remove(port)
        code = self.processes.stop(self.replicas.pop(port))
        if code != 0:
            raise Fail(f"the webhook ended with {code} after SIGTERM")

    def kill(self, port: int):
        """As a machine ends."""
        self.replicas.pop(port).kill()

    def is_ready(self, port: int) -> bool:
        if self.replicas[port].poll() is not None:
            raise Fail(f"the webhook ended with {self.replicas[port].returncode}")
        try:
            return self.get("/readyz", port).strip() == "ready"
        except OSError:
            return False

    def get(self, path: str, port: int | None = None) -> str:
        kept = json.loads(self.cluster.done("get", "secret", f"{NAME}-tls", "-n", NAMESPACE, "-o", "json"))
        text = base64.b64decode(kept.get("data", {}).get("ca.pem", "")).decode()
        found = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
        if not found:
            raise OSError("the secret has no certificate yet")
        context = ssl.create_default_context(cadata="\n".join(found))
        port = port or self.balancer.ports[0]
        with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=context, timeout=10) as answer:
            return answer.read().decode()
