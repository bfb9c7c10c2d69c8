"""Every command once, as a user meets it."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from controller.api.base import API_VERSION
from controller.entrypoints.cli.app import COMMANDS
from tests.e2e.cli import INTERRUPT, ML, PATIENT, Repo, read_until, spec

SUBCOMMANDS = [
    ("config", "show"),
    ("config", "validate"),
    ("hook", "install"),
    ("hook", "ring"),
    *(("key", word) for word in ("new", "list", "rotate", "revoke")),
]


@pytest.mark.parametrize("words", [*((name,) for name in COMMANDS), *SUBCOMMANDS], ids=" ".join)
def test_help_has_an_example(ran: Repo, words: tuple[str, ...]) -> None:
    examples = ran.ml(*words, "--help").out.rpartition("\n  Example")[2]
    assert f"ml {' '.join(words)}" in examples


def test_version_and_help(ran: Repo) -> None:
    assert ran.ml("--version").out == ran.ml("--debug", "--version").out
    text = ran.ml("--help").out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "Exit codes: 0 done" in text


def test_init_twice_changes_nothing(project: Repo) -> None:
    assert project.git("status", "--porcelain") == ""
    assert "nothing was changed" in project.ml("init").out
    assert project.git("status", "--porcelain") == ""
    tracked = project.git("ls-files").split()
    assert {"specs/first.yaml", "code/first.py", ".gitignore", "schemas/experiment.schema.json"} <= set(tracked)
    assert [name for name in tracked if name.startswith("trust/")]
    assert not [name for name in tracked if "PRIVATE" in (project.root / name).read_text()]


def test_init_below_a_repository_uses_the_repository(project: Repo) -> None:
    """Keys and ignored records are the repository's; the first experiment finds its code."""
    project.ml("init", "sub/lab")
    assert not (project.root / "sub" / "lab" / "trust").exists()
    assert not (project.root / "sub" / "lab" / ".gitignore").exists()
    assert "path: sub/lab/code" in (project.root / "sub" / "lab" / "specs" / "first.yaml").read_text()
    (project.root / "specs" / "first.yaml").unlink()
    project.git("add", "-A")
    project.git("commit", "-qm", "lab")
    project.ml("run", "sub/lab/specs/first.yaml")


def test_init_refuses_a_file(project: Repo) -> None:
    project.write("taken", "")
    assert "name a folder" in project.ml("init", "taken", code=2).err


def test_the_first_experiment_runs_and_is_proved(project: Repo) -> None:
    result = project.ml("run", "specs/first.yaml")
    assert result.out == "after 20 steps: y = 2.571 x + 1.492\n"
    project.ml("verify", "first")
    text = (project.root / "specs" / "first.yaml").read_text()
    assert "phase: Succeeded" in text
    again = project.ml("run", "specs/first.yaml")
    assert "this plan ran before" in again.err
    assert "fetchml.dev/rerun" in again.err


class TestValidate:
    def test_folder_file_commit_and_stdin(self, project: Repo) -> None:
        assert project.ml("validate", "specs").out == "1 file checked: no problems\n"
        assert project.ml("validate", "HEAD").out == "1 file checked: no problems\n"
        assert project.ml("validate", "-", stdin=spec("x").encode()).out == "1 file checked: no problems\n"
        result = project.ml("validate", "-", stdin=b"a: [", code=3)
        assert result.out.startswith("<stdin>:1:5: ")

    @pytest.mark.parametrize("scalar", ["yes", "on", "off", "010", "1_000"])
    def test_a_scalar_that_kubectl_reads_differently(self, project: Repo, scalar: str) -> None:
        project.write("x.yaml", spec("x", extra=f"  parameters: {{flag: {scalar}}}\n"))
        result = project.ml("validate", "x.yaml", code=3)
        assert result.out.startswith("x.yaml:9:22: ")
        assert "quote it" in result.out

    def test_every_problem_of_every_file(self, project: Repo) -> None:
        project.write("specs/a.yaml", spec("a").replace("spec:", "spek:"))
        project.write("specs/b.yaml", "\x00")
        result = project.ml("validate", "specs", "-o", "json", code=3).json
        assert result["kind"] == "Validation"
        assert {problem["file"] for problem in result["problems"]} == {"specs/a.yaml", "specs/b.yaml"}
        assert all(problem["line"] and problem["column"] and problem["message"] for problem in result["problems"])

    def test_a_manifest(self, ran: Repo) -> None:
        run = ran.run_id("hello")
        assert "complete and consistent" in ran.ml("validate", "--task", run).out
        manifest = ran.folder(run) / "run_manifest.json"
        damaged = ran.root.parent / "damaged.json"
        damaged.write_text(manifest.read_text().replace('"ended_at"', '"ended"'))
        assert "ended" in ran.ml("validate", "--manifest", str(damaged), code=3).out


