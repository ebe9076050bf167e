"""A vendor's REST interface asked with the standard library, its refusals as our errors."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from anyport.errors import AnyportError, Mistake, NotThere, ServerError, Unauthorized, Unreachable


def opened(
    asked: urllib.request.Request, words: Callable[[urllib.error.HTTPError, str], str], *, right: str, seconds: float
) -> Any:
    """The reply to a request, to be closed. `words` finds in a refusal and its body what the vendor says; `right` is
    what the user does about a right that is lacking."""
    try:
        return urllib.request.urlopen(asked, timeout=seconds)
    except urllib.error.HTTPError as error:
        raise refusal(error, asked, words, right) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{asked.host} cannot be asked: {error}") from error


def refusal(
    error: urllib.error.HTTPError, asked: urllib.request.Request,
    words: Callable[[urllib.error.HTTPError, str], str], right: str,
) -> AnyportError:  # fmt: skip
    """A refusal as the error that it is."""
    with error:
        text = error.read(4096).decode("utf-8", "replace")
    said = words(error, text) or text.strip() or error.reason
    what = f"{asked.get_method()} {asked.host}{asked.selector.partition('?')[0]}: {error.code}: {said}"
    if error.code in (401, 403):
        return Unauthorized(what, fix=right)
    kinds: dict[int, type[AnyportError]] = {404: NotThere, 408: ServerError, 429: ServerError}
    return kinds.get(error.code, Mistake if error.code < 500 else ServerError)(what)
