"""deploy_space.py as a command, driven by the real huggingface_hub and gradio_client against a Hub on loopback.

Each test looks at the requests that were made, at the exit status and at what was printed, never at a token.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import certifi
import deploy_space
import pytest
import test_space_files as sample
from conftest import free_port
from hub_stand_in import FRESH_FILES, LARGE, Hub, SpaceApp
from huggingface_hub import ModelCard, SpaceCard
from preloaded import Preloaded
from test_space_files import REVISION, WEIGHTS_CONTENT, WEIGHTS_FILE, write

SCRIPT = Path(__file__).resolve().parents[2] / ".github" / "deploy_space.py"

SPACE, API = "someone/cams", "/api/spaces/someone/cams"
WEIGHTS, MODEL_API = "someone/vgg16", "/api/models/someone/vgg16"
GPU = ("--hardware", "t4-small")
NET_SHA256 = hashlib.sha256(bytes(LARGE + 1)).hexdigest()  # of camkit/bundled/net.keras

READING = ("GET", "HEAD", "POST /api/validate-yaml", f"POST {API}/preupload", f"POST {MODEL_API}/paths-info")
READING += (f"POST /spaces/{SPACE}.git/info/lfs/objects/batch",)  # asks which large files the Hub lacks


@pytest.fixture
def project(tmp_path):
    return sample.build_project(tmp_path / "project")


@pytest.fixture(scope="module")
def space_app(tmp_path_factory):
    app = SpaceApp(tmp_path_factory.mktemp("space"))
    yield app
    app.close()


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python programs for which the Hub is at one address and the home folder one, empty for each test."""
    folder = tmp_path_factory.mktemp("python")
    end = "-----END CERTIFICATE-----"
    write(folder / "one.pem", certifi.contents().partition(end)[0] + end)
    settings = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "HF_HOME": str(folder / "home" / "hf"),
        "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "SSL_CERT_FILE": str(folder / "one.pem"),  # HTTP asks for none, and all take a tenth of a second
    }
    libraries = ("gradio_client", "httpx2", "huggingface_hub.hf_api", "huggingface_hub._commit_api")
    python = Preloaded(folder, settings, libraries)
    python.settings = settings
    yield python
    python.close()


@pytest.fixture
def hub(space_app, python):
    space_app.reset()
    with Hub(space_app, python.settings["HF_ENDPOINT"]) as hub:
        yield hub


@pytest.fixture
def deploy(project, hub, python):
    """Runs the command in the project against the stand-in; the result has its output, exit status and requests."""
    shutil.rmtree(python.settings["HOME"], ignore_errors=True)

    def run(*arguments: str, revision: str = REVISION, **environment: str | None):
        settings = python.settings | {"HF_TOKEN": Hub.TOKEN} | environment
        settings = {name: value for name, value in settings.items() if value is not None}
        command = [str(project / ".github/deploy_space.py"), SPACE, "--revision", revision]
        patience = ("--poll", "0.01", "--timeout", "120")
        seen = len(hub.requests)
        result = python.run([*command, *patience, *arguments], settings)
        result.text = result.stdout + result.stderr
        result.requests = [str(request) for request in hub.requests[seen:]]
        result.changes = [request for request in result.requests if not request.startswith(READING)]
        assert Hub.TOKEN not in result.text, "the token was printed"
        assert "Traceback" not in result.text, result.text
        return result

    return run


@pytest.fixture
def served(hub, project, tmp_path):
    """The Space as a deployment to the free hardware leaves it, serving REVISION."""
    folder = tmp_path / "served"
    names = deploy_space.stage(project, folder, revision=REVISION, hardware="cpu-basic")
    files = {name: (folder / name).read_bytes() for name in names}
    hub.app.say(revision=REVISION)
    return hub.add("spaces", SPACE, FRESH_FILES | files, hardware="cpu-basic", stage="RUNNING")


def operations(commit: list[dict]) -> set[tuple[str, str]]:
    return {(line["key"], line["value"]["path"]) for line in commit[1:]}


# What a deployment does


