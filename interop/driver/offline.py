"""Verification makes no connection: shown by watching its system calls, and by taking the network away."""

import shutil

from .clients import PREDICATE_TYPE, Refused, command
from .table import DoesNotApply, Fail, Skip, Table


def rows(table: Table, instance, work, signed):
    verbs = {
        "blob": ["verify-blob"],
        "attestation": ["verify-blob-attestation", "--type", PREDICATE_TYPE],
    }

    def arguments(kind):
        bundles = signed.get(("countersign", kind.name))
        if bundles is None:
            raise Fail(f"countersign did not sign a {kind.name} in this run")
        return [
            instance.binary, *verbs[kind.name], "--bundle", bundles[0], "--trusted-root", instance.trusted_root,
            "--certificate-identity", kind.identity, "--certificate-oidc-issuer", work.issuers[kind.name],
            work.artifact,
        ]

    def watched(kind):
        if shutil.which("strace") is None:
            raise Skip("strace is not installed")
        record = work.folder / f"{kind.name}.strace"
        command(["strace", "-f", "-e", "trace=network", "-o", record, *arguments(kind)])
        calls = [line for line in record.read_text().splitlines() if "socket(" in line or "connect(" in line]
        if calls:
            raise Fail("opened sockets:\n" + "\n".join(calls))
        return "verified, and opened no socket"

    def alone(kind):
        try:
            command(["unshare", "--user", "--map-root-user", "--net", "true"])
        except (Refused, FileNotFoundError):
            raise DoesNotApply("this machine lets nobody take the network away; the watched run stands") from None
        command(["unshare", "--user", "--map-root-user", "--net", *arguments(kind)])
        return "verified"

    for kind in work.kinds:
        table.row("countersign", "verifies, its system calls watched", kind.name, lambda kind=kind: watched(kind))
        table.row("countersign", "verifies without any network", kind.name, lambda kind=kind: alone(kind))
