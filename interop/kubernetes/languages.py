"""The same rows under a policy of each language."""

from control_plane import wait_for
from driver.table import Fail, Table
from objects import deployment, pod
from policies import Language, languages, of_older_form
from scene import STRANGER, Scene


def rows(table: Table, scene: Scene) -> str:
    """Gives the resource whose policy holds at the end."""
    before = []
    for language in languages(scene.instance, scene.repository.host):
        of_a_language(table, scene, language, before)
        before = [language.resource]
    older(table, scene, before)
    return before[0]


def of_a_language(table: Table, scene: Scene, language: Language, before: list):
    label = language.name.lower()

    def row(what, body):
        table.row(language.name, "admission", what, body)

    def pinned(tag: str, name: str) -> str:
        scene.admitted(pod(name, scene.image(tag)))
        found = scene.cluster.done("get", "pod", name, "-o", "jsonpath={.spec.containers[*].image}")
        if found != scene.pinned_image(tag):
            raise Fail(f"expected {scene.pinned_image(tag)}, found {found}")
        return found

    row("the policy is applied and holds", lambda: scene.hold(language.policy, *before))
    row("a signed image is admitted, and pinned", lambda: pinned("signed", f"signed-{label}"))
    row("an image that cosign signed is admitted, and pinned", lambda: pinned("by-cosign", f"by-cosign-{label}"))
    row("an unsigned image is refused", lambda: scene.refused(
        pod("unsigned", scene.image("unsigned")), "denied the request", language.policy["metadata"]["name"]))
    row("an image signed by somebody else is refused", lambda: scene.refused(
        pod("wrong", scene.image("wrong")), "denied the request", STRANGER))
    row("one bad image of two is refused", lambda: scene.refused(
        pod("two", scene.image("signed"), scene.image("unsigned")), "unsigned"))
    row("a dry run is refused too", lambda: scene.refused(
        pod("dry", scene.image("unsigned")), "denied", arguments=["--dry-run=server"]))

    def changed():
        done = scene.cluster.kubectl("set", "image", f"pod/signed-{label}", f"c0={scene.image('unsigned')}")
        if done.returncode == 0 or "denied" not in done.stderr:
            raise Fail(f"expected a refusal, found {done.stderr}")
    row("a change to an unsigned image is refused", changed)

    def debugged():
        done = scene.cluster.kubectl("debug", f"signed-{label}", f"--image={scene.image('unsigned')}", "--attach=false")
        if done.returncode == 0 or "denied" not in done.stderr:
            raise Fail(f"expected a refusal, found {done.stdout}{done.stderr}")
    row("kubectl debug with an unsigned image is refused", debugged)
    row("a Deployment with an unsigned image is refused", lambda: scene.refused(
        deployment("bad", scene.image("unsigned")), "denied"))

    def rolled_out():
        name = f"good-{label}"
        scene.admitted(deployment(name, scene.image("signed")))

        def pods():
            found = scene.cluster.done("get", "pods", "-l", f"app={name}", "-o",
                                       "jsonpath={.items[*].spec.containers[*].image}").split()
            return len(found) == 2 and found
        if set(wait_for("the pods of the Deployment", pods)) != {scene.pinned_image("signed")}:
            raise Fail("the pods are not pinned")
    row("a Deployment of a signed image becomes pods that are pinned", rolled_out)


def older(table: Table, scene: Scene, before: list):
    """cosign's older form, by key, under the policy of every tutorial of Kyverno."""
    made = []

    def signed():
        made.append(of_older_form(scene.sign_with_older_cosign("by-key"), scene.repository.host))
        scene.hold(made[0].policy)
        # Both policies are about this image now, and only one of them is content with it.
        refusal = scene.refused(pod("by-key", scene.image("by-key")), before[0].partition("/")[2])
        scene.cluster.done("delete", before[0])
        wait_for("the image to be admitted",
                 lambda: scene.cluster.apply(pod("by-key", scene.image("by-key"))).returncode == 0, 30)
        before[:] = [made[0].resource]
        return refusal
    table.row("ClusterPolicy, by key", "admission", "an image that cosign 2 signed is admitted", signed)
    table.row("ClusterPolicy, by key", "admission", "one that only somebody else signed is refused", lambda: scene.refused(
        pod("other", scene.image("signed")), "check-keys"))
