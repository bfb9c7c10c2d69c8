"""The commit is in a remote-tracking ref, when there is a remote: others can get it.

Reasons: NotPushed (Wait; relaxed: a cap at L0).
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule, branch

RULE = Rule("pushed")


def check(context: Context) -> Iterator[Finding]:
    """Judges only a commit that exists."""
    source, git = context.spec.source, context.facts.git
    if source is None or source.git is None:
        yield RULE.passed("no git source")
    elif git is None or git.commit is None or not git.exists:
        yield RULE.passed("no commit to push")
    elif not git.has_remote:
        yield RULE.passed("the repository has no remote")
    elif not git.pushed:
        message = f"commit {git.commit[:12]} is in no remote-tracking branch: only this machine has it"
        yield RULE.wait(
            "NotPushed", message, "spec.source.git.commit", f"git push (branch {branch(git.ref) or 'of the commit'})"
        )
    else:
        yield RULE.passed(f"commit {git.commit[:12]} is pushed")
