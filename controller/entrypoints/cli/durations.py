"""Durations on the command line. Standard library only."""

import re

from controller.entrypoints.cli.errors import CommandError, Exit

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str, option: str) -> float:
    """Seconds of 90s, 10m, 1h30m, 7d.

    Raises:
        CommandError: not a duration (exit 2).
    """
    if not re.fullmatch(r"([0-9]+(ms|[smhd]))+", text):
        raise CommandError(f"{option} {text}: write a duration such as 90s, 10m, 2h or 7d", Exit.USAGE)
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhd])", text))
