"""deploy_space.py against a Hub and an app in memory: what it asks for, in which order, what it proves and prints."""

import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import deploy_space
import httpx2
import pytest
import test_space_files as sample
from conftest import ROOT
from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OIDCError
from test_space_files import REVISION, project  # noqa: F401 - a fixture

from camkit.models.weights import VGG16_WEIGHTS

SPACE, WEIGHTS = "someone/cams", "someone/vgg16"
TOKEN = "hf_" + "Secret" * 6
CHANGES = ("create_repo", "add_space_variable", "request_space_hardware", "set_space_sleep_time", "create_commit")
WEIGHTS_FILE = deploy_space.WEIGHTS_FILE
FIELDS = ("stage", "hardware", "requested_hardware", "sleep_time")


class World:
    """A Hub with at most one Space and its app, as `deploy` may find them. `api` has HfApi's own signatures.

    Attributes to set before a deployment: `files` and `weights` on the Hub, `stages` that the Space goes through after
    a commit or restart, one a look, `refusals` of the Hub and `faults` while waiting, and what the app answers.
    """

    def __init__(self):
        self.exists, self.private, self.files, self.variables = False, False, {}, {}
        self.stage, self.hardware, self.sleep_time = "NO_APP_FILE", None, None
        self.stages, self.pending = ["BUILDING", "APP_STARTING", "RUNNING"], []
        self.weights, self.refusals, self.faults, self.logs = [], {}, [], {True: [], False: []}
        self.commits, self.told, self.explained = [], [], []
        self.serving, self.gpus, self.device = "of-the-build-before", ["Tesla T4"], "Tesla T4"
        self.downloading, self.problem, self.archive = 0, None, b"an archive"
        self.result = {"class_index": 281, "class_name": "tabby", "probability": 0.5, "raw": [[0, 0.5], [1, 0]]}
        self.api = create_autospec(HfApi, instance=True, endpoint="https://hub.test")
        for name in ("repo_exists", "space_info", "get_paths_info", "list_repo_files", "fetch_space_logs"):
            getattr(self.api, name).side_effect = getattr(self, name)
        for name in (*CHANGES, "get_space_variables", "get_space_runtime", "restart_space"):
            getattr(self.api, name).side_effect = self.guarded(name)

    def guarded(self, name):
        def call(*arguments, **options):
            if error := self.refusals.get(name):
                raise error
            return getattr(self, name)(*arguments, **options)

        return call

    @property
    def changes(self):
        return [call[0] for call in self.api.method_calls if call[0] in (*CHANGES, "restart_space")]

    # The Hub

    def repo_exists(self, name, repo_type="model"):
        return self.exists if repo_type == "space" else bool(self.weights)

    def create_repo(self, name, private, space_hardware, space_sleep_time, **_):
        self.exists, self.private, self.files = True, private, {"README.md": b"", ".gitattributes": b"lfs"}
        self.hardware, self.sleep_time = space_hardware.value, space_sleep_time

    def space_info(self, name):
        return SimpleNamespace(private=self.private, sha=f"commit {len(self.commits)}", host="https://space.test")

    def get_paths_info(self, name, paths, expand):
        return [SimpleNamespace(last_commit=SimpleNamespace(oid=self.weights[0]))] if paths == [WEIGHTS_FILE] else []

    def get_space_variables(self, name):
        return {key: SimpleNamespace(value=value) for key, value in self.variables.items()}

    def add_space_variable(self, name, key, value):
        self.variables[key] = value

    def get_space_runtime(self, name):
        if self.commits and self.faults:
            raise self.faults.pop()
        if self.pending:
            self.stage = self.pending.pop(0)
            if not self.pending and self.stage == "RUNNING":
                self.serving = self.files["REVISION"].decode().strip()
        return SimpleNamespace(**dict(zip(FIELDS, (self.stage, self.hardware, None, self.sleep_time), strict=True)))

    def request_space_hardware(self, name, hardware, sleep_time):
        self.hardware, self.sleep_time = hardware.value, sleep_time

    def set_space_sleep_time(self, name, sleep_time):
        self.sleep_time = sleep_time

    def list_repo_files(self, name, repo_type):
        return list(self.files)

    def create_commit(self, name, operations, commit_message, repo_type):
        added = {one.path_in_repo: one.path_or_fileobj for one in operations if isinstance(one, CommitOperationAdd)}
        after = {path: Path(file).read_bytes() for path, file in added.items()}
        gone = {one.path_in_repo for one in operations} - set(added)
        kept = {path: content for path, content in self.files.items() if path not in gone} | after
        if kept != self.files:
            self.files, self.pending = kept, list(self.stages)
            self.commits.append((sorted(gone), commit_message))
        return SimpleNamespace(oid=f"commit {len(self.commits)}")

    def restart_space(self, name, factory_reboot=False):
        self.pending = list(self.stages)

    def fetch_space_logs(self, name, build):
        if error := self.refusals.get("fetch_space_logs"):
            raise error
        return iter(self.logs[build])

    # The app

    def post(self, address, json, headers, timeout):
        assert address == "https://space.test/gradio_api/run/info"
        self.told.append(headers.get("X-HF-Authorization"))
        state = "downloading" if len(self.explained) < self.downloading else "ready"
        models = {"vgg16": {"state": state, "message": f"VGG16's weights: {state}."}}
        facts = {"revision": self.serving, "device": self.device, "gpus": self.gpus, "models": models}
        return httpx2.Response(200, json={"data": [facts]}, request=httpx2.Request("POST", address))

    def connect(self, host, *, download_files, token, **_):
        self.told.append(token)
        client = create_autospec(Client, instance=True)

        def submit(image, *, method, model, api_name):
            answer = Future()
            self.explained.append((method, model, api_name))
            if self.problem or len(self.explained) <= self.downloading:
                answer.set_exception(AppError(self.problem or "VGG16 has no weights here yet"))
                return answer
            archive = os.path.join(download_files, "maps.npz")
            with open(archive, "wb") as file:
                file.write(self.archive)
            answer.set_result(
                (image["path"], self.result | {"all_zero": not any(map(any, self.result["raw"]))}, archive)
            )
            return answer

        client.submit.side_effect = submit
        return client


