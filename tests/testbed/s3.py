"""Where the S3 server of tests/testbed/services listens, and a fresh place in it.

Promises: never another server than that one, unless TESTBED_S3_ENDPOINT names it.
"""

import functools
import os
import secrets
import subprocess
from dataclasses import replace
from pathlib import Path

from controller.stores.objects_s3_place import S3Place

SCRIPT = Path(__file__).parent / "services"


@functools.cache
def environment() -> dict[str, str]:
    """TESTBED_S3_* as `services env` prints them, under those that are set already."""
    try:
        printed = subprocess.run([SCRIPT, "env"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        printed = ""
    found = dict(word.split("=", 1) for word in printed.split() if "=" in word)
    return found | {name: value for name, value in os.environ.items() if name.startswith("TESTBED_S3_")}


def fresh_place() -> S3Place:
    """A prefix that nobody else has."""
    found = environment()
    return S3Place(
        bucket=found["TESTBED_S3_BUCKET"],
        prefix="test/" + secrets.token_hex(8),
        endpoint=found["TESTBED_S3_ENDPOINT"],
        region="us-east-1",
        access_key=found["TESTBED_S3_ACCESS_KEY"],
        secret_key=found["TESTBED_S3_SECRET_KEY"],
    )


def answers() -> bool:
    """Does it take an object and give it back?"""
    from controller.stores.objects_s3 import S3Objects

    try:
        store = S3Objects(replace(fresh_place(), timeout=5.0, retries=1))
    except KeyError:
        return False
    return store.open(store.put(b"probe")).read() == b"probe"