def test_the_first_deployment_creates_uploads_and_proves(hub, deploy):
    result = deploy(*GPU, "--sleep-time", "600")
    assert result.returncode == 0, result.text
    space = hub.repositories["spaces", SPACE]
    (commit,) = space.commits
    assert sorted(space.files) == sorted([*sample.STAGED, ".gitattributes"])
    assert ("lfsFile", "camkit/bundled/net.keras") in operations(commit)
    assert ("file", "camkit/models/weights.py") in operations(commit)
    assert space.files["REVISION"].content.decode() == REVISION + "\n"
    assert b"tensorflow[and-cuda]==2.21.0\n" in space.files["requirements.txt"].content
    assert (space.hardware, space.sleep_time, space.private) == ("t4-small", 600, False)
    assert f"POST {API}/hardware" not in result.changes, "created on that hardware already"
    assert result.requests[0] == "GET /api/whoami-v2"
    assert "Smoke test passed: tabby" in result.stdout and hub.app.log("explain") == ["gradcam vgg16"]


def test_a_second_deployment_of_the_same_commit_changes_nothing(hub, deploy):
    first = deploy(*GPU, "--weights-repo", WEIGHTS)
    assert first.returncode == 0, first.text
    again = deploy(*GPU, "--weights-repo", WEIGHTS)
    assert again.returncode == 0, again.text
    assert again.changes == []
    assert not [request for request in again.requests if "/resolve/" in request], "the weights are not read again"
    assert "no commit" in again.stdout


def test_changed_and_removed_files_make_one_commit(served, project, deploy):
    write(project / "app.py", "print('another app')\n")
    write(project / "camkit/bundled/net.keras", bytes(LARGE + 2))
    write(project / "examples/new.py", "print('new')\n")
    (project / "camkit/bundled/LICENSE").rename(project / "camkit/bundled/LICENCE.txt")
    result = deploy(revision="2" * 40)
    assert result.returncode == 0, result.text
    (commit,) = served.commits
    assert operations(commit) == {
        ("file", "REVISION"),
        ("file", "app.py"),
        ("file", "examples/new.py"),
        ("file", "camkit/bundled/LICENCE.txt"),
        ("lfsFile", "camkit/bundled/net.keras"),
        ("deletedFile", "camkit/bundled/LICENSE"),
    }
    assert ".gitattributes" in served.files


@pytest.mark.parametrize("hardware, asked", [("cpu-basic", "hardware"), ("t4-small", "sleeptime")])
def test_an_existing_space_gets_what_differs_before_its_files(hub, deploy, hardware, asked):
    space = hub.add("spaces", SPACE, FRESH_FILES, hardware=hardware, sleep_time=60, stage="RUNNING")
    result = deploy(*GPU)
    assert result.returncode == 0, result.text
    assert (space.hardware, space.sleep_time) == ("t4-small", 900)
    assert result.changes == [f"POST {API}/{asked}", f"PUT /large/{NET_SHA256}", f"POST {API}/commit/main"]


def test_the_free_hardware_has_plain_tensorflow_and_no_sleep_time(hub, deploy):
    hub.app.say(gpus=[])
    result = deploy()
    assert result.returncode == 0, result.text
    space = hub.repositories["spaces", SPACE]
    assert (space.hardware, space.sleep_time) == ("cpu-basic", None)
    assert space.files["requirements.txt"].content.decode() == sample.REQUIREMENTS


# The weights


def test_missing_weights_are_uploaded_once_and_pinned(hub, deploy):
    result = deploy("--weights-repo", WEIGHTS)
    assert result.returncode == 0, result.text
    space = hub.repositories["spaces", SPACE]
    repository = hub.repositories["models", WEIGHTS]
    (commit,) = repository.commits
    assert operations(commit) == {("file", "README.md"), ("lfsFile", WEIGHTS_FILE)}
    pin = repository.files[WEIGHTS_FILE].commit
    card = SpaceCard(space.files["README.md"].content.decode())
    assert card.data["preload_from_hub"] == [f"{WEIGHTS} {WEIGHTS_FILE} {pin}"]
    assert sample.README.split("---\n")[1].strip() in str(card).replace("'", '"') and card.text == "# CAMs\n"
    assert space.variables == {"CAMKIT_WEIGHTS_REPO": f"{WEIGHTS}@{pin}"}
    card = repository.files["README.md"].content.decode()
    assert ModelCard(card).data["license"] == "cc-by-4.0"
    for words in ("Karen Simonyan", "Andrew Zisserman", "Visual Geometry Group", "Keras Applications", "md5"):
        assert words in card


