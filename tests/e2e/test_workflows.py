"""compare, reproduce, export and info on real runs: a steady program, one that never does the same, a hostile one."""

import json
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from controller.entrypoints.cli.export_readme import COMMANDS
from tests.e2e.cli import ML, Repo, copy_of, spec

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "verify-a-run.md"
STEADY = (
    "import json, os; r = os.environ['FETCHML_RESULTS']; "
    "open(r + '/model.txt', 'w').write('weights'); "
    "lines = [json.dumps({'step': n, 'loss': 1 / (n + 1)}) for n in range(9)]; "
    "open(r + '/metrics.jsonl', 'w').write(chr(10).join(lines))"
)
NOISY = (
    "import json, os, random; r = os.environ['FETCHML_RESULTS']; "
    "open(r + '/model.txt', 'w').write(os.urandom(8).hex()); "
    "open(r + '/metrics.jsonl', 'w').write(json.dumps({'near': 0.9 + random.random() / 100, 'far': random.random()}))"
)
"""Planted: neither its output nor its metrics come out the same."""
HOSTILE = (
    "import json, os; r = os.environ['FETCHML_RESULTS']; print(chr(27) + '[2J<script>alert(1)</script>'); "
    "open(r + '/<img src=x onerror=alert(1)>.txt', 'w').write('x'); "
    "one = {'<b>bold</b>': 1e300, 'nan': float('nan'), 'a|b`c': 2}; "
    "two = {chr(27) + '[31m': 1, '<b>bold</b>': -1e300}; "
    "open(r + '/metrics.jsonl', 'w').write(json.dumps(one) + chr(10) + json.dumps(two))"
)
OUTPUT = "  outputs: [{name: model, path: model.txt}]\n"


def experiment(name: str, code: str, tolerances: str = "", extra: str = OUTPUT) -> str:
    declared = f"minTrustLevel: L0, tolerances: {{{tolerances}}}" if tolerances else "minTrustLevel: L0"
    return spec(name, code, extra).replace("minTrustLevel: L0", declared)


SPECS = {
    "steady": experiment("steady", STEADY),
    "other": experiment("other", STEADY.replace("weights", "others")),
    "noisy": experiment("noisy", NOISY),
    "tolerant": experiment("tolerant", NOISY, "near: 0.02"),
    "strictly": experiment("strictly", NOISY, "near: 0.02, far: 1e-9"),
    "hostile": experiment("hostile", HOSTILE, extra='  parameters: {note: "<script>alert(2)</script>"}\n'),
    "broken": experiment("broken", "import sys; sys.exit(3)", extra=""),
}


@pytest.fixture(scope="module")
def lab(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """A repository in which all of SPECS ran; tests add to it, but change nothing."""
    repo = copy_of(template, tmp_path_factory.mktemp("lab") / "project")
    (repo.root / "specs" / "first.yaml").unlink()
    for name, text in SPECS.items():
        repo.write(f"specs/{name}.yaml", text)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "experiments")
    repo.ml("reconcile", "specs", "--once")
    return repo


def readme_script(run: Path) -> str:
    """The commands of an extracted archive's README."""
    text = (run / "README.md").read_text()
    (script,) = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(script)


def exported(lab: Repo, name: str, folder: Path) -> Path:
    target = folder / f"{name}.tar"
    lab.ml("export", name, "--to", str(target))
    return target


# --- compare ---------------------------------------------------------------------------------------------------------


def test_compare_puts_provenance_first_and_prints_what_differs(lab: Repo) -> None:
    out = lab.ml("compare", "steady", "other").out
    heads = re.findall(r"^(\w+): (?:none|\d+ of \d+ differ)", out, re.MULTILINE)
    assert heads == ["Provenance", "Parameters", "Environment", "Metrics", "Outputs"]
    assert "The plans differ." in out
    assert re.search(r"^  model.txt +sha256:", out, re.MULTILINE)
    assert "node.kernel" not in out
    assert "node.kernel" in lab.ml("compare", "steady", "other", "-o", "wide").out


def test_compare_reads_archives_as_it_reads_runs(lab: Repo, tmp_path: Path) -> None:
    archive = exported(lab, "other", tmp_path)
    mine = lab.ml("compare", "steady", "other", "-o", "json").json
    assert lab.ml("compare", "steady", str(archive), "-o", "json").json == mine
    assert (mine["kind"], mine["samePlan"], mine["b"]["verified"]) == ("RunComparison", False, True)
    (loss,) = [row for row in mine["sections"]["metrics"] if row["field"] == "loss"]
    assert (loss["same"], loss["delta"]) == (True, 0)
    assert "Both ran the same plan." in lab.ml("compare", "steady", "steady").out
    assert "did you mean steady" in lab.ml("compare", "steady", "staedy", code=5).err


def test_compare_says_which_side_does_not_verify(lab: Repo, tmp_path: Path) -> None:
    folder = tmp_path / lab.run_id("other")
    subprocess.run(["cp", "-r", str(lab.folder(folder.name)), str(folder)], check=True)
    (folder / "results" / "model.txt").write_text("better")
    value = lab.ml("compare", "steady", str(folder), "-o", "json").json
    assert (value["a"]["verified"], value["b"]["verified"]) == (True, False)
    assert "NOT verified" in lab.ml("compare", "steady", str(folder)).out


