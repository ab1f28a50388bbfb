"""The GitHub workflows: valid, pinned, and without a secret or a right within reach of a pull request."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}
JOBS = {(name, key): job for name, workflow in WORKFLOWS.items() for key, job in workflow["jobs"].items()}
STEPS = [
    pytest.param(step, id=f"{key}-{i}") for key, job in JOBS.items() for i, step in enumerate(job.get("steps", []))
]


def actionlint(folder: Path) -> subprocess.CompletedProcess:
    program = shutil.which("actionlint", path=Path(sys.executable).parent) or shutil.which("actionlint")
    assert program, "actionlint is missing: pip install -r requirements-dev.txt"
    return subprocess.run([program, *sorted(folder.glob("*.yml"))], cwd=ROOT, capture_output=True, text=True)


def test_actionlint_finds_nothing_and_would_find_a_mistake(tmp_path):
    found = actionlint(FOLDER)
    assert found.returncode == 0, found.stdout
    text = (FOLDER / "deploy.yml").read_text(encoding="utf-8")
    (tmp_path / "deploy.yml").write_text(text.replace("needs: test", "needs: tset"), encoding="utf-8")
    assert actionlint(tmp_path).returncode == 1


def test_the_options_that_workflows_use_are_the_scripts():
    """A dropped option would otherwise be noticed on main only."""
    command = [sys.executable, "-B", ROOT / ".github/deploy_space.py", "--help"]
    usage = subprocess.run(command, capture_output=True, text=True).stdout
    runs = [step["run"] for job in JOBS.values() for step in job.get("steps", []) if "run" in step]
    options = set(re.findall(r"--[a-z-]+", " ".join(run for run in runs if "deploy_space.py" in run)))
    assert {"--hardware", "--sleep-time", "--weights-repo", "--dry-run"} == options
    assert all(option in usage for option in options)


# A pull request's code runs with no right but reading, and with actions whose content cannot change.


def test_only_the_deploy_job_on_main_has_a_secret_and_a_right():
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        # `on` is a boolean in YAML 1.1. These events run a pull request's code with the repository's own rights.
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(workflow[True]), name
    trusted = re.compile(r"secrets|id-token|github\.token|GITHUB_TOKEN|environment'?:")
    assert [key for key, job in JOBS.items() if trusted.search(str(job))] == [("deploy.yml", "deploy")]
    granted = {key: job["permissions"] for key, job in JOBS.items() if job.get("permissions")}
    assert granted == {("deploy.yml", "deploy"): {"contents": "read", "id-token": "write"}}
    assert set(WORKFLOWS["deploy.yml"][True]) == {"push", "workflow_dispatch"}
    job = JOBS["deploy.yml", "deploy"]
    assert "github.ref == 'refs/heads/main'" in job["if"] and job["environment"]["name"] == "space"
    assert job["needs"] == "test" and "always()" not in job["if"], "only what was tested is deployed"


def test_a_deployment_is_never_cut_by_another_run():
    assert WORKFLOWS["deploy.yml"]["concurrency"] == {"group": "deploy-space", "cancel-in-progress": False}
    called = WORKFLOWS["ci.yml"]["concurrency"]  # deploy.yml calls ci.yml, whose runs for pull requests are cut
    assert "github.event_name" in called["group"] and "pull_request" in called["cancel-in-progress"]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_pastes_nothing_into_a_shell_and_keeps_no_credentials(step):
    assert "${{" not in step.get("run", ""), "put it into env and quote the variable"
    if "checkout@" in step.get("uses", ""):
        assert step["with"]["persist-credentials"] is False


def test_every_action_is_pinned_by_its_full_commit_and_says_its_version():
    pins = {}
    for path in sorted(FOLDER.glob("*.yml")):
        for used in re.findall(r"uses: ([^.\n].*)", path.read_text(encoding="utf-8")):
            pinned = re.fullmatch(r"([\w.-]+/[\w./-]+)@([0-9a-f]{40})  # v\d+\.\d+\.\d+", used)
            assert pinned, f"{path.name}: {used}"
            assert pins.setdefault(pinned[1], pinned[2]) == pinned[2], f"{pinned[1]} is pinned twice"
    assert pins


def test_what_the_deployment_installs_is_known_by_its_hash_and_is_what_the_demo_has():
    lines = (ROOT / ".github/requirements-deploy.txt").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    pins = dict(re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, flags=re.MULTILINE))
    assert len(pins) == text.count("==")
    own = (ROOT / "requirements.txt").read_text() + (ROOT / "requirements-dev.txt").read_text()
    assert f"huggingface_hub=={pins['huggingface-hub']}\n" in own and f"httpx2=={pins['httpx2']}\n" in own
    assert pins["gradio-client"] == importlib.metadata.version("gradio_client")
    for name, workflow in (("deploy", "deploy.yml"), ("dry-run", "ci.yml")):
        installs = [step["run"] for step in JOBS[workflow, name]["steps"] if "pip install" in step.get("run", "")]
        assert installs == ["python -m pip install --no-deps --require-hashes -r .github/requirements-deploy.txt"]
