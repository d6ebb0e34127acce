"""Images on the move: copied, saved, loaded, listed, downloaded and cleaned by Countersign, and judged by others."""

import base64
import json
import os
import subprocess

from .clients import Refused
from .evidence import ANNOTATIONS, Evidence
from .oci import BUNDLE, Repository
from .table import Fail, Table

STATEMENT = "https://slsa.dev/provenance/v1"


def refuses(verifier, reference, trust, form="bundle"):
    try:
        verifier.verify(reference, trust, form)
    except Refused as refusal:
        wrong = verifier.refused_well(refusal, "3")
        if wrong:
            raise Fail(f"{reference}: {wrong}") from None
        return
    raise Fail(f"accepted {reference}, which has no signature")


def full(cast, registry, name) -> Evidence:
    """An image with a signature in both forms and an attestation."""
    evidence = Evidence(registry.host, f"acme/{name}", "bundle", cast.key_for(cast.ours), "signature")
    cast.ours.sign(evidence.reference, evidence.trust, "older", ANNOTATIONS)
    cast.ours.attest(evidence.reference, cast.predicate, evidence.trust, "bundle")
    return evidence


def judged(cast, repository: Repository, evidence: Evidence) -> str:
    """What arrived at `repository` is whole in the eyes of others."""
    reference = repository.at(evidence.image["digest"])
    for verifier in (cast.ours, cast.cosign3):
        if verifier is not None:
            verifier.verify(reference, evidence.trust, "bundle", ANNOTATIONS)
            verifier.verify_attestation(reference, evidence.trust, "bundle")
    if repository.older(evidence.image["digest"], "sig") is None:
        raise Fail("the signature of the older form did not come along")
    cast.crane("validate", "--remote", reference)
    if cast.oras is not None:
        types = [one["artifactType"] for one in cast.oras.discover(reference)]
        if types != [BUNDLE, BUNDLE]:
            raise Fail(f"expected two bundles, oras lists {types}")
    return "image, two bundles and the older signature; cosign, crane and oras agree"


def copied(cast, source, target) -> str:
    evidence = full(cast, source, f"copied-to-{target.name}")
    there = Repository(target.host, "mirror/app")
    cast.ours.run("copy", evidence.repository.at("v1"), there.at("v1"))
    if there.digest_of("v1") != evidence.image["digest"]:
        raise Fail("the copy has another digest")
    return judged(cast, there, evidence)


def saved(cast, source, target) -> str:
    evidence = full(cast, source, f"saved-for-{target.name}")
    folder = cast.folder / f"layout-{source.name}"
    cast.ours.run("save", "--dir", folder, evidence.repository.at("v1"))
    there = Repository(target.host, "loaded/app")
    cast.ours.run("load", "--dir", folder, there.at("v1"))
    return judged(cast, there, evidence)


def layouts(cast, registry, writer, reader) -> str:
    """One client saves, the other loads: the layout on disk is cosign's."""
    evidence = Evidence(registry.host, f"acme/layout-{writer.name.replace(' ', '')}", "older",
                        cast.key_for(writer), "signature")
    cast.cosign2.sign(evidence.reference, evidence.trust, "older", ANNOTATIONS)
    folder = cast.folder / f"layout-{writer.name}-{registry.name}"
    writer.run("save", "--dir", folder, evidence.repository.at("v1"))
    there = Repository(registry.host, f"{evidence.repository.name}-loaded")
    reader.run("load", "--dir", folder, there.at("v1"))
    cast.cosign2.verify(there.at(evidence.image["digest"]), evidence.trust, "older", ANNOTATIONS)
    return "signature of the older form, verified by cosign 2 where it was loaded"


def tree(cast, registry, client) -> str:
    """`tree`, of what Countersign has attached."""
    evidence = full(cast, registry, f"tree-{client.name}".replace(" ", ""))
    said = client.run("tree", evidence.repository.at("v1"))
    bundles = [manifest["layers"][0]["digest"] for manifest, _ in evidence.repository.bundles(evidence.image["digest"])]
    missing = [bundle for bundle in bundles if bundle not in said]
    if missing:
        raise Fail(f"expected {missing} in\n{said}")
    bare = client.run("tree", evidence.repository.at("v2"))
    if any(bundle in bare for bundle in bundles):
        raise Fail(f"shows the evidence of another image:\n{bare}")
    return "both bundles, and none of them at another image"


def downloaded(cast, registry, client) -> str:
    """`download attestation` and `download signature`, of what Countersign has attached."""
    evidence = full(cast, registry, f"download-{client.name}".replace(" ", ""))
    attestations, signatures = (
        [json.loads(line) for line in client.run("download", kind, evidence.reference).splitlines()
         if line.startswith("{")] for kind in ("attestation", "signature"))
    statements = []
    for document in attestations:
        envelope = document.get("dsseEnvelope", document)
        statements.append(json.loads(base64.b64decode(envelope["payload"])))
    subjects = [(one["predicateType"], one["subject"][0]["digest"]["sha256"]) for one in statements]
    if (STATEMENT, evidence.image["digest"].partition(":")[2]) not in subjects:
        raise Fail(f"expected the attestation of this image, found {subjects}")
    if not signatures:
        raise Fail("expected signatures as lines of JSON, found none")
    return f"{len(attestations)} attestations, {len(signatures)} signatures"


