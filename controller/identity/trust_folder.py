"""A folder that says whose word counts: public keys, the file `root`, and `revoked`.

Promises: ``<key-id>.pub.pem`` are fetchml keys, `root` says whose they are and what for (trust/root.py), `revoked`
lists those that no longer count, ``allowed_signers`` (OpenSSH's own format) and ``<owner>.asc`` (OpenPGP) are who may
sign commits. A link, or a file that is not what its name says, is an error.
Does not: verify signatures, or import the cryptography library (`ml explain` reads a trust folder).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from controller.identity.revocations import REVOKED, parse_revocations, revocations
from controller.identity.safe_files import UnsafeFileError, read_regular, replace_file
from controller.ports import durable
from controller.trust.keyid import key_id_of
from controller.trust.root import Entry, TrustRoot, parse_root

PUBLIC_SUFFIX = ".pub.pem"
ROOT, ALLOWED_SIGNERS, OPENPGP_SUFFIX = "root", "allowed_signers", ".asc"
_MAX_PEM = 4096
_MAX_BYTES = 2**20
_BUNDLED = "trust/"

RECORD_KEY = durable.register("identity.record_key", "trust/root says whose a key is")


def public_keys(folder: Path) -> dict[str, bytes]:
    """Key id to public PEM, of every ``*.pub.pem`` in a trust folder, revoked ones included.

    Raises:
        UnsafeFileError: a file is a symlink, is not an Ed25519 public key, or is named after another key.
        OSError: a file cannot be read.
    """
    root = {}
    for path in sorted(folder.glob(f"*{PUBLIC_SUFFIX}")):
        pem = read_regular(path, _MAX_PEM)
        key_id = path.name.removesuffix(PUBLIC_SUFFIX)
        try:
            actual = key_id_of(pem)
        except ValueError as error:
            raise UnsafeFileError(f"{path.name}: {error}") from error
        if actual != key_id:
            raise UnsafeFileError(f"{path.name} holds the key {actual}; a public key must be named after its own id")
        root[key_id] = pem
    return root


def read_trust(folder: Path) -> TrustRoot:
    """Everything that the folder says; an empty root when it is not there.

    Raises:
        ValueError: a file cannot be understood (UnsafeFileError, RootError).
        OSError: a file cannot be read.
    """
    return TrustRoot(public_keys(folder), read_entries(folder), frozenset(revocations(folder)))


def bundled_trust(files: Mapping[str, Callable[[], BinaryIO]]) -> TrustRoot:
    """The trust root that travels with an exported run, in its trust/ (errors as `read_trust`).

    It proves that nothing was changed since somebody with these keys signed; not who that was.
    """
    data = {name.removeprefix(_BUNDLED): _read(files[name]) for name in files if name.startswith(_BUNDLED)}
    keys = {key_id_of(pem): pem for name, pem in data.items() if name.endswith(PUBLIC_SUFFIX)}
    entries = parse_root(data.get(ROOT, b"").decode(errors="replace"), ROOT)
    return TrustRoot(keys, entries, frozenset(parse_revocations(data.get(REVOKED, b""))))


def _read(opener: Callable[[], BinaryIO]) -> bytes:
    with opener() as stream:
        return stream.read(_MAX_BYTES)


def read_entries(folder: Path) -> dict[str, Entry]:
    """What the file `root` says (errors as `read_trust`)."""
    return parse_root(optional(folder / ROOT).decode(errors="replace"), ROOT)


def optional(path: Path) -> bytes:
    """The bytes of a small regular file; empty when there is none."""
    try:
        return read_regular(path, _MAX_BYTES)
    except FileNotFoundError:
        return b""


def record_key(folder: Path, entry: Entry) -> None:
    """Say in `root` whose a key is; a line about the same key is replaced.

    Raises:
        ValueError: `root` cannot be understood, or the entry cannot be written as one line.
        OSError: it cannot be written.
    """
    parse_root(entry.line())
    known = read_entries(folder) | {entry.key_id: entry}
    comments = [line for line in optional(folder / ROOT).decode().splitlines() if line.startswith("#")]
    text = "\n".join([*comments, *(each.line() for each in known.values())]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    with durable.step(RECORD_KEY):
        replace_file(folder / ROOT, text.encode(), mode=0o644)
