"""Put this repository on a Hugging Face Space and prove that the Space serves this very commit.

Owns how the Hub is asked (huggingface_hub only) and the three proofs, which the running app gives: it reports the
revision, it lists a GPU where one was asked for, and it explains a picture. What is sent is space_files.py's. A Space
is not called deployed for being RUNNING, and no token is printed.

    python .github/deploy_space.py owner/name [--hardware t4-small] [--weights-repo owner/name] [--dry-run]
"""

import argparse
import re
import sys
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from httpx2 import HTTPError  # huggingface_hub's own HTTP client
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OIDCError
from huggingface_hub.hf_api import SpaceInfo
from huggingface_hub.utils import disable_progress_bars, get_session, validate_repo_id
from space_files import CPU_HARDWARE, HARDWARE, ROOT, DeployError, commit_of, require, stage, suggested_hardware

MODEL = "vgg16"
WEIGHTS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
WEIGHTS_VARIABLE = "CAMKIT_WEIGHTS_REPO"  # "owner/name@commit", read by the app

BUILDING = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING")
ANSWERING = ("RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING")
RESTING = ("PAUSED", "SLEEPING", "STOPPED")
FAILED = ("BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR", "NO_APP_FILE")
GRACE = 60  # seconds after a commit in which a failure may still be that of the build before
LOG_LINES = 40

EXPLAIN_TIMEOUT = 300  # seconds
WEIGHTS_TIMEOUT = 900  # seconds; without a weights repository the app first downloads 528 MB
ON_THEIR_WAY = ("absent", "downloading")  # states in /info of weights that a request brings, or has begun to bring
SMOKE_IMAGE = "examples/chelsea.jpg"
SMOKE_CLASSES = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}  # the picture is a tabby cat

TOKEN_HELP = (
    "set HF_TOKEN to a token that may write to the Space (huggingface.co/settings/tokens), in GitHub as a secret of "
    'the environment "space"; or set up a trusted publisher in the Space\'s settings and the GitHub variable '
    "HF_TRUSTED_PUBLISHER=true"
)
ADVICE = {
    401: TOKEN_HELP,
    402: "it costs money: add a payment method at huggingface.co/settings/billing, or choose --hardware cpu-basic",
    403: TOKEN_HELP,
}


def say(text: str = "", *, file=None) -> None:
    """Print without any Hugging Face token that the text, such as a log, happens to hold."""
    print(re.sub(r"\bhf_(?:jwt_[\w.-]+|[A-Za-z0-9]{20,})", "[token]", text), file=file or sys.stdout, flush=True)


def first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


# --- how the Hub is asked -------------------------------------------------------------------------------------------


def pinned_weights(api: HfApi, repo: str) -> tuple[str, str]:
    """Return the commit that last touched the weights, as the Space's variable and as its card pin it."""
    found = api.get_paths_info(repo, [WEIGHTS_FILE], expand=True) if api.repo_exists(repo) else []
    require(found, f"{repo} holds no {WEIGHTS_FILE}: .github/docs/deployment.md has the command that puts it there.")
    commit = found[0].last_commit.oid
    return f"{repo}@{commit}", f"{repo} {WEIGHTS_FILE} {commit}"


def prepare_space(api: HfApi, options: argparse.Namespace, variable: str | None) -> str:
    """Create the Space, or give an existing one what differs; return the stage that it is in before the upload.

    The files come last: what is refused here leaves the Space serving what it served.
    """
    space, hardware = options.space, SpaceHardware(options.hardware)
    # The free hardware sleeps after 48 hours, whatever is asked for.
    sleep_time = None if hardware is SpaceHardware.CPU_BASIC else options.sleep_time
    if not api.repo_exists(space, repo_type="space"):
        say(f"Creating {space} on {options.hardware}")
        settings = {"space_sdk": "gradio", "space_hardware": hardware, "space_sleep_time": sleep_time}
        api.create_repo(space, repo_type="space", private=options.private, **settings)
    elif options.private:
        require(api.space_info(space).private, f"{space} is public: make it private in its settings.")
    if variable:
        held = api.get_space_variables(space).get(WEIGHTS_VARIABLE)
        if held is None or held.value != variable:
            api.add_space_variable(space, WEIGHTS_VARIABLE, variable)
    runtime = api.get_space_runtime(space)
    if (runtime.requested_hardware or runtime.hardware) != options.hardware:
        say(f"Requesting {options.hardware}")
        api.request_space_hardware(space, hardware, sleep_time=sleep_time)
    elif sleep_time is not None and runtime.sleep_time != sleep_time:
        api.set_space_sleep_time(space, sleep_time)
    return runtime.stage


