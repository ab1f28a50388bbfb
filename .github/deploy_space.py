"""Puts this repository on a Hugging Face Space and proves that the Space serves this very commit.

Owns how the Hub is asked (huggingface_hub only) and how the running app is tested; what is sent is space_files.py's.
Refuses to print a token, and to call a Space deployed because it is RUNNING: the app itself must name the revision
and explain a picture.

    python .github/deploy_space.py owner/name [--hardware t4-small] [--weights-repo owner/name] [--dry-run]
"""

import argparse
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from httpx2 import HTTPError  # huggingface_hub's own HTTP client
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware, get_token
from huggingface_hub.errors import HfHubHTTPError, OIDCError
from huggingface_hub.hf_api import SpaceInfo, SpaceRuntime
from huggingface_hub.utils import disable_progress_bars, get_session, validate_repo_id
from space_files import (
    CPU_HARDWARE,
    ROOT,
    DeployError,
    check_md5,
    commit_of,
    obtain_weights,
    pin_weights,
    read_card,
    require,
    stage,
    staged_files,
    weights_card,
    weights_file,
)

WEIGHTS_VARIABLE = "CAMKIT_WEIGHTS_REPO"  # "owner/name@commit", read by the app
MODEL = "vgg16"

BUILDING = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING")
ANSWERING = ("RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING")
RESTING = ("PAUSED", "SLEEPING", "STOPPED")
FAILED = ("BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR", "NO_APP_FILE")
LOG_LINES = 40

EXPLAIN_TIMEOUT = 300  # seconds
WEIGHTS_TIMEOUT = 900  # seconds; without a weights repository the app first downloads 528 MB
ON_THEIR_WAY = ("absent", "downloading")  # what /info says of weights that a request brings, or has begun to bring
SMOKE_IMAGE = "examples/chelsea.jpg"
SMOKE_CLASSES = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}  # the picture is a tabby cat

TOKEN_HELP = (
    "set HF_TOKEN to a token with write access to the Space and the weights repository "
    '(huggingface.co/settings/tokens): in GitHub as a secret of the environment "space" '
    "(Settings, Environments), by hand in the shell; or set up a trusted publisher in the Space's settings "
    "and the GitHub variable HF_TRUSTED_PUBLISHER=true"
)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """The command line, times in seconds."""

    space: str
    hardware: str
    sleep_time: int
    private: bool
    weights_repo: str | None
    revision: str
    timeout: float
    poll: float
    grace: float
    dry_run: bool


