"""Azure Blob Storage by its REST interface, asked as the function app asks its own storage account.

In the standard library alone: Microsoft's clients would be the larger part of the app, and of its cold start.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import urllib.request
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from anyport.errors import Mistake
from anyport.functions import rest

SECONDS = 300
VERSION = "2021-08-06"
"""https://learn.microsoft.com/rest/api/storageservices/versioning-for-the-azure-storage-services"""
SETTING = "AzureWebJobsStorage"
"""The setting that holds how an app reaches its storage: a connection string, or with `__accountName` and the like an
account that it reaches as itself (https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity).
"""


def download(container: str, name: str, to: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Write a blob of the app's own storage account into a file
    (https://learn.microsoft.com/rest/api/storageservices/get-blob)."""
    path = f"/{quote(container, safe='')}/{quote(name)}"
    said = environ.get(SETTING, "")
    headers = {"x-ms-version": VERSION, "x-ms-date": formatdate(usegmt=True)}
    if said:
        parts = dict(part.split("=", 1) for part in said.strip(";").split(";") if "=" in part)
        url = endpoint(parts) + path
        headers["Authorization"] = signed(parts, url, headers)
    else:
        account = environ.get(f"{SETTING}__accountName", "")
        where = environ.get(f"{SETTING}__blobServiceUri", "").rstrip("/")
        if not account and not where:
            raise Mistake(f"the app does not know its storage account: {SETTING} is not set",
                          fix=f"set {SETTING}__accountName")  # fmt: skip
        url = (where or f"https://{account}.blob.core.windows.net") + path
        headers["Authorization"] = f"Bearer {token(environ)}"
    with opened(urllib.request.Request(url, headers=headers)) as reply, to.open("wb") as sink:
        shutil.copyfileobj(reply, sink, 1 << 20)


def endpoint(parts: Mapping[str, str]) -> str:
    """Where a connection string's blobs are."""
    if "BlobEndpoint" in parts:
        return parts["BlobEndpoint"].rstrip("/")
    try:
        host = f"{parts['AccountName']}.blob.{parts.get('EndpointSuffix', 'core.windows.net')}"
    except KeyError as error:
        raise Mistake(f"{SETTING} is a connection string without AccountName", fix="copy it from the portal") from error
    return f"{parts.get('DefaultEndpointsProtocol', 'https')}://{host}"


def signed(parts: Mapping[str, str], url: str, headers: Mapping[str, str]) -> str:
    """The header of a GET without body or query, signed with the account's key
    (https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key)."""
    account, key = parts.get("AccountName", ""), parts.get("AccountKey", "")
    if not account or not key:
        raise Mistake(f"{SETTING} is a connection string without AccountName and AccountKey",
                      fix=f"set {SETTING}__accountName; the app's identity needs Storage Blob Data Reader")  # fmt: skip
    told = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    text = "GET" + "\n" * 12 + f"{told}/{account}{urlsplit(url).path}"
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"


def token(environ: Mapping[str, str]) -> str:
    """An access token of the app's managed identity
    (https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference)."""
    where, secret = environ.get("IDENTITY_ENDPOINT", ""), environ.get("IDENTITY_HEADER", "")
    if not where:
        raise Mistake("the app has no identity: IDENTITY_ENDPOINT is not set", fix="az functionapp identity assign")
    query = "resource=https%3A%2F%2Fstorage.azure.com%2F&api-version=2019-08-01"
    own = environ.get(f"{SETTING}__clientId", "")
    if own:
        query += f"&client_id={quote(own)}"
    asked = urllib.request.Request(f"{where}?{query}", headers={"X-IDENTITY-HEADER": secret})
    with opened(asked) as reply:
        return str(json.load(reply)["access_token"])


def opened(asked: urllib.request.Request) -> Any:
    """The reply to a request, to be closed. What Azure refuses, by its own code, as the error that it is."""
    right = "give the app's identity the role Storage Blob Data Reader"
    return rest.opened(
        asked, lambda error, _: error.headers.get("x-ms-error-code", ""), right=right, seconds=SECONDS
    )  # fmt: skip
