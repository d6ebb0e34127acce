"""A registry that fails, in front of Countersign: each fault has its own exit code and message, and "could not look" is
never "no signature"."""

import json
import time
from dataclasses import dataclass

from .clients import Refused
from .evidence import Evidence
from .oci import INDEX
from .proxy import Answer, Proxy, refusal
from .table import Fail, Table

# Nothing that a registry does may hold a verification longer than this, in seconds; what is asked for is less.
LONGEST = 40
ASKED = "4s"


def status(code: int, name: str, headers=()):
    """The registry refuses with this status."""
    return lambda handler, forward: handler.send(refusal(code, name, name.lower(), headers))


def truncated(handler, forward):
    """Less than was announced, and the end of the connection."""
    answer = forward()
    half = answer.body[:len(answer.body) // 2]
    handler.close_connection = True
    handler.send(Answer(answer.status, answer.headers, half), length=len(answer.body))


def wrong_digest(handler, forward):
    """The bytes of something else, under the digest that was asked for."""
    answer = forward()
    changed = answer.body.replace(b"sha256", b"sha265", 1) if b"sha256" in answer.body else answer.body[::-1]
    handler.send(Answer(answer.status, answer.headers, changed))


def endless_pages(handler, forward):
    """Empty pages of a list of referrers, each of which names a next one."""
    path, _, page = handler.path.partition("?page=")
    following = f'<{path.partition("?")[0]}?page={int(page or 0) + 1}>; rel="next"'
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    handler.send(Answer(200, [("Content-Type", INDEX), ("Link", following)], body))


def _stream(handler, chunk: bytes, wait: float, enough):
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("Content-Type", INDEX)
    handler.end_headers()
    try:
        while not enough():
            handler.wfile.write(chunk)
            handler.wfile.flush()
            if wait and handler.closing.wait(wait):
                return
    except OSError:
        # The client has had enough, which is what it should.
        pass


def endless_body(handler, forward):
    """A body without an end: far more than any limit, as fast as it is read."""
    sent = [0]

    def enough():
        sent[0] += 1
        return sent[0] > 8192
    _stream(handler, b" " * 65536, 0, enough)


def slow(handler, forward):
    """One byte, and a second later another."""
    until = time.monotonic() + 3 * LONGEST
    _stream(handler, b" ", 1, lambda: time.monotonic() > until)


def at_first(fault):
    """The fault, once; then the registry is well again."""
    happened = []

    def once(handler, forward):
        if happened:
            return handler.send(forward())
        happened.append(True)
        fault(handler, forward)
    return once


@dataclass(frozen=True)
class Fault:
    what: str
    make: object
    # Which questions it answers, which exit codes are right, and what the message must name one of.
    stages: tuple
    codes: tuple
    words: tuple = ()


LOOKING = ("image", "list", "manifest", "bundle")
FAULTS = [
    Fault("401", lambda: status(401, "UNAUTHORIZED"), LOOKING, (6,), ("401", "login", "credential")),
    Fault("403 for what is missing", lambda: status(403, "DENIED"), LOOKING, (6,), ("403", "forbid", "denie")),
    Fault("404 for an image", lambda: status(404, "MANIFEST_UNKNOWN"), ("image",), (1, 6), ("does not exist",)),
    Fault("404 for what is listed", lambda: status(404, "MANIFEST_UNKNOWN"), ("manifest", "bundle"), (2, 6)),
    Fault("429, Retry-After, always", lambda: status(429, "TOOMANYREQUESTS", [("Retry-After", "1")]), LOOKING, (6,),
          ("429", "too often", "--timeout")),
    Fault("429, Retry-After, at first", lambda: at_first(status(429, "TOOMANYREQUESTS", [("Retry-After", "1")])),
          LOOKING, (0,)),
    Fault("503, always", lambda: status(503, "UNAVAILABLE"), LOOKING, (6,), ("503", "--timeout")),
    Fault("503, at first", lambda: at_first(status(503, "UNAVAILABLE")), LOOKING, (0,)),
    Fault("a truncated body", lambda: truncated, ("list", "manifest", "bundle"), (6,)),
    # The one fault that is an answer: nothing is attached.
    Fault("404 for the list", lambda: status(404, "NAME_UNKNOWN"), ("list",), (3,)),
    Fault("a wrong digest", lambda: wrong_digest, ("manifest", "bundle"), (2, 6), ("digest", "sha256")),
    Fault("a list without an end", lambda: endless_pages, ("referrers",), (2, 6)),
    Fault("a body without an end", lambda: endless_body, ("list", "manifest", "bundle"), (2, 6)),
    Fault("slow", lambda: slow, ("list",), (6,)),
]


def matchers(evidence: Evidence) -> dict:
    """For each question that a verification asks, what its requests look like."""
    image = evidence.image["digest"]
    descriptor = evidence.repository.referrers(image)[0]
    layer = evidence.repository.document(descriptor["digest"])["layers"][0]["digest"]
    lists = (f"/referrers/{image}", f"/manifests/{image.replace(':', '-')}")
    return {
        "image": lambda method, path: path.endswith(("/manifests/v1", f"/manifests/{image}")),
        "referrers": lambda method, path: f"/referrers/{image}" in path,
        "list": lambda method, path: path.partition("?")[0].endswith(lists),
        "manifest": lambda method, path: path.endswith(f"/manifests/{descriptor['digest']}"),
        "bundle": lambda method, path: path.endswith(f"/blobs/{layer}"),
    }


def verify(cast, evidence: Evidence, reference: str):
    """Exit code, what was said and how long it took."""
    start = time.monotonic()
    try:
        said, code = cast.ours.run("verify", "--timeout", ASKED, *cast.ours.asked(evidence.trust, "bundle"),
                                   reference), 0
    except Refused as refusal:
        said, code = str(refusal), refusal.code
    return code, said, time.monotonic() - start


def withstands(cast, evidence: Evidence, proxy: Proxy, fault: Fault) -> str:
    problems, picked = [], matchers(evidence)
    tried = 0
    for stage in fault.stages:
        met = []
        answer = fault.make()

        def met_fault(handler, forward, answer=answer, met=met):
            met.append(handler.path)
            answer(handler, forward)

        proxy.rules = [(picked[stage], met_fault)]
        code, said, seconds = verify(cast, evidence, f"{proxy.host}/{evidence.repository.name}:v1")
        proxy.rules = []
        tried += len(met)
        if not met:
            problems.append(f"{stage}: the fault was never met")
        elif code not in fault.codes:
            problems.append(f"{stage}: expected exit code {' or '.join(map(str, fault.codes))}\n{said}")
        elif code not in (0, 3) and "no signature" in said.lower():
            problems.append(f"{stage}: says that there is no signature\n{said}")
        elif code not in (0, 3) and fault.words and not any(word in said.lower() for word in fault.words):
            problems.append(f"{stage}: expected one of {fault.words} in the message\n{said}")
        if seconds > LONGEST:
            problems.append(f"{stage}: took {seconds:.0f} s")
    if problems:
        raise Fail("\n".join(problems))
    return f"{len(fault.stages)} questions, {tried} requests met it"


def unreachable(cast, evidence: Evidence) -> str:
    proxy = Proxy(evidence.repository.host)
    gone = proxy.host
    proxy.stop()
    code, said, _ = verify(cast, evidence, f"{gone}/{evidence.repository.name}:v1")
    if code != 6:
        raise Fail(f"expected exit code 6\n{said}")
    return "nobody listens: exit code 6"


def unsigned(cast, evidence: Evidence, proxy: Proxy) -> str:
    """What the codes above are told apart from: an image without any signature has 3."""
    code, said, _ = verify(cast, evidence, f"{proxy.host}/{evidence.repository.name}:v2")
    if code != 3:
        raise Fail(f"expected exit code 3\n{said}")
    return "exit code 3"


def writing(cast, evidence: Evidence, proxy: Proxy) -> str:
    """A signature that could not be written is not reported as made."""
    problems = []
    for what, answer in [("401", status(401, "UNAUTHORIZED")), ("403", status(403, "DENIED")),
                         ("503", status(503, "UNAVAILABLE"))]:
        for method in ("PUT", "POST"):
            proxy.rules = [(lambda asked, path, method=method: asked == method, answer)]
            try:
                cast.ours.sign(f"{proxy.host}/{evidence.repository.name}@{evidence.other['digest']}", evidence.trust,
                               "bundle")
                problems.append(f"{what} to {method}: exit code 0")
            except Refused as refusal:
                if refusal.code != 6:
                    problems.append(f"{what} to {method}: expected exit code 6\n{refusal}")
            proxy.rules = []
    if evidence.repository.referrers(evidence.other["digest"]):
        problems.append("something was attached all the same")
    if problems:
        raise Fail("\n".join(problems))
    return "6 refusals: exit code 6, and nothing attached"


def rows(table: Table, cast, registries: list):
    for registry in registries:
        proxy, made = Proxy(registry.host), []

        def begin():
            evidence = Evidence(registry.host, "acme/faults", "bundle", cast.key_for(cast.ours), "signature")
            cast.ours.sign(evidence.reference, evidence.trust, "bundle")
            code, said, _ = verify(cast, evidence, f"{proxy.host}/{evidence.repository.name}:v1")
            if code != 0:
                raise Fail(f"refused a good signature through the proxy\n{said}")
            made.append(evidence)

        if table.row("faults", "countersign verifies", f"no fault, {registry.name}", begin):
            for fault in FAULTS:
                table.row("faults", "countersign verifies", f"{fault.what}, {registry.name}",
                          lambda fault=fault: withstands(cast, made[0], proxy, fault))
            for what, body in [("an image without a signature", lambda: unsigned(cast, made[0], proxy)),
                               ("nobody listens", lambda: unreachable(cast, made[0]))]:
                table.row("faults", "countersign verifies", f"{what}, {registry.name}", body)
            table.row("faults", "countersign signs", f"refused writes, {registry.name}",
                      lambda: writing(cast, made[0], proxy))
        proxy.stop()
