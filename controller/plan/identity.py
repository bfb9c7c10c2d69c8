"""Names and labels of runs and attempts.

Promises: deterministic, valid as DNS labels and container names (RFC 1035, at most 63 characters). Does not: remember
anything.
"""

import base64
import hashlib

from controller.api.canonical import canonical_bytes, hex_of

LABEL_STORE = "fetchml.dev/store"
LABEL_RUN = "fetchml.dev/run"
LABEL_ATTEMPT = "fetchml.dev/attempt"
LABEL_PLAN = "fetchml.dev/plan"
ANNOTATION_PLAN = "fetchml.dev/plan-sha256"

MAX_NAME = 63


def run_id(name: str, uid: str, plan_sha256: str, rerun: str = "") -> str:
    """``<name>-<8 base32>`` of the run (uid, plan, rerun token); at most 49 characters."""
    digest = hashlib.sha256(canonical_bytes([uid, plan_sha256, rerun])).digest()
    return f"{name}-{base64.b32encode(digest).decode()[:8].lower()}"


def attempt_name(run: str, number: int) -> str:
    """``fetchml-<run-id>-<n>``, n from 1.

    Raises:
        ValueError: n below 1, or a name above 63 characters.
    """
    name = f"fetchml-{run}-{number}"
    if number < 1 or len(name) > MAX_NAME:
        raise ValueError(
            f"{name!r} cannot name an attempt: numbers start at 1 and a name has at most {MAX_NAME} characters"
        )
    return name


def labels(store_id: str, run: str, number: int, plan_sha256: str) -> dict[str, str]:
    """What everything that we create carries.

    The plan is cut to 32 hex digits, because a label value has at most 63 characters.
    """
    return {LABEL_STORE: store_id, LABEL_RUN: run, LABEL_ATTEMPT: str(number), LABEL_PLAN: hex_of(plan_sha256)[:32]}


def annotations(plan_sha256: str) -> dict[str, str]:
    """The whole plan digest, for where annotations exist."""
    return {ANNOTATION_PLAN: plan_sha256}
