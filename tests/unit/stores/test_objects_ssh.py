"""A store on another host: whom it trusts, and what an odd folder or a broken line does."""

from pathlib import Path

import pytest

from controller.ports.objectstore import UnreachableError
from controller.stores.objects import FileObjects
from controller.stores.objects_ssh import SshObjects
from tests.testbed.sshd import new_key, server

pytestmark = pytest.mark.needs("sshd")


def test_an_unknown_host_is_refused_whatever_the_configuration_says(tmp_path: Path) -> None:
    careless = server().config_with("")
    store = SshObjects(server().address(tmp_path / "there"), str(careless))
    with pytest.raises(UnreachableError, match=r"key is not known.*known_hosts"):
        store.put(b"data")
    assert not (tmp_path / "there").exists()
    assert (careless.parent / "known_hosts").read_text() == "", "nor is it learnt"


def test_a_host_whose_key_changed_is_refused(tmp_path: Path) -> None:
    other = server().config_with(server().known_as(new_key(tmp_path / "other")))
    store = SshObjects(server().address(tmp_path / "there"), str(other))
    with pytest.raises(UnreachableError, match=r"key has changed.*ssh-keygen -R"):
        store.put(b"data")
    assert not (tmp_path / "there").exists()


def test_the_folder_is_a_store_there(tmp_path: Path) -> None:
    place = tmp_path / "a b'c\"d$(e)"
    store = SshObjects(server().address(place), str(server().config))
    sha256 = store.put(b"data")
    here = FileObjects(place)
    with here.open(sha256) as file:
        assert file.read() == b"data"
    assert [item.sha256 for item in here.list()] == [sha256]
    assert list((place / "tmp").iterdir()) == []


def test_where_nothing_can_be_written_the_host_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = SshObjects(server().address(tmp_path / "file"), str(server().config))
    with pytest.raises(UnreachableError, match=r"ssh://.*: .*[Nn]ot a directory|ssh://.*: .*[Ff]ile exists"):
        store.put(b"data")


def test_what_is_cut_short_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line breaks in the middle of the second object."""
    from controller.stores import objects_ssh

    real = objects_ssh._write

    def short(stdin: object, pieces: object, failure: object) -> None:
        whole = b"".join(pieces)  # type: ignore[call-overload]  # an iterable of bytes
        real(stdin, [whole[:-3]], failure)  # type: ignore[arg-type]  # as it came

    store = SshObjects(server().address(tmp_path / "there"), str(server().config))
    monkeypatch.setattr(objects_ssh, "_write", short)
    with pytest.raises(UnreachableError, match=r"FAILED|did NOT match"):
        store.put(b"a long piece of data")
    assert list(FileObjects(tmp_path / "there").list()) == []


@pytest.mark.parametrize(
    "address", ["ssh://", "ssh://host", "ssh://-oProxyCommand=x/y", "ssh://a@-x/y", "ssh://h:p/y", "ssh://h/a\nb"]
)
def test_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="no address of a store"):
        SshObjects(address)