class TestExplain:
    def test_a_wrong_checksum(self, project: Repo) -> None:
        project.write("data.csv", "1\n")
        extra = '  datasets:\n    - {name: d, uri: file:data.csv, sha256: "sha256:' + "0" * 64 + '"}\n'
        project.write("x.yaml", spec("x", extra=extra))
        result = project.ml("explain", "x.yaml", code=4)
        assert "x DatasetChecksumMismatch: " in result.out
        assert "x.yaml:10:" in result.out
        rules = project.ml("explain", "x.yaml", "-o", "json", code=4).json["preflight"]["rules"]
        (refused,) = [rule for rule in rules if rule["verdict"] == "Refuse"]
        assert (refused["reason"], refused["line"]) == ("DatasetChecksumMismatch", 10)
        assert refused["fix"]

    def test_a_float_is_a_number(self, project: Repo) -> None:
        project.write("x.yaml", spec("x", extra="  parameters: {lr: 1e-3}\n"))
        plan = project.ml("explain", "x.yaml", "-o", "json").json["plan"]
        assert plan["parameters"] == {"lr": 0.001}
        assert isinstance(plan["parameters"]["lr"], float)

    def test_short_unless_wide(self, project: Repo) -> None:
        text = project.ml("explain", "specs/first.yaml").out
        assert "rules pass" in text
        assert "snapshot" not in text
        assert text.endswith("Next        ml run specs/first.yaml\n")
        assert "+ snapshot: " in project.ml("explain", "specs/first.yaml", "-o", "wide").out

    def test_starts_nothing(self, project: Repo) -> None:
        project.ml("explain", "specs/first.yaml")
        assert not (project.root / ".fetchml" / "experiments").exists()
        assert project.git("status", "--porcelain") == ""

    def test_from_below_and_from_elsewhere(self, project: Repo) -> None:
        inside = Repo(project.root / "code").ml("explain", "../specs/first.yaml", "-o", "json").json
        outside = Repo(project.root.parent).ml("explain", "project/specs/first.yaml", "-o", "json").json
        assert inside["planSha256"] == outside["planSha256"]
        assert inside["preflight"]["rules"][0]["file"] == "specs/first.yaml"

    def test_a_file_with_several(self, project: Repo) -> None:
        text = "---\n".join((spec("a"), spec("b"), spec("b", namespace="team")))
        project.write("many.yaml", text)
        assert "choose one with --name: a, default/b, team/b" in project.ml("explain", "many.yaml", code=2).err
        assert "choose one with --name: a" in project.ml("explain", "many.yaml", "--name", "c", code=2).err
        project.ml("explain", "many.yaml", "--name", "a")
        found = project.ml("explain", "many.yaml", "--name", "team/b", "-o", "name").out
        assert found == "team/b\n"

    def test_outside_git(self, tmp_path: Path) -> None:
        repo = Repo(tmp_path)
        repo.write("x.yaml", spec("x"))
        result = repo.ml("explain", "x.yaml", "-o", "json").json
        assert result["trust"]["level"] in {"L0", "L1"}


def test_queue_copies_the_very_bytes(project: Repo) -> None:
    draft = project.root / "draft.yaml"
    draft.write_bytes(b"# odd   spacing\r\n" + spec("odd").replace("\n", "\r\n").encode().rstrip())
    assert "`ml reconcile specs` runs it" in project.ml("queue", "draft.yaml").out
    assert (project.root / "specs" / "draft.yaml").read_bytes() == draft.read_bytes()
    project.ml("queue", "draft.yaml")
    project.ml("queue", "draft.yaml", "--specs", "other/specs")
    assert (project.root / "other" / "specs" / "draft.yaml").exists()


def test_queue_takes_one_document_out_of_several(project: Repo) -> None:
    first, second = spec("one"), "# kept   as it is\n" + spec("two")
    project.write("sweep.yaml", f"{first}---\n{second}")
    assert "choose one with --name" in project.ml("queue", "sweep.yaml", code=2).err
    project.ml("queue", "sweep.yaml", "--name", "two")
    queued = project.root / "specs" / "two.yaml"
    assert queued.read_text().endswith(second)
    assert project.ml("validate", "specs").out.endswith("no problems\n")
    assert project.ml("explain", "specs/two.yaml", "-o", "name").out == "default/two\n"
    assert not (project.root / "specs" / "sweep.yaml").exists()
    project.ml("queue", "sweep.yaml", "--name", "one")
    project.ml("queue", "sweep.yaml", "--name", "two")
    project.ml("explain", "sweep.yaml", "--name", "two")
    project.write("draft.yaml", spec("two"))
    assert "NameClash: default/two stands in specs/two.yaml" in project.ml("queue", "draft.yaml", code=4).err


