"""Whoever brought the spec into the repository may do so, where policy asks.

Reasons (Refuse): CommitNotSigned (a commit that it rests on has no signature that counts), SubmitterNotAllowed (it has
one, by somebody whom policy does not name).
"""

from collections.abc import Iterator

from controller.preflight.model import Context, Finding, Rule

RULE = Rule("submitter")


def check(context: Context) -> Iterator[Finding]:
    """Every commit that vouches for the spec, against every rule."""
    policy, seen = context.facts.policy, context.facts.submission
    if not policy.require_signed_commits and not policy.submitters:
        yield RULE.passed("no signature asked for")
    elif not seen.signed:
        which = next(
            (f"commit {oid[:12]}: " for oid, who in zip(seen.commits, seen.signers, strict=True) if not who), ""
        )
        message = f"policy asks for signed commits; {which}{seen.message or 'none was found'} ({seen.reason})"
        fix = "commit the spec as it stands anew with git commit -S, by somebody in the trust root's allowed_signers"
        yield RULE.refuse("CommitNotSigned", message, "", fix)
    elif stranger := _stranger(context):
        message = f"policy lets others submit here, not {stranger}, who signed"
        yield RULE.refuse("SubmitterNotAllowed", message, "", "let somebody whom the policy names commit it, signed")
    else:
        yield RULE.passed(f"signed by {', '.join(sorted(set(seen.signers)))}")


def _stranger(context: Context) -> str:
    """A signer whom some rule does not name; empty without one."""
    seen = context.facts.submission
    for owner, key in zip(seen.signers, seen.keys, strict=True):
        for rule in context.facts.policy.submitters:
            if not any(subject.allows(owner, key) for subject in rule):
                return owner
    return ""