def refused(status, message="refused by the test"):
    request = httpx2.Request("POST", "https://hub.test/api/something")
    return HfHubHTTPError(message, response=httpx2.Response(status, request=request), server_message=message)


@pytest.fixture
def world(project, monkeypatch):  # noqa: F811
    world = World()
    monkeypatch.setattr(deploy_space, "ROOT", project)
    monkeypatch.setattr(deploy_space, "HfApi", lambda token: world.api)
    monkeypatch.setattr(deploy_space, "get_session", lambda: world)
    monkeypatch.setattr(deploy_space, "get_token", lambda: TOKEN)
    monkeypatch.setattr(deploy_space, "Client", world.connect)
    return world


@pytest.fixture
def deploy(world, capsys):
    """Run the command; return its status and all that it printed."""

    def run(*arguments, revision=REVISION):
        status = deploy_space.main([SPACE, "--revision", revision, "--poll", "0", "--timeout", "60", *arguments])
        printed = capsys.readouterr()
        assert TOKEN not in printed.out + printed.err
        return status, printed.out + printed.err

    return run


@pytest.fixture
def served(world, deploy):
    """The world after a deployment to the free hardware."""
    assert deploy("--hardware", "cpu-basic")[0] == 0
    world.api.reset_mock()
    world.commits.clear()
    return world


def test_the_first_deployment_creates_uploads_and_proves(world, deploy):
    status, text = deploy("--hardware", "t4-small", "--sleep-time", "600")
    assert status == 0, text
    assert world.changes == ["create_repo", "create_commit"]
    assert sorted(world.files) == sorted([*sample.STAGED, ".gitattributes"])
    assert b"tensorflow[and-cuda]==2.21.0\n" in world.files["requirements.txt"]
    assert (world.hardware, world.sleep_time, world.private) == ("t4-small", 600, False)
    assert world.explained == [("gradcam", "vgg16", "/explain")]
    assert "BUILDING" in text and "Smoke test passed: tabby (0.50)" in text


def test_a_second_deployment_commits_what_differs_or_nothing(served, deploy, project):  # noqa: F811
    status, text = deploy("--hardware", "cpu-basic")
    assert status == 0 and "no commit" in text and served.commits == []
    sample.write(project / "examples/new.py", "")
    (project / "camkit/web/style.css").unlink()
    assert deploy("--hardware", "cpu-basic", revision="2" * 40)[0] == 0
    assert served.commits == [(["camkit/web/style.css"], f"Deploy {'2' * 40}")]
    assert {"examples/new.py", ".gitattributes"} < set(served.files) and served.serving == "2" * 40