def test_a_hostile_run_reaches_neither_terminal_nor_report(lab: Repo, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    shown = lab.on_terminal("compare", "steady", "hostile", "--html", str(report)).out
    shown += lab.on_terminal("info", "hostile").out
    rest = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\x1b" not in rest
    page = report.read_text()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert not re.search(r"<script|<img|<b>|\x1b", page)
    assert page.count("<svg") == 3, "loss, bold and a|b`c have curves"


# --- export ----------------------------------------------------------------------------------------------------------


def test_an_export_is_the_same_bytes_again_and_verifies(lab: Repo, tmp_path: Path) -> None:
    one = exported(lab, "steady", tmp_path)
    value = lab.ml("export", "steady", "--to", str(tmp_path / "two.tar"), "-o", "json").json
    assert one.read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert value["kind"] == "Export"
    assert lab.ml("verify", str(one)).out.endswith(": verified\n")
    assert "exists already" in lab.ml("export", "steady", "--to", str(one), code=6).err
    again = tmp_path / "again.tar"
    Repo(lab.root).ml("export", str(one), "--to", str(again))
    assert again.read_bytes() == one.read_bytes(), "an export of an export is the same"


def test_an_export_describes_exactly_what_it_holds(lab: Repo, tmp_path: Path) -> None:
    with tarfile.open(exported(lab, "steady", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        run = lab.run_id("steady")
        crate = json.load(archive.extractfile(f"{run}/ro-crate-metadata.json"))  # type: ignore[arg-type]  # a file
        member = archive.getmember(f"{run}/results/model.txt")
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    files = {name for name, entity in entities.items() if entity["@type"] == "File"}
    assert files | {"ro-crate-metadata.json"} == names
    assert {part["@id"] for part in entities["./"]["hasPart"]} == files
    assert entities["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert {part["@id"] for part in entities["#run"]["result"]} == {"results/model.txt", "results/metrics.jsonl"}
    assert (member.mtime, member.uid, member.gid, member.mode, member.uname) == (0, 0, 0, 0o644, "")
    assert {"README.md", "plan.json", "verdict.dsse.json", "spec.yaml", "run.log", "results/model.txt"} <= names


@pytest.mark.needs("openssl")
def test_the_readme_verifies_the_archive_without_us(lab: Repo, tmp_path: Path) -> None:
    assert COMMANDS in PAGE.read_text(), "the page and the archive say the same"
    with tarfile.open(exported(lab, "steady", tmp_path)) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    (folder,) = (tmp_path / "there").iterdir()
    command = ["sh", "-c", readme_script(folder)]
    bare = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "results/model.txt: OK" in done.stdout
    (folder / "results" / "model.txt").write_text("better")
    assert subprocess.run(command, cwd=folder, env=bare, capture_output=True, check=False).returncode != 0


def test_what_cannot_be_proved_is_not_exported(lab: Repo, tmp_path: Path) -> None:
    folder = tmp_path / lab.run_id("steady")
    subprocess.run(["cp", "-r", str(lab.folder(folder.name)), str(folder)], check=True)
    (folder / "results" / "model.txt").write_text("better")
    target = tmp_path / "x.tar"
    assert "model.txt" in lab.ml("export", str(folder), "--to", str(target), code=4).err
    assert list(tmp_path.iterdir()) == [folder]
    lab.ml("export", "broken", "--to", str(target))
    assert "Failed" in lab.ml("info", str(target)).out


def test_a_file_that_is_no_archive_is_refused(lab: Repo, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as archive:
        link = tarfile.TarInfo("run/run_manifest.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    for words in (("compare", "steady"), ("info",), ("export",), ("reproduce",), ("verify",)):
        assert "links" in lab.ml(*words, str(bad), code=4).err
    bad.write_bytes(b"\x1f\x8b not a tar")
    assert "decompressed" in lab.ml("info", str(bad), code=4).err


# --- reproduce -------------------------------------------------------------------------------------------------------


def outcomes(value: dict[str, Any]) -> dict[str, str]:
    return {each["field"]: each["outcome"] for each in value["fields"]}


def test_a_deterministic_run_is_reproduced_and_the_answer_signed(lab: Repo) -> None:
    value = lab.ml("reproduce", "steady", "-o", "json").json
    assert value["reproduced"] is True
    assert value["elsewhere"] is False, "one machine; nothing claims another"
    assert outcomes(value) == {"planSha256": "equal", "outputs/model.txt": "equal"}
    assert value["original"]["store"] != value["rerun"]["store"]
    comparison = Path(value["comparison"])
    assert comparison.parent == lab.folder(lab.run_id("steady")) / "reproduction"
    assert json.loads(comparison.read_bytes())["signatures"][0]["keyid"] == value["keyId"]
    assert "Reproduced  yes" in lab.ml("info", "steady").out
    lab.ml("verify", "steady")
    again = lab.ml("reproduce", "steady")
    assert "REPRODUCED" in again.out
    assert "on the same machine" in again.out


def test_a_planted_nondeterministic_run_is_reported_as_drifted(lab: Repo) -> None:
    value = lab.ml("reproduce", "noisy", "-o", "json", code=1).json
    assert value["reproduced"] is False
    assert outcomes(value) == {"planSha256": "equal", "outputs/model.txt": "drifted"}
    assert "NOT reproduced" in lab.ml("reproduce", "noisy", code=1).out


def test_only_a_tolerance_declared_before_the_run_counts(lab: Repo) -> None:
    value = lab.ml("reproduce", "tolerant", "-o", "json").json
    assert value["tolerances"] == {"near": 0.02}
    assert (value["reproduced"], outcomes(value)["outputs/model.txt"]) == (True, "drifted")
    assert outcomes(value)["metrics/near"] in ("within", "equal")
    strictly = lab.ml("reproduce", "strictly", "-o", "json", code=1).json
    assert outcomes(strictly)["metrics/far"] == "drifted"


def test_what_cannot_be_reproduced_says_why(lab: Repo, tmp_path: Path) -> None:
    assert "only a completed run" in lab.ml("reproduce", "broken", code=4).err
    assert "name another folder" in lab.ml("reproduce", "other", "--in", str(tmp_path), code=6).err
    place = str(tmp_path / "there")
    lab.ml("reproduce", "other", "--in", place)
    assert "no reproduction of steady-" in lab.ml("reproduce", "steady", "--in", place, code=6).err
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(lab.folder(lab.run_id("other"))), str(folder)], check=True)
    (folder / "run.log").write_text("nothing happened")
    assert "does not verify" in lab.ml("reproduce", str(folder), code=4).err


def test_an_archive_is_reproduced_in_another_clone_with_its_commit(project: Repo, tmp_path: Path) -> None:
    project.write("private/data.csv", "1,2\n")
    project.write(".gitignore", ".fetchml/\nprivate/\n")
    first = project.root / "specs" / "first.yaml"
    digest = subprocess.run(
        ["sha256sum", "private/data.csv"], cwd=project.root, capture_output=True, text=True, check=True
    )
    data = f'  datasets: [{{name: own, uri: "file:private/data.csv", sha256: "sha256:{digest.stdout[:64]}"}}]\n'
    first.write_text(first.read_text() + data)
    project.git("add", "-A")
    project.git("commit", "-qm", "data that git ignores")
    project.ml("run", "specs/first.yaml")
    archive = exported(project, "first", tmp_path)
    clone = Repo(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", str(project.root), str(clone.root)], check=True)
    place = tmp_path / "again"
    words = ("reproduce", str(archive), "--in", str(place))
    assert "DatasetNotFound" in clone.ml(*words, code=8).err, "the data is not there, and it says so"
    subprocess.run(["cp", "-r", str(project.root / "private"), str(clone.root)], check=True)
    value = clone.ml(*words, "-o", "json").json
    assert value["reproduced"] is True
    assert value["rerun"]["records"].startswith(str(place))
    assert value["comparison"] == str(place / "reproduction" / "comparison.dsse.json")
    clone.ml("verify", value["rerun"]["records"])
    assert clone.git("status", "--porcelain") == ""
    empty = Repo(tmp_path / "empty")
    subprocess.run(["git", "init", "-q", str(empty.root)], check=True)
    subprocess.run(["cp", "-r", str(project.root / "trust"), str(empty.root)], check=True)
    assert "run git fetch" in empty.ml("reproduce", str(archive), code=5).err


def test_a_run_from_a_snapshot_is_reproduced_too(project: Repo) -> None:
    snapshot = project.ml("sync", "code").out.strip()
    first = project.root / "specs" / "first.yaml"
    text = first.read_text()
    (git_source,) = [line for line in text.splitlines() if "git:" in line]
    first.write_text(text.replace(git_source, f"    snapshot: {snapshot}"))
    project.git("add", "-A")
    project.git("commit", "-qm", "from a snapshot")
    project.ml("run", "specs/first.yaml")
    assert project.ml("reproduce", "first", "-o", "json").json["reproduced"] is True


@pytest.mark.needs("root", "tmpfs")
def test_another_machine_id_and_store_count_as_elsewhere(lab: Repo, tmp_path: Path) -> None:
    """Simulated on this host: the same kernel, with another /etc/machine-id in a mount namespace of its own."""
    other = tmp_path / "machine-id"
    other.write_text("0123456789abcdef0123456789abcdef\n")
    script = f"mount --bind {other} /etc/machine-id && exec {ML} reproduce steady --in {tmp_path / 'there'} -o json"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=lab.root,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    value = json.loads(done.stdout)
    assert (value["reproduced"], value["elsewhere"]) == (True, True)
    assert value["rerun"]["machineId"] == other.read_text().strip() != value["original"]["machineId"]
    assert any(row["field"] == "node.machineId" for row in value["differences"])
