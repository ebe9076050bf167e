"""Serving bundles over HTTP: `run` blocks until it is asked to stop."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
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
    from anyport import bundle
    from anyport.serve import keys
    from anyport.serve.app import App
    from anyport.serve.metrics import Metrics
    from anyport.serve.model import Served
    from anyport.serve.server import bind, serve_one
    from anyport.serve.settings import Settings
    from anyport.serve.site import Site
    from anyport.serve.workers import Workers

    settings = settings or Settings()
    workers = settings.workers
    if settings.contract == "sagemaker" and workers > 1:
        what = "with --contract sagemaker models are loaded by requests, which one worker alone would hear of"
        raise Mistake(what, fix="--workers 1, and --threads for large models")
    if not bundles and settings.contract != "sagemaker":
        raise Mistake("nothing to serve", fix="anyport serve BUNDLE")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    read = [bundle.read(holding(Path(path))) for path in bundles]
    named = [(one.name, one.version) for one in read]
    for twice in {name for name in named if named.count(name) > 1}:
        raise Mistake(f"{twice[0]} version {twice[1]} is given twice", fix="pack one of them with another --version")
    closing = ExitStack()
    calls = ""
    if settings.grpc_port is not None:
        from anyport.serve import rpc

        settings = closing.enter_context(rpc.reserved(settings))
        calls = rpc.address(settings)
    metrics = Metrics(named, workers)
    models = [Served(one, metrics.slot(i, 0)) for i, one in enumerate(read)]
    app = App(Site(models, metrics, settings, keys.read(settings.api_key_file) if settings.api_key_file else None))
    if trust is None and any(model.bundle.form == "python" for model in models):
        from anyport.trust import held

        trust = held()
    graphs = [model for model in models if model.bundle.form == "graph"]

    def load(chosen: Sequence[Served]) -> None:
        for model in chosen:
            if model.predictor is None:
                model.load(trust=trust, threads=settings.threads)

    # graphs are quick to load, and a mistake should end us before anyone could connect
    load(graphs)
    listening = bind(settings.host, settings.port)
    where = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{listening.getsockname()[1]}"

    def ready() -> None:
        announce(where, [f"{name} {version}" for name, version in named], json=json, grpc=calls)

    def one(number: int, say: Callable[[], None]) -> None:
        app.site.host = metrics.host(number)
        for i, model in enumerate(models):
            model.slot = metrics.slot(i, number)
        # Python models are loaded after the fork: OpenMP does not survive one, ORT with one thread does
        serve_one(app, [listening], lambda: load(models), say)

    with closing:
        if workers == 1:
            serve_one(app, [listening], lambda: load(models), ready)
        else:
            Workers(workers, one).run(ready)


def holding(path: Path) -> Path:
    """The bundle that `path` is or, as an artefact, holds."""
    return path / "bundle" if (path / "anyport.json").is_file() and (path / "bundle").is_dir() else path


def announce(url: str, models: Sequence[str], *, json: bool, grpc: str = "") -> None:
    """Say that all models answer, and where."""
    if json:
        import msgspec

        said = {"url": url, "pid": os.getpid(), "models": models} | ({"grpc": grpc} if grpc else {})
        print(msgspec.json.encode(said).decode(), flush=True)
    else:
        calls = f"   gRPC {grpc}" if grpc else ""
        print(f"serving {', '.join(models)} at {url}   POST {url}/predict{calls}   Ctrl-C stops", flush=True)
