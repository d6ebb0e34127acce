"""Provenance that Countersign makes in a job of GitHub Actions: cosign verifies it, and refuses it where it is not true."""

import base64
import json

from .clients import Refused, command
from .instance import WORKFLOW, WORKFLOW_URI
from .table import Fail, Skip, Table

# As cosign calls provenance v1.
TYPE = "slsaprovenance1"


def _job(instance, commit):
    """The variables of a job, for the run that the workflow's token is of."""
    repository = WORKFLOW.split("/.github/")[0]
    return {
        "HOME": str(instance.folder), "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": repository, "GITHUB_REPOSITORY_ID": "1", "GITHUB_REPOSITORY_OWNER_ID": "2",
        "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": commit, "GITHUB_WORKFLOW_REF": WORKFLOW,
        "GITHUB_EVENT_NAME": "push", "GITHUB_RUN_ID": "42", "GITHUB_RUN_ATTEMPT": "1",
        "RUNNER_ENVIRONMENT": "github-hosted",
    }


def rows(table: Table, instance, found, work):
    token = work.folder / "provenance.token"
    claims = instance.workflow_token()
    token.write_text(claims)
    commit = instance.claims(claims)["sha"]
    issuer = work.issuers["attestation"]
    signing = ["--identity-token", token, "--signing-config", instance.signing_config,
               "--trusted-root", instance.trusted_root]
    made = {}

    def sign(name, variables, *arguments):
        bundle = work.folder / f"{name}.provenance.json"
        said = command([instance.binary, *arguments[:1], *signing, "--bundle", bundle, *arguments[1:]], variables)
        made[name] = bundle
        return said

    def level(name, commit, expected, because):
        said = sign(name, _job(instance, commit), "provenance", "--subject", work.artifact)
        if f"SLSA Build level {expected}: " not in said or because not in said:
            raise Fail(f"expected level {expected} because of \"{because}\":\n{said}")
        return f"level {expected}"

    def run():
        product = work.folder / "product.txt"
        sign("run", _job(instance, commit), "run", "--material", "*.none", "--product", "none/**",
             "--", "cp", work.artifact, product)

    def verify(binary, name, artifact, kind=TYPE):
        if isinstance(binary, Exception):
            raise Skip(str(binary))
        command([binary, "verify-blob-attestation", "--type", kind, "--bundle", made[name],
                 "--trusted-root", instance.trusted_root, "--certificate-identity", WORKFLOW_URI,
                 "--certificate-oidc-issuer", issuer, artifact], {"HOME": str(instance.folder)})

    def refuses(binary, name, artifact, kind=TYPE):
        try:
            verify(binary, name, artifact, kind)
        except Refused:
            return "refused"
        raise Fail("it verified")

    table.row("countersign", "signs", "provenance of a hosted run, level 2",
              lambda: level("hosted", commit, 2, "github-hosted runner"))
    table.row("countersign", "signs", "provenance of another commit than the token's, level 1",
              lambda: level("other", "f" * 40, 1, "the certificate is for commit"))
    table.row("countersign", "signs", "nothing of a command without products", lambda: _no_products(run))
    for name, binary in (("cosign", found["cosign"]), ("countersign", instance.binary)):
        table.row(name, "verifies countersign", "provenance v1",
                  lambda binary=binary: verify(binary, "hosted", work.artifact))
        table.row(name, "refuses countersign", "provenance v1 of a changed artifact",
                  lambda binary=binary: refuses(binary, "hosted", work.changed))
        table.row(name, "refuses countersign", "provenance v1 asked for as v0.2",
                  lambda binary=binary: refuses(binary, "hosted", work.artifact, "slsaprovenance02"))
    table.row("countersign", "signs", "a statement with the digests of all dependencies",
              lambda: _pinned(made["hosted"]))


def _no_products(run):
    try:
        run()
    except Refused as problem:
        if "no file that --product means" not in str(problem):
            raise
        return "refused"
    raise Fail("it signed something")


def _pinned(bundle):
    envelope = json.loads(bundle.read_text())["dsseEnvelope"]
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    dependencies = predicate["buildDefinition"]["resolvedDependencies"]
    if not dependencies or not all(one.get("digest") for one in dependencies):
        raise Fail(f"a dependency has no digest: {dependencies}")
    return f"{len(dependencies)} dependencies"
