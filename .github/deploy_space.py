"""Puts this repository on a Hugging Face Space and proves that the Space serves this very commit.

Owns what is sent (an allow-list, checked before anything leaves), how the Hub is asked (huggingface_hub only)
and how the running app is tested (gradio_client). Refuses to send anything else, to print a token, and to call
a Space deployed because it is RUNNING: the app itself must name the revision and explain a picture.

    python .github/deploy_space.py owner/name [--hardware t4-small] [--weights-repo owner/name] [--dry-run]
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from httpx2 import HTTPError  # huggingface_hub's own HTTP client
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware, get_token
from huggingface_hub.errors import HfHubHTTPError, OIDCError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile, SpaceInfo, SpaceRuntime
from huggingface_hub.utils import disable_progress_bars, get_session, validate_repo_id

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = ("app.py", "camkit", "examples", ".github/pictures", "README.md", "requirements.txt")
REVISION_FILE = "REVISION"  # app.py reads it and /info reports it
WEIGHTS_VARIABLE = "CAMKIT_WEIGHTS_REPO"  # "owner/name@commit", read by the app
MODEL = "vgg16"

REQUIRED_CARD_KEYS = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file")
# https://huggingface.co/docs/hub/spaces-config-reference
CARD_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_SHORT_DESCRIPTION = 60  # characters; the Hub refuses a longer one
MAX_TEXT_FILE = 10_000_000  # bytes; the Hub keeps larger files outside git, and no source text is that large
MAX_TOTAL = 1_000_000_000  # bytes; a Space's repository may not grow past 1 GB
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
MODELS = (".keras",)

CPU_HARDWARE = (SpaceHardware.CPU_BASIC, SpaceHardware.CPU_UPGRADE)
HARDWARE = tuple(flavour.value for flavour in SpaceHardware if flavour is not SpaceHardware.ZERO_A10G)

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


class DeployError(Exception):
    """One sentence for the person who deploys."""


class AppError(DeployError):
    """The app itself does not answer, or not well: while it starts, a reason to wait."""


@dataclass(frozen=True)
class Target:
    """What is asked for: which Space, on what, from which commit."""

    space: str
    hardware: str
    sleep_time: int
    private: bool
    weights_repo: str | None
    revision: str

    @property
    def has_gpu(self) -> bool:
        return is_gpu(self.hardware)


@dataclass(frozen=True)
class Weights:
    """A weights file on the Hub, pinned by the commit that brought it there."""

    repo: str
    filename: str
    commit: str

    @property
    def preload(self) -> str:
        return f"{self.repo} {self.filename} {self.commit}"

    @property
    def variable(self) -> str:
        return f"{self.repo}@{self.commit}"


@dataclass(frozen=True)
class Patience:
    """Seconds: for the whole wait, between two looks, and how long a failure may still be the build before's."""

    timeout: float
    poll: float
    grace: float


def is_gpu(hardware: str) -> bool:
    return hardware not in CPU_HARDWARE