@pytest.mark.parametrize("card, commits", [({"README.md": b"theirs"}, []), ({}, [{("file", "README.md")}])])
def test_present_weights_are_checked_and_at_most_get_a_card(hub, deploy, card, commits):
    repository = hub.add("models", WEIGHTS, {WEIGHTS_FILE: WEIGHTS_CONTENT} | card)
    result = deploy("--weights-repo", WEIGHTS)
    assert result.returncode == 0, result.text
    pin = repository.files[WEIGHTS_FILE].commit
    assert f"GET /{WEIGHTS}/resolve/{pin}/{WEIGHTS_FILE}" in result.requests
    assert [operations(commit) for commit in repository.commits] == commits


@pytest.mark.parametrize("content", [WEIGHTS_CONTENT[::-1], b"too short"], ids=["other content", "other size"])
def test_other_weights_under_the_same_name_are_refused(hub, deploy, content):
    hub.add("models", WEIGHTS, {WEIGHTS_FILE: content, "README.md": b"theirs"})
    result = deploy("--weights-repo", WEIGHTS)
    assert result.returncode == 1
    assert "md5" in result.stderr or "bytes instead of" in result.stderr
    assert ("spaces", SPACE) not in hub.repositories


@pytest.mark.parametrize("content, reason", [(b"other bytes", "md5"), (None, "could not be downloaded")])
def test_weights_that_cannot_be_had_are_not_uploaded(hub, project, deploy, content, reason):
    (project / "downloaded").unlink()
    if content is not None:
        write(project / "downloaded", content)
    result = deploy("--weights-repo", WEIGHTS)
    assert result.returncode == 1 and reason in result.stderr
    assert hub.repositories == {}


# Tokens and refusals


def test_without_a_token_nothing_is_asked(hub, deploy):
    result = deploy(HF_TOKEN=None)
    assert result.returncode == 1
    assert "HF_TOKEN" in result.stderr and "environment" in result.stderr and "settings/tokens" in result.stderr
    assert result.requests == []


def test_a_refused_token_stops_before_any_change(hub, deploy):
    other = "hf_" + "Wrong" * 7
    result = deploy(HF_TOKEN=other)
    assert result.returncode == 1
    assert "401" in result.stderr and "set HF_TOKEN" in result.stderr and other not in result.text
    assert result.requests == ["GET /api/whoami-v2"]


def test_trusted_publishing_outranks_the_token(hub, deploy):
    identity = "eyJ" + "identity" * 4
    result = deploy(HF_OIDC_RESOURCE=f"spaces/{SPACE}", HF_OIDC_ID_TOKEN=identity, HF_TOKEN="hf_" + "Unused" * 6)
    assert result.returncode == 0, result.text
    assert hub.requests[0].body["resource"] == f"spaces/{SPACE}" and hub.requests[0].body["subject_token"] == identity
    assert result.requests[0] == "POST /oauth/token" and "GET /api/whoami-v2" not in result.requests
    assert {request.token for request in hub.requests[1:]} <= {Hub.TOKEN, None}
    assert identity not in result.text


def test_trusted_publishing_that_fails_does_not_fall_back(hub, deploy):
    hub.refusals["POST /oauth/token"] = 403
    result = deploy(HF_OIDC_RESOURCE=f"spaces/{SPACE}", HF_OIDC_ID_TOKEN="eyJ")
    assert result.returncode == 1 and "Trusted publishing failed" in result.stderr
    assert result.requests == ["POST /oauth/token"]


def test_a_trusted_publisher_that_may_not_set_hardware_is_told(hub, deploy):
    hub.add("spaces", SPACE, FRESH_FILES, hardware="cpu-basic", stage="RUNNING")
    hub.refusals[f"POST {API}/hardware"] = 401
    result = deploy(*GPU, HF_OIDC_RESOURCE=f"spaces/{SPACE}", HF_OIDC_ID_TOKEN="eyJ")
    assert result.returncode == 1 and "hardware t4-small (status 401)" in result.stderr
    assert f"POST {API}/commit/main" not in result.changes


@pytest.mark.parametrize("exists", [True, False])
def test_hardware_that_costs_is_refused_before_the_upload(hub, deploy, exists):
    if exists:
        hub.add("spaces", SPACE, FRESH_FILES, hardware="cpu-basic", stage="RUNNING")
    hub.refusals |= {f"POST {API}/hardware": 402, "POST /api/repos/create": 402}
    result = deploy(*GPU)
    assert result.returncode == 1
    assert "402" in result.stderr and "billing" in result.stderr
    assert result.changes == [f"POST {API}/hardware" if exists else "POST /api/repos/create"]