def test_status_counts_and_names(ran: Repo) -> None:
    report = ran.ml("status", "-o", "json").json
    assert (report["counts"]["completed"], report["counts"]["failed"], report["counts"]["running"]) == (1, 1, 0)
    assert ran.ml("status", "-o", "name").out == "experiment/broken\nexperiment/hello\n"
    lines = ran.ml("status").out.splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "PHASE", "TRUST", "RUN", "AGE", "REASON"]
    assert lines[2].split()[:3] == ["default", "hello", "Succeeded"]
    assert ran.ml("status", "-n", "other").out == "no experiments yet\n"
    assert "did you mean hello?" in ran.ml("status", "helo", code=5).err


def test_logs_info_and_verify(ran: Repo) -> None:
    run = ran.run_id("hello")
    assert ran.ml("logs", "hello").out == ran.ml("logs", run).out == "hello from the run\n"
    assert ran.ml("logs", "-f", "hello").out == "hello from the run\n"
    assert "no log of attempt 9" in ran.ml("logs", "hello", "--attempt", "9", code=5).err
    info = ran.ml("info", "specs/hello.yaml").out
    assert f"Run         {run}" in info
    assert "Exit code   0" in info
    assert ran.ml("verify", "hello").out.endswith(f"{run}: verified\n")
    assert ran.ml("verify", str(ran.folder(run))).out.endswith(f"{run}: verified\n")


def test_verify_names_what_was_changed(ran: Repo, tmp_path: Path) -> None:
    copy = tmp_path / ran.run_id("hello")
    shutil.copytree(ran.folder(copy.name), copy, ignore=shutil.ignore_patterns("attempts"))
    (copy / "run.log").write_text("something else\n")
    result = ran.ml("verify", str(copy), "--trust", "trust", code=4)
    assert "FAILED  subject       SubjectMismatch: run.log" in result.out
    assert "NOT verified: 1 of" in result.out


def test_cancel_says_when_nobody_is_there(project: Repo) -> None:
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    with project.started("run", "specs/slow.yaml") as process:
        run = project.running("slow")
        process.kill()
        process.wait()
    project.ml("unlock", "--yes", "--force")
    assert "start one to carry it out: ml reconcile" in project.ml("cancel", "slow").err
    assert "nothing moves" in project.ml("status").err
    assert f"would adopt {run}" in project.ml("adopt", run).out
    project.ml("adopt", run, "--yes", code=7)
    assert project.phase("slow") == "Cancelled"
    assert "is over already" in project.ml("cancel", "slow", code=5).err


def test_wait_says_what_it_waits_for(project: Repo) -> None:
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    with project.started("reconcile", "specs"):
        run = project.running("slow")
        assert project.ml("wait", "slow", "--for", "Running").out == "default/slow Running\n"
        with project.started("wait", "slow") as waiting:
            read_until(waiting.stderr, "default/slow Running")
            project.go(run)
            assert waiting.communicate()[0] == "default/slow Succeeded\n"
            assert waiting.returncode == 0
        assert project.ml("wait", "slow", "--for", "Running").out == "default/slow Succeeded\n"


def test_approve_binds_one_plan(project: Repo) -> None:
    strict = {"FETCHML_REQUIRE_APPROVAL": "true"}
    project.ml("run", "specs/first.yaml", code=None, **strict)
    assert "approve" in project.ml("explain", "specs/first.yaml", code=None, **strict).out
    plan = project.ml("explain", "specs/first.yaml", "-o", "json", code=None, **strict).json["planSha256"]
    assert "look again" in project.ml("approve", "specs/first.yaml", "--plan", "sha256:" + "0" * 64, code=4).err
    assert plan in project.ml("approve", "specs/first.yaml", "--plan", plan).out
    project.ml("run", "specs/first.yaml", **strict)