def redact(text: str) -> str:
    """The text without any Hugging Face token, whether ours or one that a log happens to hold."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "[token]")
    return re.sub(r"\bhf_(?:jwt_[\w.-]+|[A-Za-z0-9]{20,})", "[token]", text)


def say(text: str = "", *, file=None) -> None:
    print(redact(text), file=file or sys.stdout, flush=True)


# --- what is sent ---------------------------------------------------------------------------------------------


def stage(
    source: Path, destination: Path, *, revision: str, hardware: str, weights: Weights | None = None
) -> list[str]:
    """Copies the allow-list into `destination` as the Space gets it; returns the relative paths, sorted.

    Raises DeployError when something of it would be refused by the Hub or would not start there.
    """
    check_hardware(hardware)
    for name in ALLOWED:
        copy_entry(source / name, destination / name)
    (destination / REVISION_FILE).write_text(revision + "\n", encoding="utf-8")
    if is_gpu(hardware):
        ask_for_cuda(destination / "requirements.txt")
    check_front_matter(destination)
    files = staged_files(destination)
    check_files(destination, files)
    if weights is not None:
        pin_weights(destination / "README.md", weights)
    return files


def copy_entry(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.pyc"))
    elif source.is_file():
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
    else:
        raise DeployError(f"{source.name} is missing: the Space needs {', '.join(ALLOWED)}.")


def staged_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pinned_version(requirements: str, package: str) -> str:
    match = re.search(rf"^{re.escape(package)}(?:\[[^\]]*\])?==([^\s;#]+)", requirements, flags=re.MULTILINE)
    if match is None:
        raise DeployError(f"requirements.txt must pin {package} with ==.")
    return match[1]


def ask_for_cuda(requirements: Path) -> None:
    """The plain wheel finds no CUDA on a Space: its `and-cuda` extra brings the libraries, at the same version."""
    text = requirements.read_text(encoding="utf-8")
    version = pinned_version(text, "tensorflow")
    with_cuda = re.sub(r"^tensorflow==[^\s;#]+", f"tensorflow[and-cuda]=={version}", text, flags=re.MULTILINE)
    requirements.write_text(with_cuda, encoding="utf-8")


def front_matter(readme: str) -> dict:
    match = re.match(r"---\n(.*?\n)---\n", readme, flags=re.DOTALL)
    if match is None:
        raise DeployError("README.md must open with YAML front matter between two lines of ---.")
    try:
        card = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise DeployError(f"README.md's front matter is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(card, dict):
        raise DeployError("README.md's front matter must be a mapping of keys to values.")
    return card


def check_hardware(hardware: str) -> None:
    if hardware == SpaceHardware.ZERO_A10G:
        raise DeployError("zero-a10g runs PyTorch only; TensorFlow needs a flavour such as t4-small.")
    if hardware not in HARDWARE:
        raise DeployError(f"{hardware} is not a Space's hardware: choose one of {', '.join(HARDWARE)}.")


def check_front_matter(folder: Path) -> None:
    card = front_matter((folder / "README.md").read_text(encoding="utf-8"))
    missing = [key for key in REQUIRED_CARD_KEYS if not card.get(key)]
    if missing:
        raise DeployError(f"README.md's front matter lacks {', '.join(missing)}.")
    check_versions(card, (folder / "requirements.txt").read_text(encoding="utf-8"))
    if not (folder / str(card["app_file"])).is_file():
        raise DeployError(f"README.md's app_file {card['app_file']} is not among the files that are sent.")
    check_appearance(card)


def check_versions(card: dict, requirements: str) -> None:
    if card["sdk"] != "gradio":
        raise DeployError(f"README.md's sdk is {card['sdk']}; this is a gradio app.")
    pinned, named = pinned_version(requirements, "gradio"), str(card["sdk_version"])
    if named != pinned:
        raise DeployError(f"README.md's sdk_version is {named}, but requirements.txt pins gradio {pinned}.")
    if not isinstance(card["python_version"], str):
        raise DeployError("README.md's python_version must be in quotes, or YAML reads it as a number.")


def check_appearance(card: dict) -> None:
    colours = [card["colorFrom"], card["colorTo"]]
    if unknown := [colour for colour in colours if colour not in CARD_COLOURS]:
        raise DeployError(f"README.md's colour {unknown[0]} is not one of {', '.join(CARD_COLOURS)}.")
    length = len(card.get("short_description") or "")
    if length > MAX_SHORT_DESCRIPTION:
        raise DeployError(f"README.md's short_description has {length} characters; at most {MAX_SHORT_DESCRIPTION}.")
    if suggested := card.get("suggested_hardware"):
        check_hardware(suggested)


def check_files(folder: Path, files: list[str]) -> None:
    total = sum((folder / name).stat().st_size for name in files)
    if total > MAX_TOTAL:
        raise DeployError(f"The files have {total:,} bytes together; a Space may hold {MAX_TOTAL:,}.")
    for name in files:
        check_file(folder, name)


def check_file(folder: Path, name: str) -> None:
    """Only text and binaries whose licence is told beside them: pictures in SOURCES.md, models with a licence file."""
    path = folder / name
    if path.suffix.lower() in PICTURES:
        check_source_is_told(path, name)
    elif path.suffix.lower() in MODELS:
        if not any("licen" in other.name.lower() for other in path.parent.iterdir()):
            raise DeployError(f"{name} has no licence file beside it.")
    elif not is_text(path):
        allowed = ", ".join(PICTURES + MODELS)
        raise DeployError(f"{name} is neither text nor one of the binary files that are sent ({allowed}).")
    elif path.stat().st_size > MAX_TEXT_FILE:
        raise DeployError(f"{name} has {path.stat().st_size:,} bytes; a text file may have {MAX_TEXT_FILE:,}.")


def check_source_is_told(path: Path, name: str) -> None:
    sources = path.parent / "SOURCES.md"
    if not sources.is_file() or path.name not in sources.read_text(encoding="utf-8"):
        raise DeployError(f"{name} has no entry (origin, author, licence) in the SOURCES.md beside it.")


def is_text(path: Path) -> bool:
    try:
        return "\0" not in path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False


def pin_weights(readme: Path, weights: Weights) -> None:
    """Has the build put the weights into the image, so that a cold start downloads nothing."""
    text = readme.read_text(encoding="utf-8")
    if "preload_from_hub" in front_matter(text):
        raise DeployError("README.md must not have preload_from_hub: the deployment writes it, with the commit.")
    end = text.index("\n---\n", 3)
    readme.write_text(f"{text[:end]}\npreload_from_hub:\n  - {weights.preload}{text[end:]}", encoding="utf-8")


def commit_of(root: Path) -> str:
    answer = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    if answer.returncode:
        raise DeployError("This is not a git commit: give the revision with --revision.")
    return answer.stdout.strip()


def check_committed(root: Path) -> None:
    """A Space that names a commit must hold that commit and nothing else."""
    command = ["git", "-C", str(root), "status", "--porcelain", "--", *ALLOWED]
    changed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed[:5])
        raise DeployError(f"Not committed: {names}; commit first, or name the revision with --revision.")


# --- how the Hub is asked ---------------------------------------------------------------------------------------


@contextmanager
def asking_to(do: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into one sentence that says what to do about it."""
    try:
        yield
    except HfHubHTTPError as error:
        raise DeployError(refusal(error, do)) from error
    except HTTPError as error:
        raise DeployError(f"The Hub could not be reached to {do}: {error}.") from error


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
    if token is None:
        raise DeployError(f"There is no Hugging Face token; {TOKEN_HELP}.")
    # A trusted publisher's token belongs to a repository, not to an account that could be asked for.
    if not os.environ.get("HF_OIDC_RESOURCE"):
        with asking_to("say whose token this is"):
            say(f"Deploying as {api.whoami()['name']}")


