"""From settings to a reconciler: the only place that names adapters.

Promises: adapters are imported when they are wired, so that a command pays for what it uses. Does not: run anything.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from controller.settings import Settings, SettingsError, base_path, data_home, load_settings

if TYPE_CHECKING:
    from controller.api.catalog import TrustRule
    from controller.inputs.clone import Clone
    from controller.ports.events import Events
    from controller.ports.images import Images
    from controller.ports.inputs import Inputs, Progress
    from controller.ports.inventory import Inventory
    from controller.ports.objectstore import ObjectStore
    from controller.ports.runtime import Runtime
    from controller.ports.signer import Signer
    from controller.ports.source import Source
    from controller.ports.store import ExperimentRow, Lease, Store
    from controller.ports.trust import Trust
    from controller.reconcile.context import Ports
    from controller.runtimes.container.engine import Engine
    from controller.sources.git import Branches, BranchSource
    from controller.sources.writers import FolderLease
    from controller.stores.sqlite import SqliteStore

TRUST_FOLDER = "trust"
STATE = "state.db"


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie: the repository (or plain folder), and our records."""

    root: Path
    base: Path
    trust_root: str = ""
    """Folder of the operator's trust root; empty: trust/ of the repository."""
    clone: Path | None = field(default=None, kw_only=True)
    """The bare clone that specs are read from; None: they lie in `root`."""

    @property
    def store(self) -> Path:
        """The database."""
        return self.base / STATE

    @property
    def trust(self) -> Path:
        """Public keys, and whose they are."""
        return Path(self.trust_root).expanduser() if self.trust_root else self.root / TRUST_FOLDER


def find_root(path: Path) -> Path:
    """The repository that holds the path, or without one the folder itself (a file's folder)."""
    folder = path if path.is_dir() else path.parent
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  # resolve() would follow links out of the repository
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder


def place_of(path: Path, settings: Settings) -> Place:
    """Root and base path for a spec or folder."""
    root = find_root(path)
    return Place(root, base_path(root, settings), settings.trust_root)


_NONCE = os.urandom(4).hex()


def holder() -> str:
    """Who we are in a lease: for people, and unique to this process."""
    return f"{os.uname().nodename} pid {os.getpid()} {_NONCE}"


def claim_lease(store: "Store", place: Place, who: str) -> "Lease | None":
    """The lease of this store, or None while another reconciler has it.

    The kernel says whether its holder lives. Where it cannot, a holder that died on this host gives way at once instead
    of after LEASE_SECONDS; whoever is wrongly thought dead is fenced off, because the new lease has a newer token.
    """
    from controller.reconcile.loop import LEASE_NAME, LEASE_SECONDS
    from controller.stores.sqlite_lock import file_of, held
    from controller.stores.sqlite_read import lease_row

    lease = store.acquire(LEASE_NAME, who, LEASE_SECONDS)
    row = None if lease or held(file_of(place.store, LEASE_NAME)) else lease_row(place.store, LEASE_NAME)
    if row is None or not holder_is_dead(row.holder):
        return lease
    store.release(row)
    return store.acquire(LEASE_NAME, who, LEASE_SECONDS)


def holder_is_dead(text: str) -> bool:
    """Was it a process of this host, and is that gone? False where nobody can tell."""
    host, _, rest = text.partition(" pid ")
    pid = rest.partition(" ")[0]
    return host == os.uname().nodename and pid.isdigit() and not Path("/proc", pid).exists()


def prepare(place: Place) -> None:
    """Make the folder of our records, with a .gitignore of its own, so that it is never committed."""
    place.base.mkdir(parents=True, exist_ok=True)
    ignore = place.base / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def open_store(place: Place) -> "SqliteStore":
    """The store, made if it is not there."""
    from controller.inventory.clock import SystemClock
    from controller.stores.sqlite import SqliteStore

    prepare(place)
    return SqliteStore(place.store, SystemClock())


def look_at_store(place: Place) -> "SqliteStore":
    """The store for looking only: nothing is made, and where there is none it is as if nothing had run."""
    from controller.inventory.clock import SystemClock
    from controller.stores.sqlite_look import LookingStore

    return LookingStore(place.store, SystemClock())


class FolderHeldError(Exception):
    """A reconciler with another store is at work on this folder; the message says who."""


