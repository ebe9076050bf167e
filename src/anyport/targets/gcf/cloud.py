"""Google itself, or what stands in for it at another address: the function asked, and the calls of a plan made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from anyport.bundle import Bundle, read
from anyport.client import HttpPredictor
from anyport.errors import AnyportError, Missing, Mistake, NotThere, ServerError, Unauthorized, Unreachable
from anyport.kit.endpoint import serving
from anyport.plan import Caller
from anyport.target import Artifact, Call, Engine, File, Proof, Running

if TYPE_CHECKING:
    from anyport.targets.gcf import Live

SECONDS = 1200
"""The longest that a build may take."""
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
RUN = "https://run.googleapis.com"


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's own function, by its name or at a URL, asked for this very model."""
    bundle = read(artifact.path / "bundle")
    if live.url:
        with asked(bundle, live.url, token(live, live.url), "a function", "live") as running:
            yield running
        return
    if not live.function:
        raise Mistake("which function?", fix="--live function=NAME, or --live url=https://…")
    found = existing(live)
    if found is None:
        raise NotThere(f"there is no function {path(live)}", fix="anyport deploy makes it")
    url, where = found.service_config.uri, found.service_config.uri
    if live.tag:
        service = Services(live).get(found.service_config.service)
        where = next((t["uri"] for t in service.get("trafficStatuses", ()) if t.get("tag") == live.tag), "")
        if not where:
            raise NotThere(f"{live.function} has no revision with the tag {live.tag}")
    name = f"Cloud Run function {live.function}, revision {found.service_config.revision}"
    with asked(bundle, where, token(live, url), name, proof(where)) as running:
        yield running


@contextmanager
def asked(bundle: Bundle, url: str, key: str | None, name: str, strength: Proof) -> Iterator[Running]:
    """An address, asked for this bundle."""
    with HttpPredictor(url, bundle.signature, api_key=key, timeout=300) as predictor:
        said = serving(predictor, bundle)
        yield Running(predictor, Engine(name, f"{said.server} {said.version}", predictor.url, strength))


def proof(url: str) -> Proof:
    """`live` only where Google itself answers."""
    host = urlsplit(url).hostname or ""
    return "live" if host.endswith((".run.app", ".cloudfunctions.net")) else "stand-in"


def token(live: Live, audience: str) -> str | None:
    """The identity token that a function which not everyone may ask wants; None for what stands in for Google, and for
    an address that is asked without one. Unauthorized where none can be had."""
    if live.token_file:
        try:
            return Path(live.token_file).read_text("utf-8").strip()
        except OSError as error:
            raise Mistake(f"the token cannot be read: {live.token_file}: {error.strerror}") from error
    if live.url or live.endpoint_url:
        return None
    id_token, requests = library("google.oauth2.id_token"), library("google.auth.transport.requests")
    from google.auth.exceptions import GoogleAuthError

    try:
        return str(id_token.fetch_id_token(requests.Request(), audience))
    except GoogleAuthError as error:
        raise Unauthorized(
            f"no identity token can be had: {error}",
            fix="gcloud auth print-identity-token > token; add --live token_file=token",
        ) from error


def library(module: str) -> Any:
    """One of Google's libraries; Missing with the extra that brings it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Missing(f"{error.name} is not installed here", fix="pip install 'anyport[gcf]'") from error


def parent(live: Live) -> str:
    """Where the function lives, as the API has it. Mistake without a project or a region."""
    project = live.project
    if not project and not live.endpoint_url:
        project = told(lambda: library("google.auth").default(scopes=[SCOPE])[1]) or ""
    if not project or not live.region:
        lacking = "project" if not project else "region"
        raise Mistake(f"in which {lacking}?", fix=f"add --live {lacking}=…")
    return f"projects/{project}/locations/{live.region}"


def path(live: Live, suffix: str = "") -> str:
    """The function's whole name."""
    return f"{parent(live)}/functions/{live.function}{suffix}"


def client(live: Live) -> Any:
    """Google's client of the functions' API, over REST: a stand-in is asked without credentials."""
    functions = library("google.cloud.functions_v2")
    if not live.endpoint_url:
        return told(lambda: functions.FunctionServiceClient(transport="rest"))
    transport = functions.FunctionServiceClient.get_transport_class("rest")
    parts = urlsplit(live.endpoint_url)
    made = transport(host=parts.netloc, credentials=credentials(live), url_scheme=parts.scheme)
    return functions.FunctionServiceClient(transport=made)