def first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


def weights_file():
    """camkit's own description of VGG16's weights; imported late because a deployment without them needs none."""
    sys.path.insert(0, str(ROOT))
    from camkit.weights import VGG16_WEIGHTS

    return VGG16_WEIGHTS


def ensure_weights(api: HfApi, repo: str, served: str | None) -> Weights:
    """The weights on the Hub: uploaded this once, or found and checked this once.

    Args:
        served: the value of the Space's variable. A pin that it names already was checked when it was set.
    """
    wanted = weights_file()
    found = remote_files(api, repo, wanted.filename)
    if wanted.filename not in found:
        upload_weights(api, repo, wanted)
        weights = pin_of(api, repo, wanted)
    else:
        if "README.md" not in found:
            add_card(api, repo, wanted)
        weights = pin_of(api, repo, wanted)
        if weights.variable != served:
            check_remote_md5(api, weights, wanted.md5)
    say(f"Weights: {repo} at {weights.commit}")
    return weights


def pin_of(api: HfApi, repo: str, wanted) -> Weights:
    """The commit that last touched the file: a later edit of the model card does not move the pin."""
    stored = remote_files(api, repo, wanted.filename)[wanted.filename]
    if stored.size != wanted.size:
        raise DeployError(f"{repo} holds a {wanted.filename} of {stored.size:,} bytes instead of {wanted.size:,}.")
    return Weights(repo, wanted.filename, stored.last_commit.oid)


