"""A Hugging Face Hub on loopback, for the deployment's tests.

Owns repositories with commits and large files, how a Space runs and builds, and the log of every request. Its answers
have the shape that huggingface_hub 2.4 reads (hf_api.py, _commit_api.py, lfs.py, file_download.py). Knows nothing of
what is deployed; the Space's app is a real Gradio app in a process of its own, SpaceApp.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

LARGE = 10_000_000  # bytes; the Hub keeps larger files outside git
LARGE_SUFFIXES = (".h5",)  # as in the .gitattributes of a new repository
FRESH_FILES = {"README.md": b"---\nsdk: gradio\n---\n", ".gitattributes": b"*.h5 filter=lfs diff=lfs merge=lfs -text\n"}


@dataclass
class Stored:
    """One file of a repository, with the commit that last touched it."""

    content: bytes
    commit: str
    large: bool

    @property
    def oid(self) -> str:
        content = self.content
        if self.large:
            content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def describe(self, path: str) -> dict:
        answer = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        answer["lastCommit"] = {"id": self.commit, "title": "a commit", "date": "2026-01-01T00:00:00.000Z"}
        if self.large:
            answer["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return answer


@dataclass
class Repository:
    """A model or a Space. `stages` are what the Space goes through, one a look, after each build."""

    kind: str
    name: str
    private: bool = False
    files: dict[str, Stored] = field(default_factory=dict)
    commits: list[list[dict]] = field(default_factory=list)
    stage: str = "NO_APP_FILE"
    stages: list[str] = field(default_factory=list)
    hardware: str | None = None
    sleep_time: int | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return hashlib.sha1(f"{self.kind}/{self.name}/{len(self.commits)}".encode()).hexdigest()

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = Stored(content, self.head, is_large(path, len(content)))


@dataclass(frozen=True)
class Request:
    """What the client sent; `body` is decoded JSON, a list of it for NDJSON, else bytes."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: object
    token: str | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def is_large(path: str, size: int) -> bool:
    return size > LARGE or Path(path).suffix in LARGE_SUFFIXES


def missing(code: str, message: str) -> Answer:
    return Answer({"error": message}, 404, {"X-Error-Code": code, "X-Error-Message": message})


