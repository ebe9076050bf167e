"""The KServe SDK's own clients, and gRPC's own health client, ask our server and get the original's answers."""

from __future__ import annotations

import asyncio
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # kserve's own
    kserve = pytest.importorskip("kserve", reason="runs in .envs/kserve: make test-slow")

import grpc
import httpx
import served
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving import Process, process

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

MODEL = served.fitted()
ROWS = served.rows(40, seed=21)
ANSWERS = served.ask(MODEL, ROWS)
WITHIN = 60
"""Seconds of one test: no wait here is without an end."""
KINDS = {"age": "FP64", "rooms": "INT64", "home city": "BYTES", "plan": "BYTES", "owner": "BOOL"}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with process(served.bundle(tmp_path_factory.mktemp("kserve") / "homes", MODEL)) as running:
        yield running


def request(*, binary: bool, rows: list[dict[str, Any]] = ROWS, wanted: bool | None = None) -> Any:
    inputs = []
    for name, kind in KINDS.items():
        cells = [row[name] for row in rows]
        gone = math.nan if kind == "FP64" else "-"
        dtype = {"FP64": np.float64, "INT64": np.int64, "BYTES": object, "BOOL": bool}[kind]
        one = kserve.InferInput(name, [len(rows)], kind, parameters={"missing": "-"} if kind == "BYTES" else None)
        one.set_data_from_numpy(np.array([gone if cell is None else cell for cell in cells], dtype), binary_data=binary)
        inputs.append(one)
    parameters = None if wanted is None else {"binary_data_output": wanted}
    return kserve.InferRequest("homes", inputs, request_id="k 1", parameters=parameters)


def same(response: Any) -> None:
    assert response.model_name == "homes"
    assert response.id == "k 1"
    found = {one.name: one.as_numpy() for one in response.outputs}
    labels = [cell.decode() if isinstance(cell, bytes) else cell for cell in found["prediction"].tolist()]
    assert labels == [answer["prediction"] for answer in ANSWERS]
    expected = np.array([list(answer["probability"].values()) for answer in ANSWERS])
    np.testing.assert_allclose(found["probability"], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("wanted", [True, False, None])
def test_the_rest_client(homes: Process, binary: bool, wanted: bool | None) -> None:
    async def ask() -> None:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", retries=0, timeout=20)) as client:
            assert await client.is_server_live(homes.url)
            assert await client.is_server_ready(homes.url)
            assert await client.is_model_ready(homes.url, "homes")
            assert not await client.is_model_ready(homes.url, "flats")
            same(await client.infer(homes.url, request(binary=binary, wanted=wanted), model_name="homes"))
            bad = request(binary=binary, rows=[{**ROWS[0], "plan": "silver"}])
            with pytest.raises(httpx.HTTPStatusError, match="422"):
                await client.infer(homes.url, bad, model_name="homes")

    asyncio.run(asyncio.wait_for(ask(), WITHIN))


@pytest.mark.parametrize("binary", [True, False])
def test_the_grpc_client(homes: Process, binary: bool) -> None:
    async def ask() -> None:
        async with kserve.InferenceGRPCClient(homes.grpc, retries=0, timeout=20) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("homes")
            same(await client.infer(request(binary=binary)))
            with pytest.raises(grpc.RpcError) as failed:
                await client.infer(request(binary=binary, rows=[{**ROWS[0], "plan": "silver"}]))
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "row 0, column 'plan'" in failed.value.details()

    asyncio.run(asyncio.wait_for(ask(), WITHIN))


def test_grpcs_own_health_client(homes: Process) -> None:
    with grpc.insecure_channel(homes.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            said = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert said.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as failed:
            stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
