"""The application answers as the original model did, and refuses what that refused."""

from collections.abc import Iterator

import pytest
from app.main import app, model, settings
from fastapi.testclient import TestClient

from anyport.integrations.replay import replay

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(app, base_url=f"http://testserver{settings.prefix}") as client:
        yield client


def test_the_golden_rows_are_answered_as_the_original_did(client: TestClient) -> None:
    def post(body: bytes) -> tuple[int, bytes]:
        reply = client.post("predict?partial=true", content=body, headers=JSON)
        return reply.status_code, reply.content

    found = replay(model, post)
    assert found.rows > 0
    assert found.ok, found.says()


def test_it_is_ready(client: TestClient) -> None:
    reply = client.get("readyz")
    assert reply.status_code == 200
    assert reply.json()["models"][0]["digest"] == model.bundle.digest


def test_a_row_without_its_columns_is_refused(client: TestClient) -> None:
    reply = client.post("predict", content=b"{}", headers=JSON)
    assert reply.status_code == 422
    assert [error["column"] for error in reply.json()["errors"]] == [field.name for field in model.signature.inputs]


def test_the_document_names_the_columns() -> None:
    body = app.openapi()["paths"][f"{settings.prefix}/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert list(body["schema"]["oneOf"][0]["properties"]) == [field.name for field in model.signature.inputs]
