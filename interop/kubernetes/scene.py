"""The cluster, the webhook, a registry and signed images: what every row is tried with."""

import json
import os
import subprocess

from control_plane import wait_for
from driver.image_clients import Cosign2, Cosign3, Trust
from driver.instance import EMAIL
from driver.table import Fail, Skip
from objects import pod

STRANGER = "mallory@example.com"


class Scene:
    """One of these for a run."""

    def __init__(self, cluster, webhook, repository, binary, instance, clients):
        self.cluster, self.webhook, self.repository = cluster, webhook, repository
        self.binary, self.instance, self.clients = binary, instance, clients
        self.home = instance.folder / "cosign"
        self.home.mkdir()

    def image(self, tag: str) -> str:
        return self.repository.at(tag)

    def pinned_image(self, tag: str) -> str:
        return f"{self.image(tag)}@{self.repository.digest_of(tag)}"

    def put(self, *tags: str):
        for tag in tags:
            self.repository.put_image(tag.encode(), tag)

    def run(self, *arguments, code=0):
        """Runs the program; the exit code has to be this one, if any is named."""
        done = subprocess.run(
            [str(self.binary), *map(str, arguments)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
            env={**os.environ, "NO_COLOR": "1", "HOME": str(self.home), "KUBECONFIG": str(self.cluster.kubeconfig)})
        if code is not None and done.returncode != code:
            raise Fail(f"countersign {' '.join(map(str, arguments))}: exit code {done.returncode}\n"
                       f"{done.stdout}{done.stderr}")
        return done

    def trust(self, email=EMAIL) -> Trust:
        token = self.instance.folder / "token"
        token.write_text(self.instance.email_token(email))
        return Trust("keyless", token=token, identity=email)

    def sign(self, tag: str, email=EMAIL):
        self.run("sign", "--yes", self.image(tag), "--identity-token", self.trust(email).token, "--trusted-root",
                 self.instance.trusted_root, "--signing-config", self.instance.signing_config)

    def cosign(self, kind, name: str):
        found = self.clients[name]
        if isinstance(found, Exception):
            raise Skip(str(found))
        return kind(name, found, self.instance, self.home)

    def sign_with_cosign(self, tag: str):
        self.cosign(Cosign3, "cosign").sign([self.image(tag)], self.trust(), "bundle")

    def sign_with_older_cosign(self, tag: str) -> str:
        """The public key of who signed."""
        cosign = self.cosign(Cosign2, "cosign-2")
        prefix = self.home / "older"
        cosign.run("generate-key-pair", "--output-key-prefix", prefix)
        private, public = prefix.with_suffix(".key"), prefix.with_suffix(".pub")
        cosign.sign([self.image(tag)], Trust("key", private=private, public=public), "older")
        return public.read_text()

    def admitted(self, document: dict):
        done = self.cluster.apply(document)
        if done.returncode != 0:
            raise Fail(f"expected it to be admitted, found: {done.stderr}")

    def refused(self, document: dict, *words: str, arguments=()) -> str:
        done = self.cluster.apply(document, *arguments)
        if done.returncode == 0:
            raise Fail("expected a refusal, found that it was admitted")
        missing = [word for word in words if word not in done.stderr]
        if missing:
            raise Fail(f"expected {missing} in the refusal, found: {done.stderr}")
        return done.stderr.strip().splitlines()[-1].rpartition("denied the request: ")[2][:160]

    def hold(self, policy: dict, *before: str):
        """Applies a policy and takes those before it away, and waits until an unsigned image is refused in its name."""
        self.admitted(policy)
        for resource in before:
            self.cluster.done("delete", resource)
        name = policy["metadata"]["name"]
        others = [resource.partition("/")[2] for resource in before]

        def holds():
            told = self.cluster.apply(pod("probe", self.image("unsigned")), "--dry-run=server").stderr
            return name in told and not any(other in told for other in others)
        wait_for("the policy", holds, 30)

    def wait_asked(self):
        """Until the API server asks the webhook, and can: the caBundle is there."""
        wait_for("the webhook to be asked", lambda: "denied the request" in self.cluster.apply(
            pod("probe", self.image("unsigned")), "--dry-run=server").stderr, 30)

    def get(self, *arguments):
        return json.loads(self.cluster.done("get", *arguments, "-o", "json"))
