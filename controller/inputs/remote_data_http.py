"""Fetching a file by http(s): the only function of this program that asks a web address for data.

Promises: what is kept has the stated digest; redirects stay on http(s) and never go from https to http; no more bytes
than the limit are read, whatever the server says; what a broken connection left is gone on with, and thrown away when
the whole then has another digest. Does not: send credentials, or run by itself: specs name addresses, operators fetch.
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from controller.ports.inputs import Progress, no_progress

TIMEOUT = 60.0
"""Seconds without a byte."""
TRIES = 5
_PIECE = 1 << 20


class DownloadError(OSError):
    """It could not be fetched; the text says why and what to look at."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Follow, but not to another kind of address, and not out of TLS."""
        secure = req.full_url.startswith("https:")
        if not newurl.startswith("https://" if secure else ("http://", "https://")):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, sha256: str, part: Path, limit: int, progress: Progress = no_progress) -> None:
    """Fetch an address into `part`, going on with what is there; on return its bytes have the digest.

    Args:
        url: http: or https:.
        sha256: ``sha256:<hex>``.
        part: kept when the connection breaks, so that the next call goes on.
        limit: bytes that may be read at most.
        progress: told the bytes so far, and in all when the server says so.

    Raises:
        DownloadError: refused, too large, cut short `TRIES` times without progress, or another digest.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url!r} is no http(s) address")
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists() and part.stat().st_size > 0
    _complete(url, part, limit, progress)
    if _digest(part) != sha256 and resumed:  # the old piece was of something else
        part.unlink()
        _complete(url, part, limit, progress)
    found = _digest(part)
    if found != sha256:
        part.unlink()
        raise DownloadError(f"{url} has {found}, not {sha256}; nothing of it was kept")


def _complete(url: str, part: Path, limit: int, progress: Progress) -> None:
    tries = TRIES
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch(url, part, limit, progress):
                return
            why = "the connection was cut short"
        except (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
            why = str(getattr(error, "reason", error))
        tries = TRIES if part.exists() and part.stat().st_size > before else tries - 1
        if not tries:
            raise DownloadError(f"{url}: {why}; run it again to go on where it stopped")


def _fetch(url: str, part: Path, limit: int, progress: Progress) -> bool:
    """One request, for what is missing; True when the server says that it was all."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "fetchml", "Accept-Encoding": "identity"})  # noqa: S310  # the scheme was checked
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        reply = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True  # there is no more; the digest says whether it is right
        raise
    with reply, part.open("ab") as out:
        if have and reply.status != http.HTTPStatus.PARTIAL_CONTENT:
            out.truncate(0)
            have = 0
        return _receive(reply, out, have, limit, progress)


def _receive(reply: Any, out: IO[bytes], have: int, limit: int, progress: Progress) -> bool:
    length = reply.headers.get("Content-Length", "")
    total = have + int(length) if length.isdecimal() else 0
    if max(total, have) > limit:
        raise DownloadError(f"it has {total:,} bytes, and {limit:,} are allowed; raise --max-size if that is right")
    while piece := reply.read1(_PIECE):
        have += len(piece)
        if have > limit:
            raise DownloadError(f"more than {limit:,} bytes came; raise --max-size if that is right")
        out.write(piece)
        progress("fetching", have, total)
    return not total or have >= total


def _digest(part: Path) -> str:
    with part.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
