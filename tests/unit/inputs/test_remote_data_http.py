"""Fetching from a real (hostile, broken, slow to finish) web server on this host."""

import hashlib
import io
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.inputs.remote_data_http import DownloadError, _Redirects, download

DATA = bytes(range(256)) * 4096
SHA256 = "sha256:" + hashlib.sha256(DATA).hexdigest()
LIMIT = 10 << 20


class Handler(BaseHTTPRequestHandler):
    """Each path behaves in its own way; `asked` lists (path, Range)."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012  # one server, one list

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        have = self.headers.get("Range", "")
        self.asked.append((self.path, have))
        name = self.path.strip("/").replace("-", "_")
        getattr(self, name)(int(have.removeprefix("bytes=").rstrip("-") or 0))

    def _send(self, data: bytes, code: int = 200, length: int | None = None) -> None:
        self.send_response(code)
        if length is None or length >= 0:
            self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def good(self, start: int) -> None:
        self._send(DATA[start:], 206 if start else 200)

    def cut(self, start: int) -> None:
        """A quarter at a time."""
        self._send(DATA[start : start + len(DATA) // 4], 206 if start else 200, length=len(DATA) - start)
        self.close_connection = True

    def no_ranges(self, start: int) -> None:
        self._send(DATA)

    def wrong(self, start: int) -> None:
        self._send(b"something else")

    def endless(self, start: int) -> None:
        self._send(DATA * 16, length=-1)
        self.close_connection = True

    def huge(self, start: int) -> None:
        self._send(b"", length=1 << 50)
        self.close_connection = True

    def gone(self, start: int) -> None:
        self._send(b"", 404)

    def broken(self, start: int) -> None:
        self._send(b"", 503)

    def elsewhere(self, start: int) -> None:
        self.send_response(302)
        self.send_header("Location", "/good")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def to_file(self, start: int) -> None:
        self.send_response(302)
        self.send_header("Location", "file:///etc/passwd")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def round(self, start: int) -> None:
        self.send_response(302)
        self.send_header("Location", "/round")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_address[1]}"
    serving.shutdown()
    serving.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Handler.asked.clear()


@pytest.mark.parametrize("path", ["good", "cut", "no-ranges", "elsewhere"])
def test_what_comes_has_the_digest(server: str, tmp_path: Path, path: str) -> None:
    download(f"{server}/{path}", SHA256, tmp_path / "part", LIMIT)
    assert (tmp_path / "part").read_bytes() == DATA


def test_a_broken_connection_is_gone_on_with(server: str, tmp_path: Path) -> None:
    download(f"{server}/cut", SHA256, tmp_path / "part", LIMIT)
    quarter = len(DATA) // 4
    assert Handler.asked == [("/cut", ""), *(("/cut", f"bytes={n * quarter}-") for n in (1, 2, 3))]


@pytest.mark.parametrize("left", [DATA[:1000], DATA, b"of something else", DATA + b"too much"])
def test_what_an_earlier_call_left_is_used_if_it_is_right(server: str, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "part").write_bytes(left)
    download(f"{server}/good", SHA256, tmp_path / "part", LIMIT)
    assert (tmp_path / "part").read_bytes() == DATA
    assert Handler.asked[0] == ("/good", f"bytes={len(left)}-")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("wrong", "nothing of it was kept"),
        ("endless", "more than"),
        ("huge", r"1,125,899,906,842,624 bytes.*--max-size"),
        ("gone", "404"),
        ("broken", "503|Service"),
        ("to-file", "not followed|not allowed"),
        ("round", "302|redirect"),
    ],
)
def test_what_is_refused(server: str, tmp_path: Path, path: str, why: str) -> None:
    with pytest.raises(DownloadError, match=why):
        download(f"{server}/{path}", SHA256, tmp_path / "part", LIMIT)
    part = tmp_path / "part"
    assert not part.exists() or part.stat().st_size <= LIMIT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "data:,x", "/etc/passwd", ""])
def test_only_web_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match=r"no http\(s\) address"):
        download(url, SHA256, tmp_path / "part", LIMIT)


def test_nothing_listens(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="run it again"):
        download("http://127.0.0.1:9/x", SHA256, tmp_path / "part", LIMIT)


@pytest.mark.parametrize(("to", "followed"), [("https://b/y", True), ("http://b/y", False), ("ftp://b/y", False)])
def test_a_redirect_stays_in_tls(to: str, followed: bool) -> None:
    request = urllib.request.Request("https://a/x")
    if followed:
        assert _Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, to) is not None
    else:
        with pytest.raises(DownloadError, match="not followed"):
            _Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, to)
