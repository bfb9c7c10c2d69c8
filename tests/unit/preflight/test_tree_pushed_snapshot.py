"""The rules tree, pushed and snapshot."""

from dataclasses import replace

from controller.facts.facts import SnapshotFacts
from controller.preflight import pushed, snapshot, tree
from tests.builders import experiment, facts, git, sha
from tests.unit.preflight.judging import PASS, REFUSE, WAIT, cases, judged

GIT = experiment(source={"git": {"repo": "."}})
SNAPSHOT = experiment(source={"snapshot": sha("b")})


@cases(
    ("no source", experiment(), facts(), [(PASS, "no git source")]),
    ("a snapshot has no tree", SNAPSHOT, facts(git=git(dirty=("a",))), [(PASS, "no git source")]),
    ("clean", GIT, facts(GIT), [(PASS, "the work tree equals the commit")]),
    ("no commit", GIT, facts(git=git(exists=False)), [(PASS, "no commit to compare with")]),
    ("no repository", GIT, facts(git=None), [(PASS, "no commit to compare with")]),
    (
        "dirty names a few",
        GIT,
        facts(git=git(dirty=("train.py", "b", "c", "d", "e"))),
        [
            (
                REFUSE,
                "DirtyTree",
                "5 file(s) differ from commit c0ffee012345: train.py, b, c and 2 more",
                "spec.source.git",
                "git add train.py and commit, or git stash -u",
            )
        ],
    ),
)
def test_tree(experiment, facts, expected):
    assert judged(tree, experiment, facts) == expected


def test_three_files_are_all_named():
    [(_, _, message, *_)] = judged(tree, GIT, facts(git=git(dirty=("a", "b", "c"))))
    assert message == "3 file(s) differ from commit c0ffee012345: a, b, c"


@cases(
    ("no source", experiment(), facts(), [(PASS, "no git source")]),
    ("a snapshot has nothing to push", SNAPSHOT, facts(git=git(pushed=False)), [(PASS, "no git source")]),
    ("pushed", GIT, facts(GIT), [(PASS, "commit c0ffee012345 is pushed")]),
    ("no remote", GIT, facts(git=git(has_remote=False, pushed=False)), [(PASS, "the repository has no remote")]),
    ("no commit", GIT, facts(git=git(exists=False, pushed=False)), [(PASS, "no commit to push")]),
    ("no repository", GIT, facts(git=None), [(PASS, "no commit to push")]),
    (
        "not pushed waits",
        GIT,
        facts(git=git(pushed=False)),
        [
            (
                WAIT,
                "NotPushed",
                "commit c0ffee012345 is in no remote-tracking branch: only this machine has it",
                "spec.source.git.commit",
                "git push (branch main)",
            )
        ],
    ),
)
def test_pushed(experiment, facts, expected):
    assert judged(pushed, experiment, facts) == expected


FOUND = SnapshotFacts(sha("b"), found=True, verified=True)


@cases(
    ("none", GIT, facts(GIT), [(PASS, "no snapshot")]),
    ("good", SNAPSHOT, facts(SNAPSHOT), [(PASS, "snapshot sha256:bbbbbbbbbbbb verified")]),
    (
        "not here",
        SNAPSHOT,
        facts(snapshot=replace(FOUND, found=False)),
        [
            (
                WAIT,
                "SnapshotNotFound",
                f"{sha('b')} is not in the object store",
                "spec.source.snapshot",
                "ml sync the folder here first, or set object_store to where it was put",
            )
        ],
    ),
    (
        "rotten",
        SNAPSHOT,
        facts(snapshot=replace(FOUND, verified=False, error="object 12 has other bytes")),
        [
            (
                REFUSE,
                "SnapshotCorrupt",
                f"{sha('b')}: object 12 has other bytes",
                "spec.source.snapshot",
                "ml sync --rehash the folder, and write the digest that it prints",
            )
        ],
    ),
    (
        "facts of another snapshot prove nothing",
        SNAPSHOT,
        facts(snapshot=replace(FOUND, sha256=sha("c"))),
        [
            (
                REFUSE,
                "SnapshotCorrupt",
                f"{sha('b')}: its bytes do not have the stated digest",
                "spec.source.snapshot",
                "ml sync --rehash the folder, and write the digest that it prints",
            )
        ],
    ),
)
def test_snapshot(experiment, facts, expected):
    assert judged(snapshot, experiment, facts) == expected
