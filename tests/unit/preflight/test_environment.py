"""The rules environment, dependencies and interpreter."""

from dataclasses import replace

import pytest

from controller.facts.facts import ImageFacts, LockFacts, SnapshotFacts
from controller.preflight import dependencies, environment, interpreter
from tests.builders import experiment, facts, git, sha
from tests.builders import interpreter as python
from tests.unit.preflight.judging import PASS, REFUSE, WAIT, cases, judged

SOURCE = {"git": {"repo": "."}}
LOCK = {"manifest": "requirements.lock", "sha256": sha("d")}
LOCKED = experiment(source=SOURCE, environment={"dependencies": LOCK})
BARE = experiment(source=SOURCE, environment={"python": "3.11"})
IMAGE = f"ghcr.io/org/trainer@{sha('f')}"
WRITE_LOCK = "write it with pip-compile --generate-hashes or uv export"
MANIFEST = "spec.environment.dependencies.manifest"


@cases(
    ("lock", LOCKED, facts(LOCKED), [(PASS, "pinned by the lock requirements.lock")]),
    ("stated interpreter", BARE, facts(BARE), [(PASS, "the bare interpreter, Python 3.11")]),
    (
        "stated is what counts, not what is here",
        experiment(source=SOURCE, environment={"python": "3.12"}),
        facts(),
        [(PASS, "the bare interpreter, Python 3.12")],
    ),
    (
        "nothing stated, nothing here",
        experiment(source=SOURCE),
        facts(interpreter=None),
        [
            (
                REFUSE,
                "LockMissing",
                "nothing says what the code of the source needs: no lock and no Python version",
                "spec.environment",
                'write dependencies (a hash-pinned lock), or python: "3.11" if the standard library is enough',
            )
        ],
    ),
    ("no code needs no lock", experiment(), facts(), [(PASS, "the bare interpreter, Python 3.11")]),
    (
        "no code, no interpreter here",
        experiment(),
        facts(interpreter=python(found=False)),
        [(PASS, "the bare interpreter, Python 3")],
    ),
    (
        "code without a word about packages",
        experiment(source=SOURCE),
        facts(interpreter=python(version="3.12.1")),
        [
            (
                REFUSE,
                "LockMissing",
                "nothing says what the code of the source needs: no lock and no Python version",
                "spec.environment",
                'write dependencies (a hash-pinned lock), or python: "3.12" if the standard library is enough',
            )
        ],
    ),
    (
        "image on the process runtime",
        experiment(environment={"image": IMAGE}),
        facts(),
        [
            (
                REFUSE,
                "ImageNotSupported",
                "the process runtime runs no images",
                "spec.environment.image",
                (
                    "remove image and pin with python and dependencies, "
                    "or set spec.scheduling.target to one that runs images"
                ),
            )
        ],
    ),
)
def test_process_environment(experiment, facts, expected):
    assert judged(environment, experiment, facts) == expected


def test_image_by_digest_passes():
    assert judged(environment, experiment(environment={"image": IMAGE}), runtime="docker") == [
        (PASS, "image pinned at sha256:ffffffffffff")
    ]


def test_image_with_port_and_tag_and_digest_passes():
    image = f"localhost:5000/a/b:v1@{sha()}"
    assert judged(environment, experiment(environment={"image": image}), runtime="docker")[0][0] is PASS


def test_image_by_tag_says_what_to_write():
    assert judged(environment, experiment(environment={"image": "python:3.11"}), runtime="docker") == [
        (
            REFUSE,
            "ImageNotPinned",
            "'python:3.11' names a tag, which can move",
            "spec.environment.image",
            "write python:3.11@sha256:<64 hex> (docker buildx imagetools inspect python:3.11 prints it)",
        )
    ]