class Hub:
    """The stand-in; `with Hub(app, url) as hub` serves it at that address of this machine.

    Attributes to set before a deployment: `refusals` ("POST /path" -> status), `build` (the stages after each commit),
    `logs` ("build" or "run" -> lines), `faults` ("GET /path" -> number of answers 502 to give once there is a commit).
    """

    TOKEN = "hf_" + "Secret" * 6

    def __init__(self, app: "SpaceApp", url: str) -> None:
        self.app = app
        self.url = url
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.refusals: dict[str, int] = {}
        self.faults: dict[str, int] = {}
        self.tokens = {self.TOKEN}
        self.build = ["BUILDING", "APP_STARTING", "RUNNING"]
        self.logs: dict[str, list[str]] = {"build": [], "run": []}
        self.lock = threading.Lock()

    def __enter__(self) -> "Hub":
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", urlsplit(self.url).port), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(self, kind: str, name: str, files: dict[str, bytes], **state) -> Repository:
        repository = self.repositories[kind, name] = Repository(kind, name, **state)
        for path, content in files.items():
            repository.put(path, content)
            self.large[repository.files[path].sha256] = content
        return repository

    def made(self, *methods: str) -> list[str]:
        """The requests so far, of these methods or of all, each once, in the order of the first."""
        return list(dict.fromkeys(str(one) for one in self.requests if not methods or one.method in methods))

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            if self.faults.get(str(request), 0) and any(one.commits for one in self.repositories.values()):
                self.faults[str(request)] -= 1
                return Answer({"error": "Bad Gateway"}, 502)
            if str(request) in self.refusals:
                return Answer({"error": "refused by the stand-in"}, self.refusals[str(request)])
            if request.token not in self.tokens and not request.path.startswith(("/oauth/", "/large/")):
                message = "Invalid credentials in Authorization header"
                return Answer({"error": message}, 401, {"X-Error-Message": message})
            return self._route(request)

    def _route(self, request: Request) -> Answer:
        for method, pattern, handle in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and request.method in method.split():
                return handle(self, request, **match.groupdict())
        return Answer({"error": f"the stand-in has no {request}"}, 404)

    # Accounts and repositories

    def _exchange(self, request: Request) -> Answer:
        return Answer({"access_token": self.TOKEN, "token_type": "bearer", "expires_in": 3600})

    def _whoami(self, request: Request) -> Answer:
        return Answer({"type": "user", "name": "tester", "orgs": []})

    def _create(self, request: Request) -> Answer:
        kind = request.body.get("type", "model") + "s"
        name = f"{request.body['organization']}/{request.body['name']}"
        url = f"{self.url}/{'spaces/' if kind == 'spaces' else ''}{name}"
        if (kind, name) in self.repositories:
            return Answer({"error": "You already created this repo", "url": url}, 409)
        created = self.add(kind, name, FRESH_FILES, private=request.body.get("visibility") == "private")
        created.hardware, created.sleep_time = request.body.get("hardware"), request.body.get("sleepTimeSeconds")
        return Answer({"url": url, "name": name, "id": name})

    def _tree(self, repository: Repository, request: Request) -> Answer:
        folders = {parent.as_posix() for path in repository.files for parent in Path(path).parents} - {"."}
        entries = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
        return Answer(entries + [stored.describe(path) for path, stored in repository.files.items()])

    def _paths_info(self, repository: Repository, request: Request) -> Answer:
        wanted = parse_qs(request.body.decode())["paths"]
        return Answer([repository.files[path].describe(path) for path in wanted if path in repository.files])

    def _resolve(self, repository: Repository, request: Request, path: str) -> Answer:
        stored = repository.files.get(path)
        if stored is None:
            return missing("EntryNotFound", "Entry not found")
        return Answer(stored.content, headers={"X-Repo-Commit": stored.commit, "ETag": f'"{stored.sha256}"'})

    # Commits

    def _validate_yaml(self, request: Request) -> Answer:
        return Answer({"errors": [], "warnings": []})

    def _preupload(self, repository: Repository, request: Request) -> Answer:
        files = []
        for file in request.body["files"]:
            mode = "lfs" if is_large(file["path"], file["size"]) else "regular"
            files.append({"path": file["path"], "shouldIgnore": False, "uploadMode": mode})
            if stored := repository.files.get(file["path"]):
                files[-1]["oid"] = stored.sha256 if stored.large else stored.oid
        return Answer({"files": files})

    def _large_batch(self, repository: Repository, request: Request) -> Answer:
        objects = [dict(one) for one in request.body["objects"]]
        for one in objects:
            if one["oid"] not in self.large:
                one["actions"] = {"upload": {"href": f"{self.url}/large/{one['oid']}", "header": {}}}
        return Answer({"transfer": "basic", "objects": objects})

    def _put_large(self, request: Request, oid: str) -> Answer:
        if hashlib.sha256(request.body).hexdigest() != oid:
            return Answer({"error": "the content is not what its oid says"}, 400)
        self.large[oid] = request.body
        return Answer()

    def _commit(self, repository: Repository, request: Request) -> Answer:
        _header, *operations = request.body
        repository.commits.append(request.body)
        for operation in operations:
            self._apply(repository, operation["key"], operation["value"])
        if repository.kind == "spaces":
            repository.stages = list(self.build)
        prefix = "spaces/" if repository.kind == "spaces" else ""
        url = f"{self.url}/{prefix}{repository.name}/commit/{repository.head}"
        return Answer({"success": True, "commitOid": repository.head, "commitUrl": url})

    def _apply(self, repository: Repository, key: str, value: dict) -> None:
        if key == "deletedFile":
            del repository.files[value["path"]]
        elif key == "lfsFile":
            repository.put(value["path"], self.large[value["oid"]])
        elif key == "file":
            repository.put(value["path"], base64.b64decode(value["content"]))
        else:
            raise ValueError(f"an operation that the stand-in does not know: {key}")

    # How a Space runs

    def _describe(self, repository: Repository, request: Request) -> Answer:
        card = {"id": repository.name, "private": repository.private, "sha": repository.head, "host": self.app.url}
        return Answer(card | {"sdk": "gradio", "subdomain": repository.name.replace("/", "-")})

    def _runtime(self, repository: Repository, request: Request) -> Answer:
        """Each look goes one stage on; RUNNING at the end of a build puts the committed revision into the app."""
        if request.method == "GET" and repository.stages:
            repository.stage = repository.stages.pop(0)
            if not repository.stages and repository.stage == "RUNNING":
                self.app.say(revision=repository.files["REVISION"].content.decode().strip())
        hardware = {"current": repository.hardware, "requested": repository.hardware}
        return Answer({"stage": repository.stage, "hardware": hardware, "gcTimeout": repository.sleep_time})

    def _hardware(self, repository: Repository, request: Request) -> Answer:
        repository.hardware = request.body["flavor"]
        repository.sleep_time = request.body.get("sleepTimeSeconds")
        return self._runtime(repository, request)

    def _sleep_time(self, repository: Repository, request: Request) -> Answer:
        repository.sleep_time = request.body["seconds"]
        return self._runtime(repository, request)

    def _restart(self, repository: Repository, request: Request) -> Answer:
        repository.stages = list(self.build)
        return self._runtime(repository, request)

    def _variables(self, repository: Repository, request: Request) -> Answer:
        if request.method == "POST":
            repository.variables[request.body["key"]] = request.body["value"]
        return Answer({key: {"value": value} for key, value in repository.variables.items()})

    def _logs(self, repository: Repository, request: Request, log: str) -> Answer:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        events = [json.dumps({"data": line + "\n", "timestamp": now}) for line in self.logs[log]]
        text = "".join(f"data: {event}\n\n" for event in events)
        return Answer(text.encode(), headers={"Content-Type": "text/event-stream", "Date": formatdate(usegmt=True)})