def remote_files(api: HfApi, repo: str, filename: str) -> dict[str, RepoFile]:
    try:
        files = api.get_paths_info(repo, [filename, "README.md"], expand=True)
    except RepositoryNotFoundError:
        return {}
    except HfHubHTTPError as error:
        raise DeployError(refusal(error, f"list {repo}")) from error
    return {file.path: file for file in files}


def upload_weights(api: HfApi, repo: str, wanted) -> None:
    path = obtain(wanted)
    check_md5(path, wanted.md5, "it is not uploaded")
    say(f"Uploading {wanted.filename} ({path.stat().st_size:,} bytes) to {repo}, this once")
    operations = [card_operation(wanted), CommitOperationAdd(wanted.filename, path)]
    with asking_to(f"put the weights into {repo} (a trusted publisher of the Space cannot: do it once with HF_TOKEN)"):
        api.create_repo(repo, repo_type="model", exist_ok=True)
        api.create_commit(repo, operations, commit_message="VGG16's ImageNet weights, as Keras publishes them")


def obtain(wanted) -> Path:
    from camkit.weights import WeightsError

    try:
        return Path(wanted.obtain())
    except WeightsError as error:
        raise DeployError(str(error)) from error


def add_card(api: HfApi, repo: str, wanted) -> None:
    with asking_to(f"add the model card to {repo}"):
        api.create_commit(repo, [card_operation(wanted)], commit_message="Add the model card")


def check_remote_md5(api: HfApi, weights: Weights, md5: str) -> None:
    """The Hub tells no md5 and the app trusts the repository: somebody else's upload is read once before it is used."""
    with TemporaryDirectory() as folder, asking_to(f"download {weights.filename} from {weights.repo}"):
        path = api.hf_hub_download(weights.repo, weights.filename, revision=weights.commit, local_dir=folder)
        check_md5(Path(path), md5, f"{weights.repo} is not used")