def hold_folder(folder: Path) -> "FolderLease":
    """The right to start what stands in a folder and to write status there: two stores would run everything twice.

    Raises:
        FolderHeldError: somebody else has it.
    """
    from controller.sources.writers import FolderLease

    lease = FolderLease.acquire(folder)
    if lease is None:
        who = FolderLease.holder(folder) or "another process"
        raise FolderHeldError(
            f"another reconciler, which keeps its records elsewhere, is at work on {folder}: {who}; "
            "stop it, or use its records (base_path)"
        )
    return lease


def open_signer(place: Place, settings: Settings, use: str = "runs") -> "Signer | None":
    """The newest key of this user that is trusted for a use (trust.root.USES), opened and checked; or None."""
    from controller.identity.keys import FileSigner, default_key

    key = default_key(data_home(settings), place.trust, use)
    return FileSigner(key.private) if key and key.private else None


def unopened_signer(place: Place, settings: Settings) -> "Signer | None":
    """The same by file name only: for looking, not for runs."""
    from controller.identity.unopened import unopened_signer as find

    return find(data_home(settings), place.trust)


ENGINES = ("docker", "podman")


def open_engine(settings: Settings, kind: str = "") -> "Engine":
    """The engine of the settings, or one of this kind, where it listens on this host."""
    from controller.runtimes.container.engine import Engine, default_url

    kind = kind or settings.runtime
    return Engine(kind, settings.engine if settings.engine and kind == settings.runtime else default_url(kind))


def open_runtime(place: Place | None = None, settings: Settings | None = None) -> "Runtime":
    """The runtime of the settings; by default processes, with the sandbox that this host really gives."""
    from controller.inventory.clock import SystemClock

    if place is not None and settings is not None and settings.runtime in ENGINES:
        from controller.runtimes.container.runtime import ContainerRuntime

        return ContainerRuntime(open_engine(settings), SystemClock(), place.base / "cache" / "container")
    from controller.runtimes.process.probe import probe_sandbox
    from controller.runtimes.process.runtime import ProcessRuntime

    return ProcessRuntime(SystemClock(), probe_sandbox())


def build_ports(
    place: Place,
    settings: Settings,
    source: "Source",
    *,
    store: "SqliteStore",
    signer: "Signer | None",
    progress: "Progress",
) -> "Ports":
    """Everything the reconciler needs."""
    from controller.inventory.clock import SystemClock
    from controller.reconcile.context import Policy, Ports

    return Ports(
        source=source,
        store=store,
        runtime=open_runtime(place, settings),
        images=open_images(settings),
        inputs=open_inputs(place, settings),
        inventory=open_inventory(place),
        signer=signer,
        clock=SystemClock(),
        events=_events(store),
        base=place.base,
        policy=Policy(
            allow_network=settings.allow_network,
            require_approval=settings.require_approval,
            max_cpu=settings.max_cpu,
            max_memory=settings.max_memory,
            log_bytes=settings.log_bytes,
            poll_seconds=settings.poll_seconds,
            rules=operator_rules(settings),
        ),
        progress=progress,
        trust=open_trust(place),
    )


def open_trust(place: Place) -> "Trust":
    """Whose word counts here."""
    from controller.identity.commit_signatures import FolderTrust

    return FolderTrust(place.trust, of_operator=bool(place.trust_root))


def operator_rules(settings: Settings) -> "tuple[TrustRule, ...]":
    """The rules of the operator's own trust policies.

    Raises:
        SettingsError: a file cannot be read, or holds something else.
        InvalidDocumentError: a document in it is invalid.
    """
    from controller.api.catalog import TrustPolicy
    from controller.api.documents import load
    from controller.api.problems import InvalidDocumentError

    rules: list[TrustRule] = []
    for file in settings.trust_policies:
        try:
            loaded = load(Path(file).expanduser().read_bytes(), file)
        except OSError as error:
            raise SettingsError(f"trust_policies: {file}: {error.strerror}") from error
        if loaded.problems:
            raise InvalidDocumentError(loaded.problems)
        for document in loaded.documents:
            if not isinstance(document.model, TrustPolicy):
                raise SettingsError(f"trust_policies: {file} holds a {document.kind}; only TrustPolicy is read there")
            rules += document.model.spec.rules
    return tuple(rules)


def open_images(settings: Settings) -> "Images | None":
    """The images of the engine, if the runtime has one."""
    if settings.runtime not in ENGINES:
        return None
    from controller.runtimes.container.images import EngineImages

    return EngineImages(open_engine(settings))


