"""A Merkle tree of this program's own, and what is read from a tile log to build it."""

import base64
import hashlib

BUNDLE = 256


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Tree:
    """An append-only Merkle tree (RFC 6962) that remembers its root at every size which somebody asked for."""

    def __init__(self):
        self.leaves, self.stack, self.roots = [], [], {0: sha256(b"")}

    def append(self, entry: bytes, wanted: set):
        leaf = sha256(b"\0" + entry)
        self.leaves.append(leaf)
        height, node = 0, leaf
        while self.stack and self.stack[-1][0] == height:
            node = sha256(b"\1" + self.stack.pop()[1] + node)
            height += 1
        self.stack.append((height, node))
        if len(self.leaves) in wanted:
            self.roots[len(self.leaves)] = self.root()

    def root(self) -> bytes:
        if not self.stack:
            return sha256(b"")
        node = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            node = sha256(b"\1" + left + node)
        return node


def checkpoint(text: str):
    _, size, root = text.split("\n")[:3]
    return int(size), base64.b64decode(root)


def bundle_path(number: int, width: int) -> str:
    digits = f"{number:03d}" if number < 1000 else f"x{number // 1000:03d}/{number % 1000:03d}"
    return digits if width == BUNDLE else f"{digits}.p/{width}"


def entries_of(bundle: bytes) -> list:
    entries = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        entries.append(bundle[2:2 + length])
        bundle = bundle[2 + length:]
    return entries