@pytest.mark.parametrize(
    "hardware, sleep_time, wanted, changes, after",
    [
        ("cpu-basic", None, "t4-small", ["request_space_hardware", "create_commit"], ("t4-small", 900)),
        ("t4-small", 60, "t4-small", ["set_space_sleep_time", "create_commit"], ("t4-small", 900)),
        ("t4-small", 900, "cpu-basic", ["request_space_hardware", "create_commit"], ("cpu-basic", None)),
    ],
)
def test_an_existing_space_gets_what_differs_before_its_files(
    world, deploy, hardware, sleep_time, wanted, changes, after
):
    world.exists, world.hardware, world.sleep_time = True, hardware, sleep_time
    status, text = deploy("--hardware", wanted)
    assert status == 0, text
    assert world.changes == changes and (world.hardware, world.sleep_time) == after


def test_weights_are_pinned_at_the_commit_that_put_them_there(world, deploy):
    world.weights = ["c" * 40]
    assert deploy("--weights-repo", WEIGHTS)[0] == 0
    assert f"- {WEIGHTS} {WEIGHTS_FILE} {'c' * 40}\n" in world.files["README.md"].decode()
    assert world.variables == {"CAMKIT_WEIGHTS_REPO": f"{WEIGHTS}@{'c' * 40}"}
    assert VGG16_WEIGHTS.filename == WEIGHTS_FILE
    assert deploy("--weights-repo", WEIGHTS)[0] == 0 and world.changes.count("add_space_variable") == 1


def test_weights_that_are_not_there_are_told_before_any_change(world, deploy):
    status, text = deploy("--weights-repo", WEIGHTS)
    assert status == 1 and f"{WEIGHTS} holds no {WEIGHTS_FILE}" in text and "deployment.md" in text
    assert world.changes == []


@pytest.mark.parametrize("private, sent", [(False, {None, False}), (True, {f"Bearer {TOKEN}", TOKEN})])
def test_only_a_private_space_is_sent_the_token(world, deploy, private, sent):
    assert deploy(*(["--private"] if private else []))[0] == 0
    assert set(world.told) == sent and world.private is private


def test_a_public_space_is_not_taken_for_a_private_one(served, deploy):
    status, text = deploy("--private")
    assert status == 1 and "is public" in text and served.changes == []


