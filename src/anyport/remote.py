"""connect: a model behind a URL that is asked like one in this process; RemoteModel, and its twin for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import msgspec

from anyport.batch import Batch, Outcome, Refusal, rows
from anyport.client import HttpPredictor, bodies, busy, failure, joined, outcome, parsed, said, wait
from anyport.errors import Mistake, ServerError, TooSlow, Unreachable, need
from anyport.model import refuse, shaped
from anyport.signature import Signature

if TYPE_CHECKING:
    import httpx

AT_ONCE = 8
"""Pieces of one long batch that an AsyncRemoteModel has under way at the same time."""


class Identity(msgspec.Struct, frozen=True):
    """Which model answers: what GET …/signature says."""

    name: str
    version: str
    digest: str
    form: str
    signature: Signature


def connect(
    url: str, *, name: str | None = None, version: str | None = None, api_key: str | None = None,
    timeout: float = 60.0, retries: int = 3, headers: Mapping[str, str] | None = None, context: Any = None,
) -> RemoteModel:  # fmt: skip
    """The model that an anyport server (or a router of `anyport.integrations`) answers for at `url`.

    Of several models, `name` and `version` choose; without them it is the server's first. `timeout` is in seconds, for
    one request; `context` an ssl.SSLContext. Raises Unreachable, Unauthorized, NotThere, Busy, ServerError.
    """
    base = at(url, name, version)
    predictor = HttpPredictor(
        base, Signature(inputs=(), outputs=()), api_key=api_key, timeout=timeout, retries=retries, context=context,
        headers=headers,
    )  # fmt: skip
    try:
        status, value = predictor.get("/signature")
        found = identity(base, status, value)
    except BaseException:
        predictor.close()
        raise
    predictor.signature = found.signature
    return RemoteModel(found, predictor)


async def connect_async(
    url: str, *, name: str | None = None, version: str | None = None, api_key: str | None = None,
    timeout: float = 60.0, retries: int = 3, headers: Mapping[str, str] | None = None, context: Any = None,
) -> AsyncRemoteModel:  # fmt: skip
    """`connect` for asyncio; needs httpx (extra `client`). Close it with `aclose`, or use `async with`."""
    httpx = need("httpx")
    base = at(url, name, version)
    http = httpx.AsyncClient(timeout=timeout, headers=said(api_key, headers), verify=context or True, trust_env=False)
    made = AsyncRemoteModel(base, http, retries=retries)
    try:
        status, reply, _ = await made.request("GET", "/signature", None)
        made.know(identity(base, status, parsed(base, status, reply)))
    except BaseException:
        await made.aclose()
        raise
    return made


def at(url: str, name: str | None, version: str | None) -> str:
    """The URL under which /predict and /signature are one model's."""
    base = url.rstrip("/")
    if name is not None:
        base += f"/models/{quote(name, safe='')}"
        if version is not None:
            base += f"/versions/{quote(version, safe='')}"
    elif version is not None:
        raise Mistake(f"version {version} of which model?", fix="connect(url, name=…, version=…)")
    return base


def identity(url: str, status: int, value: Any) -> Identity:
    """Who answers there. Raises what a status but 200 stands for; ServerError where it is no anyport server."""
    if status != 200:
        raise failure(status, value)
    try:
        return msgspec.convert(value, Identity)
    except msgspec.ValidationError as error:
        raise ServerError(f"{url}/signature is no anyport server's: {error}") from error


class _Known:
    """What both kinds of remote model know and do with rows before and after the network."""

    identity: Identity

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def version(self) -> str:
        return self.identity.version

    @property
    def signature(self) -> Signature:
        return self.identity.signature

    def read(self, data: Any) -> tuple[Batch, Mapping[int, Sequence[Refusal]]]:
        """Rows from anything that `Model.predict` takes, and the cells that fit no column."""
        from anyport.ingest import to_batch

        return to_batch(data, self.signature.inputs)

    def told(self, found: Outcome, wrong: Mapping[int, Sequence[Refusal]], data: Any, partial: bool) -> Any:
        """The answers in the container that the rows came in. BadData with every refused row unless `partial`."""
        refused = {**found.refused, **{row: tuple(why) for row, why in wrong.items()}}
        if refused and not partial:
            raise refuse(refused, rows(found.outputs))
        return shaped(Outcome(found.outputs, refused), data)


class RemoteModel(_Known):
    """A model behind a URL. Thread-safe. Close it with `close`, or use `with`."""

    def __init__(self, who: Identity, predictor: HttpPredictor) -> None:
        self.identity = who
        self.predictor = predictor

    def predict(self, data: Any, *, partial: bool = False) -> Any:
        """Answers, as the data came: a dict of scalars → a dict; a DataFrame → a DataFrame with its index; records →
        records; anything else → a dict of arrays by output name.

        Rows that the model refuses raise BadData, whose `problems` lists every one of their cells; with `partial` they
        are missing in the answer, and a column `errors` says why. Raises Busy, TooSlow, Unreachable, Unauthorized,
        NotThere, ServerError.
        """
        batch, wrong = self.read(data)
        return self.told(self.predictor.predict(batch), wrong, data, partial)

    def close(self) -> None:
        """Close the kept connections."""
        self.predictor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncRemoteModel(_Known):
    """A model behind a URL, for asyncio. Pieces of a long batch travel side by side."""

    def __init__(self, url: str, http: httpx.AsyncClient, *, retries: int) -> None:
        self.url = url
        self.retries = retries
        self._http = http
        self._free = asyncio.Semaphore(AT_ONCE)

    def know(self, who: Identity) -> None:
        """Remember who answers."""
        self.identity = who

    async def predict(self, data: Any, *, partial: bool = False) -> Any:
        """As `RemoteModel.predict`."""
        batch, wrong = self.read(data)
        found = await asyncio.gather(*(self._ask(body, count) for body, count in bodies(batch, self.signature)))
        return self.told(joined(found), wrong, data, partial)

    async def _ask(self, body: bytes, count: int) -> Outcome:
        async with self._free:
            status, reply, _ = await self.request("POST", "/predict?partial=true", body)
        return outcome(self.url, status, reply, count, self.signature)

    async def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of one request, sent again where that is safe: see HttpPredictor."""
        httpx = need("httpx")
        attempt = 0
        while True:
            try:
                reply = await self._http.request(method, self.url + path, content=body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                found: ServerError = Unreachable(f"{self.url} cannot be asked: {error or type(error).__name__}")
            except httpx.TimeoutException as error:
                raise TooSlow(f"{self.url} gave no answer in time", fix="ask for fewer rows") from error
            except httpx.HTTPError as error:
                raise Unreachable(f"{self.url} cannot be asked: {error or type(error).__name__}") from error
            else:
                headers = {k.lower(): v for k, v in reply.headers.items()}
                if reply.status_code not in (429, 503) or method != "POST":
                    return reply.status_code, reply.content, headers
                found = busy(reply.status_code, parsed(self.url, reply.status_code, reply.content), headers)
            if attempt >= self.retries:
                raise found
            await asyncio.sleep(wait(found, attempt))
            attempt += 1

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
