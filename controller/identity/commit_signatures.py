"""Who signed a commit: verified by ssh-keygen and gpg, against the allowed signers of a trust folder.

Promises: no setting of git or of the user, no keyring and no agent takes part: the commit's bytes (whose id the caller
checked) are taken apart here, and each program gets a folder of its own with nothing but the allowed keys, the
signature and the time that the committer states. A signer counts as the one principal that ssh-keygen finds, or as the
name of the ``.asc`` file that holds the key. Expired keys count for what they signed before (as git does); revoked
ones for nothing. Does not: read repositories, or decide what a signer may submit.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from controller.identity.safe_files import read_regular
from controller.identity.trust_folder import ALLOWED_SIGNERS, OPENPGP_SUFFIX, optional, read_trust
from controller.ports.trust import Trust
from controller.trust.commits import CommitSigner, SignedCommit, UnsignedCommitError, signed_commit
from controller.trust.root import TrustRoot

TIMEOUT = 60.0
_MAX_ARMOR = 2**20
_REMEMBERED = 1024
_SSH_GOOD = re.compile(r'Good "git" signature for (?P<owner>.+) with (?P<kind>\S+) key (?P<key>SHA256:\S+)')
_PATTERN = re.compile(r"[*?!,\s]")
_GPG = ("gpg", "--no-options", "--batch", "--no-tty", "--no-autostart", "--disable-dirmngr", "--status-fd", "1")


class _NotCheckedError(Exception):
    """A program that is needed is missing or does not answer."""


class FolderTrust(Trust):
    """The trust root in a folder, read anew for every question; answers about commits are remembered while it stays."""

    def __init__(self, folder: Path, *, of_operator: bool = False) -> None:
        self._folder = folder
        self.of_operator = of_operator
        self._answers: dict[tuple[object, ...], CommitSigner] = {}

    def root(self) -> TrustRoot:
        """See Trust."""
        return read_trust(self._folder)

    def names_signers(self) -> bool:
        """See Trust."""
        return bool(optional(self._folder / ALLOWED_SIGNERS) or self._armored())

    def signer_of(self, commit: bytes) -> CommitSigner:
        """See Trust."""
        try:
            parts = signed_commit(commit)
        except UnsignedCommitError as error:
            return CommitSigner(reason="CommitNotSigned", message=str(error))
        stamp = (commit, *self._stamp())
        if stamp not in self._answers:
            self._answers = self._answers if len(self._answers) < _REMEMBERED else {}
            self._answers[stamp] = _allowed(self._verified(parts), self.root())
        return self._answers[stamp]

    def _armored(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{OPENPGP_SUFFIX}"))

    def _stamp(self) -> Iterator[object]:
        """Moves when any file of the folder does."""
        if self._folder.is_dir():
            for entry in sorted(os.scandir(self._folder), key=lambda entry: entry.name):
                info = entry.stat(follow_symlinks=False)
                yield entry.name, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns

    def _verified(self, parts: SignedCommit) -> CommitSigner:
        try:
            with tempfile.TemporaryDirectory(prefix="fetchml-signature-") as name:
                work = Path(name)
                (work / "signature").write_bytes(parts.signature)
                (work / "payload").write_bytes(parts.payload)
                return self._by_ssh(work, parts) if parts.kind == "ssh" else self._by_gpg(work)
        except _NotCheckedError as error:
            return CommitSigner(reason="SignatureNotChecked", message=str(error))

    def _by_ssh(self, work: Path, parts: SignedCommit) -> CommitSigner:
        (work / "allowed").write_bytes(optional(self._folder / ALLOWED_SIGNERS))
        files = ("-f", str(work / "allowed"), "-s", str(work / "signature"))
        when = () if parts.at is None else ("-O", f"verify-time={datetime.fromtimestamp(parts.at, UTC):%Y%m%d%H%M%SZ}")
        _, found = _run(work, "ssh-keygen", "-Y", "find-principals", *files, *when)
        principals = [name for name in found.splitlines() if name and not _PATTERN.search(name)]
        for principal in principals:
            code, said = _run(work, "ssh-keygen", "-Y", "verify", *files, *when, "-I", principal, "-n", "git")
            match = _SSH_GOOD.search(said)
            if code == 0 and match and match["owner"] == principal:
                return CommitSigner(principal, match["key"])
        code, said = _run(work, "ssh-keygen", "-Y", "check-novalidate", "-s", str(work / "signature"), "-n", "git")
        key = re.search(r"SHA256:\S+", said)
        if code or not key:
            return CommitSigner(reason="CommitSignatureInvalid", message="its SSH signature does not verify")
        return CommitSigner(key=key[0], reason="SignerNotAllowed", message=f"no allowed signer has the key {key[0]}")

    def _by_gpg(self, work: Path) -> CommitSigner:
        home = work / "home"
        home.mkdir(mode=0o700)
        gpg = (*_GPG, "--homedir", str(home))
        owners: dict[str, str] = {}
        for path in self._armored():
            (work / "key").write_bytes(read_regular(path, _MAX_ARMOR))
            _, said = _run(work, *gpg, "--import", str(work / "key"))
            for fingerprint in re.findall(r"^\[GNUPG:\] IMPORT_OK \d+ ([0-9A-F]{40})$", said, re.MULTILINE):
                owners.setdefault(fingerprint, path.name.removesuffix(OPENPGP_SUFFIX))
        verify = ("--trust-model", "always", "--verify", str(work / "signature"), str(work / "payload"))
        code, said = _run(work, *gpg, *verify)
        return _gpg_answer(code, said, owners)


def _gpg_answer(code: int, said: str, owners: dict[str, str]) -> CommitSigner:
    """gpg's status lines: one good signature and nothing else, by a key whose owner is known."""
    words = [line.removeprefix("[GNUPG:] ").split() for line in said.splitlines() if line.startswith("[GNUPG:] ")]
    named = {line[0]: line for line in words if line}
    if "ERRSIG" in named or "NO_PUBKEY" in named:
        return CommitSigner(reason="SignerNotAllowed", message="no allowed OpenPGP key made its signature")
    bad = {"BADSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"} & named.keys()
    once = [line[0] for line in words if line].count("NEWSIG") == 1
    if code or bad or not once or not {"GOODSIG", "VALIDSIG"} <= named.keys():
        why = ", ".join(sorted(bad)) or "gpg does not call it good"
        return CommitSigner(reason="CommitSignatureInvalid", message=f"its OpenPGP signature does not count: {why}")
    primary = named["VALIDSIG"][-1]
    if primary not in owners:
        return CommitSigner(key=primary, reason="SignerNotAllowed", message=f"nobody is named for the key {primary}")
    return CommitSigner(owners[primary], primary)