def redact(text: str) -> str:
    """The text without any Hugging Face token, whether ours or one that a log happens to hold."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "[token]")
    return re.sub(r"\bhf_(?:jwt_[\w.-]+|[A-Za-z0-9]{20,})", "[token]", text)


def say(text: str = "", *, file=None) -> None:
    print(redact(text), file=file or sys.stdout, flush=True)


def first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


# --- how the Hub is asked ---------------------------------------------------------------------------------------


def ask(do: str, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """The answer to a call of huggingface_hub; what it raises becomes one sentence that says what to do about it."""
    try:
        return call(*arguments, **options)
    except HfHubHTTPError as error:
        raise DeployError(refusal(error, do)) from error
    except HTTPError as error:
        raise DeployError(f"The Hub could not be reached to {do}: {error}.") from error
    except ValueError as error:  # as of a README.md that the Hub does not accept
        raise DeployError(f"The Hub refused to {do}: {' '.join(str(error).split())}") from error


def refusal(error: HfHubHTTPError, do: str) -> str:
    status = error.response.status_code
    advice = {
        401: f"the token is not accepted for this; {TOKEN_HELP}",
        402: "it costs money and the account has no payment method or credit; "
        "add one at huggingface.co/settings/billing, or choose --hardware cpu-basic",
        403: f"the token lacks the permission; {TOKEN_HELP}",
    }
    detail = advice.get(status) or error.server_message or "no reason given"
    return f"The Hub refused to {do} (status {status}): {detail.rstrip('.')}."


def authorise(api: HfApi) -> None:
    """Fails before anything is changed when there is no token or it is refused."""
    try:
        token = get_token()
    except (OIDCError, HfHubHTTPError) as error:
        raise DeployError(f"Trusted publishing failed ({first_line(error)}); {TOKEN_HELP}.") from error
    require(token, f"There is no Hugging Face token; {TOKEN_HELP}.")
    # A trusted publisher's token belongs to a repository, not to an account that could be asked for.
    if not os.environ.get("HF_OIDC_RESOURCE"):
        say(f"Deploying as {ask('say whose token this is', api.whoami)['name']}")


def bring_up_to_date(api: HfApi, options: Options, folder: Path) -> tuple[SpaceRuntime, bool]:
    """Weights, Space and files; returns how the Space ran before, and whether there was anything to commit.

    The files come last: a refusal before them leaves what is being served as it was.
    """
    space, info = options.space, None
    if ask(f"find {space}", api.repo_exists, space, repo_type="space"):
        info = ask(f"describe {space}", api.space_info, space)
        public = f"{space} is public: make it private in its settings, or leave out --private."
        require(info.private or not options.private, public)
    served = pin = None
    if options.weights_repo:
        if info is not None:
            variable = ask(f"tell the variables of {space}", api.get_space_variables, space).get(WEIGHTS_VARIABLE)
            served = variable.value if variable else None
        filename, commit = ensure_weights(api, options.weights_repo, served)
        pin_weights(folder, f"{options.weights_repo} {filename} {commit}")
        pin = f"{options.weights_repo}@{commit}"
    # The free hardware sleeps after 48 hours, whatever one asks for.
    sleep_time = None if options.hardware == SpaceHardware.CPU_BASIC else options.sleep_time
    if info is None:
        say(f"Creating {space} on {options.hardware}")
        create = partial(api.create_repo, space, repo_type="space", space_sdk="gradio", private=options.private)
        do, hardware = f"create {space} on {options.hardware}", SpaceHardware(options.hardware)
        ask(do, create, space_hardware=hardware, space_sleep_time=sleep_time)
    if pin and pin != served:
        ask(f"set {WEIGHTS_VARIABLE} of {space}", api.add_space_variable, space, WEIGHTS_VARIABLE, pin)
    runtime = ask(f"tell how {space} runs", api.get_space_runtime, space)
    if (runtime.requested_hardware or runtime.hardware) != options.hardware:
        say(f"Requesting {options.hardware}")
        do = f"give {space} the hardware {options.hardware}"
        ask(do, api.request_space_hardware, space, SpaceHardware(options.hardware), sleep_time=sleep_time)
    elif sleep_time is not None and runtime.sleep_time != sleep_time:
        ask(f"set the sleep time of {space}", api.set_space_sleep_time, space, sleep_time)
    return runtime, upload(api, options, folder, info.sha if info else None)


def upload(api: HfApi, options: Options, folder: Path, head: str | None) -> bool:
    """One commit with what is new, changed and gone; False when `head`, the Space's commit, has it all already.

    Not upload_folder, which may make several commits, each of which the Space would build.
    """
    space, local = options.space, staged_files(folder)
    remote = ask(f"list the files of {space}", api.list_repo_files, space, repo_type="space")
    # .gitattributes is the Hub's: it says which files live outside git.
    gone = sorted(set(remote) - set(local) - {".gitattributes"})
    operations: list = [CommitOperationAdd(name, folder / name) for name in local]
    operations += [CommitOperationDelete(name, is_folder=False) for name in gone]
    message = f"Deploy {options.revision}"
    commit = ask(f"commit to {space}", api.create_commit, space, operations, commit_message=message, repo_type="space")
    say("The Space already has every file: no commit" if commit.oid == head else f"Committed {commit.oid}")
    return commit.oid != head


def ensure_weights(api: HfApi, repo: str, served: str | None) -> tuple[str, str]:
    """The file's name and its commit in `repo`: uploaded this once, or found and checked this once.

    Args:
        served: the value of the Space's variable. A pin that it names already was checked when it was set.
    """
    wanted = weights_file()
    found = remote_files(api, repo, wanted.filename) if ask(f"find {repo}", api.repo_exists, repo) else {}
    is_new = wanted.filename not in found
    operations = [CommitOperationAdd("README.md", weights_card(wanted).encode())]
    do, message = f"add the model card to {repo}", "Add the model card"
    if is_new:
        path = obtain_weights(wanted)
        operations.append(CommitOperationAdd(wanted.filename, path))
        say(f"Uploading {wanted.filename} ({path.stat().st_size:,} bytes) to {repo}, this once")
        do = f"put the weights into {repo} (a trusted publisher of the Space cannot: do it once with HF_TOKEN)"
        message = "VGG16's ImageNet weights, as Keras publishes them"
        ask(do, api.create_repo, repo, exist_ok=True)
    if len(found) < 2:
        ask(do, api.create_commit, repo, operations, commit_message=message)
    stored = remote_files(api, repo, wanted.filename)[wanted.filename]
    other = f"{repo} holds a {wanted.filename} of {stored.size:,} bytes instead of {wanted.size:,}."
    require(stored.size == wanted.size, other)
    # The commit that last touched the file: a later edit of the model card does not move the pin.
    commit = stored.last_commit.oid
    if not is_new and f"{repo}@{commit}" != served:
        # The Hub tells no md5 and the app trusts the repository: somebody else's upload is read once before use.
        with TemporaryDirectory() as folder:
            do = f"download {wanted.filename} from {repo}"
            copy = ask(do, api.hf_hub_download, repo, wanted.filename, revision=commit, local_dir=folder)
            check_md5(Path(copy), wanted.md5, f"{repo} is not used")
    say(f"Weights: {repo} at {commit}")
    return wanted.filename, commit


def remote_files(api: HfApi, repo: str, filename: str) -> dict[str, Any]:
    files = ask(f"list {repo}", api.get_paths_info, repo, [filename, "README.md"], expand=True)
    return {file.path: file for file in files}


# --- until the app answers ----------------------------------------------------------------------------------------


def wait_for_revision(api: HfApi, options: Options, before: SpaceRuntime) -> SpaceInfo:
    """The Space, once its app itself reports our revision. Prints each change of state."""
    space, start = options.space, time.monotonic()
    failure_is_ours = before.stage not in FAILED
    woken, last = False, ""
    while (waited := time.monotonic() - start) < options.timeout:
        info, state = look(api, space)
        seen = revision_served(info) if info and state in ANSWERING else None
        line = state + (f", the app: {seen}" if seen else "")
        if line != last:
            say(f"  {waited:5.0f} s  {line}")
            last = line
        if info and seen == options.revision:
            return info
        # Right after an upload the Hub may still tell how the build before ended.
        failure_is_ours = failure_is_ours or state in BUILDING or waited >= options.grace
        if state in FAILED and failure_is_ours:
            raise failed(api, space, f"{space} ended in {state}")
        if state in RESTING and not woken:
            restart(api, space)
            woken = True
        time.sleep(options.poll)
    raise failed(api, space, f"{space} did not serve {options.revision} in {options.timeout:.0f} s")


def look(api: HfApi, space: str) -> tuple[SpaceInfo | None, str]:
    """The Space and its stage, which may be a passing fault: a long build must not fail by one lost answer."""
    try:
        return api.space_info(space), api.get_space_runtime(space).stage
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise DeployError(refusal(error, f"tell how {space} runs")) from error
        return None, f"the Hub answers {error.response.status_code}"
    except HTTPError as error:
        return None, f"the Hub cannot be reached ({first_line(error)})"


def restart(api: HfApi, space: str, *, factory: bool = False) -> None:
    say(f"Restarting {space}")
    ask(f"restart {space}", api.restart_space, space, factory_reboot=factory)


def revision_served(info: SpaceInfo) -> str:
    """The revision that the app reports, or in words why it reports none."""
    if not info.host:
        return "has no address yet"
    try:
        return str(app_info(info).get("revision", "tells no revision"))
    except (DeployError, HTTPError, ValueError) as error:
        return f"no answer yet ({first_line(error)})"


def app_info(info: SpaceInfo) -> dict:
    """What /info answers. A page of the Hub's stands at the same address while the app starts."""
    token = app_token(info)
    headers = {"X-HF-Authorization": f"Bearer {token}"} if token else {}
    address = f"{info.host}/gradio_api/run/info"  # answers at once: /info does not queue
    answer = get_session().post(address, json={"data": []}, headers=headers, timeout=60).raise_for_status().json()
    if not isinstance(answer, dict) or not isinstance(said := answer.get("data", [None])[0], dict):
        raise DeployError("/info does not answer with an object.")
    return said


