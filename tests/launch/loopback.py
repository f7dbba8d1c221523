"""The model hub's protocol on this machine: repositories in memory, and faults when asked for.

with LoopbackHub() as hub:
    hub.faults = [Fault("/commit/", 503)]
    subprocess.run(..., env={**environment(), **hub.environment(home)})   # the client reads it when it is imported
    hub.repos["tester/x4"].main.files["README.md"]
"""

import base64
import hashlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import yaml

OPEN = re.compile(r"/objects/|/api/validate-yaml")  # who may come without a token
LICENCES = ("apache-2.0", "mit", "other")
MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"


@dataclass
class Fault:
    """A fault that the next requests with `part` in their path meet."""

    part: str
    kind: int | Literal["drop", "lose", "hang"]
    """An HTTP status; a connection closed before or after the work; or no answer at all."""
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Commit:
    """A commit: the files of a repository at one time."""

    oid: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    """One repository."""

    private: bool
    commits: list[Commit]
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def main(self) -> Commit:
        """The newest commit."""
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a tag or an id; KeyError if there is none."""
        names = {"main": self.main.oid, **self.tags, **{commit.oid: commit.oid for commit in self.commits}}
        return next(commit for commit in self.commits if commit.oid == names[revision])


class LoopbackHub(ThreadingHTTPServer):
    """The server. `large` selects the files uploaded by the LFS protocol; the rest is inline in the commit."""

    daemon_threads = True

    def __init__(self, large: tuple[str, ...] = (".safetensors", ".png")) -> None:
        super().__init__(("127.0.0.1", 0), HubResult)
        self.large = large
        self.token, self.user = "hf_loopback", "tester"
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.released = threading.Event()
        self.errors: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def environment(self, home: Path) -> dict[str, str]:
        """Environment by which a process uses this server as the hub, without Xet."""
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": self.token, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip

    def add(self, name: str, private: bool = True) -> Repo:
        """Add an empty repository."""
        self.repos[name] = Repo(private, [Commit(hashlib.sha1(name.encode()).hexdigest(), "initial commit", {})])
        return self.repos[name]

    def titles(self, name: str) -> list[str]:
        """Titles of the commits."""
        return [commit.title for commit in self.repos[name].commits[1:]]

    def blob(self, path: str, content: bytes) -> str:
        """The hub's id of a file's content: git's blob id, or the SHA-256 of a large file."""
        if path.endswith(self.large):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def handle_error(self, *_: object) -> None:
        """A client may hang up at any time; anything else is an error of this server."""
        if not isinstance(sys.exception(), OSError):
            self.errors.append(repr(sys.exception()))

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()
        assert not self.errors


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds in another thread or process."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class HubResult(BaseHTTPRequestHandler):
    """One request. The names of the methods are those of the hub's endpoints; see ROUTES."""

    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        """Answer with a fault, a refusal, or the endpoint's result."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        fault = next((fault for fault in self.server.faults if fault.part in path and fault.times > 0), None)
        if fault:
            fault.times -= 1
        self.lost = fault is not None and fault.kind == "lose"
        if fault and fault.kind == "hang":
            self.server.released.wait()
        if fault and fault.kind in ("hang", "drop"):
            return self.hang_up()
        if fault and isinstance(fault.kind, int):
            return self.refuse(fault.kind, "injected", fault.headers)
        for pattern, work in ROUTES.items():
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                if not OPEN.match(path) and self.headers.get("Authorization") != f"Bearer {self.server.token}":
                    return self.refuse(401, "Invalid credentials in Authorization header")
                names = match.groupdict()
                self.name = names.pop("repo", None)
                if self.name and self.name not in self.server.repos:
                    return self.refuse(404, "Repository not found", {"X-Error-Code": "RepoNotFound"})
                return work(self, **names)
        return self.refuse(404, f"no endpoint {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server asks for

    @property
    def repo(self) -> Repo:
        assert self.name, "this endpoint is none of a repository's"
        return self.server.repos[self.name]

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def refuse(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps({"error": reason}).encode(), status, {"X-Error-Message": reason, **(headers or {})})

    def reply(self, content: Any = None) -> None:
        self.send(json.dumps({} if content is None else content).encode())

    def send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if self.lost:
            self.hang_up()
            return
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def whoami(self) -> None:
        self.reply({"type": "user", "name": self.server.user, "orgs": []})

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or self.server.user}/{asked['name']}"
        url = {"url": f"{self.server.url}/{name}"}
        if asked.get("organization") not in (None, self.server.user):
            return self.refuse(403, f"You don't have the rights to create a model under {asked['organization']}")
        if name in self.server.repos:
            return self.send(json.dumps({"error": "exists", **url}).encode(), 409)
        self.server.add(name, asked.get("visibility") == "private")
        return self.reply(url)

    def may_write(self) -> None:
        self.reply()

    def validate(self) -> None:
        head = yaml.safe_load(json.loads(self.body)["content"].split("---")[1])
        wrong = [] if head.get("license", "mit") in LICENCES else [{"message": '"license" must be one of [...]'}]
        self.send(json.dumps({"errors": wrong, "warnings": []}).encode(), 400 if wrong else 200)

    def info(self, revision: str | None = None) -> None:
        commit, private = self.repo.at(revision or "main"), self.repo.private
        files = [{"rfilename": path} for path in sorted(commit.files)]
        self.reply({"id": self.name, "sha": commit.oid, "private": private, "tags": [], "siblings": files})

    def preupload(self, revision: str) -> None:
        there = self.repo.at(revision).files
        self.reply({"files": [
            {
                "path": (path := file["path"]),
                "shouldIgnore": False,
                "uploadMode": "lfs" if path.endswith(self.server.large) else "regular",
                "oid": self.server.blob(path, there[path]) if path in there else None,
            }
            for file in json.loads(self.body)["files"]
        ]})  # fmt: skip

    def batch(self) -> None:
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.server.objects:
                item["actions"] = {"upload": {"href": f"{self.server.url}/objects/{item['oid']}"}}
        self.reply({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.refuse(400, "the content is not what its name says")
        self.server.objects[oid] = self.body
        return self.reply()

    def commit(self, revision: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        files, title = dict(self.repo.at(revision).files), ""
        for key, value in ((line["key"], line["value"]) for line in lines):
            if key == "header":
                title = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        oid = hashlib.sha1(self.body + self.repo.main.oid.encode()).hexdigest()
        self.repo.commits.append(Commit(oid, title, files))
        self.reply({"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{self.name}/commit/{oid}"})

    def tag(self, revision: str) -> None:
        name = json.loads(self.body)["tag"]
        if name in self.repo.tags:
            return self.refuse(409, "Tag reference exists already")
        self.repo.tags[name] = self.repo.at(revision).oid
        return self.reply()

    def untag(self, revision: str) -> None:
        del self.repo.tags[revision]
        self.reply()

    def resolve(self, revision: str, path: str) -> None:
        commit = self.repo.at(revision)
        if path not in commit.files:
            return self.refuse(404, "Entry not found", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.oid})
        content = commit.files[path]
        headers = {"ETag": f'"{self.server.blob(path, content)}"', "X-Repo-Commit": commit.oid}
        return self.send(content, headers=headers)


REVISION = r"(?P<revision>[^/]+)"
ROUTES = {
    r"GET /api/whoami-v2": HubResult.whoami,
    r"POST /api/repos/create": HubResult.create,
    r"POST /api/validate-yaml": HubResult.validate,
    rf"GET {MODEL}/auth-check/write": HubResult.may_write,
    rf"GET {MODEL}(/revision/{REVISION})?": HubResult.info,
    rf"POST {MODEL}/preupload/{REVISION}": HubResult.preupload,
    rf"POST {MODEL}/commit/{REVISION}": HubResult.commit,
    rf"POST {MODEL}/tag/{REVISION}": HubResult.tag,
    rf"DELETE {MODEL}/tag/{REVISION}": HubResult.untag,
    r"POST /(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch": HubResult.batch,
    r"PUT /objects/(?P<oid>\w+)": HubResult.upload,
    rf"(GET|HEAD) /(?P<repo>[^/]+/[^/]+)/resolve/{REVISION}/(?P<path>.+)": HubResult.resolve,
}
