"""Ed25519 keys: made, listed, rotated, revoked, and used to sign.

Promises: a private key lies at <data home>/fetchml/keys/<key-id>.pem, mode 0600 in a folder of mode 0700, never in a
repository; its public half at trust/<key-id>.pub.pem of the repository. A key id is the sha256 (hex) of the public
key's SubjectPublicKeyInfo DER, recomputed whenever a key is read. A private key that others may read, or that belongs
to somebody else, is refused.
Does not: encrypt private keys, or delete one: the private half of an older key may serve another repository.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from controller.identity.revocations import REVOKED, Revocation, revocations
from controller.identity.safe_files import key_facts, read_regular, write_new
from controller.identity.trust_folder import PUBLIC_SUFFIX, read_trust, record_key
from controller.identity.trust_folder import public_keys as trust_root
from controller.ports import durable
from controller.ports.signer import KeyFacts, Signer
from controller.trust.envelope import seal
from controller.trust.keyid import key_id_of
from controller.trust.root import Entry, TrustRoot

_MAX_PEM = 4096

WRITE_KEY = durable.register("identity.write_key", "the private key exists")
PUBLISH_KEY = durable.register("identity.publish_key", "the public key is in the repository's trust folder")


class KeyRefusedError(PermissionError):
    """A key that must not be used as it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key as this user and this repository see it."""

    key_id: str
    private: Path | None = None
    """None: only the public half is known here."""
    public: Path | None = None
    """None: the repository does not trust it."""
    revoked: Revocation | None = None
    owner: str = ""
    """As the trust root names it."""
    uses: tuple[str, ...] = ()
    """What its signature counts for here; nothing once it is revoked."""
    since: str = ""
    """RFC 3339 UTC, as the trust root says."""

    @property
    def usable(self) -> bool:
        """May it sign for this repository?"""
        return self.private is not None and self.public is not None and not self.revoked


def keys_folder(data_home: Path) -> Path:
    """Where private keys lie."""
    return data_home / "fetchml" / "keys"


def new_key(
    data_home: Path, trust_folder: Path | None = None, *, owner: str = "", uses: tuple[str, ...] = (), since: str = ""
) -> KeyInfo:
    """Make a key pair; with `trust_folder`, publish its public half there, and say whose it is when there is an owner.

    Raises:
        OSError: a file or folder cannot be written.
        KeyRefusedError: the keys folder may be written by others.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key_id = key_id_of(public)
    folder = keys_folder(data_home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_folder(folder)
    path = folder / f"{key_id}.pem"
    with durable.step(WRITE_KEY):
        write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    if trust_folder and owner:  # first what it may do: published alone it could record runs
        record_key(trust_folder, Entry(key_id, since, uses or ("runs",), owner))
    published = publish(public, trust_folder) if trust_folder else None
    return KeyInfo(key_id, path, published, owner=owner, uses=uses or ("runs",), since=since)


def publish(public_pem: bytes, trust_folder: Path) -> Path:
    """Put a public key into a repository's trust folder; nothing happens when it is there already."""
    path = trust_folder / f"{key_id_of(public_pem)}{PUBLIC_SUFFIX}"
    trust_folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with durable.step(PUBLISH_KEY):
            write_new(path, public_pem, mode=0o644)
    return path


def rotate(data_home: Path, trust_folder: Path, use: str = "runs", since: str = "") -> tuple[KeyInfo, KeyInfo | None]:
    """Make a new key of the same owner and uses, which signs from now on.

    Returns it and the one it replaces, whose signatures stay valid. `since` is RFC 3339 UTC, as for `new_key`.
    """
    old = default_key(data_home, trust_folder, use)
    owner, uses = (old.owner, old.uses) if old else ("", ())
    return new_key(data_home, trust_folder, owner=owner, uses=uses, since=since), old


def list_keys(data_home: Path, trust_folder: Path | None = None) -> tuple[KeyInfo, ...]:
    """Every key of this user and of the repository, newest private key first, then public-only ones.

    Raises:
        ValueError: the trust folder holds something that is not a key under its own id.
    """
    private = _private_keys(keys_folder(data_home))
    root = read_trust(trust_folder) if trust_folder else TrustRoot()
    gone = revocations(trust_folder) if trust_folder else {}
    others = sorted((root.keys.keys() | root.entries.keys()) - private.keys())
    return tuple(
        KeyInfo(
            key_id,
            private.get(key_id),
            trust_folder / f"{key_id}{PUBLIC_SUFFIX}" if trust_folder and key_id in root.keys else None,
            gone.get(key_id),
            root.owner(key_id),
            root.uses(key_id),
            root.entries[key_id].since if key_id in root.entries else "",
        )
        for key_id in (*private, *others)
    )


def default_key(data_home: Path, trust_folder: Path, use: str = "runs") -> KeyInfo | None:
    """The newest key of this user that the trust folder allows for a use; None when there is none."""
    return next((key for key in list_keys(data_home, trust_folder) if key.usable and use in key.uses), None)


def revoked_keys(folder: Path) -> frozenset[str]:
    """Ids of revoked keys (trust/revoked)."""
    return frozenset(revocations(folder))


def _private_keys(folder: Path) -> Mapping[str, Path]:
    found = [path for path in folder.glob("*.pem") if not path.name.endswith(PUBLIC_SUFFIX)]
    newest_first = sorted(found, key=lambda path: (path.lstat().st_mtime_ns, path.name), reverse=True)
    return {path.stem: path for path in newest_first}


def _check_folder(folder: Path) -> None:
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise KeyRefusedError(f"{folder} must be a folder, not a link")
    if info.st_uid != os.geteuid():
        raise KeyRefusedError(f"{folder} belongs to user id {info.st_uid}, not to you ({os.geteuid()})")
    if info.st_mode & 0o022:
        raise KeyRefusedError(f"others may write to {folder}; run: chmod 700 {folder}")


class FileSigner(Signer):
    """Signs with a private key file, which is read anew (and checked) for every signature."""

    def __init__(self, path: Path) -> None:
        """Use the key at `path`, which must be named after its id.

        Raises:
            KeyRefusedError: others may read it, it belongs to another user, or it is another key than its name says.
            OSError: it cannot be read.
        """
        self._path = path
        self.key_id = path.stem
        self._load()

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """The DSSE envelope over the payload verbatim."""
        return seal(payload_type, payload, self.key_id, self._load().sign)

    def key_facts(self) -> KeyFacts | None:
        """See Signer."""
        return key_facts(self._path)

    def _load(self) -> Ed25519PrivateKey:
        _check_folder(self._path.parent)
        pem = read_regular(self._path, _MAX_PEM, private=True)
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise KeyRefusedError(f"{self._path} is not an unencrypted private key: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefusedError(f"{self._path} is not an Ed25519 key")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        if key_id_of(public) != self.key_id:
            raise KeyRefusedError(f"{self._path} holds the key {key_id_of(public)}, not the one it is named after")
        return key


__all__ = [
    "REVOKED",
    "FileSigner",
    "KeyInfo",
    "KeyRefusedError",
    "default_key",
    "keys_folder",
    "list_keys",
    "new_key",
    "publish",
    "revoked_keys",
    "rotate",
    "trust_root",
]