def upload(api: HfApi, options: argparse.Namespace, folder: Path, files: list[str]) -> bool:
    """Commit what is new, changed and gone; return False when the Space has it all already.

    One commit: upload_folder may make several, and the Space would build each.
    """
    space, before = options.space, api.space_info(options.space).sha
    # .gitattributes is the Hub's: it says which files live outside git.
    gone = set(api.list_repo_files(space, repo_type="space")) - set(files) - {".gitattributes"}
    operations: list = [CommitOperationAdd(name, folder / name) for name in files]
    operations += [CommitOperationDelete(name, is_folder=False) for name in sorted(gone)]
    try:
        commit = api.create_commit(space, operations, commit_message=f"Deploy {options.revision}", repo_type="space")
    except ValueError as error:  # README.md's front matter, which the Hub checks before the upload
        raise DeployError(f"The Hub refused the files: {' '.join(str(error).split())}") from error
    say("The Space already has every file: no commit" if commit.oid == before else f"Committed {commit.oid}")
    return commit.oid != before


# --- until the app answers ------------------------------------------------------------------------------------------


def wait_for_revision(api: HfApi, options: argparse.Namespace, *, failed_before: bool) -> SpaceInfo:
    """Return the Space once its app itself reports the revision; print each change of its state.

    Args:
        failed_before: the build before ended in an error, which the Hub may go on telling for a while.
    """
    space, start = options.space, time.monotonic()
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
        failed_before = failed_before and state not in BUILDING and waited < GRACE
        if state in FAILED and not failed_before:
            raise failure_with_logs(api, space, f"{space} ended in {state}")
        if state in RESTING and not woken:
            api.restart_space(space)
            woken = True
        time.sleep(options.poll)
    raise failure_with_logs(api, space, f"{space} did not serve {options.revision} in {options.timeout:.0f} s")


def look(api: HfApi, space: str) -> tuple[SpaceInfo | None, str]:
    """Return the Space and its stage; None and what is wrong while the Hub has a passing fault."""
    try:
        return api.space_info(space), api.get_space_runtime(space).stage
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return None, f"the Hub answers {error.response.status_code}"
    except HTTPError as error:
        return None, f"the Hub cannot be reached ({first_line(error)})"


def revision_served(info: SpaceInfo) -> str:
    """Return the revision that the app reports, or in words why it reports none."""
    if not info.host:
        return "has no address yet"
    try:
        return str(app_info(info)["revision"])
    except (DeployError, HTTPError, ValueError) as error:
        return f"no answer yet ({first_line(error)})"


def app_info(info: SpaceInfo) -> dict:
    """Return what the app's /info answers; while the app starts, a page of the Hub's stands at the same address."""
    token = app_token(info)
    headers = {"X-HF-Authorization": f"Bearer {token}"} if token else {}
    address = f"{info.host}/gradio_api/run/info"  # answers at once: /info does not queue
    answer = get_session().post(address, json={"data": []}, headers=headers, timeout=60).raise_for_status().json()
    facts = answer.get("data", [None])[0] if isinstance(answer, dict) else None
    require(isinstance(facts, dict) and "revision" in facts, "/info does not tell a revision.")
    return facts


def app_token(info: SpaceInfo) -> str | None:
    """Return the token for a private Space; no other address gets it."""
    return get_token() if info.private else None


def failure_with_logs(api: HfApi, space: str, sentence: str) -> DeployError:
    """Print how the Space's logs end; return the error to raise."""
    for build in (True, False):
        say(f"--- the last lines of the {'build' if build else 'run'} log ---")
        try:
            for line in deque(api.fetch_space_logs(space, build=build), maxlen=LOG_LINES):
                say(line.rstrip("\n"))
        except HTTPError as error:
            say(f"(cannot be read: {first_line(error)})")
    return DeployError(f"{sentence}; its logs end as above.")


# --- the smoke test -------------------------------------------------------------------------------------------------


