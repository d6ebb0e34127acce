"""What is revoked: the webhook obeys the newest list within a minute, and tells of one that does not count."""

import json
import time

from control_plane import wait_for
from driver.instance import EMAIL
from driver.table import Fail, Table
from objects import pod
from scene import Scene

REFUSED = "countersign_admission_revocation_lists_refused_total"
REASON = "the laptop was stolen"


def rows(table: Table, scene: Scene):
    alerts = scene.home / "revoked.jsonl"
    before = list(scene.webhook.balancer.ports)
    first = put(scene)
    port = scene.webhook.start("--revocation-key", scene.instance.data / "keys" / "revocation.pub", "--reverify=1h",
                               "--reports=off", "--alert-file", alerts)
    for other in before:
        scene.webhook.stop(other)
    try:
        table.row("revocation", "admission", "a signer who is revoked is refused within a minute, and what runs is told",
                  lambda: revoked(scene, alerts))
        table.row("revocation", "kubectl", "a scan and a plan of the cluster obey the same list", lambda: looked(scene))
        table.row("revocation", "admission", "an older list that is put back is not obeyed, and told at the object",
                  lambda: put_back(scene, first))
        table.row("revocation", "admission", "what is undone is admitted again within a minute", lambda: undone(scene))
    finally:
        for _ in before:
            scene.webhook.start()
        scene.webhook.stop(port)


def put(scene: Scene) -> str:
    """Puts the instance's list into the cluster, and gives the object."""
    text = scene.run("revoke", "list", "--dir", scene.instance.data, "--kubernetes").stdout
    scene.cluster.done("apply", "-f", "-", given=text)
    return text


def revoke(scene: Scene, *what: str):
    scene.run("revoke", *what, "--dir", scene.instance.data, "--reason", REASON, "--by", "bob")


def tried(scene: Scene) -> str:
    """Why a signed image is refused now; nothing when it is admitted."""
    done = scene.cluster.apply(pod("tried", scene.image("signed")), "--dry-run=server")
    return "" if done.returncode == 0 else done.stderr


def revoked(scene: Scene, alerts) -> str:
    wait_for("the list to be obeyed", lambda: not tried(scene))
    scene.admitted(pod("stays", scene.image("signed")))
    # It is known before what changes is to be told.
    known = 'countersign_continuous_workloads{status="passed"}'
    wait_for("what runs to be verified", lambda: any(
        line.startswith(known) and not line.endswith(" 0") for line in scene.webhook.get("/metrics").splitlines()))
    begun = time.monotonic()
    revoke(scene, "--identity", EMAIL)
    put(scene)
    told = wait_for("the refusal", lambda: tried(scene), 60)
    after = time.monotonic() - begun
    missing = [word for word in ["revoked", REASON, "by bob", "RevocationList revocations"] if word not in told]
    if missing:
        raise Fail(f"expected {missing} in the refusal, found {told}")

    def alerted():
        lines = [json.loads(line) for line in alerts.read_text().splitlines()] if alerts.exists() else []
        return [line for line in lines if line["workload"]["name"] == "stays"
                and line["changes"][0]["is"] == "failed" and REASON in line["changes"][0]["message"]]
    wait_for("the alert", alerted, 60)
    return f"after {after:.1f} s"


def looked(scene: Scene):
    by = ["--cluster-policies", "-n", "default", "--trusted-root", scene.instance.trusted_root]
    obeying = [*by, "--revocation-key", scene.instance.data / "keys" / "revocation.pub"]
    for command in [["scan", "control", "CS-0003"], ["admission", "plan"]]:
        told = scene.run(*command, *obeying, code=2).stdout
        if REASON not in told:
            raise Fail(f"expected {REASON} from {command}, found {told}")
        # Nobody is named who may revoke. What else there is in the namespace is of no account here.
        told = scene.run(*command, *by, code=None).stdout
        if REASON in told:
            raise Fail(f"expected nothing of {REASON} from {command}, found {told}")


def put_back(scene: Scene, older: str) -> str:
    refused = count(scene)
    scene.cluster.done("apply", "-f", "-", given=older)
    uid = scene.get("revocationlist", "revocations")["metadata"]["uid"]

    def told():
        events = scene.get("events.events.k8s.io", "-n", "default")["items"]
        return [event["note"] for event in events if event["reason"] == "RevocationListRefused"
                and event["regarding"]["uid"] == uid and "an older revocation list" in event["note"]]
    note = wait_for("the event", told, 60)[0]
    if count(scene) <= refused:
        raise Fail(f"{REFUSED} stayed {refused}")
    if REASON not in tried(scene):
        raise Fail("the older list is obeyed")
    told = scene.run("scan", "control", "CS-0003", "--cluster-policies", "--trusted-root", scene.instance.trusted_root,
                     "--revocation-key", scene.instance.data / "keys" / "revocation.pub", code=5).stderr
    if "an older revocation list" not in told:
        raise Fail(f"expected a scan to remember what it saw, found {told}")
    return note[:160]


def undone(scene: Scene) -> str:
    entries = json.loads(scene.run("revoke", "list", "--dir", scene.instance.data, "--output", "json").stdout)
    begun = time.monotonic()
    revoke(scene, "undo", str(entries["list"]["entries"][-1]["id"]))
    put(scene)
    wait_for("the signed image to be admitted", lambda: not tried(scene), 60)
    return f"after {time.monotonic() - begun:.1f} s"


def count(scene: Scene) -> int:
    lines = scene.webhook.get("/metrics").splitlines()
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(REFUSED))
