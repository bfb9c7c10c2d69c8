"""A proxy on loopback in front of a real S3 server, which does to requests what networks and servers do.

`faults` is asked for every request and returns what shall happen to it: None (pass on), "500", "hang" (no answer until
the proxy stops), "truncate" (half of the reply, then the connection is cut), "flip" (one bit of the reply's body),
"flip-request" (one of the request's) or "lost" (done, but the reply is lost). `seen` holds (method, path) of each.
"""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = str | None
_PASSED_ON = {"connection", "transfer-encoding", "content-length"}


class Proxy:
    """What a test changes and looks at."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.faults: Callable[[str, str], Fault] = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        self.stopping = threading.Event()
        self.endpoint = ""

    def first(self, count: int, fault: str, method: str = "") -> None:
        """Only the first `count` requests (of a method) from now on get the fault."""
        left = [count]

        def decide(asked: str, path: str) -> Fault:
            if method in ("", asked) and left[0]:
                left[0] -= 1
                return fault
            return None

        self.faults = decide


@contextmanager
def proxy_before(target: str) -> Iterator[Proxy]:
    """A running proxy."""
    proxy = Proxy(target)

    class Handler(_Handler):
        state = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


class _Handler(BaseHTTPRequestHandler):
    state: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.state.seen.append((self.command, self.path))
        fault = self.state.faults(self.command, self.path)
        if fault == "500":
            self._reply(500, {}, b"<Error><Code>InternalError</Code></Error>")
        elif fault == "hang":
            self.state.stopping.wait()
            self.close_connection = True
        else:
            self._pass_on(_flipped(body) if fault == "flip-request" and body else body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815  # names of the standard library

    def _pass_on(self, body: bytes, fault: Fault) -> None:
        connection = http.client.HTTPConnection(*self.state.target, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "flip" and data:
            data = _flipped(data)
        length = answer.headers.get("content-length", str(len(data)))
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _PASSED_ON}
        self._reply(answer.status, kept | {"Content-Length": length}, data, cut=fault == "truncate")

    def _reply(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True
