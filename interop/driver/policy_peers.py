"""Admission controllers of others over images whose signatures are in the instance's log of Rekor v1: Kyverno and
policy-controller, each told of the log, the authority and the CT log in its own kind of policy.

Asked are Kyverno's command `apply` and policy-controller's `tester`: both do with a policy and an image what their webhooks do,
with the same code, and need no cluster. The log's address in the policies is that of a proxy, which sees whether it is asked.
"""

import base64
import itertools
import json
from dataclasses import dataclass

from .clients import PREDICATE_TYPE, Refused, command
from .evidence import Evidence
from .image_clients import ALONE, TYPE, Trust
from .instance import Instance, pem
from .proxy import Proxy
from .rekor_v1 import Labelled, OlderCosign, told
from .table import DoesNotApply, Fail, Skip, Table

ASKED = ("POST", "/api/v1/log/entries/retrieve")
STRANGER = "mallory@example.com"


@dataclass(frozen=True)
class Image:
    """What a policy is asked about. `reason` is the peer's own for a refusal, None where the image must be admitted.
    `asks`: whether it must ask the log, because the evidence has no promise of it."""

    what: str
    reference: str
    reason: str | None = None
    asks: bool = False


@dataclass(frozen=True)
class Services:
    """What a policy says of the instance, in PEM, and where its log of Rekor v1 is."""

    url: str
    log: str
    log_key: str
    authority: str
    ct_key: str
    stamps: str


@dataclass(frozen=True)
class Way:
    """What is signed, who must have signed it, and somebody else who signs."""

    kind: str
    trust: Trust
    other: Trust

    def __str__(self):
        return f"{self.kind}, {self.trust.name}"


class Peer:
    def __init__(self, name: str, binary, folder, services: Services):
        self.name, self.binary, self.services, self.folder = name, binary, services, folder / f"policies of {name}"
        self.folder.mkdir()
        self.environment = {"HOME": str(self.folder), "DOCKER_CONFIG": str(self.folder),
                            "TUF_ROOT": str(self.folder / "no-tuf-root"), "NO_COLOR": "1", **ALONE}

    def file(self, name: str, document: dict):
        # By the names' endings Kyverno knows what to read; JSON is YAML too.
        path = self.folder / name
        path.write_text(json.dumps(document, indent=2))
        return path

    def run(self, *arguments) -> str:
        return command([self.binary, *arguments], self.environment)