def _in_repository(act: Callable[..., Answer]) -> Callable[..., Answer]:
    def handle(hub: Hub, request: Request, name: str, kind: str = "models", **rest: str) -> Answer:
        repository = hub.repositories.get((kind or "models", name))
        if repository is None:
            return missing("RepoNotFound", "Repository not found")
        return act(hub, repository, request, **rest)

    return handle


NAME = r"(?P<name>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>models|spaces)/{NAME}"
SPACE = rf"/api/(?P<kind>spaces)/{NAME}"
ROUTES = [
    ("POST", "/oauth/token", Hub._exchange),
    ("GET", "/api/whoami-v2", Hub._whoami),
    ("POST", "/api/repos/create", Hub._create),
    ("POST", "/api/validate-yaml", Hub._validate_yaml),
    ("GET", rf"{API}/tree/main", _in_repository(Hub._tree)),
    ("POST", rf"{API}/paths-info/main", _in_repository(Hub._paths_info)),
    ("POST", rf"{API}/preupload/main", _in_repository(Hub._preupload)),
    ("POST", rf"{API}/commit/main", _in_repository(Hub._commit)),
    ("POST", rf"/(?:(?P<kind>spaces)/)?{NAME}\.git/info/lfs/objects/batch", _in_repository(Hub._large_batch)),
    ("PUT", r"/large/(?P<oid>[0-9a-f]{64})", Hub._put_large),
    ("HEAD GET", rf"/{NAME}/resolve/[0-9a-f]+/(?P<path>.+)", _in_repository(Hub._resolve)),
    ("GET", rf"{API}(?:/revision/main)?", _in_repository(Hub._describe)),
    ("GET", rf"{SPACE}/runtime", _in_repository(Hub._runtime)),
    ("POST", rf"{SPACE}/hardware", _in_repository(Hub._hardware)),
    ("POST", rf"{SPACE}/sleeptime", _in_repository(Hub._sleep_time)),
    ("POST", rf"{SPACE}/restart", _in_repository(Hub._restart)),
    ("GET POST", rf"{SPACE}/variables", _in_repository(Hub._variables)),
    ("GET", rf"{SPACE}/logs/(?P<log>build|run)", _in_repository(Hub._logs)),
]


class _Handler(BaseHTTPRequestHandler):
    """HTTP only: reads a request, hands it to the Hub, writes the answer."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together: apart, each answer waits 40 ms for an acknowledgement

    def handle_request(self) -> None:
        address = urlsplit(self.path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        request = Request(self.command, address.path, parse_qs(address.query), self._read(), token)
        answer = self.hub.answer(request)
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response_only(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = handle_request

    def _read(self) -> object:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raw = b"".join(iter(self._read_chunk, b""))
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.headers.get("Content-Type", "")
        if "ndjson" in kind:
            return [json.loads(line) for line in raw.splitlines()]
        return json.loads(raw) if "json" in kind and raw else raw

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().strip(), 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def log_message(self, *_: object) -> None:
        """The Hub keeps its own log; stderr is pytest's."""


class SpaceApp:
    """The app of every Space of the stand-in, a process of space_stand_in.py; `say` changes what it answers."""

    USUAL: ClassVar = {
        "revision": "of-the-build-before",
        "class_index": 281,
        "raw": [[0.0, 0.5], [1.0, 0.0]],
        "gpus": ["Tesla T4"],
        "archive": "an archive",
        "problem": None,
        "downloading": 0,  # how many calls of /explain are refused before the weights have come
    }

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reset()
        program = Path(__file__).with_name("space_stand_in.py")
        environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder / "gradio")}
        self.process = subprocess.Popen(
            [sys.executable, "-B", program, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"space_stand_in.py ended with status {self.process.wait()} before it served anything")

    def say(self, **changes: object) -> None:
        """Replaced in one step: the app may be reading."""
        self.answers |= changes
        draft = self.folder / "answers.draft"
        draft.write_text(json.dumps(self.answers), encoding="utf-8")
        draft.replace(self.folder / "answers.json")

    def reset(self) -> None:
        self.answers = dict(self.USUAL)
        self.say()
        for name in ("info", "explain"):
            (self.folder / f"{name}.log").write_text("", encoding="utf-8")

    def log(self, name: str) -> list[str]:
        """A line a call since the reset: of "info" the authorization or "none", of "explain" the method and model."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8").splitlines()

    def close(self) -> None:
        with self.process:  # closes its standard input, which ends it, and waits
            pass
