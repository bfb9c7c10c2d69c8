"""Dataset documents in the folder: found for specs of their namespace only, and looked at again when they change."""

from controller.reconcile.standing import Standing
from tests.fakes.clock import FakeClock
from tests.fakes.source import FakeSource


def entry(digit: str, namespace: str = "default") -> str:
    return (
        "apiVersion: fetchml.dev/v1alpha1\nkind: Dataset\n"
        f"metadata: {{name: digits, namespace: {namespace}}}\n"
        f'spec: {{uri: "file:a", sha256: "sha256:{digit * 64}"}}\n'
    )


def test_a_namespace_sees_its_own_entries() -> None:
    source = FakeSource(FakeClock())
    source.put("a.yaml", entry("a"))
    source.put("b.yaml", entry("b", "other"))
    source.poll()
    standing = Standing()
    assert [each.spec.sha256[-1] for each in standing.datasets(source, "default")] == ["a"]
    assert [each.spec.sha256[-1] for each in standing.datasets(source, "other")] == ["b"]
    assert standing.datasets(source, "third") == ()


def test_an_entry_that_changes_is_read_again() -> None:
    source = FakeSource(FakeClock())
    source.put("a.yaml", entry("a"))
    standing = Standing()
    standing.changed(source.poll().keys)
    assert [each.spec.sha256[-1] for each in standing.datasets(source, "default")] == ["a"]
    source.put("a.yaml", entry("b"))
    assert standing.changed(source.poll().keys), "every spec is looked at again"
    assert [each.spec.sha256[-1] for each in standing.datasets(source, "default")] == ["b"]
