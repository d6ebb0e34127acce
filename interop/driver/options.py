"""What options of `sign` do, in the eyes of cosign: several images with one login, no log, and a dry run."""

import json

from .clients import Refused
from .evidence import Evidence
from .table import Fail, Table


def one_login(cast, registry) -> str:
    """Three images in one command: one certificate for all, and cosign verifies each."""
    images = [Evidence(registry.host, f"acme/together-{number}", "bundle", cast.identities["signature"], "signature")
              for number in range(3)]
    cast.ours.sign([image.reference for image in images], images[0].trust, "bundle")
    certificates = set()
    for image in images:
        [(_, bundle)] = image.repository.bundles(image.image["digest"])
        certificates.add(json.loads(bundle)["verificationMaterial"]["certificate"]["rawBytes"])
        cast.cosign3.verify(image.reference, image.trust, "bundle")
    if len(certificates) != 1:
        raise Fail(f"expected one certificate for three images, found {len(certificates)}")
    return "one certificate; cosign verifies all three"


def without_log(cast, registry, signer, verifier) -> str:
    """A key and nothing else: accepted by who asks for no log, refused by who does."""
    name = f"acme/unlogged-{signer.name}-{verifier.name}".replace(" ", "")
    evidence = Evidence(registry.host, name, "bundle", cast.key_for(signer), "signature")
    who = ["--key", evidence.trust.private, "--yes"]
    if signer is cast.ours:
        signer.run("sign", *who, "--no-tlog", evidence.reference)
    else:
        config = json.loads(cast.instance.signing_config.read_text())
        for service in ("rekorTlogUrls", "rekorTlogConfig", "tsaUrls", "tsaConfig"):
            config.pop(service, None)
        nothing = cast.folder / "no-services.json"
        nothing.write_text(json.dumps(config))
        signer.run("sign", *who, "--signing-config", nothing, "--trusted-root", cast.instance.trusted_root,
                   evidence.reference)
    [(_, bundle)] = evidence.repository.bundles(evidence.image["digest"])
    if json.loads(bundle)["verificationMaterial"].get("tlogEntries"):
        raise Fail("there is a log entry")
    asked = verifier.asked(evidence.trust, "bundle")
    verifier.run("verify", *asked, "--insecure-ignore-tlog", evidence.reference)
    try:
        verifier.run("verify", *asked, evidence.reference)
    except Refused as refusal:
        wrong = verifier.refused_well(refusal, "2")
        if wrong:
            raise Fail(wrong) from None
        return "accepted with --insecure-ignore-tlog, and only with it"
    raise Fail("accepted without a log entry")


def dry_run(cast, registry) -> str:
    evidence = Evidence(registry.host, "acme/dry", "older", cast.key_for(cast.ours), "signature")
    cast.ours.run("sign", "--dry-run", *cast.ours.signing(evidence.trust, "older"), evidence.reference)
    if evidence.repository.referrers(evidence.image["digest"]):
        raise Fail("a bundle was attached")
    if evidence.repository.older(evidence.image["digest"], "sig"):
        raise Fail("a signature of the older form was attached")
    return "nothing was written"


def rows(table: Table, cast, registries: list):
    for registry in registries:
        table.row("countersign", "signs with --dry-run", registry.name, lambda: dry_run(cast, registry))
        if cast.cosign3 is None:
            continue
        table.row("cosign 3", "countersign signs several, cosign 3 verifies", f"one login, {registry.name}",
                  lambda: one_login(cast, registry))
        for signer, verifier in [(cast.ours, cast.ours), (cast.ours, cast.cosign3), (cast.cosign3, cast.ours)]:
            client = verifier.name if signer is cast.ours else signer.name
            table.row(client, f"{signer.name} signs, {verifier.name} verifies", f"a key and no log, {registry.name}",
                      lambda: without_log(cast, registry, signer, verifier))
