"""A small HTTP endpoint that hears of pushes: signed news, which only ever says "look again".

Promises: listens on this host unless told otherwise; a request without the right signature (GitHub, Gitea and Forgejo:
``X-Hub-Signature-256``, an HMAC-SHA256 of the body) or token (GitLab: ``X-Gitlab-Token``) is refused, compared in
constant time; bodies over a mebibyte are refused unread, slow ones are cut off. Nothing of the body is used, so that a
replayed request does no more than one more look. Does not: speak TLS (put a proxy before it), or answer anything else.
"""

import hmac
import threading
from collections.abc import Callable
from hashlib import sha256
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

MAX_BODY = 2**20
TIMEOUT = 10.0
MIN_SECRET = 16
_LOOPBACK = "127.0.0.1"


def listening_at(address: str) -> tuple[str, int]:
    """Host and port of ``[HOST:]PORT``.

    Raises:
        ValueError: it is neither.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is no address; write 8765 or 127.0.0.1:8765")
    return host.strip("[]") or _LOOPBACK, int(port)


def read_secret(file: Path) -> bytes:
    """The secret in a file, without its final newline.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too short, or others may read it.
    """
    if file.stat().st_mode & 0o077:
        raise ValueError(f"others may read {file}; run: chmod 600 {file}")
    secret = file.read_bytes().strip()
    if len(secret) < MIN_SECRET:
        raise ValueError(f"{file} holds fewer than {MIN_SECRET} bytes; make one with: openssl rand -hex 32 > {file}")
    return secret


def is_signed(secret: bytes, body: bytes, signature: str, token: str) -> bool:
    """Does the request come from somebody who knows the secret? Both forms are compared in constant time."""
    mine = "sha256=" + hmac.new(secret, body, sha256).hexdigest()
    by_signature = hmac.compare_digest(mine.encode(), signature.encode("utf-8", "replace"))
    by_token = hmac.compare_digest(secret, token.encode("utf-8", "replace"))
    return by_signature or by_token


def ring_at(url: str, secret: bytes) -> int:
    """Post signed news to a webhook; its answer's status.

    Raises:
        OSError: nobody answers.
        ValueError: the address is no http or https one.
    """
    parts = urlsplit(url)
    kinds = {"http": HTTPConnection, "https": HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError("write an address such as http://127.0.0.1:8765/")
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        signature = "sha256=" + hmac.new(secret, b"", sha256).hexdigest()
        connection.request("POST", parts.path or "/", b"", {"X-Hub-Signature-256": signature, "Content-Length": "0"})
        return int(connection.getresponse().status)
    finally:
        connection.close()


class Webhook:
    """Listens while the context is open; calls `ring` for each signed POST."""

    def __init__(self, host: str, port: int, secret: bytes, ring: Callable[[], None]) -> None:
        """Bind.

        Raises:
            OSError: the address is taken or not ours.
        """
        self._server = ThreadingHTTPServer((host, port), _handler(secret, ring))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(secret: bytes, ring: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT
        server_version = "fetchml"
        sys_version = ""

        def do_POST(self) -> None:
            self._answer(*self._judge())

        def _judge(self) -> tuple[int, str]:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                return 411, "say how long the body is"
            if int(length) > MAX_BODY:
                return 413, "the body is too large"
            body = self.rfile.read(int(length))
            signature = self.headers.get("X-Hub-Signature-256", "")
            if not is_signed(secret, body, signature, self.headers.get("X-Gitlab-Token", "")):
                return 401, "the signature is missing or wrong"
            ring()
            return 202, "looking"

        def _answer(self, code: int, text: str) -> None:
            data = f"{text}\n".encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class's name
            """Nothing: what a stranger sends is no line of our log."""

    return Handler