def smoke_test(info: SpaceInfo, options: argparse.Namespace, image: Path) -> None:
    """Explain one picture by Grad-CAM with VGG16, as any client would ask for it."""
    app = app_info(info)
    say(f"The app runs {app['revision']} on {app['device']}")
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
    """Return the answer of /explain; ask again while the model is refused because its weights are on their way."""
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


# --- the command ----------------------------------------------------------------------------------------------------


def deploy(options: argparse.Namespace, folder: Path) -> None:
    api = HfApi(token=True)
    variable, pin = pinned_weights(api, options.weights_repo) if options.weights_repo else (None, None)
    files = stage(ROOT, folder, revision=options.revision, hardware=options.hardware, weights=pin)
    before = prepare_space(api, options, variable)
    committed = upload(api, options, folder, files)
    if before in FAILED and not committed:
        api.restart_space(options.space, factory_reboot=True)
    say(f"Waiting for the app to report {options.revision}")
    info = wait_for_revision(api, options, failed_before=before in FAILED)
    try:
        smoke_test(info, options, folder / SMOKE_IMAGE)
    except (DeployError, HTTPError) as error:
        raise DeployError(f"The smoke test failed: {first_line(error)}.") from error
    say(f"Deployed: {api.endpoint}/spaces/{options.space}")


def dry_run(options: argparse.Namespace, folder: Path) -> None:
    """Print what would be sent; needs no token and no network."""
    pin = f"{options.weights_repo} {WEIGHTS_FILE} COMMIT" if options.weights_repo else None
    files = stage(ROOT, folder, revision=options.revision, hardware=options.hardware, weights=pin)
    visibility = "private" if options.private else "public"
    say(f"Space {options.space} ({visibility}) on {options.hardware}, revision {options.revision}")
    say(f"It sleeps after {options.sleep_time} s without a visitor (-1 never; cpu-basic always after 48 hours)")
    sizes = {file: (folder / file).stat().st_size for file in files}
    say(f"\nFiles: {len(sizes)}, {sum(sizes.values()):,} bytes")
    for file, size in sizes.items():
        say(f"{size:>12,}  {file}")
    say("\nFront matter")
    say((folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[1].rstrip())
    say("\nNothing was sent")


def repo_id(text: str) -> str:
    """Return the text if it is owner/name."""
    try:
        validate_repo_id(text)
    except HFValidationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if text.count("/") != 1:
        raise argparse.ArgumentTypeError(f"{text} is not of the form owner/name")
    return text


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Deploy this repository to a Hugging Face Space and prove it.")
    add = parser.add_argument
    add("space", type=repo_id, help="owner/name of the Space")
    add("--hardware", choices=HARDWARE, metavar="FLAVOUR", help="default: README.md's suggested_hardware")
    add("--sleep-time", type=int, default=900, help="seconds without a visitor, -1 never (default 900)")
    add("--private", action="store_true", help="create the Space as a private one")
    add("--weights-repo", type=repo_id, help="model repository that holds VGG16's weights")
    add("--revision", help="what /info must report (default: the git commit)")
    add("--timeout", type=float, default=2700, help="seconds to wait for the app (default 2700)")
    add("--poll", type=float, default=15, help="seconds between two looks (default 15)")
    add("--dry-run", action="store_true", help="print what would be sent; no token, no network")
    options = parser.parse_args(arguments)
    options.revision = options.revision or commit_of(ROOT, clean=not options.dry_run)
    options.hardware = options.hardware or suggested_hardware(ROOT)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Return 0, or 1 after one sentence that says what is wrong and what to do."""
    try:
        options = read_options(arguments)
        if not sys.stderr.isatty():
            disable_progress_bars()  # in a log each step of a bar is a line
        with TemporaryDirectory() as folder:
            (dry_run if options.dry_run else deploy)(options, Path(folder))
        return 0
    except DeployError as error:
        refusal = str(error)
    except (LocalTokenNotFoundError, OIDCError) as error:
        refusal = f"No token: {first_line(error)}; {TOKEN_HELP}."
    except HfHubHTTPError as error:
        asked, status = error.response.request, error.response.status_code
        reason = ADVICE.get(status) or error.server_message or "no reason given"
        refusal = f"The Hub refused {asked.method} {asked.url} (status {status}): {reason}."
    except HTTPError as error:
        refusal = f"The Hub could not be reached: {error}."
    say(f"deploy_space.py: {refusal}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