def app_token(info: SpaceInfo) -> str | None:
    """Only a private Space's own address gets the token."""
    return get_token() if info.private else None


def failed(api: HfApi, space: str, sentence: str) -> DeployError:
    """Prints how the logs end; the error to raise."""
    for build in (True, False):
        say(f"--- the last lines of the {'build' if build else 'run'} log ---")
        try:
            for line in deque(api.fetch_space_logs(space, build=build), maxlen=LOG_LINES):
                say(line.rstrip("\n"))
        except HTTPError as error:
            say(f"(not to be had: {first_line(error)})")
    return DeployError(f"{sentence}; its logs end as above.")


# --- the smoke test -----------------------------------------------------------------------------------------------


def smoke_test(info: SpaceInfo, options: Options, image: Path) -> None:
    """One picture through the app, as any client would send it."""
    app = app_info(info)
    say(f"The app runs {app['revision']} on {app['device']}")
    require(app["revision"] == options.revision, f"the app reports {app['revision']} instead of {options.revision}.")
    no_gpu = f"{options.hardware} was asked for, but TensorFlow lists no GPU."
    require(app["gpus"] or options.hardware in CPU_HARDWARE, no_gpu)
    # False, not None: None would send the token that is stored on this machine.
    settings = {"token": app_token(info) or False, "verbose": False, "analytics_enabled": False}
    with TemporaryDirectory() as folder, closing(Client(info.host, download_files=folder, **settings)) as client:
        overlay, result, archive = explain(client, info, image, options.poll)
        for name in (overlay, archive):
            require(Path(name).stat().st_size, f"the app returned an empty {Path(name).name}.")
    expected = ", ".join(f"{index} {name}" for index, name in SMOKE_CLASSES.items())
    answer = f"{SMOKE_IMAGE} is {result['class_index']} {result['class_name']} for the app, not {expected}."
    require(result["class_index"] in SMOKE_CLASSES, answer)
    is_empty = result["all_zero"] or not max(max(row) for row in result["raw"]) > 0
    require(not is_empty, f"the Grad-CAM map of {SMOKE_IMAGE} is empty.")
    say(f"Smoke test passed: {result['class_name']} ({result['probability']:.2f}), the map is not empty")


