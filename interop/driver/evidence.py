"""Signed images and their broken relatives: each is an image in a repository of its own with one thing wrong."""

import base64
import json
from dataclasses import dataclass

from .image_clients import Trust
from .oci import Repository
from .table import Fail

ANNOTATIONS = {"env": "prod", "commit": "0123abc"}
TAGS = {"signature": "sig", "attestation": "att"}


@dataclass(frozen=True)
class Case:
    """An image and what a verifier is asked about it. `codes`: how Countersign's refusal may end. `known`: whether
    others refuse it too."""

    what: str
    reference: str
    trust: Trust
    annotations: dict | None = None
    type: str | None = None
    codes: str = "2"
    known: bool = True


class Evidence:
    """What one signer has attached to one image."""

    def __init__(self, host: str, name: str, form: str, trust: Trust, kind: str):
        self.form, self.trust, self.kind = form, trust, kind
        self.repository = Repository(host, name)
        self.image = self.repository.put_image(f"the image of {name}".encode(), "v1")
        self.other = self.repository.put_image(f"another image of {name}".encode(), "v2")
        self.reference = self.repository.at(self.image["digest"])

    def check_shape(self):
        """The evidence is where its form says, and one piece of it."""
        if self.form == "bundle":
            number = len(self.repository.bundles(self.image["digest"]))
        else:
            number = len((self.repository.older(self.image["digest"], TAGS[self.kind]) or {"layers": []})["layers"])
        if number != 1:
            raise Fail(f"expected one {self.kind} of the {self.form} form at {self.reference}, found {number}")

    def alone(self) -> "Evidence":
        """The same image with only the older form of its evidence, for readers who would take the bundle first."""
        alone = self._relative("older-alone", self.image)
        alone.repository.copy_image(self.repository, self.other["digest"])
        return alone

    def without_promise(self) -> "Evidence":
        """The same image with evidence of the older form that says nothing of the log it is in."""
        return self._relative("no-promise", self.image, annotations=_without_promise)

    def without_entry(self) -> "Evidence":
        """The same image with a bundle that has no entry of a log."""
        return self._relative("unlogged", self.image, bundle=_without_entry)

    def _relative(self, name: str, subject: dict, **changes) -> "Evidence":
        """The evidence, changed, at `subject` in a repository of its own."""
        relative = Evidence.__new__(Evidence)
        relative.form, relative.trust, relative.kind = self.form, self.trust, self.kind
        relative.image, relative.other = subject, self.other
        relative.repository = Repository(self.repository.host, f"{self.repository.name}--{name}")
        relative.reference = relative.repository.at(subject["digest"])
        relative.repository.copy_image(self.repository, subject["digest"], "v1")
        (_move_bundle if self.form == "bundle" else _move_older)(self, relative, **changes)
        return relative

    def broken(self, other: Trust) -> list:
        """Everything that every verifier must refuse."""
        who = "another key" if self.trust.name == "key" else "another identity"
        cases = [Case(who, self.reference, other, codes="2 4")]
        if self.trust.name == "keyless":
            issuer = self.trust.other(issuer=self.trust.issuer + "/other")
            cases.append(Case("another issuer", self.reference, issuer, codes="2 4"))
        if self.kind == "signature":
            wrong = {**ANNOTATIONS, "env": "test"}
            cases.append(Case("a wrong annotation", self.reference, self.trust, wrong, codes="2 3 4"))
        if self.kind == "attestation":
            cases.append(Case("another type", self.reference, self.trust, type="vuln", codes="2 3 4"))
        # The older form does not name its key: what was altered looks as if another had signed it.
        nameless = (self.form, self.trust.name) == ("older", "key")
        relatives = [("the evidence of another image", "moved", self.other, {}, "2 3"),
                     ("an altered payload", "altered", self.image, {"payload": _alter}, "2 4" if nameless else "2")]
        if self.form == "bundle":
            relatives += [("a missing log entry", "unlogged", self.image, {"bundle": _without_entry}, "2"),
                          ("a false inclusion proof", "unproved", self.image, {"bundle": _with_false_proof}, "2")]
        elif self.trust.name == "keyless":
            relatives.append(("a missing timestamp", "untimed", self.image, {"annotations": _without_time}, "2"))
        for what, name, subject, changes, codes in relatives:
            relative = self._relative(name, subject, **changes)
            # cosign takes the present time where a timestamp is missing, also when it is told to use one.
            known = what != "a missing timestamp"
            cases.append(Case(what, relative.reference, self.trust, codes=codes, known=known))
        return cases


def _move_bundle(source: Evidence, target: Evidence, payload=None, bundle=None):
    manifest, data = source.repository.bundles(source.image["digest"])[0]
    document = json.loads(data)
    if payload is not None:
        envelope = document["dsseEnvelope"]
        envelope["payload"] = _encoded(payload(_decoded(envelope["payload"])))
    if bundle is not None:
        bundle(document)
    target.repository.attach(target.image, json.dumps(document).encode(), manifest)


def _move_older(source: Evidence, target: Evidence, payload=None, annotations=None):
    tag = TAGS[source.kind]
    manifest = source.repository.older(source.image["digest"], tag)
    if manifest is None:
        raise Fail(f"{source.reference} has no evidence of the older form")
    config = source.repository.blob(manifest["config"]["digest"])
    for layer in manifest["layers"]:
        data = source.repository.blob(layer["digest"])
        if payload is not None:
            document = json.loads(data)
            if "payloadType" in document:
                document["payload"] = _encoded(payload(_decoded(document["payload"])))
            else:
                document = payload(document)
            data = json.dumps(document).encode()
        if annotations is not None:
            annotations(layer["annotations"])
        moved = target.repository.put_blob(data, layer["mediaType"])
        # The configuration lists the layers by digest.
        config = config.replace(layer["digest"].encode(), moved["digest"].encode())
        layer |= moved
    manifest["config"] = target.repository.put_blob(config, manifest["config"]["mediaType"])
    target.repository.put_manifest(json.dumps(manifest).encode(), manifest["mediaType"],
                                   f"{target.image['digest'].replace(':', '-')}.{tag}")


def _decoded(text: str) -> dict:
    return json.loads(base64.b64decode(text))


def _encoded(document: dict) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def _alter(payload: dict) -> dict:
    """Says something else about the same image: a statement's predicate, or the annotations of the older payload."""
    part = "predicate" if "predicateType" in payload else "optional"
    return {**payload, part: {"altered": "yes"}}


def _without_entry(bundle: dict):
    bundle["verificationMaterial"]["tlogEntries"] = []


def _with_false_proof(bundle: dict):
    bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"][0] = "A" * 43 + "="


def _without_promise(annotations: dict):
    del annotations["dev.sigstore.cosign/bundle"]


def _without_time(annotations: dict):
    del annotations["dev.sigstore.cosign/rfc3161timestamp"]