def _allowed(signer: CommitSigner, root: TrustRoot) -> CommitSigner:
    """What the trust root says of a key that signed well."""
    if signer.reason:
        return signer
    if signer.key in root.revoked:
        return CommitSigner(key=signer.key, reason="SignerRevoked", message=f"the key {signer.key} is revoked")
    uses = root.uses(signer.key)
    if "commits" in uses:
        return CommitSigner(root.owner(signer.key) or signer.owner, signer.key)
    if "status" in uses:
        message = f"the key {signer.key} is a reconciler's, which counts for status commits only"
        return CommitSigner(key=signer.key, reason="ReconcilerSigned", message=message)
    message = f"the trust root does not let the key {signer.key} sign commits"
    return CommitSigner(key=signer.key, reason="SignerNotAllowed", message=message)


def _run(work: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a program that sees nothing of the user's settings; the payload is its input.

    Raises:
        _NotCheckedError: it is not installed, or takes longer than TIMEOUT.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(work), "LC_ALL": "C"}
    with _payload(work) as payload:
        try:
            done = subprocess.run(
                words, cwd=work, env=environment, stdin=payload, capture_output=True, timeout=TIMEOUT, check=False
            )
        except FileNotFoundError as error:
            raise _NotCheckedError(f"{words[0]} is not installed, so the signature cannot be checked") from error
        except subprocess.TimeoutExpired as error:
            raise _NotCheckedError(f"{words[0]} did not answer within {TIMEOUT:.0f} s") from error
    return done.returncode, done.stdout.decode(errors="replace")


@contextmanager
def _payload(work: Path) -> Iterator[int]:
    handle = os.open(work / "payload", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
