"""A Hugging Face Hub of one's own on the loopback: as much of it as the client asks when it fetches models."""

import hashlib
import json
import socket
import struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

from hub_uploads import Uploads

LARGE = (".safetensors", ".bin")
"""What a repository keeps apart, by its sha256."""


class Stub:
    """``requests``: what was asked, as "GET /path"; ``fault(handler, request)`` may answer first, and then says so."""

    def __init__(self):
        self.commits, self.refs, self.requests = {}, {}, []
        self.kept, self.private, self.writers, self.messages = {}, set(), {}, []  # of uploads, see hub_uploads
        self.fault = lambda handler, request: False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"stub": self}))
        self.server.daemon_threads = True
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def publish(self, repo, folder, revision="main"):
        """Put a folder's files into a repository; the new commit, to which the branch moves."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(repo, {})[commit] = files
        self.refs.setdefault(repo, {})[revision] = commit
        return commit

    def asked(self, method="GET"):
        """Names of the files that were asked for, in order."""
        paths = [path for verb, path in map(str.split, self.requests) if verb == method and "/resolve/" in path]
        return [path.split("/resolve/")[1].partition("/")[2] for path in paths]


class Handler(Uploads, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub = None

    def log_message(self, *words):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        self.stub.requests.append(request)
        if self.stub.fault(self, request):
            return
        if path.startswith("/api/models/"):
            self.tell_of(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            self.give(path)
        else:
            self.answer(404)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message=""):
        self.answer(status, X_Error_Code=code, X_Error_Message=message)

    def found(self, repo, revision):
        """The commit, or None after an answer that says what is missing."""
        if repo not in self.stub.refs:
            return self.refuse(404, "RepoNotFound")
        commit = self.stub.refs[repo].get(revision, revision)
        return commit if commit in self.stub.commits[repo] else self.refuse(404, "RevisionNotFound")

    def tell_of(self, place):
        repo, _, revision = place.partition("/revision/")
        commit = self.found(repo, revision or "main")
        if commit is None:
            return
        siblings = []
        for name, content in self.stub.commits[repo][commit].items():
            lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100}
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            told = {"rfilename": name, "size": len(content), "blobId": git}
            siblings.append(told | ({"lfs": lfs} if name.endswith(LARGE) else {}))
        private = repo in self.stub.private
        about = {"id": repo, "modelId": repo, "sha": commit, "private": private, "siblings": siblings}
        body = json.dumps(about).encode()
        self.answer(200, body, Content_Type="application/json")

    def give(self, path):
        repo, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        commit = self.found(repo, revision)
        if commit is None:
            return
        content = self.stub.commits[repo][commit].get(name)
        if content is None:
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        etag = (hashlib.sha256 if name.endswith(LARGE) else hashlib.sha1)(content).hexdigest()
        self.answer(200, content, X_Repo_Commit=commit, ETag=f'"{etag}"')

    def damage(self, content):
        """Give other bytes of equal number in place of a file's."""
        self.answer(200, bytes([content[0] ^ 1]) + content[1:])

    def cut(self, content, *, reset):
        """Give half of a file, then close the connection, or reset it."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        self.close_connection = True
