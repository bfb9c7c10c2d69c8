"""The datasets rule."""

from controller.preflight import datasets
from tests.builders import dataset, experiment, facts, sha
from tests.unit.preflight.judging import PASS, REFUSE, WAIT, cases, judged


def with_dataset(**overrides):
    return experiment(datasets=[{"name": "digits", "uri": "file:data/d.gz", "sha256": sha("e"), **overrides}])


GOOD = with_dataset()
NO_DIGEST = experiment(datasets=[{"name": "digits", "uri": "file:data/d.gz"}])
URI, SHA = "spec.datasets[0].uri", "spec.datasets[0].sha256"
NOT_FOUND = (
    WAIT,
    "DatasetNotFound",
    "digits: file:data/d.gz is not there",
    URI,
    "put the data at file:data/d.gz, or correct the uri",
)


@cases(
    ("none", experiment(), facts(), [(PASS, "no datasets")]),
    ("good", GOOD, facts(GOOD), [(PASS, "1 verified, 1000 bytes")]),
    (
        "no digest: here it is",
        NO_DIGEST,
        facts(NO_DIGEST),
        [
            (
                REFUSE,
                "DatasetChecksumMissing",
                "digits has no stated digest",
                "spec.datasets[0]",
                f'write sha256: "{sha("e")}"',
            )
        ],
    ),
    (
        "no digest and no data",
        NO_DIGEST,
        facts(datasets=()),
        [
            (
                REFUSE,
                "DatasetChecksumMissing",
                "digits has no stated digest",
                "spec.datasets[0]",
                'write sha256: "sha256:<what sha256sum prints>"',
            ),
            NOT_FOUND,
        ],
    ),
    (
        "no digest, and it cannot be hashed",
        NO_DIGEST,
        facts(datasets=(dataset(found=False, sha256=None),)),
        [
            (
                REFUSE,
                "DatasetChecksumMissing",
                "digits has no stated digest",
                "spec.datasets[0]",
                'write sha256: "sha256:<what sha256sum prints>"',
            ),
            NOT_FOUND,
        ],
    ),
    (
        "other bytes",
        GOOD,
        facts(datasets=(dataset(sha256=sha("9")),)),
        [
            (
                REFUSE,
                "DatasetChecksumMismatch",
                f"digits: file:data/d.gz has {sha('9')}, the spec says {sha('e')}",
                SHA,
                f'write sha256: "{sha("9")}" if the new data is meant, else restore the data',
            )
        ],
    ),
    ("not there", GOOD, facts(datasets=(dataset(found=False, sha256=None),)), [NOT_FOUND]),
    ("nobody looked", GOOD, facts(datasets=()), [NOT_FOUND]),
    (
        "outside the roots",
        GOOD,
        facts(datasets=(dataset(found=False, reason="PathOutsideRoots", message="/etc is beneath no root"),)),
        [
            (
                REFUSE,
                "PathOutsideRoots",
                "digits: /etc is beneath no root",
                URI,
                "use a path in the repository, or ask the operator to add its folder to dataset_roots",
            )
        ],
    ),
    (
        "a link, although its target has the digest",
        GOOD,
        facts(datasets=(dataset(reason="SymlinkInDataset", message="data/d.gz is a link"),)),
        [
            (
                REFUSE,
                "SymlinkInDataset",
                "digits: data/d.gz is a link",
                URI,
                "replace the link by the file itself",
            )
        ],
    ),
    (
        "unreadable may change",
        GOOD,
        facts(datasets=(dataset(found=False, reason="UnreadableDataset", message="permission denied"),)),
        [
            (
                WAIT,
                "UnreadableDataset",
                "digits: permission denied",
                URI,
                "let the reconciler's user read it (chmod)",
            )
        ],
    ),
    (
        "unknown scheme",
        with_dataset(uri="s3://b/k"),
        facts(datasets=(dataset(found=False, sha256=None, reason="UnsupportedScheme", message="scheme s3"),)),
        [
            (
                REFUSE,
                "UnsupportedScheme",
                "digits: scheme s3",
                URI,
                "write uri: file:<path from the repository's root>",
            )
        ],
    ),
)
def test_datasets(experiment, facts, expected):
    assert judged(datasets, experiment, facts) == expected


def test_each_dataset_is_named_by_its_index():
    two = experiment(
        datasets=[
            {"name": "a", "uri": "file:a", "sha256": sha("e")},
            {"name": "b", "uri": "file:b", "sha256": sha("e")},
        ]
    )
    found = judged(datasets, two, facts(datasets=(dataset("b", sha256=sha("1")), dataset("a"))))
    assert [(row[1], row[3]) for row in found] == [("DatasetChecksumMismatch", "spec.datasets[1].sha256")]


TWO_DIGESTS = "leave sha256 out to take the catalogue's, or name the version that was meant with dataset:NAME@VERSION"
ENTRY = experiment(datasets=[{"name": "digits", "uri": "dataset:digits@1"}])
STATED = experiment(datasets=[{"name": "digits", "uri": "dataset:digits@1", "sha256": sha("d")}])


@cases(
    (
        "the catalogue states the digest",
        ENTRY,
        facts(datasets=(dataset(pinned=sha("e")),)),
        [(PASS, "1 verified, 1000 bytes")],
    ),
    (
        "the data is not what the catalogue says",
        ENTRY,
        facts(datasets=(dataset(pinned=sha("d")),)),
        [
            (
                REFUSE,
                "DatasetChecksumMismatch",
                f"digits: dataset:digits@1 has {sha('e')}, the catalogue says {sha('d')}",
                SHA,
                f'write sha256: "{sha("e")}" if the new data is meant, else restore the data',
            )
        ],
    ),
    (
        "spec and catalogue disagree",
        STATED,
        facts(datasets=(dataset(pinned=sha("e")),)),
        [
            (
                REFUSE,
                "DatasetChecksumMismatch",
                f"digits: the catalogue has dataset:digits@1 with {sha('e')}, the spec says {sha('d')}",
                SHA,
                TWO_DIGESTS,
            )
        ],
    ),
    (
        "no such entry",
        ENTRY,
        facts(
            datasets=(dataset(found=False, sha256=None, reason="DatasetNotInCatalogue", message="did you mean digit?"),)
        ),
        [
            (
                REFUSE,
                "DatasetNotInCatalogue",
                "digits: did you mean digit?",
                URI,
                "ml dataset list shows what there is; ml dataset add makes an entry",
            )
        ],
    ),
)
def test_catalogue_entries(experiment, facts, expected):
    assert judged(datasets, experiment, facts) == expected


WEB = experiment(datasets=[{"name": "digits", "uri": "https://example.org/d", "sha256": sha("e")}])


@cases(
    (
        "an entry that no store has",
        ENTRY,
        facts(datasets=(dataset(found=False, sha256=None, message="not in the object store", pinned=sha("e")),)),
        [
            (
                WAIT,
                "DatasetNotFound",
                "digits: not in the object store",
                URI,
                "ml dataset add the data here, or set object_store to the store that has it",
            )
        ],
    ),
    (
        "an address that nobody fetched",
        WEB,
        facts(datasets=()),
        [
            (
                WAIT,
                "DatasetNotFound",
                "digits: https://example.org/d is not there",
                URI,
                "ml dataset prefetch the spec; addresses are never fetched because a spec names them",
            )
        ],
    ),
)
def test_data_that_is_elsewhere(experiment, facts, expected):
    assert judged(datasets, experiment, facts) == expected
