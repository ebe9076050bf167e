"""BigQuery and Cloud Storage through Google's own clients: queries, rows, files, and a dataset that is gone after."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anyport.errors import Mistake, Unreachable, need
from anyport.kit.database import first_line
from anyport.sql.dialect import Dialect
from anyport.sql.dialects import BIGQUERY
from anyport.target import Call, Sql


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user's own project."""

    project: str
    location: str = ""
    """Of the datasets, as EU; "" is what BigQuery takes for it."""
    endpoint: str = ""
    """An emulator's address, which is asked without credentials; "" is Google's own."""


class Connection:
    """A database.Session within a dataset, and the storage beside it."""

    dialect: Dialect = BIGQUERY

    def __init__(self, queries: Any, storage: Any, errors: tuple[type[Exception], ...]) -> None:
        self.queries, self.storage, self.errors = queries, storage, errors
        self.schema = ""

    def run(self, sql: str) -> None:
        self.queries.query(sql).result()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.queries.query(sql).result()]

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        rows = [{name: written(v) for name, v in zip(columns, row, strict=True)} for row in values]
        if rows:
            found = self.queries.get_table(self.reference(table))
            config = need("google.cloud.bigquery").LoadJobConfig(schema=found.schema)
            self.queries.load_table_from_json(rows, found, job_config=config).result()

    def columns(self, table: str) -> Mapping[str, str]:
        return {f.name: f.field_type for f in self.queries.get_table(self.reference(table)).schema}

    def reference(self, table: str) -> str:
        """A table of the dataset, as the client calls it."""
        return f"{self.queries.project}.{self.schema}.{table}"

    def upload(self, file: Path, place: str) -> None:
        """A file into Cloud Storage, where it is not there already. Mistake where another one is."""
        data = file.read_bytes()
        blob = self.blob(place)
        mine = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        if blob.exists():
            blob.reload()
            if blob.md5_hash != mine:
                raise Mistake(f"{place} is there, and is not this model", fix="remove it, or choose another -O bucket=")
            return
        blob.upload_from_string(data, content_type="application/octet-stream", checksum="md5", if_generation_match=0)

    def remove(self, place: str) -> None:
        """A file out of Cloud Storage, where it is there."""
        blob = self.blob(place)
        if blob.exists():
            blob.delete()

    def blob(self, place: str) -> Any:
        """The client's object of gs://BUCKET/NAME."""
        bucket, _, name = place.removeprefix("gs://").partition("/")
        return self.storage.bucket(bucket).blob(name)

    def do(self, what: Sql | Call) -> None:
        """A step of a plan. BigQuery commits each CREATE or DROP by itself, so each statement may be repeated."""
        try:
            if isinstance(what, Sql):
                for statement in what.statements:
                    self.run(statement)
            elif what.method == "upload":
                self.upload(what.params["file"].path, what.params["to"])
            else:
                self.remove(what.params["of"])
        except self.errors as error:
            raise Mistake(first_line(error)) from error


def written(value: Any) -> Any:
    """A value as a line of JSON that BigQuery loads has it
    (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data)."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int) and abs(value) >= 2**53 else value


@contextmanager
def connected(live: Live) -> Iterator[Connection]:
    """Clients of a project. Unreachable where Google does not know us."""
    bigquery, storage = need("google.cloud.bigquery"), need("google.cloud.storage")
    auth, api = need("google.auth.exceptions"), need("google.api_core.exceptions")
    wanted: dict[str, Any] = {"project": live.project}
    if live.endpoint:
        wanted |= {"credentials": need("google.auth.credentials").AnonymousCredentials(),
                   "client_options": {"api_endpoint": live.endpoint}}  # fmt: skip
    try:
        queries, files = bigquery.Client(**wanted, location=live.location or None), storage.Client(**wanted)
    except auth.GoogleAuthError as error:
        raise Unreachable(f"Google does not know us: {first_line(error)}",
                          fix="gcloud auth application-default login") from error  # fmt: skip
    try:
        yield Connection(queries, files, (api.GoogleAPIError, auth.GoogleAuthError))
    finally:
        queries.close()
        files.close()


@contextmanager
def apart(session: Connection, location: str) -> Iterator[None]:
    """The session in a dataset of its own, which is gone afterwards. Mistake with the right that is lacking."""
    bigquery = need("google.cloud.bigquery")
    dataset = bigquery.Dataset(f"{session.queries.project}.anyport_check_{secrets.token_hex(6)}")
    dataset.location = location or None
    try:
        session.queries.create_dataset(dataset)
    except session.errors as error:
        raise Mistake(f"no dataset to check in: {first_line(error)}",
                      fix="the user needs roles/bigquery.user in the project") from error  # fmt: skip
    session.schema = dataset.dataset_id
    try:
        yield
    finally:
        session.queries.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
