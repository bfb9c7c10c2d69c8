"""The images of an engine.

Promises: a tag becomes the digest that the engine has for it, or with `remote` the registry's; only a digest is fetched
for a run. Does not: trust a tag twice.
"""

import re
from collections.abc import Mapping
from typing import Any

from controller.facts.facts import ImageFacts
from controller.ports import durable
from controller.ports.images import Images
from controller.ports.inputs import EnvironmentBuildError, Progress, no_progress
from controller.runtimes.container.engine import Engine, EngineError

FETCH = durable.register("images.fetch", "the image of a run is on the engine")
_MISSING = re.compile(r"manifest unknown|not found|no such image|unauthorized|denied", re.IGNORECASE)


class EngineImages(Images):
    """Images as Docker or Podman keeps them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def image_facts(self, reference: str, *, remote: bool = False) -> ImageFacts:
        """See Images."""
        pinned = repository(reference) + "@" + reference.rpartition("@")[2] if "@" in reference else reference
        try:
            if remote:
                self._pull(pinned, no_progress)
            found = self._engine.image(pinned)
        except LookupError:
            digest = reference.rpartition("@")[2] if "@" in reference else None
            return ImageFacts(reference, digest, present=False)
        except OSError as error:
            digest = reference.rpartition("@")[2] if "@" in reference else None
            return ImageFacts(reference, digest, present=False, error=str(error))
        names = sorted(entry.partition("=")[0] for entry in (found.get("Config") or {}).get("Env") or ())
        loading = tuple(name for name in names if name.startswith("LD_"))
        return ImageFacts(reference, _digest(reference, found), present=True, loader_variables=loading)

    def fetch(self, reference: str, progress: Progress = no_progress) -> None:
        """See Images."""
        try:
            self._engine.image(reference)
        except LookupError:
            with durable.step(FETCH):
                self._pull(reference, progress)

    def _pull(self, reference: str, progress: Progress) -> None:
        layers: dict[str, tuple[int, int]] = {}
        try:
            for said in self._engine.pull(reference):
                if said.get("error"):
                    raise EngineError(str(said["error"]))
                detail = said.get("progressDetail") or {}
                if said.get("id") and detail.get("total"):
                    layers[str(said["id"])] = (int(detail.get("current", 0)), int(detail["total"]))
                progress(f"fetch {reference}", *map(sum, zip(*layers.values(), strict=True)) if layers else (0, 0))
        except (OSError, LookupError) as error:
            retryable = not _MISSING.search(str(error))
            raise EnvironmentBuildError(
                f"the image {reference} was not fetched: {error}", retryable=retryable
            ) from error


def repository(reference: str) -> str:
    """The name without tag and digest."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _digest(reference: str, found: Mapping[str, Any]) -> str | None:
    """The digest under which the engine knows it; the stated one if that is among them."""
    if "@" in reference:
        return reference.rpartition("@")[2]
    short = repository(reference)
    known = [str(entry) for entry in found.get("RepoDigests") or ()]
    same = [
        entry for entry in known if entry.partition("@")[0] == short or entry.partition("@")[0].endswith("/" + short)
    ]
    return same[0].rpartition("@")[2] if same else None