def check_md5(path: Path, expected: str, consequence: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        raise DeployError(f"{path.name} has the md5 {found} instead of {expected}; {consequence}.")


def card_operation(wanted) -> CommitOperationAdd:
    return CommitOperationAdd("README.md", weights_card(wanted).encode())


def weights_card(wanted) -> str:
    return f"""---
license: cc-by-4.0
library_name: keras
pipeline_tag: image-classification
datasets:
  - ILSVRC/imagenet-1k
tags:
  - vgg16
  - keras-applications
---
# VGG16, ImageNet weights for Keras

`{wanted.filename}` is the file that `keras.applications.VGG16(weights="imagenet")` downloads, unchanged
({wanted.size:,} bytes, md5 `{wanted.md5}`). It is kept here so that a Space can have it in its image.

- **Authors:** Karen Simonyan and Andrew Zisserman, Visual Geometry Group, University of Oxford:
  *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2014, https://arxiv.org/abs/1409.1556
- **Origin:** https://www.robots.ox.ac.uk/~vgg/research/very_deep/, converted from Caffe to Keras's layout by the
  Keras Applications project.
- **Licence:** Creative Commons Attribution 4.0 (https://creativecommons.org/licenses/by/4.0/).
"""


def prepare_space(api: HfApi, target: Target, info: SpaceInfo | None, weights: Weights | None) -> SpaceRuntime:
    """Creates the Space or brings its variables, hardware and sleep time in line; returns its runtime before upload.

    All of this comes before the upload: a refusal leaves what is being served as it was.
    """
    if info is None:
        create_space(api, target)
    elif target.private and not info.private:
        raise DeployError(f"{target.space} is public: make it private in its settings, or leave out --private.")
    if weights is not None:
        set_variable(api, target.space, weights)
    with asking_to(f"tell how {target.space} runs"):
        runtime = api.get_space_runtime(target.space)
    set_hardware(api, target, runtime)
    return runtime


def find_space(api: HfApi, space: str) -> SpaceInfo | None:
    try:
        return api.space_info(space)
    except RepositoryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise DeployError(refusal(error, f"describe {space}")) from error


def create_space(api: HfApi, target: Target) -> None:
    say(f"Creating {target.space} on {target.hardware}")
    with asking_to(f"create {target.space} on {target.hardware}"):
        api.create_repo(
            target.space,
            repo_type="space",
            space_sdk="gradio",
            private=target.private,
            space_hardware=target.hardware,
            space_sleep_time=target.sleep_time if can_set_sleep(target.hardware) else None,
            exist_ok=True,
        )


def can_set_sleep(hardware: str) -> bool:
    """The free hardware sleeps after 48 hours, whatever one asks for."""
    return hardware != SpaceHardware.CPU_BASIC


def served_weights(api: HfApi, space: str) -> str | None:
    with asking_to(f"tell the variables of {space}"):
        current = api.get_space_variables(space).get(WEIGHTS_VARIABLE)
    return current.value if current else None


def set_variable(api: HfApi, space: str, weights: Weights) -> None:
    if served_weights(api, space) != weights.variable:
        with asking_to(f"set {WEIGHTS_VARIABLE} of {space}"):
            api.add_space_variable(space, WEIGHTS_VARIABLE, weights.variable)


def set_hardware(api: HfApi, target: Target, runtime: SpaceRuntime) -> None:
    sleep_time = target.sleep_time if can_set_sleep(target.hardware) else None
    if (runtime.requested_hardware or runtime.hardware) != target.hardware:
        say(f"Requesting {target.hardware}")
        with asking_to(f"give {target.space} the hardware {target.hardware}"):
            api.request_space_hardware(target.space, target.hardware, sleep_time=sleep_time)
    elif sleep_time is not None and runtime.sleep_time != sleep_time:
        with asking_to(f"set the sleep time of {target.space}"):
            api.set_space_sleep_time(target.space, sleep_time)


def upload(api: HfApi, target: Target, folder: Path) -> bool:
    """One commit with what is new, changed and gone; False when the Space has it all already."""
    with asking_to(f"list the files of {target.space}"):
        tree = api.list_repo_tree(target.space, repo_type="space", recursive=True)
        remote = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    local = staged_files(folder)
    operations = [
        CommitOperationAdd(name, folder / name)
        for name in local
        if name not in remote or not is_same(folder / name, remote[name])
    ]
    # .gitattributes is the Hub's: it says which files live outside git.
    gone = sorted(set(remote) - set(local) - {".gitattributes"})
    operations += [CommitOperationDelete(name, is_folder=False) for name in gone]
    if not operations:
        say("The Space already has every file: no commit")
        return False
    say(f"Committing {len(operations) - len(gone)} files, deleting {len(gone)}")
    with asking_to(f"commit to {target.space}"):
        api.create_commit(target.space, operations, commit_message=f"Deploy {target.revision}", repo_type="space")
    return True


def is_same(path: Path, remote: RepoFile) -> bool:
    content = path.read_bytes()
    if remote.lfs is not None:
        return hashlib.sha256(content).hexdigest() == remote.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == remote.blob_id


# --- until the app answers ----------------------------------------------------------------------------------------


def wait_for_revision(api: HfApi, target: Target, before: SpaceRuntime, patience: Patience) -> SpaceInfo:
    """The Space, once its app itself reports our revision. Prints each change of state."""
    start = time.monotonic()
    failure_is_ours = before.stage not in FAILED
    woken, last = False, None
    while (waited := time.monotonic() - start) < patience.timeout:
        info, stage_now = look(api, target.space)
        seen = revision_served(info) if stage_now in ANSWERING else None
        if (stage_now, seen) != last:
            say(f"  {waited:5.0f} s  {stage_now}" + (f", the app: {seen}" if seen else ""))
            last = (stage_now, seen)
        if seen == target.revision:
            return info
        # Right after an upload the Hub may still tell how the build before ended.
        failure_is_ours = failure_is_ours or stage_now in BUILDING or waited >= patience.grace
        if stage_now in FAILED and failure_is_ours:
            raise failed(api, target.space, f"{target.space} ended in {stage_now}")
        if stage_now in RESTING and not woken:
            woken = restart(api, target.space, factory=False)
        time.sleep(patience.poll)
    raise failed(api, target.space, f"{target.space} did not serve {target.revision} in {patience.timeout:.0f} s")


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


def restart(api: HfApi, space: str, *, factory: bool) -> bool:
    say(f"Restarting {space}")
    with asking_to(f"restart {space}"):
        api.restart_space(space, factory_reboot=factory)
    return True


def revision_served(info: SpaceInfo) -> str:
    """The revision that the app reports, or in words why it reports none."""
    import httpx  # gradio_client's HTTP client

    if not info.host:
        return "has no address yet"
    try:
        # A page of the Hub's stands at the address while the app starts: /config is the first sign of the app itself.
        get_session().get(f"{info.host}/config", headers=app_headers(info), timeout=30).raise_for_status()
        with app_client(info) as client:
            return str(app_info(client).get("revision", "tells no revision"))
    except (AppError, HTTPError, httpx.HTTPError, ValueError) as error:
        return f"no answer yet ({first_line(error)})"


def app_info(client) -> dict:
    answer = call(client, "/info", 60)
    if not isinstance(answer, dict):
        raise AppError(f"/info answers with a {type(answer).__name__}, not an object.")
    return answer


def call(client, endpoint: str, timeout: float, *arguments, **options):
    from gradio_client.exceptions import AppError as Raised

    job = client.submit(*arguments, api_name=endpoint, **options)
    try:
        return job.result(timeout=timeout)
    except Raised as error:
        raise AppError(f"{endpoint} failed: {first_line(error)}.") from error
    except TimeoutError as error:
        raise AppError(f"{endpoint} gave no answer in {timeout:.0f} s.") from error


def app_token(info: SpaceInfo) -> str | None:
    """Only a private Space's own address gets the token."""
    return get_token() if info.private else None


def app_headers(info: SpaceInfo) -> dict[str, str]:
    token = app_token(info)
    return {"X-HF-Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def app_client(info: SpaceInfo) -> Iterator:
    from gradio_client import Client

    # False, not None: None would send the token that is stored on this machine.
    with TemporaryDirectory() as folder:
        client = Client(
            info.host, token=app_token(info) or False, verbose=False, download_files=folder, analytics_enabled=False
        )
        try:
            yield client
        finally:
            client.close()


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


def smoke_test(info: SpaceInfo, target: Target, image: Path, poll: float) -> None:
    """One picture through the app, as any client would send it."""
    with app_client(info) as client:
        check_info(app_info(client), target)
        overlay, result, archive = explain(client, image, poll)
        check_explanation(result)
        for name in (overlay, archive):
            if not Path(name).stat().st_size:
                raise AppError(f"the app returned an empty {Path(name).name}.")
    say(f"Smoke test passed: {result['class_name']} ({result['probability']:.2f}), the map is not empty")


def explain(client, image: Path, poll: float) -> tuple:
    """The answer of /explain; asked again while the app refuses the model because its weights are on their way."""
    from gradio_client import handle_file

    end = time.monotonic() + WEIGHTS_TIMEOUT
    while True:
        weights = app_info(client)["models"][MODEL]
        try:
            return call(client, "/explain", EXPLAIN_TIMEOUT, handle_file(image), method="gradcam", model=MODEL)
        except AppError:
            if weights["state"] not in ON_THEIR_WAY or time.monotonic() > end:
                raise
        say(f"  {weights['message']}")
        time.sleep(poll)


def check_info(info: dict, target: Target) -> None:
    say(f"The app runs {info['revision']} on {info['device']}")
    if info["revision"] != target.revision:
        raise AppError(f"the app reports {info['revision']} instead of {target.revision}.")
    if target.has_gpu and not info["gpus"]:
        raise AppError(f"{target.hardware} was asked for, but TensorFlow lists no GPU.")


def check_explanation(result: dict) -> None:
    if result["class_index"] not in SMOKE_CLASSES:
        expected = ", ".join(f"{index} {name}" for index, name in SMOKE_CLASSES.items())
        raise AppError(f"{SMOKE_IMAGE} is {result['class_index']} {result['class_name']} for the app, not {expected}.")
    if result["all_zero"] or not max(max(row) for row in result["raw"]) > 0:
        raise AppError(f"the Grad-CAM map of {SMOKE_IMAGE} is empty.")


# --- the command --------------------------------------------------------------------------------------------------


def deploy(target: Target, patience: Patience, root: Path = ROOT) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        stage(root, folder, revision=target.revision, hardware=target.hardware)
        api = HfApi(token=True)
        authorise(api)
        before, committed = bring_up_to_date(api, target, folder)
        if not committed and before.stage in FAILED:
            restart(api, target.space, factory=before.stage == "BUILD_ERROR")
        say(f"Waiting for the app to report {target.revision}")
        info = wait_for_revision(api, target, before, patience)
        try:
            smoke_test(info, target, folder / SMOKE_IMAGE, patience.poll)
        except AppError as error:
            raise DeployError(f"The smoke test failed: {error}") from error
    say(f"Deployed: {api.endpoint}/spaces/{target.space}")


def bring_up_to_date(api: HfApi, target: Target, folder: Path) -> tuple[SpaceRuntime, bool]:
    """Weights, Space and files; returns how the Space ran before, and whether there was anything to commit."""
    info = find_space(api, target.space)
    weights = None
    if target.weights_repo:
        weights = ensure_weights(api, target.weights_repo, served_weights(api, target.space) if info else None)
        pin_weights(folder / "README.md", weights)
    before = prepare_space(api, target, info, weights)
    return before, upload(api, target, folder)


def planned_calls(target: Target) -> list[str]:
    """Every kind of request that reads or changes the Hub, in order, with what it depends on."""
    return [
        "POST /oauth/token (trusted publishing) or GET /api/whoami-v2 (HF_TOKEN)",
        f"GET  /api/spaces/{target.space}",
        *(planned_weights_calls(target) if target.weights_repo else []),
        *planned_space_calls(target, f"/api/spaces/{target.space}"),
    ]


def planned_weights_calls(target: Target) -> list[str]:
    repo, model = target.weights_repo, f"/api/models/{target.weights_repo}"
    return [
        f"GET  /api/spaces/{target.space}/variables",
        f"POST {model}/paths-info/main",
        f"POST /api/repos/create for {repo}, if the weights are missing",
        f"POST /api/validate-yaml, {model}/preupload/main, /{repo}.git/info/lfs/objects/batch, {model}/commit/main, "
        "if the weights or their card are missing",
        f"GET  /{repo}/resolve/COMMIT, to check the md5, if the Space does not use this commit yet",
    ]


def planned_space_calls(target: Target, space: str) -> list[str]:
    return [
        f"POST /api/repos/create for {target.space}, if it is missing",
        *([f"POST {space}/variables, if {WEIGHTS_VARIABLE} differs"] if target.weights_repo else []),
        f"GET  {space}/runtime",
        f"POST {space}/hardware, if it is not {target.hardware}",
        f"POST {space}/sleeptime, if only that is not {target.sleep_time} s",
        f"GET  {space}/tree/main",
        f"POST /api/validate-yaml, {space}/preupload/main, /spaces/{target.space}.git/info/lfs/objects/batch, "
        f"{space}/commit/main, if a file is new, changed or gone",
        f"POST {space}/restart, if it is paused, asleep, or failed with nothing new to build",
        f"GET  {space}, {space}/runtime and the app's /info, until it reports {target.revision}",
        f"GET  {space}/logs/build, {space}/logs/run, if that fails",
        f"POST the app's /explain with {SMOKE_IMAGE} and {MODEL}",
    ]


def dry_run(target: Target, root: Path = ROOT) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = stage(root, folder, revision=target.revision, hardware=target.hardware)
        if target.weights_repo:
            pin_weights(folder / "README.md", Weights(target.weights_repo, weights_file().filename, "COMMIT"))
        sizes = {file: (folder / file).stat().st_size for file in files}
        visibility = "private" if target.private else "public"
        say(f"Space {target.space} ({visibility}) on {target.hardware}, revision {target.revision}")
        say(f"\nFiles: {len(sizes)}, {sum(sizes.values()):,} bytes")
        for file, size in sizes.items():
            say(f"{size:>12,}  {file}")
        say("\nFront matter")
        card = front_matter((folder / "README.md").read_text(encoding="utf-8"))
        say(yaml.safe_dump(card, sort_keys=False, allow_unicode=True).rstrip())
    say("\nCalls, none of them made")
    for number, call in enumerate(planned_calls(target), start=1):
        say(f"{number:>3}. {call}")


def repo_id(text: str) -> str:
    if text.count("/") != 1:
        raise argparse.ArgumentTypeError(f"{text} is not of the form owner/name")
    try:
        validate_repo_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Deploy this repository to a Hugging Face Space and prove it.")
    parser.add_argument("space", type=repo_id, help="owner/name of the Space")
    parser.add_argument("--hardware", help="default: README.md's suggested_hardware, else cpu-basic")
    parser.add_argument("--sleep-time", type=int, default=900, help="seconds without a visitor, -1 never (default 900)")
    parser.add_argument("--private", action="store_true", help="create the Space as a private one")
    parser.add_argument("--weights-repo", type=repo_id, help="model repository that keeps VGG16's weights")
    parser.add_argument("--revision", help="what /info must report (default: the git commit)")
    parser.add_argument("--timeout", type=float, default=2700, help="seconds to wait for the app (default 2700)")
    parser.add_argument("--poll", type=float, default=15, help="seconds between two looks (default 15)")
    parser.add_argument(
        "--grace", type=float, default=60, help="seconds in which a failure may be the build before's (default 60)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent; no token, no network")
    return parser.parse_args(arguments)


def suggested_hardware(root: Path) -> str:
    readme = root / "README.md"
    if not readme.is_file():
        raise DeployError("README.md is missing: its front matter is the Space's card.")
    card = front_matter(readme.read_text(encoding="utf-8"))
    return card.get("suggested_hardware") or SpaceHardware.CPU_BASIC.value


def target_of(options: argparse.Namespace, root: Path = ROOT) -> Target:
    revision = options.revision or commit_of(root)
    if not options.revision and not options.dry_run:
        check_committed(root)
    return Target(
        space=options.space,
        hardware=options.hardware or suggested_hardware(root),
        sleep_time=options.sleep_time,
        private=options.private,
        weights_repo=options.weights_repo,
        revision=revision,
    )


def main(arguments: list[str] | None = None) -> int:
    options = read_arguments(arguments)
    try:
        target = target_of(options)
        if not sys.stderr.isatty():
            disable_progress_bars()  # in a log each step of a bar is a line
        if options.dry_run:
            dry_run(target)
        else:
            deploy(target, Patience(options.timeout, options.poll, options.grace))
    except DeployError as error:
        say(f"deploy_space.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
