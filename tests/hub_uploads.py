"""The half of the Hub on the loopback that takes models: as much of it as the client asks when it publishes one.

``stub.kept``: sha256 -> content of large files; ``stub.private``: repositories; ``stub.writers``: OWNER -> the token
that may write there, where not everybody's may; ``stub.messages``: of the commits, in order.
"""

import base64
import hashlib
import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin")


class Uploads:
    """Of a handler; ``stub``, ``answer`` and ``refuse`` are its own."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.stub.requests.append(f"POST {path}")
        if self.stub.fault(self, f"POST {path}"):
            return
        for pattern, take in TAKERS.items():
            match = re.fullmatch(pattern, path)
            if match:
                take(self, *match.groups(), body)
                return
        self.answer(404)

    def do_PUT(self):
        path = urlsplit(self.path).path
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.stub.requests.append(f"PUT {path}")
        if self.stub.fault(self, f"PUT {path}"):
            return
        sha256 = path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != sha256:
            self.answer(400)
            return
        self.stub.kept[sha256] = content
        self.answer(200)

    def tell(self, data):
        self.answer(200, json.dumps(data).encode(), Content_Type="application/json")

    def may_write(self, repo):
        """False after an answer that says why not."""
        wanted = self.stub.writers.get(repo.partition("/")[0], "")
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if wanted in ("", given):
            return True
        self.refuse(403 if given else 401, "", "You do not have the rights." if given else "Log in first.")
        return False

    def make(self, body):
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if not self.may_write(repo):
            return
        told = json.dumps({"url": f"{self.stub.endpoint}/{repo}"}).encode()
        if repo in self.stub.refs:
            self.answer(409, told, X_Error_Message="You already created this model repo")
            return
        self.stub.refs[repo], self.stub.commits[repo] = {}, {}
        if asked.get("visibility") == "private":
            self.stub.private.add(repo)
        empty = hashlib.sha1(repo.encode()).hexdigest()
        self.stub.refs[repo]["main"], self.stub.commits[repo][empty] = empty, {}
        self.answer(200, told, Content_Type="application/json")

    def check_card(self, body):
        content = json.loads(body)["content"]
        wrong = [] if content.startswith("---\n") else [{"message": "no front matter"}]
        self.tell({"errors": [], "warnings": wrong})

    def before(self, repo, branch, body):
        if self.found(repo, branch) is None:
            return
        modes = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular"}
            for file in json.loads(body)["files"]
        ]
        self.tell({"files": [mode | {"shouldIgnore": False} for mode in modes]})

    def where(self, repo, body):
        objects = []
        for asked in json.loads(body)["objects"]:
            place = f"{self.stub.endpoint}/large/{asked['oid']}"
            actions = {"upload": {"href": place}, "verify": {"href": f"{self.stub.endpoint}/verify"}}
            objects.append(asked | ({} if asked["oid"] in self.stub.kept else {"actions": actions}))
        self.tell({"transfer": "basic", "objects": objects})

    def verify(self, body):
        asked = json.loads(body)
        whole = len(self.stub.kept.get(asked["oid"], b"")) == asked["size"]
        self.answer(200 if whole else 404, b"{}")

    def commit(self, repo, branch, body):
        """All lines at once: the new commit, to which the branch, or that of a new pull request, moves."""
        if not self.may_write(repo):
            return
        parent = self.found(repo, branch)
        if parent is None:
            return
        files = dict(self.stub.commits[repo][parent])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "header":
                self.stub.messages.append(value["summary"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stub.kept[value["oid"]]
        made = hashlib.sha1(parent.encode() + body).hexdigest()
        self.stub.commits[repo][made] = files
        told = {"success": True, "commitOid": made, "commitUrl": f"{self.stub.endpoint}/{repo}/commit/{made}"}
        if "create_pr" in parse_qs(urlsplit(self.path).query):
            self.stub.refs[repo]["refs/pr/1"] = made
            told["pullRequestUrl"] = f"{self.stub.endpoint}/{repo}/discussions/1"
        else:
            self.stub.refs[repo][branch] = made
        self.tell(told)


TAKERS = {
    "/api/repos/create": Uploads.make,
    "/api/validate-yaml": Uploads.check_card,
    "/api/models/([^/]+/[^/]+)/preupload/([^/]+)": Uploads.before,
    "/([^/]+/[^/]+).git/info/lfs/objects/batch": Uploads.where,
    "/verify": Uploads.verify,
    "/api/models/([^/]+/[^/]+)/commit/([^/]+)": Uploads.commit,
}
