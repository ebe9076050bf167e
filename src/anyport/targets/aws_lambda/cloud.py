"""AWS itself, or what stands in for it at another address: the function asked, and the calls of a plan made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anyport.bundle import Bundle, read
from anyport.errors import AnyportError, Mistake, NotThere, ServerError, Unauthorized, Unreachable, need
from anyport.kit.endpoint import Live as Url
from anyport.kit.endpoint import reached
from anyport.plan import Caller
from anyport.target import Artifact, Call, Engine, File, Proof, Running
from anyport.targets.aws_lambda.cases import FunctionFailed, FunctionPredictor
from anyport.targets.aws_lambda.local import mine

if TYPE_CHECKING:
    from anyport.targets.aws_lambda import Live

ROLE_SECONDS = 60
"""How long a role that was just made may be unknown to Lambda."""


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's own function, by its name or at a URL, asked for this very model."""
    bundle = read(artifact.path / "bundle")
    if live.url:
        with reached(Url(live.url, live.api_key_file), bundle) as (predictor, said):
            yield Running(predictor, Engine(f"{said.server}, a function", said.version, predictor.url, "live"))
        return
    if not live.function:
        raise Mistake("which function?", fix="--live function=NAME, or --live url=https://…")
    with by_name(bundle, live) as running:
        yield running


@contextmanager
def by_name(bundle: Bundle, live: Live) -> Iterator[Running]:
    """The function, asked through Lambda's own API."""
    api, qualifier = client("lambda", live), live.qualifier or live.alias
    seen: dict[str, str] = {}

    def invoke(event: Any) -> Any:
        said = told(lambda: api.invoke(FunctionName=live.function, Qualifier=qualifier, Payload=json.dumps(event)))
        seen["version"] = said.get("ExecutedVersion", qualifier)
        payload = json.loads(said["Payload"].read() or b"null")
        if said.get("FunctionError") or (isinstance(payload, Mapping) and "errorType" in payload):
            kind = str(payload.get("errorType", said.get("FunctionError")))
            raise FunctionFailed(kind, str(payload.get("errorMessage", "")))
        return payload

    where = f"{live.function}:{qualifier} at {api.meta.endpoint_url}"
    predictor = FunctionPredictor(bundle.signature, invoke, url=where)
    mine(predictor, bundle)
    yield Running(predictor, Engine("AWS Lambda", f"version {seen['version']}", where, proof(api.meta.endpoint_url)))


def proof(endpoint: str) -> Proof:
    """`live` only where Amazon itself answers."""
    host = endpoint.partition("://")[2].partition("/")[0].partition(":")[0]
    return "live" if host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")) else "stand-in"


def client(service: str, live: Live) -> Any:
    """boto3's client of a service, in the user's region."""
    boto3 = need("boto3")
    import botocore.exceptions
    from botocore.config import Config

    # a function may compute for as long as it is allowed to
    config = Config(read_timeout=900, retries={"max_attempts": 5, "mode": "standard"})
    try:
        return boto3.client(
            service, region_name=live.region or None, endpoint_url=live.endpoint_url or None, config=config
        )
    except botocore.exceptions.NoRegionError as error:
        raise Mistake("no region is set", fix="--live region=eu-west-1, or AWS_REGION") from error
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise Mistake(f"{service} cannot be asked: {error}", fix="mend --live region and endpoint_url") from error


def told(ask: Callable[[], Any]) -> Any:
    """What AWS answers, its errors as ours."""
    import botocore.exceptions as wrong

    try:
        return ask()
    except wrong.ClientError as error:
        raise in_words(error) from error
    except (wrong.NoCredentialsError, wrong.PartialCredentialsError, wrong.TokenRetrievalError) as error:
        raise Unauthorized(f"AWS was not asked: {error}", fix="aws configure, or set AWS_PROFILE") from error
    except (wrong.EndpointConnectionError, wrong.ConnectionError, wrong.HTTPClientError) as error:
        raise Unreachable(f"AWS cannot be reached: {error}") from error
    except wrong.ParamValidationError as error:
        raise Mistake(f"AWS takes no such call: {error}") from error
    except wrong.WaiterError as error:
        raise ServerError(f"AWS did not get there: {error}") from error


def in_words(error: Any) -> AnyportError:
    """AWS's refusal, in its own words, as the error that it is."""
    said = error.response.get("Error", {})
    code, status = said.get("Code", ""), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    what = f"{error.operation_name}: {code}: {said.get('Message', error)}"
    if code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation") or status in (401, 403):
        return Unauthorized(what, fix="the caller needs the right to do this: see the policy in the README")
    if status == 404 or code in ("NoSuchEntity", "NoSuchBucket"):
        return NotThere(what)
    return Mistake(what) if 400 <= status < 500 else ServerError(what)


@contextmanager
def calls(live: Live) -> Iterator[Caller]:
    """What makes a plan's calls, and waits for what each says that it waits for."""
    clients: dict[str, Any] = {}

    def call(what: Call) -> Any:
        api = clients.setdefault(what.service, None) or client(what.service, live)
        clients[what.service] = api
        params = {name: content(value) for name, value in what.params.items()}
        until = time.monotonic() + ROLE_SECONDS
        while True:
            try:
                answer = told(lambda: getattr(api, what.method)(**params))
                break
            except Mistake as error:
                # https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html: eventually consistent
                if "cannot be assumed by Lambda" not in error.what or time.monotonic() > until:
                    raise
                time.sleep(2)
        if what.wait:
            known = {"FunctionName", "Qualifier"}
            asked = {name: value for name, value in params.items() if name in known}
            if what.wait == "published_version_active" and isinstance(answer, Mapping):
                asked["Qualifier"] = answer["Version"]
            told(lambda: api.get_waiter(what.wait).wait(**asked))
        return answer

    yield call


def content(value: Any) -> Any:
    """A parameter as boto3 takes it: a file is its bytes."""
    if isinstance(value, File):
        return value.path.read_bytes()
    if isinstance(value, Mapping):
        return {name: content(one) for name, one in value.items()}
    return [content(one) for one in value] if isinstance(value, list | tuple) else value