def cleaned(cast, registry) -> str:
    evidence = full(cast, registry, "clean")
    cast.ours.run("clean", "--force", evidence.reference)
    refuses(cast.ours, evidence.reference, evidence.trust)
    if evidence.repository.older(evidence.image["digest"], "sig") is not None:
        raise Fail("the older signature is still there")
    if cast.oras is not None and cast.oras.discover(evidence.reference):
        raise Fail("oras still lists what was attached")
    cast.crane("validate", "--remote", evidence.reference)
    return "nothing is attached any more, and the image is whole"


def attached(cast, registry) -> str:
    """A signature made away from the registry, and attached as in cosign's guides: cosign verifies it."""
    evidence = Evidence(registry.host, "acme/attach", "older", cast.key_for(cast.ours), "signature")
    payload, signature = cast.folder / "attach.json", cast.folder / "attach.sig"
    payload.write_text(json.dumps({"critical": {
        "identity": {"docker-reference": evidence.reference.partition("@")[0]},
        "image": {"docker-manifest-digest": evidence.image["digest"]}, "type": "cosign container image signature",
    }, "optional": None}, separators=(",", ":")))
    cast.cosign2.run("sign-blob", "--key", evidence.trust.private, "--yes", "--tlog-upload=false",
                     "--output-signature", signature, payload)
    cast.ours.run("attach", "signature", "--payload", payload, "--signature", signature, evidence.reference)
    cast.cosign2.verify(evidence.reference, evidence.trust, "older")
    cast.ours.verify(evidence.reference, evidence.trust, "older")
    return "a signature of cosign's making, verified by both"


def triangulated(cast, registry) -> str:
    evidence = Evidence(registry.host, "acme/triangulate", "older", cast.key_for(cast.ours), "signature")
    ours, theirs = (client.run("triangulate", evidence.reference).strip().splitlines()[-1]
                    for client in (cast.ours, cast.cosign2))
    if ours != theirs:
        raise Fail(f"expected {theirs}, found {ours}")
    return ours.rpartition("/")[2][:19] + "….sig"


def concurrent(cast, registry) -> str:
    """Four signers at once, on one image: no signature is lost in the listing."""
    evidence = Evidence(registry.host, "acme/concurrent", "bundle", cast.key_for(cast.ours), "signature")
    arguments = [str(part) for part in [cast.ours.binary, "sign", *cast.ours.signing(evidence.trust, "bundle")]]
    running = [subprocess.Popen([*arguments, "-a", f"number={number}", evidence.reference],
                                env={**os.environ, **cast.ours.environment}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for number in range(4)]
    said = [process.communicate(timeout=120)[0] for process in running]
    if any(process.returncode for process in running):
        raise Fail("\n".join(said))
    number = len(evidence.repository.bundles(evidence.image["digest"]))
    if number != 4:
        raise Fail(f"expected 4 bundles, found {number}")
    return "4 bundles of 4"


def rows(table: Table, cast, registries: list):
    for registry, other in zip(registries, reversed(registries)):
        here = registry.name
        for what, body in [
            (f"copy, {here} to {other.name}", lambda: copied(cast, registry, other)),
            (f"save and load, {here} to {other.name}", lambda: saved(cast, registry, other)),
            (f"tree, {here}", lambda: tree(cast, registry, cast.ours)),
            (f"download, {here}", lambda: downloaded(cast, registry, cast.ours)),
            (f"clean, {here}", lambda: cleaned(cast, registry)),
            (f"four signers at once, {here}", lambda: concurrent(cast, registry)),
        ]:
            table.row("countersign", "moves evidence", what, body)
        if cast.cosign3 is not None:
            for what, body in [(f"tree, {here}", lambda: tree(cast, registry, cast.cosign3)),
                               (f"download, {here}", lambda: downloaded(cast, registry, cast.cosign3))]:
                table.row("cosign 3", "shows what countersign attached", what, body)
        if cast.cosign2 is None:
            continue
        for what, body in [
            (f"save by cosign, load by countersign, {here}",
             lambda: layouts(cast, registry, cast.cosign2, cast.ours)),
            (f"save by countersign, load by cosign, {here}",
             lambda: layouts(cast, registry, cast.ours, cast.cosign2)),
            (f"attach signature, {here}", lambda: attached(cast, registry)),
            (f"triangulate, {here}", lambda: triangulated(cast, registry)),
        ]:
            table.row("cosign 2", "moves evidence", what, body)
