"""Secrets taken out of a stream of bytes, even where they come in pieces.

Does not: recognise a secret that was encoded. Imported by the supervisor: no imports at all.
"""

REDACTED = b"[redacted]"


class Redactor:
    """Replaces secrets in a stream; holds back only what may be the beginning of one."""

    def __init__(self, secrets: list[bytes]) -> None:
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown now."""
        data = self._held + data
        for secret in self._secrets:
            data = data.replace(secret, REDACTED)
        keep = max((self._overlap(data, secret) for secret in self._secrets), default=0)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def rest(self) -> bytes:
        """What was held back at the end."""
        held, self._held = self._held, b""
        return held

    @staticmethod
    def _overlap(data: bytes, secret: bytes) -> int:
        longest = min(len(data), len(secret) - 1)
        return next((size for size in range(longest, 0, -1) if data.endswith(secret[:size])), 0)
