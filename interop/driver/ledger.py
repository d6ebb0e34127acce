"""What a log acknowledged, and whether it is all there: read from the public tiles, with a Merkle tree of our own."""

import base64
import http.client
import json
import os
import urllib.parse

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .table import Fail
from .tree import BUNDLE, Tree, bundle_path, checkpoint, entries_of, sha256


class Entries:
    """Makes requests whose signatures verify, each of its own digest."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        spki = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.verifier = {"publicKey": {"rawBytes": base64.b64encode(spki).decode()},
                         "keyDetails": "PKIX_ECDSA_P256_SHA_256"}

    def request(self) -> str:
        data = os.urandom(16)
        signature = self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        return json.dumps({"hashedRekordRequestV002": {
            "digest": base64.b64encode(sha256(data)).decode(),
            "signature": {"content": base64.b64encode(signature).decode(), "verifier": self.verifier},
        }})


def post(connection, body: str):
    """Status and text of the answer to one request."""
    connection.request("POST", "/api/v2/log/entries", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def connect(url: str):
    return http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)


class Ledger:
    """The tree of a log as far as it was followed, and every checkpoint that was seen."""

    def __init__(self):
        self.tree, self.acknowledgements, self.seen = Tree(), 0, {}

    def see(self, size, root, where):
        if self.seen.setdefault(size, root) != root:
            raise Fail(f"two roots for size {size}: {self.seen[size].hex()} and, {where}, {root.hex()}")

    def fetch(self, instance, size):
        """The entries from the end of our tree to `size`, from the log's entry bundles."""
        position = len(self.tree.leaves)
        while position < size:
            number, start = divmod(position, BUNDLE)
            width = min(BUNDLE, size - number * BUNDLE)
            entries = entries_of(instance.get(f"/api/v2/tile/entries/{bundle_path(number, width)}"))
            if len(entries) != width:
                raise Fail(f"bundle {number}: expected {width} entries, found {len(entries)}")
            yield from entries[start:]
            position = number * BUNDLE + width

    def check(self, instance, acknowledged):
        """That what was acknowledged since the last time is in the log, and the log the same as then."""
        size, root = checkpoint(instance.get("/api/v2/checkpoint").decode())
        if size < max(self.seen, default=0):
            raise Fail(f"the checkpoint has size {size} and there was one of {max(self.seen)}")
        self.see(size, root, "in the checkpoint")
        expected = {}
        for _, entry in acknowledged:
            proof = entry["inclusionProof"]
            self.see(*checkpoint(proof["checkpoint"]["envelope"]), "in an acknowledgement")
            index = int(entry["logIndex"])
            if index in expected or index < len(self.tree.leaves):
                raise Fail(f"index {index} was handed out twice")
            expected[index] = base64.b64decode(entry["canonicalizedBody"])
        for body in self.fetch(instance, size):
            index = len(self.tree.leaves)
            if expected.pop(index, body) != body:
                raise Fail(f"entry {index} is not the one that was acknowledged")
            self.tree.append(body, self.seen.keys())
        if expected:
            raise Fail(f"{len(expected)} acknowledged entries are lost, the first has index {min(expected)}, size {size}")
        for seen, root in self.seen.items():
            if seen and self.tree.roots.get(seen) != root:
                raise Fail(f"the checkpoint of size {seen} is not a part of today's tree of {size}")
        self.acknowledgements += len(acknowledged)
