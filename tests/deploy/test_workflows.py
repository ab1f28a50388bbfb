"""The GitHub workflows: valid, pinned, without a secret in a pull request's reach, and never cutting a deployment."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
PATHS = sorted(FOLDER.glob("*.y*ml"))
FOREIGN_TRIGGERS = {"pull_request", "pull_request_target", "pull_request_review", "issue_comment", "workflow_run"}


def read(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


WORKFLOWS = {path.name: read(path.name) for path in PATHS}
JOBS = [(name, key, job) for name, workflow in WORKFLOWS.items() for key, job in workflow["jobs"].items()]
STEPS = [(name, key, step) for name, key, job in JOBS for step in job.get("steps", [])]
CI, DEPLOY = WORKFLOWS["ci.yml"], WORKFLOWS["deploy.yml"]


def triggers(workflow: dict) -> dict:
    """`on` is a boolean in YAML 1.1, and may be a name, a list or a mapping."""
    events = workflow[True]
    return events if isinstance(events, dict) else dict.fromkeys([events] if isinstance(events, str) else events)


def called(workflow: dict) -> list[str]:
    """The workflows of this repository that a workflow calls."""
    return [Path(job["uses"]).name for job in workflow["jobs"].values() if job.get("uses", "").startswith("./")]


def actionlint(folder: Path) -> subprocess.CompletedProcess:
    beside_python = Path(sys.executable).parent
    program = shutil.which("actionlint", path=beside_python) or shutil.which("actionlint")
    assert program, "actionlint is missing: pip install -r requirements-dev.txt"
    return subprocess.run([program, *sorted(folder.glob("*.yml"))], cwd=ROOT, capture_output=True, text=True)


# Valid


def test_actionlint_finds_nothing():
    result = actionlint(FOLDER)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "right, wrong",
    [("needs: test", "needs: tset"), ("vars.SPACE_NAME != ''", "varz.SPACE_NAME != ''"), ("runs-on:", "runs_on:")],
)
def test_actionlint_would_find_a_mistake(tmp_path, right, wrong):
    text = (FOLDER / "deploy.yml").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "deploy.yml").write_text(text.replace(right, wrong), encoding="utf-8")
    assert actionlint(tmp_path).returncode == 1


def test_options_in_workflows_are_the_scripts():
    """A dropped option would otherwise be noticed on main only."""
    command = [sys.executable, "-B", ROOT / ".github/deploy_space.py", "--help"]
    usage = subprocess.run(command, capture_output=True, text=True)
    runs = [step["run"] for *_, step in STEPS if "deploy_space.py" in step.get("run", "")]
    assert len(runs) == 2
    for option in set(re.findall(r"--[a-z-]+", " ".join(runs))):
        assert option in usage.stdout


@pytest.mark.parametrize("name, key, job", JOBS)
def test_a_job_that_hangs_ends(name, key, job):
    assert "uses" in job or job["timeout-minutes"] <= 90


# Pinned


def test_every_action_is_pinned_by_its_full_commit_and_says_its_version():
    pins = {}
    for path in PATHS:
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\s*(?:- )?uses: (.*)", line):
                used = match[1]
                if used.startswith("./"):
                    continue
                pinned = re.fullmatch(r"([\w.-]+/[\w./-]+)@([0-9a-f]{40})  # v\d+\.\d+\.\d+", used)
                assert pinned, f"{path.name}: {used}"
                assert pins.setdefault(pinned[1], pinned[2]) == pinned[2], f"{pinned[1]} is pinned twice"
    assert set(pins) == {"actions/checkout", "actions/setup-python", "actions/upload-artifact"}


# Out of a pull request's reach


def within_reach() -> set[str]:
    """The workflows that a stranger's event starts, and those that they call."""
    reached = {name for name, workflow in WORKFLOWS.items() if FOREIGN_TRIGGERS & set(triggers(workflow))}
    while more := {name for one in reached for name in called(WORKFLOWS[one])} - reached:
        reached |= more
    return reached


def test_no_secret_is_within_reach_of_a_pull_request():
    assert within_reach() == {"ci.yml"}
    for name in within_reach():
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert not re.search(r"\bsecrets\b|id-token|environment:|github\.token|GITHUB_TOKEN", text), name


def test_no_trigger_gives_a_strangers_code_our_rights():
    for workflow in WORKFLOWS.values():
        assert not {"pull_request_target", "workflow_run"} & set(triggers(workflow))
    assert set(triggers(DEPLOY)) == {"push", "workflow_dispatch"}
    assert triggers(DEPLOY)["push"] == {"branches": ["main"]}


def test_only_the_deploy_job_on_main_sees_the_secret():
    holders = [(name, key) for name, key, job in JOBS if "secrets." in yaml.safe_dump(job)]
    assert holders == [("deploy.yml", "deploy")]
    job = DEPLOY["jobs"]["deploy"]
    assert job["environment"]["name"] == "space"
    assert "github.ref == 'refs/heads/main'" in job["if"]
    assert [key for _, key, job in JOBS if job.get("secrets")] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


