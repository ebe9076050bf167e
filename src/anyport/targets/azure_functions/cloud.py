"""Azure itself, or what stands in for it at another address: the app asked, and the calls of a plan made."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from anyport.bundle import read
from anyport.client import HttpPredictor
from anyport.errors import AnyportError, Missing, Mistake, NotThere, ServerError, Unauthorized, Unreachable
from anyport.kit.endpoint import serving
from anyport.plan import Caller
from anyport.target import Artifact, Call, Engine, File, Proof, Running
from anyport.targets.azure_functions.facts import Facts

if TYPE_CHECKING:
    from anyport.targets.azure_functions import Live

SECONDS = 1200
"""The longest that a build may take."""
BEGUN = 60.0
"""Seconds in which a host begins with a package that was published just now."""
PAUSE = 5.0
"""Seconds between two looks at whether it is done."""
ARM = "https://management.azure.com/.default"
RELEASED, BEFORE = "released-package.zip", "anyport-before.zip"
"""The blob in which Flex Consumption keeps the package that runs
(https://learn.microsoft.com/azure/azure-functions/functions-infrastructure-as-code#deployment-package), and ours."""
BLOB = "blob"
"""What function_app.py calls the function of new blobs."""
OWN = ("ANYPORT_BUNDLE", "ANYPORT_DIGEST", "ANYPORT_TRIGGER", "ANYPORT_OUTPUT")
"""Settings that only some deployments have."""
DONE, FAILED = 4, 3
"""Of a deployment's status (https://github.com/projectkudu/kudu/wiki/REST-API#deployment)."""


@contextmanager
def connect(artifact: Artifact, facts: Facts, live: Live) -> Iterator[Running]:
    """The user's own app, by its name or at a URL, asked for this very model."""
    bundle = read(artifact.path / "bundle")
    prefix = f"/{facts.prefix}" if facts.prefix else ""
    if live.url:
        where, key, name, strength = live.url, key_of(live), "a function app", proof("", live)
    elif live.function:
        app = App(live)
        where = app.url() + prefix
        key, name, strength = app.key(), f"Azure function app {live.function}", proof(where, live)
    else:
        raise Mistake("which function app?", fix="--live function=NAME, or --live url=https://…")
    headers = {"x-functions-key": key} if key else {}
    with HttpPredictor(where, bundle.signature, headers=headers, timeout=300) as predictor:
        if live.function:
            awake(predictor)
        said = serving(predictor, bundle)
        yield Running(predictor, Engine(name, f"{said.server} {said.version}", predictor.url, strength))


def awake(predictor: HttpPredictor) -> None:
    """Wait while the host has not begun with a package that was published just now."""
    until = time.monotonic() + BEGUN
    while time.monotonic() < until:
        try:
            status, _, _ = predictor.request("GET", f"{predictor.prefix}/readyz", None)
        except Unreachable:
            status = 503
        if status not in (404, 502, 503):
            return
        time.sleep(PAUSE)


def proof(where: str, live: Live) -> Proof:
    """`live` only where Azure itself answers, or what the user says is theirs."""
    host = urlsplit(where).hostname or ""
    return "live" if live.url or host.endswith(".azurewebsites.net") or not live.endpoint_url else "stand-in"


def key_of(live: Live) -> str:
    """The function key in a file."""
    if not live.key_file:
        return ""
    try:
        return Path(live.key_file).read_text("utf-8").split("\n")[0].strip()
    except OSError as error:
        raise Mistake(f"the key cannot be read: {live.key_file}: {error.strerror}") from error


def library(module: str) -> Any:
    """One of Microsoft's libraries; Missing with the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Missing(f"{error.name} is not installed here", fix="pip install 'anyport[azure]'") from error


def subscription(live: Live) -> str:
    """The subscription. Mistake where none is named."""
    found = live.subscription or os.environ.get("AZURE_SUBSCRIPTION_ID", "")
    if not found or not live.group:
        lacking = "subscription" if not found else "group"
        raise Mistake(f"in which {lacking}?", fix=f"add --live {lacking}=…")
    return found


def credential(live: Live) -> Any:
    """The caller's own; for what stands in for Azure, one that says nothing."""
    if live.endpoint_url:
        return None
    return library("azure.identity").DefaultAzureCredential()


def client(kind: str, live: Live) -> Any:
    """Microsoft's client of a service: web, or storage."""
    name = {"web": "WebSiteManagementClient", "storage": "StorageManagementClient"}[kind]
    made = getattr(library(f"azure.mgmt.{kind}"), name)
    if not live.endpoint_url:
        return made(credential(live), subscription(live))
    policy = library("azure.core.pipeline.policies").SansIOHTTPPolicy()
    return made(object(), subscription(live), base_url=live.endpoint_url, authentication_policy=policy,
                polling_interval=0)  # fmt: skip


class App:
    """A function app on Flex Consumption, by what stands beside its resource: its package, its keys, its settings."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.web = client("web", live)

    def site(self) -> Any | None:
        """The app, or None."""
        try:
            return told(lambda: self.web.web_apps.get(self.live.group, self.live.function))
        except NotThere:
            return None

    def there(self) -> Any:
        """The app. NotThere where there is none."""
        found = self.site()
        if found is None:
            raise NotThere(f"there is no function app {self.live.function} in {self.live.group}",
                           fix="anyport deploy makes it")  # fmt: skip
        return found

    def url(self) -> str:
        """Where it answers."""
        scheme = urlsplit(self.live.endpoint_url).scheme or "https"
        return f"{scheme}://{self.there().default_host_name}"

    def key(self) -> str:
        """A key that its functions take."""
        found = told(lambda: self.web.web_apps.list_host_keys(self.live.group, self.live.function))
        return str((found.function_keys or {}).get("default") or found.master_key or "")

    def settings(self, said: Mapping[str, str], *, write: bool = True) -> dict[str, str]:
        """Set some of the app's settings, and leave the others, but for those of ours that would stay from another
        deployment; gives what these were before."""
        where = self.live.group, self.live.function
        held = dict(told(lambda: self.web.web_apps.list_application_settings(*where)).properties or {})
        before = {name: held[name] for name in (*said, *OWN) if name in held}
        if write:
            wanted = {"properties": {**{k: v for k, v in held.items() if k not in OWN}, **said}}
            told(lambda: self.web.web_apps.update_application_settings(*where, wanted))
        return before

    def connection(self, account: str) -> dict[str, str]:
        """How the app reaches its storage account."""
        storage = client("storage", self.live)
        keys = told(lambda: storage.storage_accounts.list_keys(self.live.group, account)).keys_property
        parts = ("DefaultEndpointsProtocol=https", f"AccountName={account}", f"AccountKey={keys[0].value}",
                 "EndpointSuffix=core.windows.net")  # fmt: skip
        return {"string": ";".join(parts)}

    def publish(self, body: File) -> None:
        """Have a package built and run
        (https://learn.microsoft.com/azure/azure-functions/functions-deployment-technologies#one-deploy)."""
        self._publish(body.path.read_bytes())

    def publish_before(self) -> None:
        """The package that `keep` has kept, again."""
        self._publish(self._blob("GET", BEFORE).content)

    def keep(self) -> None:
        """Keep the package that runs, beside it, so that it can be published again."""
        source, _ = self._place(RELEASED)
        self._blob("PUT", BEFORE, {"x-ms-copy-source": source})

    def kept(self) -> bool:
        """Whether there is a package that was kept."""
        try:
            self._blob("HEAD", BEFORE)
        except NotThere:
            return False
        return True

    def put(self, container: str, name: str, body: File) -> None:
        """Write a blob, whole or not at all, of at most 5,000 MiB
        (https://learn.microsoft.com/rest/api/storageservices/put-blob)."""
        with body.path.open("rb") as source:
            self._blob("PUT", name, {"x-ms-blob-type": "BlockBlob"}, source, container=container)

    def remove(self, container: str, name: str) -> None:
        """Delete a blob."""
        self._blob("DELETE", name, container=container)

    def account(self) -> str:
        """The storage account that holds the app's package."""
        return self._place(RELEASED)[1]

    def listens(self) -> bool:
        """Whether Event Grid tells the app of new blobs."""
        try:
            sent("GET", self._subscription(), self._bearer())
        except NotThere:
            return False
        return True

    def listen(self, subject: str) -> None:
        """Have Event Grid tell the app of new blobs whose subject begins so
        (https://learn.microsoft.com/azure/azure-functions/functions-event-grid-blob-trigger). Event Grid asks the app
        first whether it wants to be told; ServerError where it does not answer."""
        key = quote(self._system_key(), safe="")
        where = f"{self.url()}/runtime/webhooks/blobs?functionName=Host.Functions.{BLOB}&code={key}"
        said = {"properties": {
            "destination": {"endpointType": "WebHook", "properties": {"endpointUrl": where}},
            "filter": {"includedEventTypes": ["Microsoft.Storage.BlobCreated"], "subjectBeginsWith": subject},
            "eventDeliverySchema": "EventGridSchema",
        }}  # fmt: skip
        headers = {"Content-Type": "application/json", **self._bearer()}
        state = sent("PUT", self._subscription(), headers, json.dumps(said).encode()).json()
        until = time.monotonic() + SECONDS
        while (at := state.get("properties", {}).get("provisioningState")) not in ("Succeeded", None):
            if at in ("Failed", "Canceled") or time.monotonic() > until:
                raise ServerError(f"Event Grid does not tell {self.live.function} of new blobs: {at}")
            time.sleep(PAUSE)
            state = sent("GET", self._subscription(), self._bearer()).json()

    def deaf(self) -> None:
        """Have Event Grid tell it no more."""
        sent("DELETE", self._subscription(), self._bearer())

    def _system_key(self) -> str:
        """The key by which Event Grid may call: the host makes it when it first begins with a trigger on blobs."""
        until = time.monotonic() + BEGUN
        while True:
            found = told(lambda: self.web.web_apps.list_host_keys(self.live.group, self.live.function))
            key = (found.system_keys or {}).get("blobs_extension")
            if key:
                return str(key)
            if time.monotonic() > until:
                raise ServerError(f"{self.live.function} has no key blobs_extension: its host has not begun",
                                  fix="anyport deploy again")  # fmt: skip
            time.sleep(PAUSE)

    def _subscription(self) -> str:
        """Event Grid's subscription to the app's storage account
        (https://learn.microsoft.com/rest/api/eventgrid/controlplane/event-subscriptions/create-or-update)."""
        base = self.live.endpoint_url.rstrip("/") or "https://management.azure.com"
        account = f"providers/Microsoft.Storage/storageAccounts/{self.account()}"
        name = f"anyport-{self.live.function}"[:64]
        return (
            f"{base}/subscriptions/{subscription(self.live)}/resourceGroups/{self.live.group}/{account}/providers/"
            f"Microsoft.EventGrid/eventSubscriptions/{name}?api-version=2022-06-15"
        )

    def _publish(self, package: bytes) -> None:
        scm = next(s.name for s in self.there().host_name_ssl_states if s.host_type == "Repository")
        base = f"{urlsplit(self.live.endpoint_url).scheme or 'https'}://{scm}"
        headers = {"Content-Type": "application/zip", **self._bearer()}
        where = f"{base}/api/publish?RemoteBuild=true&Deployer=anyport"
        reply = sent("POST", where, headers, package)
        key = str(reply.json()) if reply.content.strip().startswith(b'"') else "latest"
        until = time.monotonic() + SECONDS
        while True:
            said = sent("GET", f"{base}/api/deployments/{key}", self._bearer()).json()
            if said.get("status") == DONE:
                return
            if said.get("status") == FAILED:
                raise ServerError(f"Azure did not build the package: {said.get('status_text') or said.get('message')}")
            if time.monotonic() > until:
                raise ServerError(f"Azure had not built the package after {SECONDS} seconds")
            time.sleep(PAUSE)

    def _bearer(self) -> dict[str, str]:
        if self.live.endpoint_url:
            return {}
        token = told(lambda: credential(self.live).get_token(ARM))
        return {"Authorization": f"Bearer {token.token}"}

    def _place(self, name: str, container: str = "") -> tuple[str, str]:
        """Where a blob lies, beside the app's package or in another container, signed for some minutes; its account."""
        where = self.there().function_app_config.deployment.storage.value.rstrip("/")
        if container:
            where = f"{where.rpartition('/')[0]}/{container}"
        host = urlsplit(where).hostname or ""
        account = self.live.storage or host.partition(".")[0]
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 900))
        wanted = {"signedServices": "b", "signedResourceTypes": "o", "signedPermission": "rwcd", "signedExpiry": until}
        storage = client("storage", self.live)
        signed = told(lambda: storage.storage_accounts.list_account_sas(self.live.group, account, wanted))
        return f"{where}/{name}?{signed.account_sas_token}", account

    def _blob(
        self, method: str, name: str, headers: Mapping[str, str] | None = None, body: IO[bytes] | None = None, *,
        container: str = "",
    ) -> Any:  # fmt: skip
        where, _ = self._place(name, container)
        return sent(method, where, {"x-ms-version": "2023-11-03", **(headers or {})}, body)


