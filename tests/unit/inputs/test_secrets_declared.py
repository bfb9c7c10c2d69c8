"""Who may use a secret, and where its value comes from."""

from pathlib import Path

import pytest

from controller.inputs.secrets import MAX_BYTES, SecretDeclaration, Secrets


@pytest.mark.parametrize(
    ("subjects", "namespace", "owner", "allowed"),
    [
        ((), "vision", "alice", False),
        (("vision/alice",), "vision", "alice", True),
        (("vision/alice",), "vision", "bob", False),
        (("vision/*",), "vision", "bob", True),
        (("vision/*",), "vision", "", True),
        (("vision/*",), "vision2", "bob", False),
        (("*/alice",), "speech", "alice", True),
        (("*",), "vision", "alice", False),
        (("vision",), "vision", "alice", False),
        (("*/*",), "any", "any", True),
        (("Vision/*",), "vision", "alice", False),
    ],
)
def test_denied_unless_a_pattern_allows(subjects: tuple[str, ...], namespace: str, owner: str, allowed: bool) -> None:
    secrets = Secrets([SecretDeclaration("key", env="X", subjects=subjects)])
    facts = secrets.facts("key", namespace, owner)
    assert (facts.declared, facts.allowed) == (True, allowed)
    assert secrets.facts("other", namespace, owner).declared is False


def test_values_of_files_and_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "value").write_text("from a file\n\n")
    monkeypatch.setenv("THE_SECRET", "from the environment")
    secrets = Secrets([SecretDeclaration("file", file=tmp_path / "value"), SecretDeclaration("env", env="THE_SECRET")])
    assert secrets.value("file") == "from a file\n"
    assert secrets.value("env") == "from the environment"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"a\0b", b"\xff\xfe", b"x" * (MAX_BYTES + 1)])
def test_a_value_that_cannot_be_used_is_never_shown(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "value").write_bytes(content)
    with pytest.raises(LookupError) as caught:
        Secrets([SecretDeclaration("key", file=tmp_path / "value")]).value("key")
    assert "'key'" in str(caught.value)
    assert "xx" not in str(caught.value)


def test_undeclared_or_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    secrets = Secrets([SecretDeclaration("nowhere"), SecretDeclaration("env", env="NO_SUCH")])
    for name in ("nowhere", "env", "undeclared"):
        with pytest.raises(LookupError):
            secrets.value(name)
