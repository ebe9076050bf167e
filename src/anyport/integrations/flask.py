"""Flask: `blueprint(bundle)` is a Blueprint whose routes answer as our server does, in an application of the user's.

app.register_blueprint(blueprint("churn.anyport"), url_prefix="/churn")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anyport.bundle import Bundle
from anyport.errors import need
from anyport.integrations.mounted import LIVE, Mounted, asked, mounted
from anyport.serve.reply import Reply
from anyport.trust import Trust

if TYPE_CHECKING:
    from flask import Blueprint, Request, Response

__all__ = ["Mounted", "blueprint"]


def blueprint(
    bundle: Mounted | Bundle | Path | str,
    *,
    name: str = "",
    url_prefix: str | None = None,
    trust: Trust | None = None,
    threads: int = 1,
) -> Blueprint:
    """POST /predict, GET /signature, /livez and /readyz under `url_prefix`.

    POST /predict takes and gives exactly the bytes that our server's does: one row, a list of rows or columns;
    422 lists every bad cell; `?partial=true`. The first question loads the model, in the process that answers it.
    `name` is the blueprint's (default: the bundle's), which must differ where one application has two of them;
    `trust` and `threads` are Mounted's, for a bundle that is not Mounted yet. Missing where Flask is not installed.
    """
    need("flask")
    from flask import Blueprint, Response, request

    model = mounted(bundle, trust=trust, threads=threads)
    # Flask splits endpoint names at dots
    made = Blueprint((name or model.name).replace(".", "_"), __name__, url_prefix=url_prefix)

    def sent(reply: Reply) -> Response:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers]
        return Response(reply.body, reply.status, headers, content_type=reply.kind.decode("latin-1"))

    def predict() -> Response:
        said = asked(request.method, request.path, request.query_string, request.headers.items())
        return sent(model.answer(said, limited(request, model.max_body)))

    def signature() -> Response:
        return sent(model.described())

    def livez() -> Response:
        return sent(LIVE)

    def readyz() -> Response:
        return sent(model.ready())

    made.add_url_rule("/predict", view_func=predict, methods=["POST"])
    for view in (signature, livez, readyz):
        made.add_url_rule(f"/{view.__name__}", view_func=view, methods=["GET"])
    return made


def limited(request: Request, most: int) -> bytes | None:
    """The request's body, or None where it is longer than `most` bytes, or than the application itself allows."""
    from werkzeug.exceptions import RequestEntityTooLarge

    if request.max_content_length is None or request.max_content_length > most:
        request.max_content_length = most
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge:
        return None
