"""Where an S3 object store is, and who we are there.

Promises: credentials come from the environment (the AWS_ names that every tool knows) or from a file of the operator's
that nobody else may read, never from a repository or an address, and stand in no repr. Does not: speak to it.
"""

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.ports.objectstore import UnreachableError

if TYPE_CHECKING:
    from obstore.store import S3Store

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/+([A-Za-z0-9][A-Za-z0-9._/-]*?))?/*")
_ELSEWHERE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True, slots=True)
class S3Place:
    """One prefix of one bucket."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    """URL; AWS when empty."""
    region: str = ""
    access_key: str = field(default="", repr=False)
    """Empty: the environment says who we are."""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    timeout: float = 30.0
    """Seconds without an answer after which a request has failed."""
    retries: int = 5
    """How often a request is tried again that the server answered with an error of its own."""

    @property
    def address(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def place_at(
    address: str, *, endpoint: str = "", region: str = "", credentials: str = "", environ: Mapping[str, str]
) -> S3Place:
    """The place that an address and the operator's settings name; the environment fills what they leave out.

    `credentials` is a file as the AWS tools write it (``[default]`` with aws_access_key_id, aws_secret_access_key).

    Raises:
        ValueError: the address is none, or the credentials file cannot be used.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or ".." in address:
        raise ValueError(f"{address!r} is no S3 address; write s3://bucket or s3://bucket/prefix")
    keys = _read(Path(credentials).expanduser()) if credentials else {}
    return S3Place(
        bucket=found[1],
        prefix=(found[2] or "").rstrip("/"),
        endpoint=endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or "",
        region=region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        access_key=keys.get("aws_access_key_id", ""),
        secret_key=keys.get("aws_secret_access_key", ""),
        session_token=keys.get("aws_session_token", ""),
    )


def _read(file: Path) -> Mapping[str, str]:
    try:
        if file.stat().st_mode & 0o077:
            raise ValueError(f"{file} may be read by others than you; chmod 600 {file}")
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(file.read_text())
        keys = dict(parser["default"])
    except (OSError, configparser.Error, UnicodeDecodeError, KeyError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__  # the text of a parser's error holds the line
        raise ValueError(
            f"s3_credentials: {file}: {reason}; write [default] and two keys, as aws configure does"
        ) from None
    if not (keys.get("aws_access_key_id") and keys.get("aws_secret_access_key")):
        raise ValueError(f"s3_credentials: {file}: aws_access_key_id and aws_secret_access_key must stand in [default]")
    return keys


def open_store(place: S3Place) -> "S3Store":
    """The client; opens no connection.

    Raises:
        UnreachableError: no credentials anywhere (asking a metadata server would take a minute to fail), or the extra
            is not installed.
    """
    from obstore.store import S3Store

    config: dict[str, Any] = {"region": place.region, "conditional_put": "etag"}
    if place.endpoint:
        config["endpoint"] = place.endpoint
    if place.access_key:
        config |= {"access_key_id": place.access_key, "secret_access_key": place.secret_key}
        if place.session_token:
            config["session_token"] = place.session_token
    elif not any(os.environ.get(name) for name in _ELSEWHERE):
        raise UnreachableError(
            f"no credentials for {place.address}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or s3_credentials in the settings"
        )
    return S3Store(
        place.bucket,
        prefix=place.prefix or None,
        config=config,  # type: ignore[arg-type]  # a TypedDict that is filled step by step
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(5.0, place.timeout)),
            "read_timeout": timedelta(seconds=place.timeout),
            "timeout": timedelta(seconds=10 * place.timeout),
        },
        retry_config={
            "max_retries": place.retries,
            "retry_timeout": timedelta(seconds=2 * place.timeout),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    )