def test_a_card_that_the_hub_does_not_accept_is_one_sentence(hub, deploy):
    hub.refusals["POST /api/validate-yaml"] = 400
    result = deploy()
    assert (
        result.returncode == 1 and "refused to commit to someone/cams: Invalid metadata in README.md" in result.stderr
    )
    assert hub.repositories["spaces", SPACE].commits == []


def test_a_hub_that_is_down_is_one_sentence(hub, deploy):
    hub.close()
    result = deploy()
    assert result.returncode == 1 and "could not be reached" in result.stderr


def test_a_public_space_is_not_taken_for_a_private_one(hub, deploy):
    hub.add("spaces", SPACE, FRESH_FILES, hardware="cpu-basic", stage="RUNNING")
    result = deploy("--private")
    assert result.returncode == 1 and "is public" in result.stderr
    assert result.changes == []


def test_only_a_private_space_is_sent_the_token(hub, deploy):
    assert deploy().returncode == 0
    assert set(hub.app.log("info")) == {"none"}
    hub.app.reset()
    hub.repositories.clear()
    assert deploy("--private").returncode == 0
    assert set(hub.app.log("info")) == {f"Bearer {Hub.TOKEN}"}
    assert hub.repositories["spaces", SPACE].private


# Waiting


def test_the_build_before_that_still_runs_does_not_count(hub, deploy):
    hub.build = ["RUNNING", "RUNNING", "RUNNING_BUILDING", "RUNNING"]
    hub.add("spaces", SPACE, FRESH_FILES, hardware="cpu-basic", stage="RUNNING")
    result = deploy()
    assert result.returncode == 0, result.text
    assert "RUNNING, the app: of-the-build-before" in result.stdout
    assert result.requests.count(f"GET {API}/runtime") >= 5, "one before the upload and one a stage"


def test_a_build_error_shows_how_the_logs_end(hub, deploy):
    hub.build = ["BUILDING", "BUILD_ERROR"]
    hub.logs = {"build": [f"step {n}" for n in range(100)] + [f"a token {Hub.TOKEN}"], "run": ["never started"]}
    result = deploy()
    assert result.returncode == 1 and "ended in BUILD_ERROR" in result.stderr
    assert "step 99" in result.stdout and "step 10\n" not in result.stdout and "never started" in result.stdout
    assert "a token [token]" in result.stdout
    assert {f"GET {API}/logs/build", f"GET {API}/logs/run"} <= set(result.requests)


def test_logs_that_cannot_be_read_do_not_hide_the_failure(hub, deploy):
    hub.build = ["BUILDING", "RUNTIME_ERROR"]
    hub.refusals |= {f"GET {API}/logs/build": 403, f"GET {API}/logs/run": 403}
    result = deploy()
    assert result.returncode == 1 and "ended in RUNTIME_ERROR" in result.stderr
    assert result.stdout.count("not to be had") == 2


def test_the_error_of_the_build_before_is_not_ours(hub, deploy):
    hub.build = ["BUILD_ERROR", "BUILD_ERROR", "BUILDING", "RUNNING"]
    hub.add("spaces", SPACE, FRESH_FILES, hardware="cpu-basic", stage="BUILD_ERROR")
    assert deploy().returncode == 0


def test_an_error_that_stays_is_ours(hub, deploy):
    hub.build = ["BUILD_ERROR"]
    hub.add("spaces", SPACE, FRESH_FILES, hardware="cpu-basic", stage="BUILD_ERROR")
    result = deploy("--grace", "0.1")
    assert result.returncode == 1 and "ended in BUILD_ERROR" in result.stderr


@pytest.mark.parametrize("stage, restarts", [("BUILD_ERROR", 1), ("PAUSED", 1), ("RUNNING", 0)])
def test_a_space_that_has_every_file_is_started_again(served, deploy, stage, restarts):
    served.stage = stage
    result = deploy()
    assert result.returncode == 0, result.text
    assert result.changes == [f"POST {API}/restart"] * restarts


