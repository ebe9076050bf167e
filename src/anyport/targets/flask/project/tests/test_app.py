"""The application answers as the original model did, and refuses what that refused."""

import pytest
from app import create_app
from flask import Flask
from flask.testing import FlaskClient


@pytest.fixture(scope="module")
def app() -> Flask:
    made: Flask = create_app({"TESTING": True, "PREFIX": "/model"})
    return made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_the_golden_rows_are_answered_as_the_original_did(app: Flask, client: FlaskClient) -> None:
    from anyport.integrations.replay import replay

    def post(body: bytes) -> tuple[int, bytes]:
        reply = client.post("/model/predict?partial=true", data=body, content_type="application/json")
        return reply.status_code, reply.data

    found = replay(app.extensions["model"], post)
    assert found.rows > 0
    assert found.ok, found.says()


def test_it_is_ready(app: Flask, client: FlaskClient) -> None:
    reply = client.get("/model/readyz")
    assert reply.status_code == 200
    assert reply.json is not None
    assert reply.json["models"][0]["digest"] == app.extensions["model"].bundle.digest


def test_a_row_without_its_columns_is_refused(app: Flask, client: FlaskClient) -> None:
    reply = client.post("/model/predict", data=b"{}", content_type="application/json")
    assert reply.status_code == 422
    assert reply.json is not None
    named = [field.name for field in app.extensions["model"].signature.inputs]
    assert [error["column"] for error in reply.json["errors"]] == named
