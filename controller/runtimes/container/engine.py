"""The engine behind its socket: the one module that imports the docker SDK.

Promises: every failure is an EngineError (an OSError: try again) or a LookupError (not there); a connection per thread.
Does not: retry, decide, or import the SDK before the first call (it costs 270 ms).
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

TIMEOUT = 60
"""Seconds for one answer of the engine."""


def default_url(kind: str) -> str:
    """Where an engine of this kind listens unless the operator says otherwise: for root, and for other users."""
    uid = os.getuid()
    if kind == "docker":
        return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    return "unix:///run/podman/podman.sock" if uid == 0 else f"unix:///run/user/{uid}/podman/podman.sock"


class EngineError(OSError):
    """The engine did not do it, or its answer was lost."""


class Engine:
    """One engine: docker or podman at a socket, such as unix:///run/docker.sock."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self._local = threading.local()

    def _api(self) -> Any:
        found = getattr(self._local, "api", None)
        if found is None:
            import docker  # type: ignore[import-untyped]  # ships no types

            found = self._local.api = docker.APIClient(base_url=self.url, version="auto", timeout=TIMEOUT)
        return found

    @contextmanager
    def _asked(self, what: str) -> Iterator[Any]:
        try:
            import docker.errors  # type: ignore[import-untyped]  # ships no types
            import requests.exceptions
            import urllib3.exceptions
        except ImportError as error:
            raise EngineError("containers need the docker SDK: install fetchml[containers]") from error
        try:
            yield self._api()
        except docker.errors.NotFound as error:
            raise LookupError(f"{what}: {error.explanation}") from error
        except docker.errors.APIError as error:
            raise EngineError(f"{self.kind}: {what}: {error.explanation or error}") from error
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(f"{self.kind} at {self.url} does not answer: {what}: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            raise EngineError(f"{self.kind}: {what}: the answer broke off") from error

    def version(self) -> Mapping[str, Any]:
        """What the engine says of itself."""
        with self._asked("version") as api:
            return dict(api.version())

    def info(self) -> Mapping[str, Any]:
        """Security options, cgroup version, runtimes."""
        with self._asked("info") as api:
            return dict(api.info())

    def create(self, name: str, body: Mapping[str, Any]) -> None:
        """Make a container."""
        with self._asked(f"create {name}") as api:
            api.create_container_from_config(body, name)

    def start(self, name: str) -> None:
        """Start it; one that runs is left alone."""
        with self._asked(f"start {name}") as api:
            api.start(name)

    def inspect(self, name: str) -> Mapping[str, Any]:
        """Everything about it.

        Raises:
            LookupError: there is none.
        """
        with self._asked(f"inspect {name}") as api:
            return dict(api.inspect_container(name))

    def kill(self, name: str) -> None:
        """SIGKILL, for all its processes; one that has ended is left alone."""
        try:
            with self._asked(f"kill {name}") as api:
                api.kill(name, "SIGKILL")
        except EngineError as error:
            if self.running(name):
                raise error from None
        except LookupError:
            pass  # gone already

    def running(self, name: str) -> bool:
        """Does it run now?"""
        try:
            return bool(self.inspect(name)["State"]["Running"])
        except LookupError:
            return False

    def execute(self, name: str, words: list[str]) -> None:
        """Run a short command in it, beside its own."""
        with self._asked(f"exec in {name}") as api:
            api.exec_start(api.exec_create(name, words)["Id"])

    def remove(self, name: str) -> None:
        """Remove it with its anonymous volumes, killing it if it runs; nothing when it is not there."""
        try:
            with self._asked(f"remove {name}") as api:
                api.remove_container(name, force=True, v=True)
        except LookupError:
            pass  # gone already

    def containers(self, label: str) -> list[Mapping[str, Any]]:
        """Those with a label, in whatever state."""
        with self._asked("list") as api:
            return list(api.containers(all=True, filters={"label": label}))

    def logs(self, name: str) -> Iterator[bytes]:
        """What it printed, from its beginning to its end, as it comes."""
        with self._asked(f"logs of {name}") as api:
            yield from api.logs(name, stdout=True, stderr=True, stream=True, follow=True)

    def image(self, reference: str) -> Mapping[str, Any]:
        """An image that is here.

        Raises:
            LookupError: it is not here.
        """
        with self._asked(f"image {reference}") as api:
            return dict(api.inspect_image(reference))

    def pull(self, reference: str) -> Iterator[Mapping[str, Any]]:
        """Fetch it; what the engine says meanwhile."""
        with self._asked(f"pull {reference}") as api:
            yield from api.pull(reference, stream=True, decode=True)
