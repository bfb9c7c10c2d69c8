"""A signer that is known by name only until it signs.

Promises: says whether this user can sign for a repository from file names and revocations alone, without the
cryptography library (its import costs more than all of `ml explain`). Does not: check the key before it signs; who
is about to start a run opens `keys.FileSigner` instead.
"""

from pathlib import Path

from controller.identity.revocations import revocations
from controller.identity.safe_files import key_facts
from controller.identity.trust_folder import PUBLIC_SUFFIX, read_entries
from controller.ports.signer import KeyFacts, Signer


class UnopenedSigner(Signer):
    """The key at this path, opened and checked for every signature."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.key_id = path.stem

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """The DSSE envelope over the payload. Raises as keys.FileSigner."""
        from controller.identity.keys import FileSigner

        return FileSigner(self._path).sign(payload_type, payload)

    def key_facts(self) -> KeyFacts | None:
        """See Signer."""
        return key_facts(self._path)


def unopened_signer(data_home: Path, trust_folder: Path) -> UnopenedSigner | None:
    """The newest private key whose public half this repository trusts, by name; None when there is none."""
    barred = {key_id for key_id, entry in read_entries(trust_folder).items() if "runs" not in entry.uses}
    published = {path.name.removesuffix(PUBLIC_SUFFIX) for path in trust_folder.glob(f"*{PUBLIC_SUFFIX}")}
    trusted = published - barred - set(revocations(trust_folder))
    mine = [path for path in (data_home / "fetchml" / "keys").glob("*.pem") if path.stem in trusted]
    newest = max(mine, key=lambda path: (path.lstat().st_mtime_ns, path.name), default=None)
    return UnopenedSigner(newest) if newest else None
