"""Reading what a launcher copied from /proc, line by line, before the user's program existed.

Does not: judge. Imported by the supervisor: no imports at all.
"""


def parse(text: bytes) -> dict[str, list[str]]:
    """Lines by file name beneath /proc/self, as `grep -H ''` prints them."""
    files: dict[str, list[str]] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        place, _, content = line.partition(":")
        files.setdefault(place.removeprefix("/proc/self/"), []).append(content)
    return files


def pairs(lines: list[str]) -> dict[str, str]:
    """Values by key, of lines such as ``NoNewPrivs:	1``."""
    parts = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _, value in parts}


def mounts(lines: list[str]) -> list[list[str]]:
    """[target, "ro" or "rw"] of every line of mountinfo."""
    fields = (line.split(" ") for line in lines)
    return [[part[4], part[5].split(",")[0]] for part in fields if len(part) > 5]
