"""Every kind of certificate that the instance issues, read by pkilint."""

import base64
import json

from .clients import Refused, command
from .instance import pem
from .table import Fail, Skip, Table

# Findings that stand, with the reason: code -> why. Everything else of severity ERROR or FATAL fails the row.
ACCEPTED = {}


def rows(table: Table, instance, found, signed):
    folder = instance.folder / "certificates"
    folder.mkdir()
    certificates = {}
    for kind, name in (("certificateAuthorities", "CA"), ("timestampAuthorities", "timestamp authority")):
        chain = instance.chain(kind)
        for number, der in enumerate(chain):
            place = "root" if number == len(chain) - 1 else ("first" if number == 0 else f"number {number}")
            certificates[f"{name}: {place}"] = der
    for (signer, kind), bundles in signed.items():
        if signer == "countersign":
            material = json.loads(bundles[0].read_text())["verificationMaterial"]
            certificates[f"leaf of a {kind}"] = base64.b64decode(material["certificate"]["rawBytes"])

    def lint(name, der):
        if isinstance(found["pkilint"], Exception):
            raise Skip(str(found["pkilint"]))
        file = folder / f"{name.replace(' ', '-').replace(':', '')}.pem"
        file.write_text(pem(der))
        arguments = [found["pkilint"] / "lint_pkix_cert", "lint", "--severity", "WARNING", "--format", "JSON", file]
        try:
            answer = command(arguments)
        except Refused as findings:
            # The exit code is the number of findings; the report is printed all the same.
            answer = str(findings).split("\n", 2)[2]
        report = json.loads(answer)
        results = [finding for result in report["results"] for finding in result["finding_descriptions"]]
        wrong = [f for f in results if f["severity"] in ("ERROR", "FATAL") and f["code"] not in ACCEPTED]
        if wrong:
            raise Fail("\n".join(f"{f['severity']} {f['code']}: {f.get('message')}" for f in wrong))
        return f"no errors, {len(results)} warnings" if results else "no errors, no warnings"

    for name, der in certificates.items():
        table.row("pkilint", "reads an issued certificate", name, lambda name=name, der=der: lint(name, der))
