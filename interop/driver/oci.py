"""The registry protocol in its plainest form, to look at what clients have written and to write broken evidence.

Written from the distribution and image specifications, and independent of every client that is judged with it.
"""

import gzip
import hashlib
import io
import json
import tarfile

from .instance import http
from .table import Fail

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ACCEPT = ", ".join([IMAGE, INDEX, "application/vnd.docker.distribution.manifest.v2+json",
                    "application/vnd.docker.distribution.manifest.list.v2+json"])
EMPTY = b"{}"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _archive(content: bytes) -> bytes:
    """A tar archive with one file, the same bytes every time."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo("content.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


class Repository:
    """A repository of a registry that asks for no credentials."""

    def __init__(self, host: str, name: str):
        self.host, self.name = host, name
        self.base = f"http://{host}/v2/{name}"

    def at(self, reference: str) -> str:
        """The name of an image in it, by tag or digest."""
        return f"{self.host}/{self.name}{'@' if ':' in reference else ':'}{reference}"

    def manifest(self, reference: str):
        """Bytes and media type of a manifest, or None where there is none."""
        status, headers, body = http("GET", f"{self.base}/manifests/{reference}", headers={"Accept": ACCEPT})
        if status == 404:
            return None
        if status != 200:
            raise Fail(f"GET {self.base}/manifests/{reference}: {status} {body[:200]!r}")
        headers = {name.lower(): value for name, value in headers.items()}
        return body, headers["content-type"]

    def document(self, reference: str) -> dict:
        found = self.manifest(reference)
        if found is None:
            raise Fail(f"{self.at(reference)} is not there")
        return json.loads(found[0])

    def digest_of(self, reference: str) -> str:
        found = self.manifest(reference)
        if found is None:
            raise Fail(f"{self.at(reference)} is not there")
        return digest(found[0])

    def blob(self, name: str) -> bytes:
        status, _, body = http("GET", f"{self.base}/blobs/{name}")
        if status != 200:
            raise Fail(f"GET {self.base}/blobs/{name}: {status}")
        return body

    def put_blob(self, data: bytes, media_type: str) -> dict:
        """Uploads a blob and returns its descriptor."""
        name = digest(data)
        status, headers, body = http("POST", f"{self.base}/blobs/uploads/", b"")
        if status != 202:
            raise Fail(f"POST {self.base}/blobs/uploads/: {status} {body[:200]!r}")
        place = {key.lower(): value for key, value in headers.items()}["location"]
        if place.startswith("/"):
            place = f"http://{self.host}{place}"
        place += ("&" if "?" in place else "?") + f"digest={name}"
        status, _, body = http("PUT", place, data, {"Content-Type": "application/octet-stream"})
        if status != 201:
            raise Fail(f"PUT {place}: {status} {body[:200]!r}")
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def put_manifest(self, data: bytes, media_type: str, tag: str | None = None) -> dict:
        reference = tag or digest(data)
        status, _, body = http("PUT", f"{self.base}/manifests/{reference}", data, {"Content-Type": media_type})
        if status != 201:
            raise Fail(f"PUT {self.base}/manifests/{reference}: {status} {body[:200]!r}")
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def put_image(self, content: bytes, tag: str | None = None, platform: str = "amd64") -> dict:
        """A small image whose one layer holds a file of this content. Returns its descriptor."""
        archive = _archive(content)
        layer = self.put_blob(gzip.compress(archive, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
        configuration = {"architecture": platform, "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [digest(archive)]}}
        config = self.put_blob(json.dumps(configuration).encode(), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer]}
        return self.put_manifest(json.dumps(manifest).encode(), IMAGE, tag)

    def copy_image(self, source: "Repository", reference: str, tag: str | None = None) -> dict:
        """The same image, for evidence of its own."""
        data, media_type = source.manifest(reference)
        document = json.loads(data)
        for child in document.get("manifests", []):
            self.copy_image(source, child["digest"])
        for part in [document.get("config"), *document.get("layers", [])]:
            if part is not None:
                self.put_blob(source.blob(part["digest"]), part["mediaType"])
        return self.put_manifest(data, media_type, tag)

    # What is attached to an image -----------------------------------------------------------------------------------

    def has_referrers_api(self, subject: str) -> bool:
        return http("GET", f"{self.base}/referrers/{subject}")[0] == 200

    def referrers(self, subject: str) -> list:
        """Descriptors of what refers to a digest, from the API or else from the tag that stands in for it."""
        status, _, body = http("GET", f"{self.base}/referrers/{subject}")
        if status == 200:
            return json.loads(body)["manifests"]
        found = self.manifest(subject.replace(":", "-"))
        return [] if found is None else json.loads(found[0])["manifests"]

    def bundles(self, subject: str) -> list:
        """The bundles attached to a digest: pairs of their manifest and their bytes."""
        found = []
        for descriptor in self.referrers(subject):
            manifest = self.document(descriptor["digest"])
            for layer in manifest.get("layers", []):
                if layer["mediaType"].startswith("application/vnd.dev.sigstore.bundle"):
                    found.append((manifest, self.blob(layer["digest"])))
        return found

    def attach(self, subject: dict, bundle: bytes, like: dict):
        """Attaches a bundle to an image, with the annotations of another attached bundle's manifest."""
        manifest = {
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": BUNDLE,
            "config": self.put_blob(EMPTY, "application/vnd.oci.empty.v1+json"),
            "layers": [self.put_blob(bundle, BUNDLE)],
            "subject": subject, "annotations": like["annotations"],
        }
        descriptor = self.put_manifest(json.dumps(manifest).encode(), IMAGE)
        if not self.has_referrers_api(subject["digest"]):
            descriptor |= {"artifactType": BUNDLE, "annotations": like["annotations"]}
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}
            self.put_manifest(json.dumps(index).encode(), INDEX, subject["digest"].replace(":", "-"))

    def older(self, subject: str, kind: str):
        """The manifest under one of cosign's older tags (`sig` or `att`), or None."""
        found = self.manifest(f"{subject.replace(':', '-')}.{kind}")
        return None if found is None else json.loads(found[0])
