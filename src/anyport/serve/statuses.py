"""What any operation of the OpenAPI document may answer besides its own answers: statuses, headers, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STATUSES = {
    "400": "The body is not in its format, a query parameter is wrong, or this is not HTTP/1.1.",
    "401": "No valid API key.",
    "404": "There is no such model or version here.",
    "406": "The answer cannot be written as Accept asks.", "408": "The request came too slowly.",
    "413": "The body is too large, as sent or inflated.", "414": "The URL is too long.",
    "415": "The body is of a format that is not read, or is compressed otherwise than with gzip or deflate.",
    "422": "Rows do not fit the model: every one of them, and no answers.",
    "429": "Too many requests wait for this model; Retry-After says when to ask again.",
    "431": "The headers are too many or too long.", "500": "The model failed.",
    "503": "The model is being loaded, or there are too many connections; Retry-After says when to ask again.",
    "504": "The model takes too long.",
}  # fmt: skip
ANY = ("400", "408", "414", "431", "500", "503")
"""What any request may get: the connection refuses before there is a route."""
MODEL = ("404",)
"""What a request that names a model may get."""
BODY = ("413", "415", "429", "504")
"""What a request with a body may get."""
LATER = ("429", "503", "504")
"""Statuses with Retry-After."""
ERROR = {"$ref": "#/components/schemas/Error"}
ID = {
    "name": "x-request-id", "in": "header", "required": False, "schema": {"type": "string"},
    "description": "Comes back in the answer, and is in the log and the trace.",
}  # fmt: skip
HEADERS = {
    "x-request-id": {"description": "The request's own, where it had one.", "schema": {"type": "string"}},
    "anyport-version": {"description": "Who answered, where there are several.", "schema": {"type": "string"}},
    "retry-after": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
}
SECURITY = {
    "key": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def completed(said: Mapping[str, Any], *, keys: bool, model: bool, versions: Sequence[str] = ()) -> dict[str, Any]:
    """An operation with all that it may answer. `keys`: it needs one; `model`: a model answers, of
    these `versions` the one that a header names."""
    responses = dict(said["responses"])
    asks = "requestBody" in said
    own = next((one for status, one in responses.items() if status >= "400"), None)
    worded = own["content"]["application/json"]["schema"] if own is not None else ERROR
    # the connection refuses in our own words whatever the contract
    schema = worded if worded == ERROR else {"anyOf": [worded, ERROR]}
    wanted = [*ANY, *(("401",) if keys else ()), *(MODEL if model else ()), *(BODY if asks else ())]
    for status in [*responses, *wanted]:
        if status >= "400":
            alone = status not in responses
            one = responses.get(status) or {"description": STATUSES[status]}
            content = {"application/json": {"schema": schema}} if alone or not one.get("content") else one["content"]
            if status in ANY:
                content = {**content, "application/json": {"schema": both(content, schema)}}
            responses[status] = {**one, "content": content}
    if not keys:
        responses.pop("401", None)
    responses = {status: headed(one, status, model=model) for status, one in sorted(responses.items())}
    more = {**said, "responses": responses, "parameters": [*said.get("parameters", ()), *asked(versions)]}
    more["security"] = [{"key": []}, {"header": []}] if keys else []
    return more


def both(content: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a status that both the route and the connection may give."""
    own = content.get("application/json", {}).get("schema")
    return (
        schema if own in (None, ERROR) or own == schema or own in schema.get("anyOf", ()) else {"anyOf": [own, schema]}
    )


def asked(versions: Sequence[str]) -> list[dict[str, Any]]:
    """Headers that a request may have."""
    if not versions:
        return [ID]
    said = "Ask this version, percent-encoded, whatever the traffic's shares are."
    schema = {"type": "string", "enum": [*versions]}
    return [{"name": "anyport-version", "in": "header", "required": False, "schema": schema, "description": said}, ID]


def headed(one: Mapping[str, Any], status: str, *, model: bool) -> dict[str, Any]:
    """A response with its headers."""
    names = ["x-request-id", *(["anyport-version"] if model else []), *(["retry-after"] if status in LATER else [])]
    return {**one, "headers": {name: HEADERS[name] for name in names}}
