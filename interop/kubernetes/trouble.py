"""What goes wrong in a cluster: replicas that end, a registry that hangs, a clock that is wrong."""

import threading
import time
from pathlib import Path

from control_plane import wait_for
from driver.image_clients import Trust
from driver.proxy import Proxy
from driver.table import Fail, Skip, Table
from objects import pod
from scene import Scene

# What the API server waits by webhooks.yaml, in seconds.
PATIENCE = 10


def rows(table: Table, scene: Scene):
    table.row("restart", "admission", "without the webhook nothing comes in; with it again, it does",
              lambda: restarted(scene))
    table.row("replicas", "admission", "one of two is killed under load: no answer is wrong", lambda: killed(scene))
    table.row("registry", "admission", "one that hangs: refused in time, as what could not be checked",
              lambda: hung(scene))
    table.row("registry", "admission", "one that comes back: admitted", lambda: back(scene))
    table.row("clock", "admission", "an hour ahead: what was signed stays signed", lambda: ahead(scene))
    table.row("clock", "admission", "an hour behind: what comes from its future is refused, in words",
              lambda: behind(scene))


def restarted(scene: Scene):
    for port in list(scene.webhook.balancer.ports):
        scene.webhook.stop(port)
    refusal = scene.refused(pod("away", scene.image("signed")), "failed calling webhook")
    scene.webhook.start()
    scene.admitted(pod("back", scene.image("signed")))
    return refusal


def killed(scene: Scene):
    second = scene.webhook.start()
    answers, stop = [], threading.Event()

    def ask(tag: str, good: bool):
        number = 0
        while not stop.is_set():
            number += 1
            done = scene.cluster.apply(pod(f"load-{tag}-{number}", scene.image(tag)), "--dry-run=server")
            answers.append((good, done.returncode == 0, done.stderr))
    threads = [threading.Thread(target=ask, args=pair) for pair in [("signed", True), ("unsigned", False)]]
    for thread in threads:
        thread.start()
    try:
        wait_for("some answers", lambda: len(answers) > 20, 60)
        scene.webhook.kill(second)
        wait_for("more answers", lambda: len(answers) > 60, 60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        scene.webhook.balancer.ports.remove(second)
    wrong = [text for good, admitted, text in answers if admitted and not good]
    if wrong:
        raise Fail(f"{len(wrong)} unsigned images were admitted")
    # A connection that was cut is no answer, and the API server refuses: closed, and never open.
    unfair = [text for good, admitted, text in answers if good and not admitted]
    if any("failed calling webhook" not in text for text in unfair):
        raise Fail(f"a signed image was refused: {unfair[0]}")
    if len(unfair) > 4:
        raise Fail(f"{len(unfair)} signed images were refused after one replica had ended: {unfair[-1]}")
    return f"{len(answers)} answers, 0 wrong; {len(unfair)} connections cut"


def _proxied(scene: Scene):
    """A registry whose answers can be held back, with a signed image that nobody has seen there."""
    if not hasattr(scene, "proxy"):
        scene.proxy = Proxy(scene.repository.host)
    return scene.proxy


def hung(scene: Scene):
    proxy = _proxied(scene)
    proxy.rules.append((lambda method, path: True, lambda handler, forward: handler.closing.wait(60)))
    image = scene.image("signed").replace(scene.repository.host, proxy.host)
    policy = {"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "behind-a-proxy"},
              "spec": {"images": [f"{proxy.host}/**"], "signedBy": {
                  "email": "alice@example.com", "issuer": scene.instance.claims(scene.instance.email_token())["iss"]}}}
    scene.admitted(policy)
    wait_for("the policy", lambda: "behind-a-proxy" in scene.cluster.apply(
        pod("probe", image), "--dry-run=server").stderr, 60)
    start = time.monotonic()
    refusal = scene.refused(pod("hung", image), "could not be checked", "no answer")
    took = time.monotonic() - start
    if took > PATIENCE:
        raise Fail(f"the answer took {took:.1f} s, and the API server waits {PATIENCE} s")
    return f"{took:.1f} s: {refusal}"


def back(scene: Scene):
    proxy = _proxied(scene)
    proxy.rules.clear()
    image = scene.image("signed").replace(scene.repository.host, proxy.host)
    wait_for("the image to be admitted", lambda: scene.cluster.apply(pod("hung", image)).returncode == 0, 30)
    scene.cluster.done("delete", "imagepolicy", "behind-a-proxy")


def _with_a_clock(scene: Scene, offset: str, then):
    """A replica whose clock is wrong takes the place of all others for as long as `then` takes."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise Skip("faketime is not installed")
    balancer, others = scene.webhook.balancer, scene.webhook.balancer.ports
    balancer.only([])
    try:
        # Not through its command, which would stand between the replica and signals.
        port = scene.webhook.start(environment={
            "LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
        done = then()
        scene.webhook.stop(port)
        return done
    finally:
        balancer.only(others)


def ahead(scene: Scene):
    _with_a_clock(scene, "+1h", lambda: scene.admitted(pod("ahead", scene.image("signed"))))


def behind(scene: Scene):
    scene.put("from-the-future")
    scene.sign("from-the-future")
    return _with_a_clock(scene, "-1h", lambda: scene.refused(
        pod("behind", scene.image("from-the-future")), "future"))
