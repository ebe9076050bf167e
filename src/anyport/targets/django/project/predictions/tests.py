"""The application answers as the original model did, and refuses what that refused."""

from django.test import SimpleTestCase

from anyport.integrations.replay import replay
from predictions.model import model
from predictions.serializers import RowSerializer


class Predictions(SimpleTestCase):
    def test_the_golden_rows_are_answered_as_the_original_did(self) -> None:
        def post(body: bytes) -> tuple[int, bytes]:
            reply = self.client.post("/predict?partial=true", data=body, content_type="application/json")
            return reply.status_code, reply.content

        found = replay(model, post)
        assert found.rows > 0
        assert found.ok, found.says()

    def test_it_is_ready(self) -> None:
        reply = self.client.get("/readyz")
        assert reply.status_code == 200
        assert reply.json()["models"][0]["digest"] == model.bundle.digest

    def test_a_row_without_its_columns_is_refused(self) -> None:
        reply = self.client.post("/predict", data=b"{}", content_type="application/json")
        assert reply.status_code == 422
        named = [field.name for field in model.signature.inputs]
        assert [error["column"] for error in reply.json()["errors"]] == named

    def test_the_serializer_takes_the_example_and_refuses_less(self) -> None:
        row = model.example()
        assert RowSerializer(data=row).is_valid()
        first = model.signature.inputs[0].name
        refused = RowSerializer(data={name: cell for name, cell in row.items() if name != first})
        assert not refused.is_valid()
        assert first in refused.errors
