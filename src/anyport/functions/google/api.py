"""Google: Storage and Pub/Sub by their REST interfaces, asked as the function's own service account.

In the standard library alone: the vendor's two clients would be the larger part of the function, and of its cold start.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from anyport.functions import rest

SECONDS = 60
METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
"""https://cloud.google.com/run/docs/securing/service-identity#access_tokens"""


class Google:
    """STORAGE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST name others that are asked instead, as in Google's own clients;
    they are told no token."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        storage, pubsub = environ.get("STORAGE_EMULATOR_HOST", ""), environ.get("PUBSUB_EMULATOR_HOST", "")
        self.storage = place(storage) or "https://storage.googleapis.com"
        self.pubsub = place(pubsub) or "https://pubsub.googleapis.com"
        self._emulated = {at for at, said in ((self.storage, storage), (self.pubsub, pubsub)) if said}
        self._token, self._until = "", 0.0

    def token(self) -> str:
        """An access token of the function's service account, kept until a minute before its end."""
        if time.monotonic() >= self._until:
            asked = urllib.request.Request(METADATA, headers={"Metadata-Flavor": "Google"})
            with opened(asked) as reply:
                said = json.load(reply)
            self._token, self._until = said["access_token"], time.monotonic() + said["expires_in"] - 60
        return self._token

    def download(self, bucket: str, name: str, to: Path, *, generation: str = "") -> None:
        """Write an object into a file (https://cloud.google.com/storage/docs/json_api/v1/objects/get)."""
        path = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media"
        if generation:
            path += f"&generation={quote(generation)}"
        with self._ask("GET", self.storage, path) as reply, to.open("wb") as sink:
            shutil.copyfileobj(reply, sink, 1 << 20)

    def upload(self, bucket: str, name: str, body: bytes | Path, *, kind: str = "application/octet-stream") -> None:
        """Write an object, whole or not at all (https://cloud.google.com/storage/docs/json_api/v1/objects/insert)."""
        path = f"/upload/storage/v1/b/{quote(bucket, safe='')}/o?uploadType=media&name={quote(name, safe='')}"
        if isinstance(body, bytes):
            self._ask("POST", self.storage, path, body, {"Content-Type": kind}).close()
            return
        with body.open("rb") as source:
            length = {"Content-Type": kind, "Content-Length": str(body.stat().st_size)}
            self._ask("POST", self.storage, path, source, length).close()

    def publish(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> None:
        """Publish a message to projects/PROJECT/topics/TOPIC
        (https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish)."""
        message = {"data": base64.b64encode(body).decode(), "attributes": dict(attributes)}
        said = json.dumps({"messages": [message]}).encode()
        self._ask("POST", self.pubsub, f"/v1/{topic}:publish", said, {"Content-Type": "application/json"}).close()

    def _ask(
        self, method: str, host: str, path: str, body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # fmt: skip
        told = dict(headers or {})
        if host not in self._emulated:
            told["Authorization"] = f"Bearer {self.token()}"
        return opened(urllib.request.Request(host + path, data=body, headers=told, method=method))


def place(said: str) -> str:
    """A URL of what an emulator's variable names: with a scheme, or HOST:PORT."""
    return said.rstrip("/") if not said or "://" in said else f"http://{said.rstrip('/')}"


def words(_error: urllib.error.HTTPError, text: str) -> str:
    """What Google says in a refusal."""
    try:
        told = json.loads(text)["error"]
        return str(told["message"] if isinstance(told, dict) else told)
    except (ValueError, KeyError, TypeError):
        return ""


def opened(asked: urllib.request.Request) -> Any:
    """The reply to a request, to be closed. What Google refuses, in its own words, as the error that it is."""
    right = "give the function's service account the right to do this: see the README"
    return rest.opened(asked, words, right=right, seconds=SECONDS)
