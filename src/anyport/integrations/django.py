"""Django REST Framework: `urls(bundle)` for include(), the APIView behind it, and a serializer made from the signature.

urlpatterns = [path("churn/", include(urls("churn.anyport")))]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport import codec
from anyport.bundle import Bundle
from anyport.errors import BadData, need
from anyport.integrations.mounted import LIVE, Mounted, asked, mounted
from anyport.serve.reply import Reply
from anyport.signature import Field, Signature
from anyport.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Mounted", "predict_view", "row_serializer", "urls"]


def urls(
    bundle: Mounted | Bundle | Path | str, *, view: Any = None, trust: Trust | None = None, threads: int = 1
) -> list[Any]:  # fmt: skip
    """URL patterns of POST predict, GET signature, livez and readyz, named NAME-predict and so on.

    POST predict takes and gives exactly the bytes that our server's does: one row, a list of rows or columns; 422
    lists every bad cell; `?partial=true`. Authentication, permissions and throttling are the project's REST_FRAMEWORK
    settings; probes need none. The first question loads the model, in the process that answers it. `view` is the
    project's own subclass of `predict_view`; `trust` and `threads` are Mounted's, for a bundle that is not Mounted
    yet. Missing where a library is not installed.
    """
    need("django")
    need("rest_framework")
    from django.http import HttpRequest, HttpResponse
    from django.urls import path
    from django.views.decorators.http import require_safe

    model = mounted(bundle, trust=trust, threads=threads)

    def signature(request: HttpRequest) -> HttpResponse:
        return sent(model.described())

    def livez(request: HttpRequest) -> HttpResponse:
        return sent(LIVE)

    def readyz(request: HttpRequest) -> HttpResponse:
        return sent(model.ready())

    asking: list[Callable[[HttpRequest], HttpResponse]] = [signature, livez, readyz]
    return [
        path("predict", (view or predict_view(model)).as_view(), name=f"{model.name}-predict"),
        *(path(one.__name__, require_safe(one), name=f"{model.name}-{one.__name__}") for one in asking),
    ]


def predict_view(model: Mounted) -> Any:
    """The APIView of POST predict, a class; subclass it for permissions or throttles of its own."""
    from rest_framework.renderers import JSONRenderer
    from rest_framework.views import APIView

    serializer = row_serializer(model.signature)

    class Predict(APIView):  # type: ignore[misc, unused-ignore]
        """One row, a list of rows, or columns; the answer has the form of the question."""

        renderer_classes = (JSONRenderer,)
        serializer_class = serializer

        def perform_content_negotiation(self, request: Any, force: bool = False) -> Any:
            """Whatever the Accept header says: the answer is JSON."""
            return super().perform_content_negotiation(request, force=True)

        def get_serializer(self) -> Any:
            """An empty row: OPTIONS describes the columns by it."""
            return serializer()

        def post(self, request: Any) -> Any:
            """The answers."""
            django = request._request
            query = django.META.get("QUERY_STRING", "").encode("latin-1")
            body = django.read(model.max_body + 1)  # .body would stop at DATA_UPLOAD_MAX_MEMORY_SIZE, with a 400
            said = asked(request.method, request.path, query, request.headers.items())
            return sent(model.answer(said, body if len(body) <= model.max_body else None))

    return Predict


def sent(reply: Reply) -> Any:
    """A reply as Django's response."""
    from django.http import HttpResponse

    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reply.headers}
    return HttpResponse(reply.body, reply.kind.decode("latin-1"), reply.status, headers=headers)


def row_serializer(signature: Signature, name: str = "Row") -> Any:
    """A Serializer class of one row: its fields describe the columns, and it refuses exactly what POST predict does.

    `errors` holds, by column, `expected …, got …` ("non_field_errors" where the row is no object). With many=True it
    takes a list. `validated_data` is a row as `Mounted.ask` takes it.
    """
    need("rest_framework")
    from rest_framework import serializers
    from rest_framework.settings import api_settings

    class Row(serializers.Serializer):  # type: ignore[misc, unused-ignore]
        def to_internal_value(self, data: Any) -> Any:
            """The row; ValidationError with every column that the codec refuses."""
            said: dict[str, list[str]] = {}
            try:
                refused = codec.read([data], signature).refused.get(0, ())
            except BadData as error:
                raise serializers.ValidationError({api_settings.NON_FIELD_ERRORS_KEY: [error.what]}) from error
            for refusal in refused:
                column = refusal.column or api_settings.NON_FIELD_ERRORS_KEY
                said.setdefault(column, []).append(f"expected {refusal.expected}, got {refusal.got}")
            if said:
                raise serializers.ValidationError(said)
            return dict(data)

        def to_representation(self, instance: Any) -> Any:
            """The row as it is."""
            return dict(instance)

    fields = {field.name: described(field) for field in signature.inputs}
    return type(name, (Row,), {"__doc__": "One row.", **fields})


def described(field: Field) -> Any:
    """The serializer field that describes a column."""
    from rest_framework import serializers

    how: dict[str, Any] = {"allow_null": field.nullable, "required": True, "help_text": field.says()}
    bounds = {"min_value": field.low, "max_value": field.high}
    if field.shape:
        inner: Any = serializers.JSONField()
        for axis in reversed(field.shape[1:]):
            inner = serializers.ListField(child=inner, min_length=axis, max_length=axis)
        first = field.shape[0]
        return serializers.ListField(child=inner, min_length=first, max_length=first, **how)
    if field.closed and field.levels:
        return serializers.ChoiceField(choices=field.levels, **how)
    if field.dtype == "bool":
        return serializers.BooleanField(**how)
    if field.dtype == "datetime":
        return serializers.DateTimeField(**how)
    if field.is_float:
        return serializers.FloatField(**how, **bounds)
    if field.is_int:
        return serializers.IntegerField(**how, **bounds)
    kind = type(field.levels[0]) if field.levels and field.dtype == "category" else str
    by_kind = {bool: serializers.BooleanField, int: serializers.IntegerField, float: serializers.FloatField}
    if kind in by_kind:
        return by_kind[kind](**how)
    return serializers.CharField(allow_blank=True, trim_whitespace=False, **how)
