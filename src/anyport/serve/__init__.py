"""Serving bundles over HTTP: `run` blocks until it is asked to stop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from anyport.errors import Mistake, need

if TYPE_CHECKING:
    from anyport.serve.settings import Settings
    from anyport.trust import Trust


def run(
    bundles: Sequence[Path | str], settings: Settings | None = None, *, trust: Trust | None = None, json: bool = False
) -> None:
    """Serve bundles (or artefacts, which hold one) until SIGTERM or SIGINT, then let every answer out and return.

    When the models are warm, one line says where: for people, or with `json` for programs
    (`{"url": …, "pid": …, "models": […]}`). The first bundle is also at /predict.
    """
    need("uvicorn")
    need("httptools")
    import msgspec

    from anyport.serve import guard, logs, record, tls
    from anyport.serve.app import App
    from anyport.serve.control import Control
    from anyport.serve.deployment import Deployment
    from anyport.serve.messages import Line
    from anyport.serve.metrics import Metrics
    from anyport.serve.model import Served
    from anyport.serve.plan import Entry, Plan
    from anyport.serve.server import bind, serve_one
    from anyport.serve.settings import Settings
    from anyport.serve.site import Site
    from anyport.serve.workers import Workers

    settings = settings or Settings()
    workers = settings.workers
    if not bundles and settings.contract != "sagemaker":  # there, requests load the models
        raise Mistake("nothing to serve", fix="anyport serve BUNDLE")
    logs.begin(settings.log_format)
    if settings.otel:
        need("opentelemetry.sdk")
    secure = tls.context(settings)
    settings = msgspec.structs.replace(settings, max_connections=guard.room(settings.max_connections))
    closing = ExitStack()
    calls = ""
    if settings.grpc_port is not None:
        from anyport.serve import rpc

        settings = closing.enter_context(rpc.reserved(settings))
        calls = rpc.address(settings)
    site = Site((), Metrics((), workers), settings)
    deployment = Deployment(site, trust=trust)
    site.keys, site.admin = deployment.keys()

    def here(model: Served) -> bool:
        # Python models are loaded after the fork: OpenMP does not survive one, ORT with one thread does
        return model.bundle.form == "graph" and (workers == 1 or settings.threads == 1)

    # graphs are quick to load, and a mistake should end us before anyone could connect
    deployment.loads = here
    deployment.prepare(Plan(tuple(Entry(str(Path(path).absolute())) for path in bundles), generation=1))
    deployment.commit()
    deployment.before = None
    record.check(settings, [field.name for model in site.models for field in model.signature.inputs])
    listening = bind(settings.host, settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"{'https' if secure else 'http'}://{host}:{listening.getsockname()[1]}"
    app = App(site)
    if secure is not None:
        app.reread.append(lambda: tls.again(secure, settings))

    def ready() -> None:
        announce(where, [f"{one.name} {one.version}" for one in site.plan.models], json=json, grpc=calls)

    def one(number: int, line: Line | None) -> None:
        deployment.forked(number)
        site.host = site.metrics.host(number)
        site.control = Control(app, deployment, line)
        serve_one(
            app, [listening], lambda: deployment.load(site.models),
            ready if line is None else lambda: None,  # a worker of several says so on its line
            secure=secure, forked=line is not None,
        )  # fmt: skip

    with closing:
        if workers == 1:
            one(0, None)
        else:
            Workers(workers, deployment, one).run(ready)


def announce(url: str, models: Sequence[str], *, json: bool, grpc: str = "") -> None:
    """Say that all models answer, and where."""
    if json:
        import msgspec

        said = {"url": url, "pid": os.getpid(), "models": models} | ({"grpc": grpc} if grpc else {})
        print(msgspec.json.encode(said).decode(), flush=True)
    else:
        calls = f"   gRPC {grpc}" if grpc else ""
        print(f"serving {', '.join(models)} at {url}   POST {url}/predict{calls}   Ctrl-C stops", flush=True)
