"""The same demand in each language: an image of the registry must be signed by one address."""

from driver.instance import EMAIL


def policies(instance, host: str):
    """The same demand in each language."""
    issuer = instance.claims(instance.email_token())["iss"]
    own = {"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own-form"},
           "spec": {"images": [f"{host}/**"], "signedBy": {"email": EMAIL, "issuer": issuer}}}
    kyverno = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "check-images"},
               "spec": {"validationFailureAction": "Enforce", "webhookTimeoutSeconds": 10, "rules": [{
                   "name": "signed", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                   "verifyImages": [{"type": "SigstoreBundle", "imageReferences": [f"{host}/*"], "attestors": [{
                       "entries": [{"keyless": {"subject": EMAIL, "issuer": issuer,
                                                "rekor": {"url": instance.url}}}]}]}]}]}}
    return [("own", own, "imagepolicy/own-form"), ("kyverno", kyverno, "clusterpolicy/check-images")]
