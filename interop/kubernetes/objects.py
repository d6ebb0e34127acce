"""Objects that are applied: workloads, and the definitions of kinds of others."""


def kind(group: str, name: str, plural: str, version="v1", scope="Cluster") -> dict:
    """The definition of a kind of others, whatever is in it: theirs are a thousand lines each, and what is in a policy is
    read by the webhook."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope,
                 "names": {"kind": name, "plural": plural, "singular": name.lower()},
                 "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                     "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


POLICY_KINDS = [
    kind("kyverno.io", "ClusterPolicy", "clusterpolicies"),
    kind("policies.kyverno.io", "ImageValidatingPolicy", "imagevalidatingpolicies"),
    kind("policy.sigstore.dev", "ClusterImagePolicy", "clusterimagepolicies", "v1beta1"),
]

REPORT_KINDS = [
    kind("wgpolicyk8s.io", "PolicyReport", "policyreports", "v1alpha2", "Namespaced"),
    kind("openreports.io", "Report", "reports", "v1alpha1", "Namespaced"),
]


def pod(name: str, *images: str, namespace="default") -> dict:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {"containers": containers}}


def deployment(name: str, image: str) -> dict:
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}}}


def restricted(image: str) -> dict:
    return {"securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c0", "image": image, "securityContext": {
                "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}]}