def test_backup_and_restore(ran: Repo, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar.gz"
    ran.ml("backup", str(archive))
    with tarfile.open(archive) as content:
        assert "state.db" in content.getnames()
    other = Repo(tmp_path / "other")
    other.root.mkdir()
    assert "add --yes" in other.ml("restore", str(archive)).out
    assert not (other.root / ".fetchml" / "state.db").exists()
    other.ml("restore", str(archive), "--yes")
    assert other.ml("status", "-o", "name").out == ran.ml("status", "-o", "name").out
    assert "move" in other.ml("restore", str(archive), "--yes", code=6).err
    empty = tmp_path / "empty.tar.gz"
    with tarfile.open(empty, "w:gz"):
        pass
    fresh = Repo(tmp_path / "fresh")
    fresh.root.mkdir()
    assert "not a backup" in fresh.ml("restore", str(empty), "--yes", code=3).err


def test_prune_is_a_dry_run_first(project: Repo) -> None:
    project.ml("run", "specs/first.yaml")
    run = project.run_id("first")
    assert project.ml("prune").out == "0 folders, 0.0 MiB\n"
    assert "would remove" in project.ml("prune", "--older-than", "0s").out
    assert project.folder(run).exists()
    project.ml("prune", "--older-than", "0s", "--yes")
    assert not project.folder(run).exists()
    assert project.phase("first") == "Succeeded"


def test_prune_leaves_the_caches_of_an_active_run(project: Repo) -> None:
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    with project.started("run", "specs/slow.yaml") as process:
        run = project.running("slow")
        assert run in project.ml("prune", "--caches", "--yes", code=6).err
        assert (project.root / ".fetchml" / "cache" / "environments").is_dir()
        project.go(run)
        process.wait(timeout=60)
    project.ml("prune", "--caches", "--yes")
    assert not (project.root / ".fetchml" / "cache").exists()
    project.ml("run", "specs/first.yaml")


def test_unlock_says_who_first(project: Repo) -> None:
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    with project.started("reconcile", "specs") as process:
        run = project.running("slow")
        process.kill()
        process.wait()
    assert f"pid {process.pid}" in project.ml("unlock", "--force").out
    project.ml("unlock", "--force", "--yes")
    project.go(run)
    project.ml("reconcile", "specs", "--once")
    assert project.phase("slow") == "Succeeded"


def test_keys(project: Repo, tmp_path: Path) -> None:
    own = {"XDG_DATA_HOME": str(tmp_path / "data")}
    new = project.ml("key", "new", **own).out.splitlines()[0]
    rotated = project.ml("key", "rotate", **own).out.split()[0]
    items = {item["keyId"]: item for item in project.ml("key", "list", "-o", "json", **own).json["items"]}
    assert {new, rotated} <= set(items)
    assert items[new]["private"]
    project.ml("key", "revoke", new[:12], "--reason", "laptop lost", **own)
    assert "laptop lost" in project.ml("key", "list", **own).out
    assert "0 keys begin like that" in project.ml("key", "revoke", "ffff", "--reason", "x", code=5, **own).err


def test_doctor_changes_nothing(tmp_path: Path) -> None:
    result = Repo(tmp_path).ml("doctor", "-o", "json").json
    assert {"sandbox", "python", "git", "signing key"} <= {check["name"] for check in result["checks"]}
    assert result["host"]["cpus"] > 0
    assert list(tmp_path.iterdir()) == []


def test_config_shows_what_it_accepts(project: Repo, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('workers = 2\ndataset_roots = ["/data"]\n[secrets.wandb]\nenv = "KEY"\nsubjects = ["a/*"]\n')
    shown = project.ml("config", "show", FETCHML_CONFIG=str(file)).out
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert project.ml("config", "show", "-o", "json", FETCHML_CONFIG=str(again)).json["settings"]["workers"] == 2
    project.ml("config", "validate", FETCHML_CONFIG=str(again))
    file.write_text("wrokers = 2\n")
    assert "did you mean workers?" in project.ml("config", "validate", FETCHML_CONFIG=str(file), code=2).err


READS: dict[str, tuple[str, ...]] = {
    "Explanation": ("explain", "specs/hello.yaml"), "Diff": ("diff", "specs/hello.yaml"), "StatusReport": ("status",),
    "RunInfo": ("info", "hello"), "Verification": ("verify", "hello"), "Validation": ("validate", "specs"),
    "KeyList": ("key", "list"), "Settings": ("config", "show"), "Doctor": ("doctor",),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "words"), READS.items(), ids=list(READS))
def test_read_commands_print_objects(ran: Repo, kind: str, words: tuple[str, ...]) -> None:
    value: dict[str, Any] = ran.ml(*words, "-o", "json").json
    assert (value["apiVersion"], value["kind"]) == (API_VERSION, kind)
    assert set(ran.ml(*words, "--json").json) == set(value)
    as_yaml = ran.ml(*words, "-o", "yaml").out
    assert as_yaml.startswith(f"apiVersion: {API_VERSION}\nkind: {kind}\n")
    for output in ("wide", "name"):
        ran.ml(*words, "-o", output)


def test_watch_is_json_lines(project: Repo) -> None:
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    with project.started("reconcile", "specs"):
        run = project.running("slow")
        with project.started("status", "slow", "--watch", "-o", "json") as watching:
            assert watching.stdout is not None
            first = json.loads(watching.stdout.readline())
            assert first["items"][0]["phase"] == "Running"
            project.go(run)
            lines = (json.loads(line) for line in watching.stdout)
            assert next(line for line in lines if line["counts"]["completed"] == 1)["kind"] == "StatusReport"
            watching.send_signal(INTERRUPT)
            assert watching.wait() == 0


def test_a_reader_that_goes_away_is_no_error(ran: Repo) -> None:
    line = f"{ML} explain specs/hello.yaml -o json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=ran.root, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("{")
