"""How the webhook works beside a policy: controllers, exemptions, wrong policies, metrics."""

import re

from control_plane import wait_for
from driver.table import Fail, Table
from objects import deployment, pod, restricted
from scene import Scene
from webhook import NAME, NAMESPACE, webhooks


def rows(table: Table, scene: Scene):
    table.row("controllers", "admission", "a ReplicaSet's pod is refused, and its event says why", lambda: event(scene))
    table.row("exemptions", "admission", "kube-system and the webhook's own namespace are not judged",
              lambda: exempt(scene))
    table.row("policies", "admission", "one that cannot be read refuses, and says what is wrong in it",
              lambda: unreadable(scene))
    table.row("metrics", "admission", "reviews and their time are counted", lambda: counted(scene))


def event(scene: Scene):
    # Made where nothing is judged, then made again where it is: the set is older than the policy.
    replica_set = deployment("older", scene.image("unsigned"))
    replica_set["kind"], replica_set["spec"]["replicas"] = "ReplicaSet", 0
    scene.cluster.done("delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration", NAME)
    wait_for("the webhook to be forgotten", lambda: scene.cluster.apply(replica_set).returncode == 0, 20)
    webhooks(scene.cluster, scene.webhook.url)
    scene.wait_asked()
    scene.cluster.done("scale", "replicaset/older", "--replicas=1")

    def told():
        return [event["message"] for event in scene.get("events")["items"] if event["reason"] == "FailedCreate"
                and event["involvedObject"]["name"] == "older"]
    message = wait_for("the event", told)[0]
    if "denied the request" not in message or "unsigned" not in message:
        raise Fail(f"expected the refusal, found {message}")
    return message[:160]


def exempt(scene: Scene):
    scene.admitted(pod("unsigned", scene.image("unsigned"), namespace="kube-system"))
    scene.admitted(pod("unsigned", scene.image("unsigned"), namespace=NAMESPACE)
                   | {"spec": {**restricted(scene.image("unsigned"))}})


def unreadable(scene: Scene):
    wrong = {"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "wrong"},
             "spec": {"images": ["**"], "signedBye": {}}}
    scene.admitted(wrong)
    try:
        return wait_for("the refusal", lambda: re.search(
            "[^\n]*signedBye[^\n]*",
            scene.cluster.apply(pod("any", scene.image("signed")), "--dry-run=server").stderr), 30).group(0)[:160]
    finally:
        scene.cluster.done("delete", "imagepolicy", "wrong")
        wait_for("the policy to be gone", lambda: "signedBye" not in scene.cluster.apply(
            pod("any", scene.image("unsigned")), "--dry-run=server").stderr, 30)


def counted(scene: Scene):
    found = scene.webhook.get("/metrics")
    for name in ["countersign_admission_reviews_total", "countersign_admission_review_duration_seconds_bucket",
                 "countersign_admission_certificate_expiry_timestamp_seconds"]:
        if name not in found:
            raise Fail(f"no {name} in the metrics")
