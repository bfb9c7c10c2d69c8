"""How repositories, datasets, images and labels may be written.

Promises: by the text alone, before any of it reaches git, a file system or an engine: no option, no transport helper,
no credentials, no way out of a folder. Does not: look whether anything is there.
"""

import posixpath
import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

_Answer = TypeVar("_Answer")


def remembered(question: Callable[[str], _Answer]) -> Callable[[str], _Answer]:
    """The same pure question, with the answers for short texts kept: thousands of specs say the same few things."""
    known = lru_cache(maxsize=1024)(question)

    @wraps(question)
    def answer(text: str) -> _Answer:
        return known(text) if len(text) < 256 else question(text)

    return answer


_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?"
_URL_PATH = r"/[A-Za-z0-9._~/+%-]+"
_HTTPS = re.compile(rf"https://{_HOST}(?::[0-9]{{1,5}})?{_URL_PATH}")
_SSH = re.compile(rf"ssh://(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?{_HOST}(?::[0-9]{{1,5}})?{_URL_PATH}")
_SCP = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]*@{_HOST}:[A-Za-z0-9._~/+][A-Za-z0-9._~/+-]*")
_FOLDER = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._ /+@-]*")
REPO_FIX = 'write ".", a relative folder, https://host/path, ssh://git@host/path or git@host:path'


@remembered
def repo_fault(repo: str) -> str | None:
    """What is wrong with the address of a git repository; `REPO_FIX` says what may be written."""
    if repo == ".":
        return None
    if re.match(r"https?://[^/]*@", repo):
        return "has credentials in its address"
    if ".." in repo.split("/"):
        return "leaves its folder with '..'"
    if any(form.fullmatch(repo) for form in (_HTTPS, _SSH, _SCP, _FOLDER)):
        return None
    return "is no address of a repository that may be read"


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_REMOTE = re.compile(rf"(?:https?|s3)://{_HOST}(?::[0-9]{{1,5}})?/[A-Za-z0-9._~/+%=&?,@:-]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


_ENTRY = re.compile(
    r"dataset:([a-z](?:[-a-z0-9]{0,38}[a-z0-9])?)(?:@([A-Za-z0-9](?:[A-Za-z0-9._+-]{0,62}[A-Za-z0-9])?))?"
)


def catalogue_entry(uri: str) -> tuple[str, str] | None:
    """Name and version (empty: the newest) of ``dataset:NAME[@VERSION]``; None for any other uri."""
    found = _ENTRY.fullmatch(uri)
    return (found[1], found[2] or "") if found else None


@remembered
def uri_fault(uri: str) -> tuple[str, str] | None:
    """(message, fix) of a dataset uri that no source could mean."""
    if _USUAL_FILE.fullmatch(uri) or _ENTRY.fullmatch(uri):
        return None
    if uri.startswith("dataset:"):
        return "names no catalogue entry", "write dataset:NAME or dataset:NAME@VERSION; ml dataset list shows them"
    scheme = _SCHEME.match(uri)
    if not scheme:
        return "has no scheme", f"write file:{uri.lstrip('/') or 'data/train.csv'}"
    if scheme.group(1) in {"http", "https", "s3"}:
        usable = _REMOTE.fullmatch(uri) and ".." not in uri.split("/")
        return None if usable else ("is no plain address", "write https://host/path without user, password or '..'")
    if scheme.group(1) != "file":
        return (
            f"has the scheme {scheme.group(1)}, which nothing here can read",
            "write file:<path from the repository's root>",
        )
    return _file_fault(uri[5:])


_USUAL_FILE = re.compile(r"file:[A-Za-z0-9_][A-Za-z0-9_-]*(?:[./][A-Za-z0-9_-]+)*")


def _file_fault(path: str) -> tuple[str, str] | None:
    if path.startswith("//") and not path.startswith("///"):
        return "names a host", "write file:<path>, without //"
    if _UNPRINTABLE.search(path) or re.search(r"%[0-9A-Fa-f]{2}", path):
        return "contains an escape or a control character", "write the name as it is; %xx is not decoded"
    if ".." in path.split("/"):
        return "leaves its folder with '..'", "write a path from the repository's root"
    if posixpath.normpath(path) in {".", "/", "//"} or not path:
        return "names no file or folder", "write file:data/train.csv"
    return None


_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_IMAGE = re.compile(
    rf"(?:{_HOST}(?::[0-9]{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*(?::{_TAG})?(?:@sha256:[0-9a-f]{{64}})?"
)


@remembered
def is_image(image: str) -> bool:
    """Whether the text is a reference of an image, as distribution/reference defines it."""
    return _IMAGE.fullmatch(image) is not None


_LABEL_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL_NAME})?")


@remembered
def is_label_key(key: str) -> bool:
    """Whether Kubernetes takes the text as the key of a label or annotation."""
    return _LABEL_KEY.fullmatch(key) is not None


@remembered
def is_label_value(value: str) -> bool:
    """Whether Kubernetes takes the text as the value of a label."""
    return _LABEL_VALUE.fullmatch(value) is not None
