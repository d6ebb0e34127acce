"""A proxy in front of a registry: it counts requests, may ask for a token, and can be told to fail.

A fault is a function `fault(handler, forward)` which answers in the registry's place; `forward()` gives what the
registry would have answered.
"""

import http.client
import http.server
import json
import threading
from dataclasses import dataclass

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Answer:
    status: int
    headers: list
    body: bytes


class Proxy:
    """`allows(handler)` returns None, or the answer for who may not pass. `rules` are pairs of a test of method and
    path, and the fault for what it picks."""

    def __init__(self, upstream: str, allows=None):
        self.upstream, self.allows = upstream, allows
        self.rules, self.requests = [], []
        self.closing = threading.Event()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One write for headers and body, and no wait for an acknowledgement between two answers.
            wbufsize = -1
            disable_nagle_algorithm = True
            closing = proxy.closing

            def answer(self):
                self.received = body = self._body()
                proxy.requests.append((self.command, self.path))
                refused = proxy.allows(self) if proxy.allows else None
                if refused is not None:
                    return self.send(refused)
                forward = lambda: proxy._forward(self, body)
                for matches, fault in list(proxy.rules):
                    if matches(self.command, self.path):
                        return fault(self, forward)
                self.send(forward())

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = answer

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def send(self, answer: Answer, length=None):
                """Sends an answer; `length` is what to say about its body, when that is a lie."""
                self.send_response(answer.status)
                names = {name.lower() for name, _ in answer.headers}
                for name, value in answer.headers:
                    self.send_header(name, value)
                # An answer to HEAD keeps the length that the registry gave; others say how much really follows.
                if "content-length" not in names:
                    self.send_header("Content-Length", str(len(answer.body) if length is None else length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
                self.wfile.flush()

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                # A client that went away in the middle of a fault.
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _forward(self, handler, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() not in HOP_BY_HOP}
            if handler.command in ("PUT", "POST", "PATCH"):
                headers["Content-Length"] = str(len(body))
            connection.request(handler.command, handler.path, body or None, headers)
            answer = connection.getresponse()
            dropped = HOP_BY_HOP - {"content-length"} if handler.command == "HEAD" else HOP_BY_HOP
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
            return Answer(answer.status, kept, answer.read())
        finally:
            connection.close()

    def count(self) -> int:
        """How many requests came since the last call."""
        number, self.requests = len(self.requests), []
        return number

    def stop(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


def refusal(status: int, code: str, message: str, headers=()) -> Answer:
    """An error as the distribution specification writes it."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status, [("Content-Type", "application/json"), *headers], body)
