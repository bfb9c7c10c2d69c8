"""Nothing below the code's path, nor the spec itself, differs from the commit.

Reasons: DirtyTree (Refuse; relaxed: a cap at L0).
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule, names

RULE = Rule("tree")


def check(context: Context) -> Iterator[Finding]:
    """The files that differ, up to three by name."""
    source, git = context.spec.source, context.facts.git
    if source is None or source.git is None:
        yield RULE.passed("no git source")
    elif git is not None and git.dirty:
        message = f"{len(git.dirty)} file(s) differ from commit {(git.commit or '')[:12]}: {names(git.dirty)}"
        yield RULE.refuse(
            "DirtyTree", message, "spec.source.git", f"git add {git.dirty[0]} and commit, or git stash -u"
        )
    elif git is None or not git.exists:
        yield RULE.passed("no commit to compare with")
    else:
        yield RULE.passed("the work tree equals the commit")
