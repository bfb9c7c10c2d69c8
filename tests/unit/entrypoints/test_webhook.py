"""The webhook endpoint over real HTTP: who may ring, and that ringing is all that anybody can do."""

import hmac
import http.client
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from controller.entrypoints.webhook import MAX_BODY, Webhook, listening_at, read_secret, ring_at

SECRET = b"0123456789abcdef0123"
rings: list[int] = []


@pytest.fixture
def hook() -> Iterator[Webhook]:
    rings.clear()
    with Webhook("127.0.0.1", 0, SECRET, lambda: rings.append(1)) as listening:
        yield listening


def post(hook: Webhook, body: bytes, headers: dict[str, str], method: str = "POST") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", hook.port, timeout=60)
    connection.request(method, "/", body, headers)
    return connection.getresponse().status


def signature(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, sha256).hexdigest()}


def test_signed_news_rings(hook: Webhook) -> None:
    assert post(hook, b'{"ref": "refs/heads/main"}', signature(b'{"ref": "refs/heads/main"}')) == 202
    assert post(hook, b"{}", {"X-Gitlab-Token": SECRET.decode()}) == 202
    assert ring_at(f"http://127.0.0.1:{hook.port}/", SECRET) == 202
    assert len(rings) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": "sha1=" + hmac.new(SECRET, b"{}", "sha1").hexdigest()},
        signature(b"{}", b"another secret 0123"),
        signature(b"{ }"),
        {"X-Gitlab-Token": ""},
        {"X-Gitlab-Token": "0123456789abcdef012"},
        {"X-Gitlab-Token": "\xfc"},
    ],
)
def test_anything_else_is_refused_and_rings_nothing(hook: Webhook, headers: dict[str, str]) -> None:
    assert post(hook, b"{}", headers) == 401
    assert rings == []


def test_a_large_body_is_refused_unread(hook: Webhook) -> None:
    with socket.create_connection(("127.0.0.1", hook.port), timeout=60) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        assert b" 413 " in client.recv(4096).split(b"\r\n")[0]
    assert rings == []


def test_a_body_without_a_length_and_other_methods_are_refused(hook: Webhook) -> None:
    with socket.create_connection(("127.0.0.1", hook.port), timeout=60) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 411 " in client.recv(4096).split(b"\r\n")[0]
    assert post(hook, b"", {}, "GET") == 501
    assert post(hook, b"", {}, "DELETE") == 501


def test_it_listens_on_this_host_unless_told_otherwise() -> None:
    assert listening_at("8765") == ("127.0.0.1", 8765)
    assert listening_at("0.0.0.0:8765") == ("0.0.0.0", 8765)  # noqa: S104  # parsed, not bound
    assert listening_at("[::1]:8765") == ("::1", 8765)
    for bad in ("", "x", "host:", "host:99999"):
        with pytest.raises(ValueError, match="8765"):
            listening_at(bad)


def test_a_secret_that_others_may_read_or_guess_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        read_secret(file)
    file.chmod(0o600)
    assert read_secret(file) == SECRET
    file.write_bytes(b"short\n")
    with pytest.raises(ValueError, match="openssl rand"):
        read_secret(file)