def sent(method: str, where: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None) -> Any:
    """A reply to a plain request; what is refused, as the error that it is."""
    library("requests")
    import requests

    try:
        reply = requests.request(method, where, headers=dict(headers), data=body, timeout=600)
    except requests.RequestException as error:
        raise Unreachable(f"{urlsplit(where).hostname} cannot be asked: {error}") from error
    if reply.status_code >= 400:
        what = f"{method} {where.partition('?')[0]}: {reply.status_code}: {reply.text[:300]}"
        raise in_words(reply.status_code, what)
    return reply


def told(ask: Callable[[], Any]) -> Any:
    """What Azure answers, its errors as ours."""
    wrong = library("azure.core.exceptions")
    try:
        return ask()
    except wrong.ClientAuthenticationError as error:
        raise Unauthorized(f"Azure was not asked: {error.message}", fix="az login") from error
    except wrong.HttpResponseError as error:
        raise in_words(error.status_code or 500, error.message.partition("\n")[0]) from error
    except wrong.AzureError as error:
        raise Unreachable(f"Azure cannot be reached: {error.message}") from error


def in_words(status: int, what: str) -> AnyportError:
    """Azure's refusal as the error that it is."""
    if status in (401, 403):
        return Unauthorized(what, fix="the caller needs the right to do this: Contributor of the resource group")
    if status == 404:
        return NotThere(what)
    return Mistake(what) if 400 <= status < 500 else ServerError(what)


@contextmanager
def calls(live: Live) -> Iterator[Caller]:
    """What makes a plan's calls: `web.GROUP` and `storage.GROUP` are Microsoft's clients, `app` is ours."""
    kept: dict[str, Any] = {}

    def call(what: Call) -> Any:
        kind, _, group = what.service.partition(".")
        if kind not in kept:
            kept[kind] = App(live) if kind == "app" else client(kind, live)
        api = getattr(kept[kind], group) if group else kept[kind]
        answer = told(lambda: getattr(api, what.method)(**what.params))
        return told(answer.result) if hasattr(answer, "result") else answer

    yield call