def test_a_passing_fault_of_the_hub_is_waited_out(hub, deploy):
    hub.add("spaces", SPACE, FRESH_FILES, hardware="cpu-basic", stage="RUNNING")
    hub.build = ["BUILDING", "BUILDING", "RUNNING"]
    hub.faults = {f"GET {API}/runtime": 2}
    result = deploy()
    assert result.returncode == 0, result.text
    assert "the Hub answers 502" in result.stdout


def test_a_time_out_shows_the_logs(hub, deploy):
    hub.build = ["BUILDING"]
    hub.logs["build"] = ["still installing"]
    result = deploy("--timeout", "0.3")
    assert result.returncode == 1
    assert f"did not serve {REVISION}" in result.stderr and "still installing" in result.stdout


# The smoke test


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"class_index": 404}, "not 281 tabby"),
        ({"raw": [[0.0, 0.0]]}, "map of examples/chelsea.jpg is empty"),
        ({"gpus": []}, "TensorFlow lists no GPU"),
        ({"archive": ""}, "returned an empty"),
        ({"problem": "The weights are missing."}, "/explain failed: The weights are missing"),
    ],
    ids=["class", "empty map", "no GPU", "empty archive", "error"],
)
def test_an_app_that_answers_wrongly_fails(hub, deploy, change, sentence):
    hub.app.say(**change)
    result = deploy(*GPU)
    assert result.returncode == 1
    assert result.stderr.startswith("deploy_space.py: The smoke test failed: ") and sentence in result.stderr


def test_weights_that_are_on_their_way_are_waited_for(hub, deploy):
    hub.app.say(downloading=2)
    result = deploy()
    assert result.returncode == 0, result.text
    assert hub.app.log("explain") == ["gradcam vgg16"] * 3
    assert "VGG16's weights: downloading." in result.stdout


# The dry run


def test_the_dry_run_needs_no_token_and_no_network(hub, project, deploy):
    result = deploy(*GPU, "--weights-repo", WEIGHTS, "--dry-run", HF_TOKEN=None)
    assert result.returncode == 0, result.text
    assert result.requests == []
    for name in sample.STAGED:
        assert f"  {name}\n" in result.stdout
    assert f"{LARGE + 1:,}  camkit/bundled/net.keras" in result.stdout
    assert "sdk_version: 6.31.0" in result.stdout and f"{WEIGHTS} {WEIGHTS_FILE} COMMIT" in result.stdout
    assert f"{SPACE} (public) on t4-small, revision {REVISION}" in result.stdout
    assert "sleeps after 900 s" in result.stdout and f"Weights: {WEIGHTS}" in result.stdout
    assert "tests/" not in result.stdout and ".hidden" not in result.stdout and "__pycache__" not in result.stdout


def test_the_dry_run_of_this_repository(tmp_path):
    for name in ("tensorflow", "keras", "tf_keras_vis"):  # the workflows deploy without them
        write(tmp_path / f"{name}.py", "raise ImportError")
    command = [sys.executable, "-B", SCRIPT, SPACE, "--dry-run", "--revision", REVISION]
    offline = {"PATH": os.environ["PATH"], "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([*command, *GPU, "--weights-repo", WEIGHTS], env=offline, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name in (
        "app.py",
        "camkit/models/weights.py",
        "camkit/bundled/efficientnet_lite0.keras",
        deploy_space.SMOKE_IMAGE,
    ):
        assert f"  {name}\n" in result.stdout


# The command line and what it prints


def test_zero_gpu_is_refused(deploy):
    result = deploy("--hardware", "zero-a10g")
    assert result.returncode == 1 and "TensorFlow needs" in result.stderr and result.requests == []


@pytest.mark.parametrize("arguments", [[], ["no-owner"], ["a/b", "--poll", "often"], ["a/b/c"], ["a/..b"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        deploy_space.main(arguments)
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, printed",
    [
        ("before hf_" + "a" * 34 + " after", "before [token] after"),
        ("before hf_jwt_ey.J-x_y after", "before [token] after"),
        ("Bearer hf_" + "B" * 30, "Bearer [token]"),
        ("hf_hub_download in hf_api.py", "hf_hub_download in hf_api.py"),
    ],
)
def test_no_token_survives_in_what_is_printed(text, printed):
    assert deploy_space.redact(text) == printed


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN"])
def test_a_secret_of_any_shape_is_not_printed(monkeypatch, name):
    monkeypatch.setenv(name, "a-secret_of.another/shape")
    assert deploy_space.redact("x a-secret_of.another/shape y") == "x [token] y"
