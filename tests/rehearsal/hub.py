"""A model hub on the loopback address: what huggingface_hub and datasets ask of huggingface.co, over a folder.

The folder has `{models|datasets}/{owner}/{name}/{branch}/...`, with `%2F` for `/` in a branch, and beside the branches
of a gated repository a file `.gated`. A commit is the hash of its branch's files, or what stands in the file
`.commit-{branch}` beside it. As on the real hub

- gated files are 401 without a token and 403 with one that has no access (`X-Error-Code: GatedRepo`); a gated
  repository's description is public,
- large files (`*.parquet`, `*.safetensors`, `*.bin`) are answered by a redirect to another host (here `localhost`, a
  name that differs from 127.0.0.1), with their sha256,
- file listings come in pages.

Some first requests fail, 429 or 500; which ones follows from the seed, and the next try of the same is answered.

    python -m rehearsal.hub FOLDER PORT LOG [SEED]
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections import Counter
from fnmatch import fnmatch
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

TOKEN = "hf_rehearsal"
"""The token that has access to gated repositories. Any other has none."""
LARGE = ("*.parquet", "*.safetensors", "*.bin")
PAGE = 50
FAILING = 0.08
"""Share of requests whose first try fails."""


class Branch:
    """Files of one branch of a repository, read once."""

    def __init__(self, folder: Path) -> None:
        self.files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        self.sha256 = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in self.files.items()}
        text = json.dumps([folder.as_posix().split("/")[-4:], self.sha256])
        stated = folder.with_name(f".commit-{folder.name}")
        self.commit = stated.read_text() if stated.is_file() else hashlib.sha1(text.encode()).hexdigest()

    def entry(self, name: str) -> dict[str, Any]:
        """The hub's description of a file."""
        size = self.files[name].stat().st_size
        made: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": self.sha256[name][:40]}
        if is_large(name):
            made["lfs"] = {"oid": self.sha256[name], "size": size, "pointerSize": 134}
        return made

    @cached_property
    def folders(self) -> dict[str, dict[str, Any]]:
        """Descriptions of all folders, by path."""
        paths = {parent.as_posix() for name in self.files for parent in Path(name).parents} - {"."}
        return {
            path: {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
            for path in sorted(paths)
        }

    def listing(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """Descriptions of what is in a folder ("": the root)."""
        start = f"{folder}/" if folder else ""
        inside = [path for path in (*self.folders, *self.files) if path.startswith(start) and path != folder]
        if not recursive:
            inside = [path for path in inside if "/" not in path.removeprefix(start)]
        return [self.folders[path] if path in self.folders else self.entry(path) for path in sorted(inside)]


class Store:
    """All repositories below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.branches = folder, {}
        for path in folder.glob("*/*/*/*"):
            if path.is_dir():
                kind, owner, name = path.relative_to(folder).parts[:3]
                self.branches.setdefault((kind, f"{owner}/{name}"), {})[unquote(path.name)] = Branch(path)

    def branch(self, kind: str, repo: str, revision: str) -> Branch | None:
        """The branch of this name or commit."""
        branches = self.branches[kind, repo]
        commits = {branch.commit: branch for branch in branches.values()}
        return branches.get(revision) or commits.get(revision)

    def gated(self, kind: str, repo: str) -> bool:
        return (self.folder / kind / repo / ".gated").exists()


def is_large(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LARGE)


class Answers(BaseHTTPRequestHandler):
    """Answers of the hub; `server` is a `Hub`."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if code := self.server.failure(f"{self.command} {self.path} {body[:200]!r}"):
            text = "Too Many Requests" if code == 429 else "Internal Error"
            more = {"Retry-After": "1"} if code == 429 else {}
            return self.say(code, {"error": text}, **more)
        rest = unquote(url.path)
        if rest.startswith("/stored/"):
            kind, repo, commit, name = re.fullmatch(r"/stored/(\w+)/([^/]+/[^/]+)/(\w{40})/(.*)", rest).groups()
            return self.give_bytes(self.server.store.branch(kind, repo, commit).files[name], {})
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(\S*))?", url.path)
        file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path)
        if api:
            kind, repo, rest = api[1], api[2], api[3] or ""
        elif file:
            kind, repo, rest = "datasets" if file[1] else "models", file[2], ""
        else:
            return self.say(404, {"error": "Not Found"})
        if (kind, repo) not in self.server.store.branches:
            return self.refuse(401, "RepoNotFound", "Repository not found")
        if file:
            return self.resolve(kind, repo, unquote(file[3]), unquote(file[4]))
        self.describe(kind, repo, rest, parse_qs(url.query), parse_qs(body.decode()))

    def describe(self, kind: str, repo: str, rest: str, query: dict[str, list[str]], form: dict[str, Any]) -> None:
        """Answer a request for what a repository holds."""
        store = self.server.store
        if rest == "refs":
            branches = store.branches[kind, repo]
            listed = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": b.commit} for n, b in branches.items()]
            return self.say(200, {"branches": listed, "converts": [], "tags": []})
        if rest == "auth-check":
            return None if self.keeps_out(kind, repo) else self.say(200, {})
        what, _, more = rest.partition("/")
        revision, _, folder = more.partition("/") if what in ("tree", "paths-info", "revision") else ("", "", "")
        branch = store.branch(kind, repo, unquote(revision) or "main")
        if branch is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
        if what in ("", "revision"):
            self.say(200, {
                "id": repo, "sha": branch.commit, "private": False, "disabled": False, "tags": [], "downloads": 0,
                "likes": 0, "gated": "manual" if store.gated(kind, repo) else False,
                "lastModified": "2024-01-01T00:00:00.000Z", "siblings": [{"rfilename": name} for name in branch.files],
            })  # fmt: skip
        elif what == "tree":
            folder = unquote(folder)
            if folder and folder not in branch.folders:
                return self.refuse(404, "EntryNotFound", f"{folder} does not exist on this revision")
            entries = branch.listing(folder, query.get("recursive", [""])[0].lower() in ("true", "1"))
            start = int(query.get("cursor", ["0"])[0])
            link = {}
            if start + PAGE < len(entries):
                kept = "".join(f"&{name}={quote(values[0])}" for name, values in query.items() if name != "cursor")
                url = f"http://{self.headers['Host']}{urlsplit(self.path).path}?cursor={start + PAGE}{kept}"
                link = {"Link": f'<{url}>; rel="next"'}
            self.say(200, entries[start : start + PAGE], **link)
        elif what == "paths-info":
            asked = [path.strip("/") for path in form.get("paths", [])]
            known = [branch.folders.get(p) or (branch.entry(p) if p in branch.files else None) for p in asked]
            self.say(200, [entry for entry in known if entry])
        else:
            self.say(404, {"error": "Not Found"})

    def resolve(self, kind: str, repo: str, revision: str, name: str) -> None:
        """Answer with a file, or for a large one with the place where it is."""
        store = self.server.store
        branch = store.branch(kind, repo, revision)
        if branch is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if self.keeps_out(kind, repo):
            return None
        if name not in branch.files:
            return self.refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": branch.commit})
        size, sha256 = branch.files[name].stat().st_size, branch.sha256[name]
        headers = {"X-Repo-Commit": branch.commit, "ETag": f'"{sha256[:40]}"'}
        if not is_large(name):
            return self.give_bytes(branch.files[name], headers)
        stored = f"http://localhost:{self.server.server_port}/stored/{kind}/{repo}/{branch.commit}/{quote(name)}"
        linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(size), "Location": stored}
        self.say(302, {}, **headers, **linked)

    def keeps_out(self, kind: str, repo: str) -> bool:
        """Refuse a request for a gated repository without access; True if it was refused."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not self.server.store.gated(kind, repo) or token == TOKEN:
            return False
        where = f"Access to {kind[:-1]} {repo} is restricted"
        if token:
            self.refuse(403, "GatedRepo", f"{where} and you are not in the authorized list.")
        else:
            self.refuse(401, "GatedRepo", f"{where}. You must have access to it and be authenticated.")
        return True

    def give_bytes(self, path: Path, headers: dict[str, str]) -> None:
        """Answer with a file's bytes, or with the range of them that was asked for."""
        content = path.read_bytes()
        code, total = 200, len(content)
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(match[1]), min(int(match[2] or total - 1), total - 1)
            if first >= total:
                return self.say(416, {"error": "Range Not Satisfiable"}, **{"Content-Range": f"bytes */{total}"})
            code, content = 206, content[first : last + 1]
            headers = headers | {"Content-Range": f"bytes {first}-{last}/{total}"}
        self.send(code, content, headers | {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"})

    def refuse(self, code: int, error: str, message: str, **headers: str) -> None:
        self.say(code, {"error": message}, **{"X-Error-Code": error, "X-Error-Message": message}, **headers)

    def say(self, code: int, value: Any, **headers: str) -> None:
        self.send(code, json.dumps(value).encode(), headers | {"Content-Type": "application/json"})

    def send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.server.note(code, self.command, self.path)
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing on the terminal; `Hub.note` has the log."""


class Hub(ThreadingHTTPServer):
    """The server. log: file with one line `code method path` per answer. seed: of the failures; None: none fails."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int, log: Path, seed: int | None = 0) -> None:
        super().__init__(("127.0.0.1", port), Answers)
        self.store, self.log, self.seed = Store(folder), log, seed
        self.tries: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def failure(self, request: str) -> int | None:
        """Status of a request that is made to fail: at most the first try of each."""
        with self.lock:
            self.tries[request] += 1
            first = self.tries[request] == 1
        if self.seed is None or not first:
            return None
        drawn = int(hashlib.sha256(f"{self.seed} {request}".encode()).hexdigest()[:8], 16) / 16**8
        return None if drawn >= FAILING else 429 if drawn < FAILING / 2 else 500

    def note(self, code: int, method: str, path: str) -> None:
        with self.lock, self.log.open("a") as file:
            file.write(f"{code} {method} {path}\n")


if __name__ == "__main__":
    folder, port, log, *seed = sys.argv[1:]
    Hub(Path(folder), int(port), Path(log), int(seed[0]) if seed else 0).serve_forever()
