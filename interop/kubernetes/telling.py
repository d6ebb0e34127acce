"""What the webhook writes into the cluster: events of what it refused, reports of what runs."""

from control_plane import wait_for
from driver.table import Fail, Table
from objects import REPORT_KINDS, pod
from scene import Scene


def rows(table: Table, scene: Scene):
    table.row("events", "admission", "a refusal is told at the policy, once, and a dry run is not", lambda: events(scene))
    table.row("reports", "admission", "what runs has a report in both families, which goes with it", lambda: reports(scene))


def of_policy(scene: Scene) -> dict:
    """The events about policies, by what they say."""
    found = scene.get("events.events.k8s.io", "-n", "default")["items"]
    return {event["note"]: event for event in found if event["regarding"]["kind"] == "ImagePolicy"}


def events(scene: Scene):
    scene.refused(pod("only-tried", scene.image("unsigned")), "denied", arguments=["--dry-run=server"])
    for _ in range(3):
        scene.refused(pod("told", scene.image("unsigned")), "denied")

    def told():
        return [event for note, event in of_policy(scene).items() if note.startswith("Pod default/told: ")]
    event = wait_for("the event", told)[0]
    if (event["reason"], event["type"], event["action"]) != ("PolicyViolation", "Warning", "Refused"):
        raise Fail(f"found {event}")
    policy = scene.get("imagepolicy", event["regarding"]["name"])
    # kubectl describe looks for the id.
    if event["regarding"].get("uid") != policy["metadata"]["uid"]:
        raise Fail(f"expected the policy's uid, found {event['regarding']}")
    described = scene.cluster.done("describe", "imagepolicy", event["regarding"]["name"])
    if "PolicyViolation" not in described:
        raise Fail(f"kubectl describe does not show it: {described}")
    if any("only-tried" in note for note in of_policy(scene)):
        raise Fail("a dry run made an event")
    return event["note"][:160]


def reports(scene: Scene):
    for kind in REPORT_KINDS:
        scene.admitted(kind)
    for kind in REPORT_KINDS:
        scene.cluster.done("wait", "--for=condition=established", f"crd/{kind['metadata']['name']}", "--timeout=30s")
    scene.admitted(pod("reported", scene.image("signed")))
    uid = scene.get("pod", "reported")["metadata"]["uid"]
    port = scene.webhook.start("--reverify=2s")
    try:
        for plural in ["policyreports.wgpolicyk8s.io", "reports.openreports.io"]:
            name = f"countersign-{uid}"
            wait_for(plural, lambda: scene.cluster.kubectl("get", plural, name).returncode == 0)
            report = scene.get(plural, name)
            if report["summary"]["pass"] < 1 or report["results"][0]["properties"]["kind"] != "ImagePolicy":
                raise Fail(f"found {report}")
        scene.cluster.done("delete", "pod", "reported", "--force", "--grace-period=0")
        wait_for("the report to go", lambda: scene.cluster.kubectl("get", plural, name).returncode != 0)
    finally:
        scene.webhook.stop(port)
