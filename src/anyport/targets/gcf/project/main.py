"""Two functions: `answer` is asked over HTTP, `event` is told of messages and objects; see anyport/functions/google."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# who deploys a model of form python wants just this one opened: config/anyport/packed names it
os.environ["XDG_CONFIG_HOME"] = os.path.join(HERE, "config")
sys.path.insert(0, os.path.join(HERE, "runtime"))

from pathlib import Path  # noqa: E402

import functions_framework  # noqa: E402

from anyport.functions.fetch import place  # noqa: E402
from anyport.functions.front import Front  # noqa: E402
from anyport.functions.google import web  # noqa: E402
from anyport.functions.google.events import Listener  # noqa: E402

front = web.loaded(Front(place(Path(HERE) / "bundle")))
listener = Listener(front)


@functions_framework.http
def answer(request):  # type: ignore[no-untyped-def]
    """Every route of anyport's server."""
    return web.answer(front, request)


@functions_framework.cloud_event
def event(event):  # type: ignore[no-untyped-def]
    """A message of Pub/Sub, or an object that is new in Storage."""
    listener(event)