def credentials(live: Live) -> Any:
    """The caller's own; none for what stands in for Google."""
    if live.endpoint_url:
        return library("google.auth.credentials").AnonymousCredentials()
    return told(lambda: library("google.auth").default(scopes=[SCOPE]))[0]


def existing(live: Live, suffix: str = "") -> Any | None:
    """The function of that name, or None."""
    try:
        return told(lambda: client(live).get_function(name=path(live, suffix)))
    except NotThere:
        return None


class Services:
    """The Cloud Run services behind functions: who gets the traffic
    (https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services)."""

    def __init__(self, live: Live) -> None:
        self.host = live.endpoint_url.rstrip("/") or RUN
        requests = library("google.auth.transport.requests")
        self.session = requests.AuthorizedSession(credentials(live))

    def get(self, name: str) -> dict[str, Any]:
        """A service, by projects/…/locations/…/services/…"""
        return self._ask("GET", f"/v2/{name}")

    def move(self, name: str, traffic: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Give its traffic to revisions; waits until they have it."""
        going = self._ask("PATCH", f"/v2/{name}?updateMask=traffic", {"name": name, "traffic": traffic})
        until = time.monotonic() + SECONDS
        while not going.get("done"):
            if time.monotonic() > until:
                raise ServerError(f"{name} had not moved its traffic after {SECONDS} seconds")
            time.sleep(1)
            going = self._ask("GET", f"/v2/{going['name']}")
        if "error" in going:
            raise ServerError(f"{name} did not move its traffic: {going['error'].get('message')}")
        return self.get(name)

    def _ask(self, method: str, where: str, body: Any = None) -> dict[str, Any]:
        reply = told(lambda: self.session.request(method, self.host + where, json=body, timeout=60))
        if reply.status_code >= 400:
            try:
                said = reply.json()["error"]["message"]
            except (ValueError, KeyError, TypeError):
                said = reply.text[:300]
            raise in_words(reply.status_code, f"{method} {where}: {reply.status_code}: {said}")
        found: dict[str, Any] = reply.json()
        return found


def told(ask: Callable[[], Any]) -> Any:
    """What Google answers, its errors as ours."""
    library("google.api_core")
    import google.api_core.exceptions as wrong
    import google.auth.exceptions as unknown
    import requests

    try:
        return ask()
    except wrong.GoogleAPICallError as error:
        raise in_words(int(error.code or 500), error.message) from error
    except unknown.TransportError as error:
        raise Unreachable(f"Google cannot be reached: {error}") from error
    except unknown.GoogleAuthError as error:
        raise Unauthorized(f"Google was not asked: {error}", fix="gcloud auth application-default login") from error
    except (wrong.RetryError, requests.RequestException) as error:
        raise Unreachable(f"Google cannot be reached: {error}") from error


def in_words(status: int, what: str) -> AnyportError:
    """Google's refusal as the error that it is."""
    if status in (401, 403):
        return Unauthorized(what, fix="the caller needs the right to do this: roles/cloudfunctions.developer")
    if status == 404:
        return NotThere(what)
    return Mistake(what) if 400 <= status < 500 else ServerError(what)


@contextmanager
def calls(live: Live) -> Iterator[Caller]:
    """What makes a plan's calls: `functions` (Google's client; a build is waited for), `services`, and `upload`."""
    kept: dict[str, Any] = {}

    def call(what: Call) -> Any:
        if what.service == "upload":
            return put(what.params["url"], what.params["body"])
        if what.service == "services":
            services = kept.setdefault("services", None) or Services(live)
            kept["services"] = services
            return getattr(services, what.method)(**what.params)
        api = kept.setdefault("functions", None) or client(live)
        kept["functions"] = api
        answer = told(lambda: getattr(api, what.method)(request=what.params))
        return told(lambda: answer.result(timeout=SECONDS)) if hasattr(answer, "result") else answer

    yield call


def put(url: str, file: File) -> None:
    """A file to a signed URL, which wants this type and no credentials."""
    library("requests")
    import requests

    with file.path.open("rb") as body:
        reply = told(lambda: requests.put(url, data=body, headers={"content-type": "application/zip"}, timeout=600))
    if reply.status_code >= 400:
        raise in_words(reply.status_code, f"the upload of {file.path.name}: {reply.status_code}: {reply.text[:300]}")
