"""BigQuery's and Cloud Storage's REST interfaces as far as our targets use them, over DuckDB; and who asked for what.

https://cloud.google.com/bigquery/docs/reference/rest and https://cloud.google.com/storage/docs/json_api/v1. A view is
made once, when it is created, with the rows that are then in its table.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from anyport.kit.standin import StandIn, transpiled
from anyport.targets.bigquery.predicted import PREDICTED, Model, parted

KINDS = {"DOUBLE": "FLOAT", "BIGINT": "INTEGER", "INTEGER": "INTEGER", "VARCHAR": "STRING", "BOOLEAN": "BOOLEAN",
         "TIMESTAMP WITH TIME ZONE": "TIMESTAMP"}  # fmt: skip


@dataclass
class Google:
    """What is there."""

    folder: Path
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    models: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.data = StandIn("main")

    @property
    def datasets(self) -> list[str]:
        found = self.data.raw.execute("select schema_name from duckdb_schemas() where not internal").fetchall()
        return sorted(r[0] for r in found)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """The status and the answer to a request."""
        self.asked.append(f"{method} {path}")
        for pattern, do in ROUTES:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                with self.lock:
                    return do(self, body, *map(unquote, found.groups()))
        return 501, {"error": {"message": f"the fake has no {method} {path}"}}

    def query(self, text: str) -> tuple[list[Any], list[Any]]:
        """Columns and rows of a statement."""
        name = re.match(r"(create or replace|drop) model (?:if exists )?(\S+)", text)
        if name:
            path = re.search(r"model_path = '([^']*)'", text)
            if path:
                self.models[name[2]] = self.files[path[1]]
            else:
                self.models.pop(name[2], None)
            return [], []
        if "ml.predict(" in text:
            model, [rows], [text] = parted(text)
            file = self.folder / f"{len(self.asked)}.onnx"
            file.write_bytes(self.models[model])
            asked = self.data.raw.execute(rows)
            self.data.raw.register("given", Model(file).predict([d[0] for d in asked.description], asked.fetchall()))
            made = f"{PREDICTED}_{len(self.asked)}"
            self.data.raw.execute(f"create table main.{made} as select * from given")
            text = text.replace(PREDICTED, f"main.{made}")
        else:
            [text] = transpiled(text, "bigquery")
        found = self.data.raw.execute(text)
        return list(found.description or []), found.fetchall() if text.lower().startswith("select") else []


def done(google: Google, job: str, error: str = "") -> dict[str, Any]:
    """A job as a resource."""
    state: dict[str, Any] = {"state": "DONE"}
    if error:
        state["errorResult"] = {"reason": "invalidQuery", "message": error}
    kind = google.jobs[job]["configuration"]
    return {"jobReference": {"projectId": "shop", "jobId": job, "location": "EU"}, "configuration": kind,
            "status": state, "statistics": {"query": {"statementType": "SELECT"}}}  # fmt: skip


def insert(google: Google, body: bytes, project: str) -> tuple[int, Any]:
    asked = json.loads(body)
    job = asked["jobReference"]["jobId"]
    google.jobs[job] = asked
    try:
        asked["columns"], asked["rows"] = google.query(asked["configuration"]["query"]["query"])
    except Exception as error:  # whatever went wrong is the job's error
        asked["error"] = f"{type(error).__name__}: {error}"
    return 200, done(google, job, asked.get("error", ""))


def results(google: Google, body: bytes, project: str, job: str) -> tuple[int, Any]:
    asked = google.jobs[job]
    if "error" in asked:
        return 400, {"error": {"message": asked["error"], "errors": [{"reason": "invalidQuery"}]}}
    fields = [{"name": d[0], "type": KINDS.get(str(d[1]), "STRING"), "mode": "NULLABLE"} for d in asked["columns"]]
    rows = [{"f": [{"v": cell(v)} for v in row]} for row in asked["rows"]]
    return 200, {"jobComplete": True, "jobReference": done(google, job)["jobReference"], "schema": {"fields": fields},
                 "rows": rows, "totalRows": str(len(rows))}  # fmt: skip


def cell(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def status(google: Google, body: bytes, project: str, job: str) -> tuple[int, Any]:
    return 200, done(google, job, google.jobs[job].get("error", ""))


def parts(body: bytes) -> tuple[Any, bytes]:
    """The two parts of a multipart/related body."""
    edge = body.split(b"\r\n", 1)[0]
    _, first, second, _ = body.split(edge)
    return json.loads(first.split(b"\r\n\r\n", 1)[1]), second.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


def load(google: Google, body: bytes, project: str) -> tuple[int, Any]:
    asked, data = parts(body)
    job = asked["jobReference"]["jobId"]
    google.jobs[job] = asked
    to = asked["configuration"]["load"]["destinationTable"]
    rows = [json.loads(line) for line in data.splitlines()]
    names = list(rows[0])
    cells = [tuple({"Infinity": float("inf"), "-Infinity": -float("inf"), "NaN": float("nan")}.get(v, v)
                   if isinstance(v, str) else v for v in row.values()) for row in rows]  # fmt: skip
    google.data.raw.execute(f'use "{to["datasetId"]}"')
    google.data.fill(to["tableId"], names, cells)
    return 200, done(google, job)


def table(google: Google, body: bytes, project: str, dataset: str, name: str) -> tuple[int, Any]:
    found = google.data.raw.execute(f'describe "{dataset}"."{name}"').fetchall()
    fields = [{"name": r[0], "type": KINDS[r[1]], "mode": "NULLABLE"} for r in found]
    reference = {"projectId": project, "datasetId": dataset, "tableId": name}
    return 200, {"tableReference": reference, "schema": {"fields": fields}, "type": "TABLE"}


def make(google: Google, body: bytes, project: str) -> tuple[int, Any]:
    asked = json.loads(body)
    google.data.raw.execute(f'create schema "{asked["datasetReference"]["datasetId"]}"')
    return 200, asked


def drop(google: Google, body: bytes, project: str, dataset: str) -> tuple[int, Any]:
    google.data.raw.execute("use main")
    google.data.raw.execute(f'drop schema "{dataset}" cascade')
    google.models = {name: data for name, data in google.models.items() if not name.startswith(f"`{dataset}`")}
    return 204, None


def found(google: Google, body: bytes, bucket: str, name: str) -> tuple[int, Any]:
    data = google.files.get(f"gs://{bucket}/{name}")
    if data is None:
        return 404, {"error": {"message": f"No such object: {bucket}/{name}"}}
    return 200, described(bucket, name, data)


def described(bucket: str, name: str, data: bytes) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()
    return {"bucket": bucket, "name": name, "size": str(len(data)), "md5Hash": digest, "generation": "1"}


def put(google: Google, body: bytes, bucket: str) -> tuple[int, Any]:
    asked, data = parts(body)
    google.files[f"gs://{bucket}/{asked['name']}"] = data
    return 200, described(bucket, asked["name"], data)


def remove(google: Google, body: bytes, bucket: str, name: str) -> tuple[int, Any]:
    del google.files[f"gs://{bucket}/{name}"]
    return 204, None


Q = r"/bigquery/v2/projects/([^/]+)"
ROUTES = [
    (rf"POST {Q}/jobs", insert), (rf"GET {Q}/queries/([^/]+)", results), (rf"GET {Q}/jobs/([^/]+)", status),
    (rf"POST /upload{Q}/jobs", load), (rf"GET {Q}/datasets/([^/]+)/tables/([^/]+)", table),
    (rf"POST {Q}/datasets", make), (rf"DELETE {Q}/datasets/([^/]+)", drop),
    (r"GET /storage/v1/b/([^/]+)/o/([^/]+)", found), (r"POST /upload/storage/v1/b/([^/]+)/o", put),
    (r"DELETE /storage/v1/b/([^/]+)/o/([^/]+)", remove),
]  # fmt: skip


@contextmanager
def google(folder: Path) -> Iterator[Google]:
    """The fake, on a port of its own."""
    there = Google(folder)

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            code, answer = there.answer(self.command, urlsplit(self.path).path, body)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PUT = do

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()
            there.data.raw.close()
