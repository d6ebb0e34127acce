"""What is tried against the real control plane."""

import json
import os
import re
import subprocess

from control_plane import wait_for
from driver.table import Fail
from objects import deployment, pod, restricted
from webhook import NAME, NAMESPACE, webhooks


class Rows:
    """What is tried."""

    def __init__(self, table, cluster, webhook, repository, binary, instance):
        self.table, self.cluster, self.webhook = table, cluster, webhook
        self.repository, self.binary, self.instance = repository, binary, instance

    def image(self, tag: str) -> str:
        return self.repository.at(tag)

    def sign(self, tag: str, email: str):
        token = self.instance.folder / "token"
        token.write_text(self.instance.email_token(email))
        done = subprocess.run(
            [str(self.binary), "sign", "--yes", self.image(tag), "--identity-token", str(token), "--trusted-root",
             str(self.instance.trusted_root), "--signing-config", str(self.instance.signing_config)],
            capture_output=True, text=True, timeout=120, env={**os.environ, "NO_COLOR": "1"})
        if done.returncode != 0:
            raise Fail(f"countersign sign: {done.stderr}")

    def admitted(self, document: dict):
        done = self.cluster.apply(document)
        if done.returncode != 0:
            raise Fail(f"expected it to be admitted, found: {done.stderr}")

    def refused(self, document: dict, *words: str, arguments=()):
        done = self.cluster.apply(document, *arguments)
        if done.returncode == 0:
            raise Fail("expected a refusal, found that it was admitted")
        missing = [word for word in words if word not in done.stderr]
        if missing:
            raise Fail(f"expected {missing} in the refusal, found: {done.stderr}")
        return done.stderr.strip().splitlines()[-1][:160]

    def pinned(self, name: str, tag: str):
        found = self.cluster.done("get", "pod", name, "-o", "jsonpath={.spec.containers[*].image}")
        expected = f"{self.image(tag)}@{self.repository.digest_of(tag)}"
        if found != expected:
            raise Fail(f"expected {expected}, found {found}")
        return found

    def all(self, language: str, policy: dict, replaced: str | None):
        """The same rows under a policy of each language."""
        def row(what, body):
            self.table.row(language, "admission", what, body)

        def put():
            if replaced:
                self.cluster.done("delete", replaced)
            self.admitted(policy)
            # From now on an unsigned image is refused in this policy's name.
            name = policy["metadata"]["name"]
            wait_for("the policy", lambda: name in self.cluster.apply(
                pod("probe", self.image("unsigned")), "--dry-run=server").stderr, 30)
        row("the policy is applied and holds", put)

        def signed():
            self.admitted(pod(f"signed-{language}", self.image("signed")))
            return self.pinned(f"signed-{language}", "signed")
        row("a signed image is admitted, and pinned", signed)
        row("an unsigned image is refused", lambda: self.refused(
            pod("unsigned", self.image("unsigned")), "denied the request", policy["metadata"]["name"]))
        row("an image signed by somebody else is refused", lambda: self.refused(
            pod("wrong", self.image("wrong")), "denied the request", "mallory@example.com"))
        row("one bad image of two is refused", lambda: self.refused(
            pod("two", self.image("signed"), self.image("unsigned")), "unsigned"))
        row("a dry run is refused too", lambda: self.refused(
            pod("dry", self.image("unsigned")), "denied", arguments=["--dry-run=server"]))

        def changed():
            done = self.cluster.kubectl("set", "image", f"pod/signed-{language}", f"c0={self.image('unsigned')}")
            if done.returncode == 0 or "denied" not in done.stderr:
                raise Fail(f"expected a refusal, found {done.stderr}")
        row("a change to an unsigned image is refused", changed)
        row("a Deployment with an unsigned image is refused", lambda: self.refused(
            deployment("bad", self.image("unsigned")), "denied"))

        def rolled_out():
            name = f"good-{language}"
            self.admitted(deployment(name, self.image("signed")))
            expected = f"{self.image('signed')}@{self.repository.digest_of('signed')}"

            def pods():
                found = self.cluster.done("get", "pods", "-l", f"app={name}", "-o",
                                          "jsonpath={.items[*].spec.containers[*].image}").split()
                return len(found) == 2 and found
            if set(wait_for("the pods of the Deployment", pods)) != {expected}:
                raise Fail("the pods are not pinned")
        row("a Deployment of a signed image becomes pods that are pinned", rolled_out)

    def controllers(self):
        """Pods that a controller makes after the policy changed: the refusal is an event of their controller."""
        def event():
            # Made where nothing is judged, then made again where it is: the set is older than the policy.
            replica_set = deployment("older", self.image("unsigned"))
            replica_set["kind"], replica_set["spec"]["replicas"] = "ReplicaSet", 0
            self.cluster.done("delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration", NAME)
            wait_for("the webhook to be forgotten", lambda: self.cluster.apply(replica_set).returncode == 0, 20)
            webhooks(self.cluster, self.webhook.url)
            self.wait_asked()
            self.cluster.done("scale", "replicaset/older", "--replicas=1")

            def told():
                found = json.loads(self.cluster.done("get", "events", "-o", "json"))["items"]
                return [event["message"] for event in found if event["reason"] == "FailedCreate"
                        and event["involvedObject"]["name"] == "older"]
            message = wait_for("the event", told)[0]
            if "denied the request" not in message or "unsigned" not in message:
                raise Fail(f"expected the refusal, found {message}")
            return message[:160]
        self.table.row("controllers", "admission", "a ReplicaSet's pod is refused, and its event says why", event)

    def wait_asked(self):
        """Until the API server asks the webhook, and can: the caBundle is there."""
        wait_for("the webhook to be asked", lambda: "denied the request" in self.cluster.apply(
            pod("probe", self.image("unsigned")), "--dry-run=server").stderr, 30)

    def exempt(self):
        def there():
            self.admitted(pod("unsigned", self.image("unsigned"), namespace="kube-system"))
            self.admitted(pod("unsigned", self.image("unsigned"), namespace=NAMESPACE)
                          | {"spec": {**restricted(self.image("unsigned"))}})
        self.table.row("exemptions", "admission", "kube-system and the webhook's own namespace are not judged", there)

    def unreadable(self):
        def refuses():
            wrong = {"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "wrong"},
                     "spec": {"images": ["**"], "signedBye": {}}}
            self.admitted(wrong)
            try:
                return wait_for("the refusal", lambda: re.search(
                    "[^\n]*signedBye[^\n]*",
                    self.cluster.apply(pod("any", self.image("signed")), "--dry-run=server").stderr), 30).group(0)[:160]
            finally:
                self.cluster.done("delete", "imagepolicy", "wrong")
                wait_for("the policy to be gone", lambda: self.cluster.apply(
                    pod("any", self.image("signed")), "--dry-run=server").returncode == 0, 30)
        self.table.row("policies", "admission", "one that cannot be read refuses, and says what is wrong in it", refuses)

    def restarted(self):
        def away():
            if self.webhook.processes.stop(self.webhook.process) != 0:
                raise Fail("the webhook did not end well after SIGTERM")
            refusal = self.refused(pod("away", self.image("signed")), "failed calling webhook")
            self.webhook.start()
            self.webhook.wait_ready()
            self.admitted(pod("back", self.image("signed")))
            return refusal
        self.table.row("restart", "admission", "without the webhook nothing comes in; with it again, it does", away)

    def counted(self):
        def page():
            found = self.webhook.get("/metrics")
            for name in ["countersign_admission_reviews_total", "countersign_admission_review_duration_seconds_bucket",
                         "countersign_admission_certificate_expiry_timestamp_seconds"]:
                if name not in found:
                    raise Fail(f"no {name} in the metrics")
        self.table.row("metrics", "admission", "reviews and their time are counted", page)
