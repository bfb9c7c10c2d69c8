"""Gather the facts about one spec, once, through the ports.

Promises: reads only (and fills caches); a bad reference becomes a fact, never an exception.
Does not: judge. Everything a rule or the plan may look at is in the result.
"""

from fnmatch import fnmatchcase

from controller.api.addresses import catalogue_entry
from controller.api.documents import Document
from controller.api.experiment import Experiment
from controller.facts.facts import DatasetFacts, Facts, GitFacts, PolicyFacts
from controller.ports.source import key_of
from controller.ports.store import ExperimentRow
from controller.reconcile.context import Ports
from controller.reconcile.standing import matching, required_level, subjects
from controller.reconcile.submitted import Submitted, submitted


def experiment_of(document: Document) -> Experiment:
    """The document's model as an Experiment.

    Raises:
        TypeError: the document is of another kind.
    """
    if not isinstance(document.model, Experiment):
        raise TypeError(f"{document.file} holds a {document.model.kind}, not an Experiment")
    return document.model


def observe(ports: Ports, document: Document, row: ExperimentRow | None) -> Facts:
    """All facts about the document's references and this host."""
    spec = experiment_of(document).spec
    inputs = ports.inputs
    source = spec.source.git if spec.source else None
    git = inputs.git_facts(document, source)
    lock = spec.environment.dependencies
    people = submitted(ports, document, git)
    return Facts(
        host=ports.inventory.host(),
        git=git,
        snapshot=inputs.snapshot_facts(spec.source.snapshot) if spec.source and spec.source.snapshot else None,
        lock=inputs.lock_facts(git, spec.source, lock, document.file) if lock else None,
        interpreter=None if spec.environment.image else inputs.interpreter_facts(spec.environment.python),
        image=ports.images.image_facts(spec.environment.image) if ports.images and spec.environment.image else None,
        datasets=_datasets(ports, document, git),
        secrets=tuple(inputs.secret_facts(secret.name, _namespace(document), spec.owner) for secret in spec.secrets),
        policy=_policy(ports, document, people),
        places=tuple(sorted(ports.source.places(key_of(document)))),
        approved_plans=ports.store.approvals(row.uid) if row else None,
        submission=people.submission,
        approvals=people.approvals,
    )


def _namespace(document: Document) -> str:
    return document.model.metadata.namespace


def _datasets(ports: Ports, document: Document, git: GitFacts | None) -> tuple[DatasetFacts, ...]:
    spec = experiment_of(document).spec
    named = any(catalogue_entry(dataset.uri) for dataset in spec.datasets)
    entries = ports.standing.datasets(ports.source, _namespace(document)) if named else ()
    return tuple(
        ports.inputs.dataset_facts(document, git, dataset, ports.progress, entries) for dataset in spec.datasets
    )


def _policy(ports: Ports, document: Document, people: Submitted) -> PolicyFacts:
    policy = ports.policy
    mine = matching(policy.rules, document)  # only the operator's may grant
    rules = (*mine, *ports.standing.rules(ports.source, document))
    return PolicyFacts(
        network_full_allowed=any(fnmatchcase(_namespace(document), pattern) for pattern in policy.allow_network)
        or any(rule.allow_network for rule in mine),
        require_approval=policy.require_approval or any(rule.require_approval for rule in rules),
        min_trust_level=required_level(rules),
        require_signed_commits=any(rule.require_signed_commits for rule in rules),
        submitters=subjects(rule.submitters for rule in rules),
        approvers=subjects(rule.approvers for rule in rules),
        submitter_is_reconciler=people.by_reconciler,
        submitter_why=people.why,
        signing_key=ports.signer is not None,
    )
