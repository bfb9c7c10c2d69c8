"""The commit rule."""

from controller.preflight import commit
from tests.builders import COMMIT, experiment, facts, git, sha
from tests.unit.preflight.judging import PASS, REFUSE, WAIT, cases, judged

GIT = experiment(source={"git": {"repo": ".", "path": "examples/digits"}})
FIELD = "spec.source.git.commit"


@cases(
    ("no source", experiment(), facts(), [(PASS, "no git source")]),
    ("snapshot", experiment(source={"snapshot": sha()}), facts(), [(PASS, "no git source")]),
    ("good", GIT, facts(GIT), [(PASS, "commit c0ffee012345 exists, reachable from main")]),
    (
        "a ref is named as people name it",
        GIT,
        facts(git=git(ref="refs/heads/main")),
        [(PASS, "commit c0ffee012345 exists, reachable from main")],
    ),
    (
        "a damaged object",
        GIT,
        facts(git=git(exists=False, unreadable=True, error="object 12 is corrupt")),
        [
            (
                WAIT,
                "SourceUnreadable",
                "the repository cannot be read: object 12 is corrupt",
                "spec.source.git",
                "git fsck names what is damaged; git fetch, or a copy of the object from another clone, brings it back",
            )
        ],
    ),
    (
        "no repository",
        GIT,
        facts(git=None),
        [
            (
                REFUSE,
                "RepositoryNotFound",
                "no repository '.': the spec lies in no git repository",
                "spec.source.git.repo",
                "commit the spec to a git repository (git init), or leave spec.source out if the command needs no code",
            )
        ],
    ),
    (
        "repository refused",
        experiment(source={"git": {"repo": "ext::sh"}}),
        facts(git=git(found=False, error="scheme ext is not allowed")),
        [
            (
                REFUSE,
                "RepositoryNotFound",
                "no repository 'ext::sh': scheme ext is not allowed",
                "spec.source.git.repo",
                "commit the spec to a git repository (git init), or leave spec.source out if the command needs no code",
            )
        ],
    ),
    (
        "spec not committed",
        GIT,
        facts(git=git(commit=None, exists=False)),
        [
            (
                REFUSE,
                "SpecNotCommitted",
                "no commit on main holds this spec or 'examples/digits'",
                "spec.source.git",
                "git add the spec and its code, then git commit",
            )
        ],
    ),
    (
        "no commit, on no known branch",
        GIT,
        facts(git=git(commit=None, exists=False, ref="")),
        [
            (
                REFUSE,
                "SpecNotCommitted",
                "no commit on the branch holds this spec or 'examples/digits'",
                "spec.source.git",
                "git add the spec and its code, then git commit",
            )
        ],
    ),
    (
        "no commit, for a reason",
        GIT,
        facts(git=git(commit=None, exists=False, error="the repository is empty")),
        [
            (
                REFUSE,
                "SpecNotCommitted",
                "the repository is empty",
                "spec.source.git",
                "git add the spec and its code, then git commit",
            )
        ],
    ),
    (
        "unreachable from an unnamed ref",
        GIT,
        facts(git=git(reachable=False, ref="")),
        [
            (
                REFUSE,
                "CommitNotReachable",
                "commit c0ffee012345 is not contained in the configured ref",
                FIELD,
                "merge it into the configured ref, or write a commit that is on it",
            )
        ],
    ),
    (
        "commit may be fetched",
        GIT,
        facts(git=git(exists=False)),
        [
            (
                WAIT,
                "CommitNotFound",
                "commit c0ffee012345 is not in the repository; it has a remote that may hold it",
                FIELD,
                f"git fetch, or git push the commit from where it was made: {COMMIT}",
            )
        ],
    ),
    (
        "commit can come from nowhere",
        GIT,
        facts(git=git(exists=False, has_remote=False)),
        [
            (
                REFUSE,
                "CommitNotFound",
                "commit c0ffee012345 is not in the repository, which has no remote",
                FIELD,
                "write a commit that git log shows, or leave commit out to take the newest",
            )
        ],
    ),
    (
        "unreachable, without the path, hostile: all at once",
        GIT,
        facts(git=git(reachable=False, path_exists=False, hostile=("a", "b", "c", "d"))),
        [
            (
                REFUSE,
                "CommitNotReachable",
                "commit c0ffee012345 is not contained in main",
                FIELD,
                "merge it into main, or write a commit that is on it",
            ),
            (
                REFUSE,
                "PathNotInCommit",
                "'examples/digits' is not a folder of commit c0ffee012345",
                "spec.source.git.path",
                "git ls-tree c0ffee012345 shows what is there",
            ),
            (
                REFUSE,
                "UnsafeTree",
                "the tree holds entries that are never exported: a, b, c and 1 more",
                "spec.source.git.path",
                "remove links out of the tree, submodules and names such as .git from that folder",
            ),
        ],
    ),
)
def test_commit(experiment, facts, expected):
    assert judged(commit, experiment, facts) == expected
