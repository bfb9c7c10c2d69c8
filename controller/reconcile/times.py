"""Time as text: RFC 3339 in UTC with milliseconds."""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """2026-01-02T03:04:05.678Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