def open_source(
    place: Place,
    folder: Path,
    *,
    rows: "Iterable[ExperimentRow]" = (),
    read_only: bool = False,
    expected: str = "",
) -> "Source":
    """The specs of a folder; `rows` are what the store knows, so that what is missing now is noticed.

    `expected` is the name of the one spec that a command is about.
    """
    from controller.inventory.clock import SystemClock
    from controller.sources.folder import FolderSource

    folder = Path(os.path.abspath(folder))  # noqa: PTH100  # resolve() would follow links out of the repository
    below = folder.relative_to(place.root).as_posix() if folder.is_relative_to(place.root) else str(folder)
    prefix = "" if below == "." else below + "/"
    known = [row.key for row in rows if row.place.startswith(prefix)]
    return FolderSource(folder, SystemClock(), known=known, read_only=read_only, prefix=prefix, expected=expected)


def open_clone(place: Place, settings: Settings, address: str) -> "Clone":
    """The clone of a repository, made if need be (or RepositoryTroubleError); the key that signs runs signs commits."""
    from controller.identity.commit_signing import commit_signer
    from controller.identity.keys import default_key
    from controller.inputs.addresses import remote_of
    from controller.inputs.clone import Clone, Committer, clone_folder
    from controller.inventory.clock import SystemClock

    remote = remote_of(address)
    key = default_key(data_home(settings), place.trust)
    sign = commit_signer(key.private) if key and key.private else None
    prepare(place)
    return Clone(clone_folder(place.base, remote), remote, Committer(settings.git_author, sign), SystemClock())


def open_branch(clone: "Clone", branches: "Branches", *, rows: "Iterable[ExperimentRow]" = ()) -> "BranchSource":
    """The specs of a branch; `rows` as for `open_source`."""
    from controller.inventory.clock import SystemClock
    from controller.sources.git import BranchSource

    known = [row.key for row in rows if branches.covers(row.place)]
    return BranchSource(clone, branches, SystemClock(), known=known)


def open_inputs(place: Place, settings: Settings, *, rehash: bool = False) -> "Inputs":
    """References on this host."""
    from controller.inputs.local import InputSettings, LocalInputs
    from controller.inputs.secrets import SecretDeclaration

    secrets = tuple(
        SecretDeclaration(name, Path(secret.file) if secret.file else None, secret.env or None, secret.subjects)
        for name, secret in settings.secrets.items()
    )
    values = InputSettings(
        ref=settings.ref or "HEAD",
        dataset_roots=tuple(Path(root) for root in settings.dataset_roots),
        secrets=secrets,
        rehash=rehash,
    )
    shared = open_objects_at(settings.object_store, settings) if settings.object_store else None
    if place.clone:
        from controller.inputs.cloned import CloneInputs

        return CloneInputs(place.root, place.base, open_objects(place), values, shared, clone=place.clone)
    return LocalInputs(place.root, place.base, open_objects(place), values, shared)


def open_objects(place: Place) -> "ObjectStore":
    """The objects of this repository."""
    from controller.stores.objects import FileObjects

    return FileObjects(place.base / "objects")


def open_objects_at(address: str, settings: Settings | None = None) -> "ObjectStore":
    """The object store at an address: s3://bucket/prefix, ssh://[user@]host[:port]/folder, or a folder of this host.

    Raises:
        ValueError: no such form, or the settings of S3 cannot be used.
        UnreachableError: no credentials for it, or obstore is not installed.
    """
    from controller.stores.objects import FileObjects

    if address.startswith("s3://"):
        return _open_s3(address, settings or load_settings())
    if address.startswith("ssh://"):
        from controller.stores.objects_ssh import SshObjects

        return SshObjects(address, (settings or load_settings()).ssh_config)
    if "://" in address:
        raise ValueError(f"{address!r} is no object store; write s3://bucket/prefix, ssh://host/folder or a folder")
    return FileObjects(Path(os.path.abspath(address)))  # noqa: PTH100  # a link may be changed to lead elsewhere


def _open_s3(address: str, settings: Settings) -> "ObjectStore":
    from controller.ports.objectstore import UnreachableError

    try:
        from controller.stores.objects_s3 import S3Objects
        from controller.stores.objects_s3_place import place_at
    except ModuleNotFoundError as error:
        raise UnreachableError("S3 needs the library obstore; pip install 'fetchml[s3]'") from error
    place = place_at(
        address,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        credentials=settings.s3_credentials,
        environ=os.environ,
    )
    return S3Objects(place)


def open_inventory(place: Place) -> "Inventory":
    """This host."""
    from controller.inventory.host import HostInventory
    from controller.runtimes.process.probe import probe_sandbox

    return HostInventory(place.base, probe_sandbox)


def _events(store: "SqliteStore") -> "Events":
    from controller.stores.events import StoreEvents

    return StoreEvents(store)
