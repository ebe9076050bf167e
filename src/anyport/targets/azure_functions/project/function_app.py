"""The function app: every route of anyport's server, and what a trigger names; see anyport/functions/azure."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# who deploys a model of form python wants just this one opened: config/anyport/packed names it
os.environ["XDG_CONFIG_HOME"] = os.path.join(HERE, "config")
sys.path.insert(0, os.path.join(HERE, "runtime"))

from pathlib import Path  # noqa: E402

import azure.functions as func  # noqa: E402

from anyport.functions.azure import events, web  # noqa: E402
from anyport.functions.fetch import place  # noqa: E402
from anyport.functions.front import Front  # noqa: E402

HOST = Path(HERE) / "host.json"
PREFIX = web.prefix(HOST)
EVENTS = func.BlobSource.EVENT_GRID  # Flex Consumption knows no other
STORAGE = "AzureWebJobsStorage"
"""The setting that says where queues and containers are."""

front = Front(place(Path(HERE) / "bundle"))
front.load()
watched, out = events.given()
app = func.FunctionApp(http_auth_level=func.AuthLevel[web.level()])


@app.function_name("answer")
@app.route(route="{*path}", methods=web.METHODS)
async def answer(req: func.HttpRequest) -> func.HttpResponse:
    """Every route of anyport's server."""
    return await web.answer(front, req, PREFIX)


if watched is not None and out is not None and watched.kind == "queue" and out.kind == "queue":

    @app.function_name("message")
    @app.queue_trigger(arg_name="message", queue_name=watched.name, connection=STORAGE)
    @app.queue_output(arg_name="answers", queue_name=out.name, connection=STORAGE)
    async def message_to_queue(message: func.QueueMessage, answers: func.Out[str]) -> None:
        """A message's rows, answered into another queue."""
        await events.message_to_queue(front, message, answers)


elif watched is not None and out is not None and watched.kind == "queue":

    @app.function_name("message")
    @app.queue_trigger(arg_name="message", queue_name=watched.name, connection=STORAGE)
    @app.blob_output(arg_name="answers", path=f"{out.path}{{id}}.json", connection=STORAGE)
    async def message_to_blob(message: func.QueueMessage, answers: func.Out[str]) -> None:
        """A message's rows, answered into a blob that is named by the message."""
        await events.message(front, message, answers)


elif watched is not None and out is not None:

    @app.function_name("blob")
    @app.blob_trigger(arg_name="rows", path=f"{watched.path}{{name}}", connection=STORAGE, source=EVENTS)
    @app.blob_output(arg_name="answers", path=f"{out.path}{{name}}", connection=STORAGE)
    @app.blob_output(arg_name="rejects", path=f"{out.path}{{name}}.rejects.jsonl", connection=STORAGE)
    @app.blob_output(arg_name="failed", path=f"{out.path}{{name}}.error.json", connection=STORAGE)
    async def blob(
        rows: func.InputStream, answers: func.Out[bytes], rejects: func.Out[bytes], failed: func.Out[str]
    ) -> None:
        """A new blob's rows, answered into another."""
        await events.blob(front, rows, answers, rejects, failed, most=events.seconds(HOST))