class Kyverno(Peer):
    bundles = "its command line trusts nobody but the public instance for them; see kubernetes/kyverno.py"
    reasons = {
        "signature": "no signatures found",
        "attestation": "no matching attestations",
        "another identity": "subject mismatch: expected",
        "another key": "comparing public key PEMs",
        "not logged": "signature not found in transparency log",
        "another log": "rekor log public key not found",
    }

    @staticmethod
    def policy(name: str, images: str, demand: dict) -> dict:
        return {
            "apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {
                "name": name, "annotations": {"pod-policies.kyverno.io/autogen-controllers": "none"}}, "spec": {
                "background": False, "webhookConfiguration": {"timeoutSeconds": 30, "failurePolicy": "Fail"}, "rules": [{
                    "name": name, "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                    "verifyImages": [{"imageReferences": [images], "failureAction": "Enforce", **demand}]}]}}

    @staticmethod
    def demand(services: Services, way: Way) -> dict:
        trust, log = way.trust, {"url": services.log, "pubkey": services.log_key}
        # Also for a key it would fetch the public CT log's, if it were told of none.
        common = {"rekor": log, "ctlog": {"pubkey": services.ct_key}}
        entry = {"keys": {"publicKeys": trust.public.read_text(), **common}} if trust.name == "key" else {"keyless": {
            "subject": trust.identity, "issuer": trust.issuer, "roots": services.authority, **common}}
        demand = {"attestors": [{"entries": [entry]}]}
        return demand if way.kind == "signature" else {"attestations": [{"type": PREDICATE_TYPE, **demand}]}

    def judge(self, image: str, way: Way):
        policy = self.file("policy.yaml", self.policy("logged", "*", self.demand(self.services, way)))
        pod = self.file("pod.yaml", {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"},
            "spec": {"containers": [{"name": "c", "image": image}]}})
        answer = self.run("apply", policy, "--resource", pod, "--registry", "--remove-color")
        # Once where the image is verified, once where that is looked up for the answer.
        if "pass: 2, fail: 0, warn: 0, error: 0, skip: 0" not in answer:
            raise Fail(f"expected one rule that passes in both places\n{answer}")


class PolicyController(Peer):
    bundles = ("it reads those of keyless attestations alone, and finds no log by the id that it makes of a key in a TrustRoot "
               "(the digits in place of the bytes)")
    reasons = {
        "signature": "no signatures found",
        "attestation": "no matching attestations",
        "another identity": "none of the expected identities matched",
        "another key": "comparing public key PEMs",
        "not logged": "signature not found in transparency log",
        "another log": "rekor log public key not found",
    }

    def judge(self, image: str, way: Way):
        told, trust = self.services, way.trust
        who = {"key": {"data": trust.public.read_text()}} if trust.name == "key" else {"keyless": {
            "url": told.url, "trustRootRef": "instance",
            "identities": [{"issuer": trust.issuer, "subject": trust.identity}]}}
        if way.kind == "attestation":
            who["attestations"] = [{"name": "provenance", "predicateType": PREDICATE_TYPE}]
        policy = self.file("policy.yaml", {
            "apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": {"name": "logged"}, "spec": {
                "images": [{"glob": "**"}],
                "authorities": [{"name": "signer", **who, "ctlog": {"url": told.log, "trustRootRef": "instance"}}]}})
        encoded = lambda text: base64.b64encode(text.encode()).decode()
        log = lambda url, key: {"baseURL": url, "hashAlgorithm": "sha-256", "publicKey": encoded(key)}
        issuer = lambda name, url, chain: {
            "subject": {"organization": "interop", "commonName": name}, "uri": url, "certChain": encoded(chain)}
        root = self.file("trust-root.yaml", {
            "apiVersion": "policy.sigstore.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "instance"}, "spec": {
                "sigstoreKeys": {
                    "certificateAuthorities": [issuer("ca", told.url, told.authority)],
                    "tLogs": [log(told.log, told.log_key)],
                    "ctLogs": [log(told.url, told.ct_key)],
                    "timestampAuthorities": [issuer("tsa", told.url, told.stamps)]}}})
        self.run("--policy", policy, "--trustroot", root, "--image", image, "--log-level", "error")


def services(instance, proxy: Proxy) -> Services:
    ct_key = base64.b64decode(instance.root_document["ctlogs"][0]["publicKey"]["rawBytes"])
    return Services(
        instance.url, f"http://{proxy.host}", instance.get("/api/v1/log/publicKey").decode(),
        instance.get("/api/v1/rootCert").decode(), pem(ct_key, "PUBLIC KEY"),
        "".join(map(pem, instance.chain("timestampAuthorities"))))


def key(signer: OlderCosign, prefix) -> Trust:
    signer.run("generate-key-pair", "--output-key-prefix", prefix)
    return Trust("key", private=prefix.with_suffix(".key"), public=prefix.with_suffix(".pub"))


def sign(signer: OlderCosign, elsewhere: OlderCosign, predicate, host: str, way: Way) -> dict:
    """The images of one way to sign: where each is, by what is the matter with it."""
    made = {what: Evidence(host, f"logged/{way.kind}-{way.trust.name}-{what.replace(' ', '-')}", "older", way.trust, way.kind)
            for what in ("good", "none", "another", "not logged", "another log")}
    verb = ["sign"] if way.kind == "signature" else ["attest", "--predicate", predicate, "--type", TYPE]
    for what, client, trust, options in [
        ("good", signer, way.trust, []), ("another", signer, way.other, []), ("another log", elsewhere, way.trust, []),
        ("not logged", signer, way.trust, ["--tlog-upload=false"]),
    ]:
        client.run(*verb, *client.signing(trust, "older"), *options, made[what].reference)
    made["no promise"] = made["good"].without_promise()
    return {what: evidence.reference for what, evidence in made.items()}


def images(peer: Peer, made: dict, way: Way) -> list:
    who = "another key" if way.trust.name == "key" else "another identity"
    return [
        Image("admits what is logged", made["good"]),
        Image("asks the log where the evidence has no promise, and admits", made["no promise"], asks=True),
        Image("refuses an image that has none", made["none"], peer.reasons[way.kind]),
        Image(f"refuses {who}", made["another"], peer.reasons[who]),
        Image("asks the log, and refuses what is not in it", made["not logged"], peer.reasons["not logged"], asks=True),
        Image("refuses what another log promises", made["another log"], peer.reasons["another log"]),
    ]


def judge(peer: Peer, proxy: Proxy, way: Way, image: Image) -> str:
    proxy.count()
    try:
        peer.judge(image.reference, way)
        refusal = None
    except Refused as problem:
        refusal = str(problem)
    if image.reason is None and refusal is not None:
        raise Fail(f"refused\n{refusal}")
    if image.reason is not None and refusal is None:
        raise Fail("admitted")
    if image.reason is not None and image.reason not in refusal:
        raise Fail(f"expected the reason to be: {image.reason}\n{refusal}")
    asked, expected = set(proxy.requests), {ASKED} if image.asks else set()
    if asked != expected:
        raise Fail(f"expected it to ask the log {expected or 'nothing'}, it asked {asked or 'nothing'}")
    said = "admitted" if image.reason is None else refusal[refusal.rindex(image.reason):].rstrip(': "\']}\n')
    return f"{'asked the log; ' if image.asks else ''}{said}"


def rows(table: Table, cast, registries, found):
    """Judged on the first registry: where the evidence lies is for other rows."""
    table = Labelled(table)
    proxy = Proxy(cast.instance.url.removeprefix("http://"))
    peers, started, signers = [], [], []
    for kind, name in [(Kyverno, "Kyverno"), (PolicyController, "policy-controller")]:
        if isinstance(found[name.lower()], Exception):
            def absent(name=name):
                raise Skip(str(found[name.lower()]))
            table.row(name, "judges", "all", absent)
            continue

        def bundles(kind=kind):
            raise DoesNotApply(kind.bundles)
        table.row(name, "judges", "bundles", bundles)
        peers.append((kind, name))
    folder = cast.folder / "policy-peers"

    def begin():
        if cast.cosign2 is None:
            raise cast.missing["cosign-2"]
        folder.mkdir()
        (folder / "elsewhere").mkdir()
        started.append(Instance(cast.instance.binary, folder / "elsewhere"))
        view = told(cast.instance, "policy-peers")
        signers.extend([OlderCosign(cast, view), OlderCosign(cast, view, started[0])])
        peers[:] = [kind(name, found[name.lower()], folder, services(cast.instance, proxy)) for kind, name in peers]

    try:
        if table.row("countersign", "serves another log", "for Kyverno and policy-controller", begin, needed=True):
            for registry, way in itertools.product(registries[:1], ways(cast, signers[0], folder)):
                of_a_way(table, cast, peers, proxy, signers, registry, way)
    finally:
        proxy.stop()
        for instance in started:
            instance.stop()


def of_a_way(table, cast, peers, proxy, signers, registry, way):
    made = {}
    if table.row("cosign 2", "signs for Kyverno and policy-controller", str(way), lambda: made.update(
            sign(*signers, cast.predicate, registry.host, way))):
        for peer, image in ((peer, image) for peer in peers for image in images(peer, made, way)):
            table.row(peer.name, image.what, str(way), lambda: judge(peer, proxy, way, image))


def ways(cast, signer: OlderCosign, folder) -> list:
    token = folder / "stranger.token"
    token.write_text(cast.instance.email_token(STRANGER))
    stranger = Trust("keyless", token=token, identity=STRANGER, issuer=cast.identities["signature"].issuer)
    keys = key(signer, folder / "signer"), key(signer, folder / "stranger")
    return [Way(kind, *trusts) for kind, trust in cast.identities.items() for trusts in ((trust, stranger), keys)]