def test_only_the_deploy_job_may_identify_itself():
    granted = {(name, key): job["permissions"] for name, key, job in JOBS if job.get("permissions")}
    assert granted == {("deploy.yml", "deploy"): {"contents": "read", "id-token": "write"}}


@pytest.mark.parametrize("name, key, step", [one for one in STEPS if "checkout@" in one[2].get("uses", "")])
def test_a_checkout_keeps_no_credentials(name, key, step):
    assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name, key, step", [one for one in STEPS if "run" in one[2]])
def test_no_expression_is_pasted_into_a_shell(name, key, step):
    assert "${{" not in step["run"], "put it into env and quote the variable"


# The right commit, once, uncut


def test_a_deployment_is_never_cut_and_never_overtaken():
    assert DEPLOY["concurrency"] == {"group": "deploy-space", "cancel-in-progress": False}
    assert all("concurrency" not in job for job in DEPLOY["jobs"].values())


def test_tests_called_by_the_deployment_are_not_cut_either():
    concurrency = CI["concurrency"]
    assert concurrency["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
    assert "github.event_name" in concurrency["group"], "else a pull request's run could cut the deployment's"
    assert "github.workflow" not in concurrency["group"], "in a called workflow that is the caller's name"


def test_what_is_deployed_is_what_was_tested():
    assert called(DEPLOY) == ["ci.yml"] and "workflow_call" in triggers(CI)
    job = DEPLOY["jobs"]["deploy"]
    assert job["needs"] == "test" and "always()" not in job["if"]
    (checkout,) = [step for step in job["steps"] if "checkout@" in step.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.sha }}"
    assert not [step for *_, step in STEPS if "--revision" in step.get("run", "")], "the script asks git itself"


def test_every_push_is_tested_once():
    assert triggers(CI)["push"] == {"branches-ignore": ["main"]}, "main's pushes are tested by deploy.yml"
    assert "pull_request" in triggers(CI)


def test_without_a_space_the_deployment_is_skipped_and_says_so():
    assert DEPLOY["jobs"]["deploy"]["if"].startswith("vars.SPACE_NAME != ''")
    notice = DEPLOY["jobs"]["not-configured"]
    assert notice["if"] == "vars.SPACE_NAME == ''" and "::notice::" in notice["steps"][0]["run"]


# What runs when


def test_the_tests_run_on_both_pythons_and_keep_screenshots_of_failures():
    job = CI["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    assert 'python -m pytest -m "not network"' in [step.get("run") for step in job["steps"]]
    (artefact,) = [step for step in job["steps"] if "upload-artifact@" in step.get("uses", "")]
    assert artefact["if"] == "failure()"


def test_pull_requests_and_forks_run_the_dry_run():
    job = CI["jobs"]["dry-run"]
    (step,) = [step for step in job["steps"] if "deploy_space.py" in step.get("run", "")]
    assert "--dry-run" in step["run"] and "pull_request" not in job["if"]
    assert all("||" in value for value in step["env"].values()), "on a fork no variable is set"


def test_real_weights_are_tried_weekly():
    (schedule,) = triggers(CI)["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])
    job = CI["jobs"]["network"]
    assert "github.event_name == 'schedule'" in job["if"]
    assert "python -m pytest -m network" in [step.get("run") for step in job["steps"]]


# What is installed


def test_what_the_deployment_installs_is_known_by_its_hash_and_is_what_the_demo_has():
    lines = (ROOT / ".github/requirements-deploy.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line for line in lines if "==" in line and not line.startswith("#")]
    text = "\n".join(line for line in lines if not line.startswith("#"))
    assert len(re.findall(r"==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text)) == len(requirements) > 20
    pins = dict(re.match(r"([\w.-]+)==(\S+)", line.lower()).groups() for line in requirements)
    plain = {name.replace("_", "-"): version for name, version in pins.items()}
    demo = (ROOT / "requirements.txt").read_text(encoding="utf-8").lower()
    named = {"huggingface_hub", "httpx2", "pyyaml", "numpy", "pillow", "pooch", "filelock", "requests"}
    for name in named:
        assert f"{name}=={plain[name.replace('_', '-')]}\n" in demo, name
    assert plain["gradio-client"] == importlib.metadata.version("gradio_client")
    for name in ("deploy", "dry-run"):
        steps = (DEPLOY if name == "deploy" else CI)["jobs"][name]["steps"]
        installs = [step["run"] for step in steps if "pip install" in step.get("run", "")]
        assert installs == ["python -m pip install --no-deps --require-hashes -r .github/requirements-deploy.txt"]


def test_an_audit_warns_and_stops_nothing():
    (step,) = [step for step in CI["jobs"]["audit"]["steps"] if "pip-audit --requirement" in step.get("run", "")]
    assert '|| echo "::warning' in step["run"]
    for file in ("requirements.txt", "requirements-dev.txt", ".github/requirements-deploy.txt"):
        assert file in step["run"]