TAGGED = {"image": "python:3.11"}
RELAXED = {"policy": "relaxed"}
SUBJECTS = {
    "a tag whose digest the engine knows": (
        TAGGED,
        {},
        ImageFacts("python:3.11", sha("f"), present=True),
        REFUSE,
        "ImageNotPinned",
        f"write python@{sha('f')}",
    ),
    "a tag that nobody resolved": (
        TAGGED,
        {},
        ImageFacts("python:3.11"),
        REFUSE,
        "ImageNotPinned",
        "write the digest that `ml explain --resolve` prints",
    ),
    "relaxed cannot run what nobody resolved": (
        TAGGED,
        RELAXED,
        ImageFacts("python:3.11"),
        WAIT,
        "ImageNotFound",
        "fetch it: ml explain --resolve SPEC",
    ),
    "an image that preloads": (
        {"image": IMAGE},
        {},
        ImageFacts(IMAGE, sha("f"), present=True, loader_variables=("LD_PRELOAD",)),
        REFUSE,
        "UnsafeImage",
        "use an image that sets no LD_* variables",
    ),
    "a lock beside an image": (
        {"image": IMAGE, "dependencies": LOCK},
        {},
        ImageFacts(IMAGE, sha("f"), present=True),
        REFUSE,
        "DependenciesNotSupported",
        "bring the packages in the image, and remove dependencies",
    ),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_the_engine_says_of_an_image(name):
    stated, reproducibility, image, verdict, reason, fix = SUBJECTS[name]
    one = experiment(source=SOURCE, environment=stated, reproducibility=reproducibility)
    [(found, why, _, _, what)] = judged(environment, one, facts(one, image=image), runtime="docker")
    assert (found, why, what) == (verdict, reason, fix)


def test_container_without_image():
    assert judged(environment, experiment(), runtime="kubernetes") == [
        (
            REFUSE,
            "ImageMissing",
            "the kubernetes runtime needs an image",
            "spec.environment",
            "write image: name@sha256:<64 hex>, or set spec.scheduling.target to a process target",
        )
    ]


@pytest.mark.parametrize("image", [f"a@{sha()[:-1]}", f"-v /:/h a@{sha()}", "a b", f"a@{sha().upper()}", "a@sha512:00"])
def test_what_is_no_image_reference_is_refused_beyond_relaxed(image):
    [(verdict, reason, *_)] = judged(environment, experiment(environment={"image": image}), runtime="docker")
    assert (verdict, reason) == (REFUSE, "ImageInvalid")


GOOD_LOCK = LockFacts("requirements.lock", found=True, sha256=sha("d"), packages=3)


@cases(
    ("none", BARE, facts(BARE), [(PASS, "no dependencies")]),
    ("good", LOCKED, facts(LOCKED), [(PASS, "3 package(s), all pinned by hash")]),
    (
        "no source to hold it",
        experiment(environment={"dependencies": LOCK}),
        facts(),
        [
            (
                REFUSE,
                "DependencyManifestMissing",
                "'requirements.lock' cannot be read: the spec has no source",
                MANIFEST,
                "add spec.source, which holds the lock",
            )
        ],
    ),
    (
        "commit not there yet: wait, whatever the lock is",
        LOCKED,
        facts(LOCKED, git=git(exists=False), lock=replace(GOOD_LOCK, found=False)),
        [
            (
                WAIT,
                "SourceNotReady",
                "'requirements.lock' cannot be read: the commit is not there",
                MANIFEST,
                "make the source available first",
            )
        ],
    ),
    (
        "not in the commit",
        LOCKED,
        facts(LOCKED, lock=replace(GOOD_LOCK, found=False, error="no such file")),
        [
            (
                REFUSE,
                "DependencyManifestMissing",
                "'requirements.lock' is not in the source: no such file",
                MANIFEST,
                "commit requirements.lock, relative to source.git.path",
            )
        ],
    ),
    (
        "a lock that was read is judged although the commit is gone now",
        LOCKED,
        facts(LOCKED, git=git(exists=False)),
        [(PASS, "3 package(s), all pinned by hash")],
    ),
    (
        "not in the commit, no more is known",
        LOCKED,
        facts(LOCKED, lock=replace(GOOD_LOCK, found=False)),
        [
            (
                REFUSE,
                "DependencyManifestMissing",
                "'requirements.lock' is not in the source",
                MANIFEST,
                "commit requirements.lock, relative to source.git.path",
            )
        ],
    ),
    (
        "nobody looked",
        LOCKED,
        facts(LOCKED, lock=None),
        [
            (
                REFUSE,
                "DependencyManifestMissing",
                "'requirements.lock' is not in the source",
                MANIFEST,
                "commit requirements.lock, relative to source.git.path",
            )
        ],
    ),
    (
        "broken, unpinned and another digest",
        LOCKED,
        facts(LOCKED, lock=replace(GOOD_LOCK, sha256=sha("9"), unpinned=("numpy", "a>=1"), error="line 3: -e .")),
        [
            (REFUSE, "DependencyManifestInvalid", "requirements.lock: line 3: -e .", MANIFEST, WRITE_LOCK),
            (
                REFUSE,
                "DependencyNotPinned",
                "without an exact version and a sha256 hash: numpy, a>=1",
                MANIFEST,
                WRITE_LOCK,
            ),
            (
                REFUSE,
                "DependencyChecksumMismatch",
                f"requirements.lock has {sha('9')}, the spec says {sha('d')}",
                "spec.environment.dependencies.sha256",
                f'write sha256: "{sha("9")}" if the new lock is meant',
            ),
        ],
    ),
    (
        "no stated digest: here it is",
        experiment(source=SOURCE, environment={"dependencies": {"manifest": "requirements.lock"}}),
        facts(LOCKED),
        [
            (
                REFUSE,
                "DependencyChecksumMissing",
                "requirements.lock has no stated digest",
                "spec.environment.dependencies",
                f'write sha256: "{sha("d")}"',
            )
        ],
    ),
    (
        "snapshot not there yet",
        experiment(source={"snapshot": sha()}, environment={"dependencies": LOCK}),
        facts(),
        [
            (
                WAIT,
                "SourceNotReady",
                "'requirements.lock' cannot be read: the snapshot is not there",
                MANIFEST,
                "make the source available first",
            )
        ],
    ),
)
def test_dependencies(experiment, facts, expected):
    assert judged(dependencies, experiment, facts) == expected


SNAPSHOT = experiment(source={"snapshot": sha()}, environment={"dependencies": LOCK})


@pytest.mark.parametrize(
    ("spec", "changed", "reason"),
    [
        (LOCKED, {"git": None}, "SourceNotReady"),
        (LOCKED, {"git": git(found=False)}, "SourceNotReady"),
        (LOCKED, {}, "DependencyManifestMissing"),
        (SNAPSHOT, {}, "DependencyManifestMissing"),
        (SNAPSHOT, {"snapshot": SnapshotFacts(sha(), found=False, verified=True)}, "SourceNotReady"),
        (SNAPSHOT, {"snapshot": SnapshotFacts(sha(), found=True)}, "SourceNotReady"),
    ],
)
def test_a_lock_is_missing_only_from_a_source_that_is_there(spec, changed, reason):
    [found] = judged(dependencies, spec, facts(spec, **{"lock": None, **changed}))
    assert found[1] == reason


@cases(
    ("good", BARE, facts(BARE), [(PASS, "cpython 3.11.2 on linux-x86_64")]),
    ("any", experiment(), facts(interpreter=python(version="3.9.1")), [(PASS, "cpython 3.9.1 on linux-x86_64")]),
    (
        "another one is here",
        BARE,
        facts(interpreter=python(found=False, version="3.12.4")),
        [
            (
                WAIT,
                "InterpreterNotFound",
                "no Python 3.11 on this host; 3.12.4 is here",
                "spec.environment.python",
                'install Python 3.11, or write python: "3.12"',
            )
        ],
    ),
    (
        "3.1 is not 3.11",
        experiment(environment={"python": "3.1"}),
        facts(),
        [
            (
                WAIT,
                "InterpreterNotFound",
                "no Python 3.1 on this host; 3.11.2 is here",
                "spec.environment.python",
                'install Python 3.1, or write python: "3.11"',
            )
        ],
    ),
    (
        "none at all",
        experiment(),
        facts(interpreter=None),
        [
            (
                WAIT,
                "InterpreterNotFound",
                "no Python 3 on this host",
                "spec.environment.python",
                "install Python 3.11",
            )
        ],
    ),
)
def test_interpreter(experiment, facts, expected):
    assert judged(interpreter, experiment, facts) == expected


def test_an_image_brings_its_interpreter():
    assert judged(interpreter, BARE, facts(interpreter=None), runtime="docker") == [(PASS, "the image brings it")]
