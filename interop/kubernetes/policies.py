"""The same demand in each language: an image of the registry must be signed by one address."""

from dataclasses import dataclass

from driver.instance import EMAIL


@dataclass
class Language:
    """A policy, and what kubectl calls it."""

    name: str
    policy: dict
    resource: str


def _named(api_version: str, kind: str, name: str, spec: dict) -> dict:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def languages(instance, host: str) -> list:
    issuer = instance.claims(instance.email_token())["iss"]
    own = _named("countersign.dev/v1alpha1", "ImagePolicy", "own-form",
                 {"images": [f"{host}/**"], "signedBy": {"email": EMAIL, "issuer": issuer}})
    cluster_policy = _named("kyverno.io/v1", "ClusterPolicy", "check-images", {
        "validationFailureAction": "Enforce", "webhookTimeoutSeconds": 10, "rules": [{
            "name": "signed", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "verifyImages": [{"type": "SigstoreBundle", "imageReferences": [f"{host}/*"], "attestors": [{
                "entries": [{"keyless": {"subject": EMAIL, "issuer": issuer, "rekor": {"url": instance.url}}}]}]}]}]})
    validating = _named("policies.kyverno.io/v1", "ImageValidatingPolicy", "validate-images", {
        "validationActions": ["Deny"],
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}]},
        "autogen": {"podControllers": {"controllers": ["deployments", "replicasets"]}},
        "matchImageReferences": [{"glob": f"{host}/*"}],
        "attestors": [{"name": "alice", "cosign": {"keyless": {"identities": [{"subject": EMAIL, "issuer": issuer}]}}}],
        "validations": [{"message": "an image is not signed by alice", "expression":
                         "images.containers.map(image, verifyImageSignatures(image, [attestors.alice]))"
                         ".all(count, count > 0)"}]})
    cluster_image = _named("policy.sigstore.dev/v1beta1", "ClusterImagePolicy", "cluster-images", {
        "images": [{"glob": f"{host}/**"}],
        "authorities": [{"name": "alice", "signatureFormat": "bundle",
                         "keyless": {"identities": [{"subject": EMAIL, "issuer": issuer}]}}]})
    return [Language("own", own, "imagepolicy/own-form"),
            Language("ClusterPolicy", cluster_policy, "clusterpolicy/check-images"),
            Language("ImageValidatingPolicy", validating, "imagevalidatingpolicy/validate-images"),
            Language("ClusterImagePolicy", cluster_image, "clusterimagepolicy/cluster-images")]


def of_older_form(public_key: str, host: str) -> Language:
    """What Kyverno's users have had for years: a key, and cosign's tags that end in `.sig`."""
    policy = _named("kyverno.io/v1", "ClusterPolicy", "check-keys", {
        "validationFailureAction": "enforce", "rules": [{
            "name": "by-key", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "verifyImages": [{"imageReferences": [f"{host}/*"], "attestors": [{"count": 1, "entries": [
                {"keys": {"publicKeys": public_key, "rekor": {"ignoreTlog": True}}}]}]}]}]})
    return Language("ClusterPolicy, by key", policy, "clusterpolicy/check-keys")