@pytest.mark.parametrize(
    "call, error, sentence",
    [
        ("create_repo", refused(401), "status 401): set HF_TOKEN"),
        ("create_repo", refused(402), "status 402): it costs money"),
        ("create_repo", refused(403), "status 403): set HF_TOKEN"),
        ("create_repo", refused(409, "the name is taken"), "status 409): the name is taken."),
        ("create_repo", httpx2.ConnectError("no route"), "could not be reached: no route"),
        ("create_repo", LocalTokenNotFoundError("Token is required."), "No token: Token is required; set HF_TOKEN"),
        ("create_repo", OIDCError("The exchange failed."), "No token: The exchange failed; set HF_TOKEN"),
        (
            "create_commit",
            ValueError("Invalid metadata\nin README.md."),
            "refused the files: Invalid metadata in README",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(world, deploy, call, error, sentence):
    world.refusals = {call: error}
    status, text = deploy()
    assert status == 1 and sentence in text.splitlines()[-1]
    assert world.changes[-1] == call and world.commits == []


def test_a_build_that_fails_shows_how_the_logs_end(world, deploy):
    world.stages = ["BUILDING", "BUILD_ERROR"]
    world.logs = {True: [f"step {n}\n" for n in range(100)] + [f"a token {TOKEN}"], False: ["never started"]}
    status, text = deploy()
    assert status == 1 and "ended in BUILD_ERROR" in text.splitlines()[-1]
    assert "step 99" in text and "step 10\n" not in text and "never started" in text and "a token [token]" in text


def test_logs_that_cannot_be_read_do_not_hide_the_failure(world, deploy):
    world.stages, world.refusals = ["RUNTIME_ERROR"], {"fetch_space_logs": refused(403)}
    world.stage = "RUNNING"
    status, text = deploy()
    assert status == 1 and "ended in RUNTIME_ERROR" in text and text.count("cannot be read") == 2


def test_a_time_out_shows_the_logs(world, deploy):
    world.stages, world.logs[True] = ["BUILDING"], ["still installing"]
    status, text = deploy("--timeout", "0.2")
    assert status == 1 and f"did not serve {REVISION}" in text and "still installing" in text


@pytest.mark.parametrize(
    "before, stages, grace, status",
    [
        ("RUNNING", ["RUNNING", "RUNNING_BUILDING", "RUNNING"], 60, 0),  # the build before goes on answering
        ("BUILD_ERROR", ["BUILD_ERROR", "BUILD_ERROR", "BUILDING", "RUNNING"], 60, 0),  # its error is not ours
        ("BUILD_ERROR", ["BUILD_ERROR", "BUILDING", "BUILD_ERROR"], 60, 1),
        ("BUILD_ERROR", ["BUILD_ERROR"], 0, 1),  # an error that stays is ours
    ],
)
def test_the_build_before_is_not_taken_for_ours(world, deploy, monkeypatch, before, stages, grace, status):
    monkeypatch.setattr(deploy_space, "GRACE", grace)
    world.exists, world.hardware, world.stage, world.stages = True, "cpu-basic", before, stages
    assert deploy("--hardware", "cpu-basic")[0] == status


@pytest.mark.parametrize("stage, restarts", [("BUILD_ERROR", [True]), ("PAUSED", [False]), ("RUNNING", [])])
def test_a_space_that_has_every_file_is_started_again_where_it_rests(served, deploy, stage, restarts):
    served.stage = stage
    assert deploy("--hardware", "cpu-basic")[0] == 0
    assert [call.kwargs.get("factory_reboot", False) for call in served.api.restart_space.mock_calls] == restarts


@pytest.mark.parametrize(
    "fault, status, sentence",
    [
        (refused(502), 0, "the Hub answers 502"),
        (httpx2.ReadTimeout("too slow"), 0, "the Hub cannot be reached (too slow)"),
        (refused(404, "no such Space"), 1, "no such Space"),
    ],
)
def test_only_a_passing_fault_of_the_hub_is_waited_out(world, deploy, fault, status, sentence):
    world.faults = [fault]
    ended, text = deploy()
    assert ended == status and sentence in text


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"result": World().result | {"class_index": 404}}, "not 281 tabby"),
        ({"result": World().result | {"raw": [[0.0, 0.0]]}}, "map of examples/chelsea.jpg is empty"),
        ({"gpus": []}, "TensorFlow lists no GPU"),
        ({"archive": b""}, "returned an empty maps.npz"),
        ({"problem": "The weights are missing."}, "/explain failed: The weights are missing"),
    ],
)
def test_an_app_that_answers_wrongly_is_not_called_deployed(world, deploy, change, sentence):
    vars(world).update(change)
    status, text = deploy("--hardware", "t4-small")
    last = text.splitlines()[-1]
    assert status == 1 and last.startswith("deploy_space.py: The smoke test failed: ") and sentence in last


def test_weights_that_are_on_their_way_are_waited_for(world, deploy):
    world.downloading = 2
    status, text = deploy()
    assert status == 0 and len(world.explained) == 3 and "VGG16's weights: downloading." in text


def test_the_dry_run_of_this_repository_needs_no_token_no_network_and_no_tensorflow(tmp_path):
    for name in ("tensorflow", "keras", "tf_keras_vis", "numpy"):  # the workflows deploy without them
        sample.write(tmp_path / f"{name}.py", "raise ImportError")
    command = [sys.executable, "-B", ROOT / ".github/deploy_space.py", SPACE, "--dry-run", "--revision", REVISION]
    offline = {"PATH": os.environ["PATH"], "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(tmp_path)}
    options = ("--hardware", "t4-small", "--weights-repo", WEIGHTS)
    done = subprocess.run([*command, *options], env=offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{SPACE} (public) on t4-small, revision {REVISION}" in done.stdout
    for line in ("  app.py\n", "  camkit/models/registry.py\n", f"  {deploy_space.SMOKE_IMAGE}\n", "Nothing was sent"):
        assert line in done.stdout
    assert f"{WEIGHTS} {WEIGHTS_FILE} COMMIT" in done.stdout and "tests/" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["no-owner"], ["a/b", "--poll", "often"], ["a/b/c"], ["a/..b"], ["a/b", "--hardware", "zero-a10g"]],
)
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        deploy_space.main(arguments)
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, printed",
    [
        (f"before {TOKEN} after", "before [token] after"),
        ("before hf_jwt_ey.J-x_y after", "before [token] after"),
        ("hf_hub_download in hf_api.py", "hf_hub_download in hf_api.py"),
    ],
)
def test_no_token_survives_in_what_is_printed(text, printed, capsys):
    deploy_space.say(text)
    assert capsys.readouterr().out == printed + "\n"
