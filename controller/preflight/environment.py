"""What the command runs in is pinned.

Process runtime: a lock, or the bare interpreter: of a stated version when the code comes from a source, for which "no
packages needed" must be said. Every other runtime: an image by digest.
Reasons: ImageNotSupported, ImageMissing, ImageInvalid, UnsafeImage,
DependenciesNotSupported (Refuse); LockMissing, ImageNotPinned (Refuse;
relaxed: caps at L0); ImageNotFound (Wait: relaxed, a tag that nothing has resolved).
"""

import re
from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule

RULE = Rule("environment")
ENGINES = ("docker", "podman")
"""Runtimes that run images on this host, and nothing beside them."""
_IMAGE = "spec.environment.image"
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9._:-]*(?:/[a-zA-Z0-9._-]+)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
_PINNED = re.compile(_NAME + r"@sha256:[0-9a-f]{64}")


def check(context: Context) -> Iterator[Finding]:
    """One finding."""
    yield _process(context) if context.runtime == "process" else _image(context)


def _process(context: Context) -> Finding:
    environment, source = context.spec.environment, context.spec.source
    if environment.image is not None:
        message = "the process runtime runs no images"
        fix = "remove image and pin with python and dependencies, or set spec.scheduling.target to one that runs images"
        return RULE.refuse("ImageNotSupported", message, _IMAGE, fix)
    if environment.dependencies is not None:
        return RULE.passed(f"pinned by the lock {environment.dependencies.manifest}")
    if environment.python is not None or source is None:
        return RULE.passed(f"the bare interpreter, Python {environment.python or _found(context) or '3'}")
    message = "nothing says what the code of the source needs: no lock and no Python version"
    example = _found(context) or "3.11"
    fix = f'write dependencies (a hash-pinned lock), or python: "{example}" if the standard library is enough'
    return RULE.refuse("LockMissing", message, "spec.environment", fix)


def _found(context: Context) -> str:
    """Major and minor version of the interpreter that was found."""
    found = context.facts.interpreter
    return ".".join(found.version.split(".")[:2]) if found is not None and found.found else ""


def _image(context: Context) -> Finding:
    if context.spec.environment.dependencies is not None and context.runtime in ENGINES:
        message = f"the {context.runtime} runtime does not install a lock into an image"
        fix = "bring the packages in the image, and remove dependencies"
        return RULE.refuse("DependenciesNotSupported", message, "spec.environment.dependencies", fix)
    image = context.spec.environment.image
    if image is None:
        fix = "write image: name@sha256:<64 hex>, or set spec.scheduling.target to a process target"
        return RULE.refuse("ImageMissing", f"the {context.runtime} runtime needs an image", "spec.environment", fix)
    found = context.facts.image
    if found is not None and found.loader_variables:
        message = f"the image sets {', '.join(found.loader_variables)}, which changes every program that it runs"
        return RULE.refuse("UnsafeImage", message, _IMAGE, "use an image that sets no LD_* variables")
    if _PINNED.fullmatch(image):
        return RULE.passed(f"image pinned at {image.rpartition('@')[2][:19]}")
    if not re.fullmatch(_NAME, image):
        return RULE.refuse("ImageInvalid", f"{image!r} is not an image reference", _IMAGE, "write name@sha256:<64 hex>")
    message = f"{image!r} names a tag, which can move"
    if found is None:
        fix = f"write {image}@sha256:<64 hex> (docker buildx imagetools inspect {image} prints it)"
    elif found.sha256:
        fix = f"write {context.plan.content['environment']['image']}"
    elif context.spec.reproducibility.policy == "relaxed":
        message = f"{image!r} is not on the engine, so nobody knows its digest" + (found.error and f": {found.error}")
        return RULE.wait("ImageNotFound", message, _IMAGE, "fetch it: ml explain --resolve SPEC")
    else:
        fix = "write the digest that `ml explain --resolve` prints"
    return RULE.refuse("ImageNotPinned", message, _IMAGE, fix)
