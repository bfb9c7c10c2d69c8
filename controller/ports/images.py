"""Container images: looked at, and fetched.

Promises: `image_facts` only looks (at the registry too when `remote`), and never raises for a bad reference: the facts
say what is wrong. What is fetched is named by digest.
"""

from abc import ABC, abstractmethod

from controller.facts.facts import ImageFacts
from controller.ports.inputs import Progress, no_progress


class Images(ABC):
    """The images of one engine."""

    @abstractmethod
    def image_facts(self, reference: str, *, remote: bool = False) -> ImageFacts:
        """What a reference stands for on this engine; with `remote` its registry is asked."""

    @abstractmethod
    def fetch(self, reference: str, progress: Progress = no_progress) -> None:
        """Have the image here, whole; nothing when it is.

        Raises:
            EnvironmentBuildError: the registry does not have it, or does not answer (retryable).
        """