def explain(client: Client, info: SpaceInfo, image: Path, poll: float) -> tuple[str, dict, str]:
    """The answer of /explain; asked again while the app refuses the model because its weights are on their way."""
    end = time.monotonic() + WEIGHTS_TIMEOUT
    while True:
        weights = app_info(info)["models"][MODEL]
        job = client.submit(handle_file(image), method="gradcam", model=MODEL, api_name="/explain")
        try:
            return job.result(timeout=EXPLAIN_TIMEOUT)
        except (AppError, TimeoutError) as error:
            if weights["state"] not in ON_THEIR_WAY or time.monotonic() > end:
                late = f"/explain gave no answer in {EXPLAIN_TIMEOUT} s."
                raise DeployError(late if isinstance(error, TimeoutError) else f"/explain failed: {error}.") from error
        say(f"  {weights['message']}")
        time.sleep(poll)


# --- the command --------------------------------------------------------------------------------------------------


def deploy(options: Options) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        stage(ROOT, folder, revision=options.revision, hardware=options.hardware)
        api = HfApi(token=True)
        authorise(api)
        before, committed = bring_up_to_date(api, options, folder)
        if not committed and before.stage in FAILED:
            restart(api, options.space, factory=before.stage == "BUILD_ERROR")
        say(f"Waiting for the app to report {options.revision}")
        info = wait_for_revision(api, options, before)
        try:
            smoke_test(info, options, folder / SMOKE_IMAGE)
        except (DeployError, HTTPError) as error:
            raise DeployError(f"The smoke test failed: {first_line(error)}.") from error
    say(f"Deployed: {api.endpoint}/spaces/{options.space}")


def dry_run(options: Options) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = stage(ROOT, folder, revision=options.revision, hardware=options.hardware)
        visibility = "private" if options.private else "public"
        say(f"Space {options.space} ({visibility}) on {options.hardware}, revision {options.revision}")
        say(f"It sleeps after {options.sleep_time} s without a visitor (-1 never; cpu-basic always after 48 hours)")
        if options.weights_repo:
            pin_weights(folder, f"{options.weights_repo} {weights_file().filename} COMMIT")
            say(f"Weights: {options.weights_repo}, made and filled if it is not there; {WEIGHTS_VARIABLE} names it")
        sizes = {file: (folder / file).stat().st_size for file in files}
        say(f"\nFiles: {len(sizes)}, {sum(sizes.values()):,} bytes")
        for file, size in sizes.items():
            say(f"{size:>12,}  {file}")
        say("\nFront matter")
        say((folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[1].rstrip())
    say("\nNothing was sent")


def repo_id(text: str) -> str:
    if text.count("/") != 1:
        raise argparse.ArgumentTypeError(f"{text} is not of the form owner/name")
    try:
        validate_repo_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def read_options(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description="Deploy this repository to a Hugging Face Space and prove it.")
    add = parser.add_argument
    add("space", type=repo_id, help="owner/name of the Space")
    add("--hardware", help="default: README.md's suggested_hardware, else cpu-basic")
    add("--sleep-time", type=int, default=900, help="seconds without a visitor, -1 never (default 900)")
    add("--private", action="store_true", help="create the Space as a private one")
    add("--weights-repo", type=repo_id, help="model repository that keeps VGG16's weights")
    add("--revision", help="what /info must report (default: the git commit)")
    add("--timeout", type=float, default=2700, help="seconds to wait for the app (default 2700)")
    add("--poll", type=float, default=15, help="seconds between two looks (default 15)")
    add("--grace", type=float, default=60, help="seconds in which a failure may be the build before's (default 60)")
    add("--dry-run", action="store_true", help="print what would be sent; no token, no network")
    named = vars(parser.parse_args(arguments))
    named["revision"] = named["revision"] or commit_of(ROOT, clean=not named["dry_run"])
    named["hardware"] = named["hardware"] or read_card(ROOT).get("suggested_hardware") or SpaceHardware.CPU_BASIC.value
    return Options(**named)


def main(arguments: list[str] | None = None) -> int:
    try:
        options = read_options(arguments)
        if not sys.stderr.isatty():
            disable_progress_bars()  # in a log each step of a bar is a line
        if options.dry_run:
            dry_run(options)
        else:
            deploy(options)
    except DeployError as error:
        say(f"deploy_space.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
