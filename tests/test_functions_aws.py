"""What a Lambda function makes of every caller's events: answered as the server answers, or refused by name."""

from __future__ import annotations

import base64
import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
import served
from moto import mock_aws

from anyport.errors import Mistake
from anyport.functions.aws import events, handler, outputs, web
from anyport.functions.front import Answered, Asked, Front
from anyport.integrations.mounted import Mounted, asked
from anyport.serve.settings import Settings
from anyport.targets.aws_lambda.cases import alb, http, rest

MODEL = served.fitted()
ROWS = served.rows(20, seed=3)
REGION = "eu-west-1"
WRAPS = {"http": http, "rest": rest, "alb": alb}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("functions") / "homes", MODEL)


@pytest.fixture(scope="module")
def ask(homes: Path) -> handler.Handler:
    return handler.Handler(homes, environ={})


def context(seconds: float = 30) -> Any:
    """Lambda's context, with so much time left."""
    return SimpleNamespace(get_remaining_time_in_millis=lambda: seconds * 1e3)


def expected(rows: list[dict[str, Any]]) -> list[str]:
    """The original's own labels."""
    return [answer["prediction"] for answer in served.ask(MODEL, rows)]


def body(said: dict[str, Any]) -> Any:
    """A response's JSON."""
    text = said["body"]
    return json.loads(base64.b64decode(text) if said["isBase64Encoded"] else text)


@pytest.mark.parametrize("caller", WRAPS)
def test_http_is_answered_byte_for_byte_as_the_server_does(ask: handler.Handler, homes: Path, caller: str) -> None:
    wrap, mounted = WRAPS[caller], Mounted(homes)
    for sent in (ROWS[0], ROWS, {**ROWS[0], "rooms": "many"}, [], {"age": 1}, "nonsense"):
        raw = json.dumps(sent).encode()
        said = ask(wrap("POST", "/predict?partial=true", raw), context())
        want = mounted.answer(asked("POST", "/predict", b"partial=true", [("content-type", "application/json")]), raw)
        got = base64.b64decode(said["body"]) if said["isBase64Encoded"] else said["body"].encode()
        assert (said["statusCode"], got) == (want.status, want.body)
    answers = body(ask(wrap("POST", "/predict", json.dumps(ROWS).encode()), context()))
    assert [one["prediction"] for one in answers] == expected(ROWS)


START = """
import json, sys
from pathlib import Path
from anyport.functions.aws.handler import Handler
from anyport.functions.fetch import place
event = json.loads(sys.argv[2])
said = Handler(place(Path(sys.argv[1])), environ={})(event, None)
print(json.dumps([said["body"], sorted(sys.modules)]))
"""


def test_a_start_brings_nothing_that_a_first_answer_has_no_need_of(homes: Path) -> None:
    """Each of these takes milliseconds of every cold start."""
    event = json.dumps(http("POST", "/predict", json.dumps(ROWS[0]).encode()))
    done = subprocess.run([sys.executable, "-c", START, homes, event], capture_output=True, text=True, check=True)
    said, modules = json.loads(done.stdout.splitlines()[-1])
    assert json.loads(said)["prediction"] == expected(ROWS[:1])[0]
    brought = {
        "asyncio", "ssl", "_hashlib", "http.client", "email", "tarfile", "tomllib", "difflib", "pyarrow",
        "pandas",
    }  # fmt: skip
    assert brought & set(modules) == set()


@pytest.mark.parametrize("caller", WRAPS)
def test_the_other_routes_of_the_server_are_there(ask: handler.Handler, caller: str) -> None:
    wrap = WRAPS[caller]
    assert body(ask(wrap("GET", "/readyz", b""), context()))["models"][0]["name"] == "homes"
    assert body(ask(wrap("GET", "/signature", b""), context()))["signature"]["inputs"][0]["name"] == "age"
    said = ask(wrap("POST", "/v2/models/homes/infer", json.dumps({"inputs": [
        {"name": "age", "shape": [1, 1], "datatype": "FP64", "data": [ROWS[0]["age"]]},
        {"name": "rooms", "shape": [1, 1], "datatype": "INT64", "data": [ROWS[0]["rooms"]]},
        {"name": "home city", "shape": [1, 1], "datatype": "BYTES", "data": [ROWS[0]["home city"]]},
        {"name": "plan", "shape": [1, 1], "datatype": "BYTES", "data": [ROWS[0]["plan"]]},
        {"name": "owner", "shape": [1, 1], "datatype": "BOOL", "data": [ROWS[0]["owner"]]},
    ]}).encode()), context())  # fmt: skip
    outputs = {one["name"]: one["data"] for one in body(said)["outputs"]}
    assert outputs["prediction"] == expected(ROWS[:1])
    said = ask(wrap("GET", "/nowhere", b""), context())
    assert (said["statusCode"], body(said)["error"]) == (404, "NotFound")
    said = ask(wrap("GET", "/predict", b""), context())
    assert (said["statusCode"], said["headers"]["allow"]) == (405, "POST")


def test_the_short_way_and_the_long_one_answer_alike(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = Front(homes, settings=Settings()), Front(homes, settings=Settings())
    slow.plain = False
    kind = ("content-type", "application/json")
    taken = []
    for sent in (ROWS[0], ROWS, ROWS * 3, {**ROWS[0], "age": 1e9}, {**ROWS[0], "plan": "none"}, [], {}, [ROWS[0], {}]):
        for headers in ((kind,), (kind, ("Accept-Encoding", "gzip")), (kind, ("X-Request-Id", "7")), ()):
            asked = Asked("POST", "/predict", headers=headers, body=json.dumps(sent).encode())
            assert quick.here(asked) == slow.here(asked)
            assert quick.rows == slow.rows
            assert quick._short is not None
            taken.append(quick._short.ask(asked) is not None)
    assert set(taken) == {True, False}
    twice = Asked("POST", "/predict", headers=(kind,), body=b'{"age":1,' + json.dumps(ROWS[0]).encode()[1:])
    assert quick.here(twice) == slow.here(twice)
    assert quick.here(twice).status == 422


def test_a_stage_in_the_path_is_not_part_of_the_route(ask: handler.Handler) -> None:
    event = http("GET", "/prod/readyz", b"")
    event["requestContext"]["stage"] = "prod"
    assert ask(event, context())["statusCode"] == 200
    event["requestContext"]["stage"] = "$default"
    assert ask(event, context())["statusCode"] == 404


def test_gzip_goes_both_ways(ask: handler.Handler) -> None:
    event = http("POST", "/predict", gzip.compress(json.dumps(ROWS * 20).encode()))
    event["headers"] |= {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    said = ask(event, context())
    assert (said["isBase64Encoded"], said["headers"]["content-encoding"]) == (True, "gzip")
    answers = json.loads(gzip.decompress(base64.b64decode(said["body"])))
    assert [one["prediction"] for one in answers] == expected(ROWS * 20)


def test_pages_of_an_allowed_origin_may_ask(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYPORT_CORS_ORIGINS", "https://app.example.org")
    made = handler.Handler(homes, environ={})
    event = rest("OPTIONS", "/predict", b"")
    event["multiValueHeaders"] = None
    event["headers"] = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    said = made(event, context())
    assert (said["statusCode"], said["headers"]["access-control-allow-origin"]) == (200, "https://app.example.org")
    assert said["headers"]["access-control-allow-methods"] == "POST"


def test_keys_are_asked_for_where_there_is_a_file_of_them(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text("secret\n")
    monkeypatch.setenv("ANYPORT_API_KEY_FILE", str(tmp_path / "keys"))
    made = handler.Handler(homes, environ={})
    event = http("POST", "/predict", json.dumps(ROWS[0]).encode())
    assert made(event, context())["statusCode"] == 401
    event["headers"]["X-Api-Key"] = "secret"
    assert made(event, context())["statusCode"] == 200


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"body": "no base64!"}, "said to be base64 and is not"),
        ({"body": 7}, "the body is int; expected text"),
        ({"headers": []}, "headers of the event is list"),
        ({"rawPath": None}, "rawPath of the event is NoneType; expected text"),
    ],
)
def test_a_malformed_request_is_400(ask: handler.Handler, change: dict[str, Any], says: str) -> None:
    event = {**http("POST", "/predict", b"{}"), **change}
    said = ask(event, context())
    assert (said["statusCode"], body(said)["error"]) == (400, "BadEvent")
    assert says in body(said)["what"]


def test_an_absent_part_of_a_request_is_named(ask: handler.Handler) -> None:
    event = http("POST", "/predict", b"{}")
    del event["rawPath"]
    assert body(ask(event, context()))["what"] == "the event has no rawPath"


def test_an_answer_that_lambda_would_not_carry_is_413(ask: handler.Handler) -> None:
    answer = Answered(200, (("content-type", "application/json"),), b" " * web.SYNC)
    said = web.response(answer, {}, "http")
    assert (said["statusCode"], body(said)["error"]) == (413, "TooLarge")
    just = Answered(200, (("content-type", "application/json"),), b" " * (web.SYNC - web.ROOM))
    assert web.response(just, {}, "http")["statusCode"] == 200


def test_a_load_balancer_of_many_values_gets_many(ask: handler.Handler) -> None:
    event = alb("GET", "/readyz", b"")
    event["multiValueHeaders"] = {"accept": ["application/json"]}
    said = ask(event, context())
    assert said["statusDescription"] == "200 OK"
    assert said["multiValueHeaders"]["content-type"] == ["application/json"]
    assert "headers" not in said


def test_rows_may_be_the_event_itself(ask: handler.Handler) -> None:
    assert ask(ROWS[0], context())["prediction"] == expected(ROWS[:1])[0]
    assert [one["prediction"] for one in ask(ROWS, context())] == expected(ROWS)
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    assert ask({"columns": columns}, context())["columns"]["prediction"] == expected(ROWS)
    event = {"version": "0", "detail-type": "home", "source": "app", "detail": ROWS[0]}
    assert ask(event, context())["prediction"] == expected(ROWS[:1])[0]


def test_a_mistake_in_a_direct_call_is_an_exception_of_its_name(ask: handler.Handler) -> None:
    with pytest.raises(handler.Refused) as caught:
        ask({**ROWS[0], "rooms": "many"}, context())
    assert type(caught.value).__name__ == "BadData"
    assert json.loads(str(caught.value))["errors"][0]["column"] == "rooms"
    with pytest.raises(handler.Refused) as caught:
        ask({**ROWS[0], "age": float("nan")}, context())
    assert type(caught.value).__name__ == "BadBody"
    assert "write null for a missing value" in str(caught.value)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"requestContext": {"connectionId": "x"}}, "requestContext holds connectionId, which is no HTTP request"),
        ({"Records": [{"eventSource": "aws:dynamodb"}]}, "records of aws:dynamodb are not taken"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "records of aws:sns are not taken"),
        ({"Records": [{"eventSource": "aws:sqs"}, {"eventSource": "aws:kinesis"}]}, "records of aws:kinesis, aws:sqs"),
    ],
)
def test_other_callers_are_refused_by_name(ask: handler.Handler, event: Any, says: str) -> None:
    with pytest.raises(events.BadEvent, match=says):
        ask(event, context())


def test_no_event_whatever_brings_the_function_down(ask: handler.Handler) -> None:
    """Parts of real events, put together at random: every one is answered or refused, and none fails inside."""
    rng = random.Random(11)
    parts: list[Any] = [None, 0, -1.5, "", "x", [], {}, True, ROWS[0], [ROWS[0]], {"http": {}}, {"elb": {}}, "e30=",
                        {"http": {"method": "POST", "path": "/predict"}}, [{"eventSource": "aws:sqs"}]]  # fmt: skip
    names = [
        "requestContext", "Records", "detail", "detail-type", "source", "body", "isBase64Encoded", "headers", "rawPath",
        "path", "httpMethod", "queryStringParameters", "multiValueHeaders", "version", "age",
    ]  # fmt: skip
    seen = set()
    for _ in range(3000):
        event = {name: rng.choice(parts) for name in rng.sample(names, rng.randint(0, 8))}
        try:
            said = ask(rng.choice([event, [event], rng.choice(parts)]), context())
            seen.add(said.get("statusCode", 200) if isinstance(said, dict) else 200)
            assert not (isinstance(said, dict) and said.get("statusCode", 200) >= 500)
        except (events.BadEvent, handler.Refused) as error:
            seen.add(type(error).__name__)
    assert {400, "BadEvent", "BadData"} <= seen


def test_a_model_that_takes_too_long_is_504_before_the_function_ends(
    homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    made, go = handler.Handler(homes, environ={}), threading.Event()
    model = made.front.model
    assert model.predictor is not None
    model.off, made.front.plain = True, False  # as a slow model is
    monkeypatch.setattr(model.predictor, "predict", lambda batch: go.wait(60))
    try:
        said = made(http("POST", "/predict", json.dumps(ROWS[0]).encode()), context(handler.MARGIN + 0.2))
    finally:
        go.set()
    assert (said["statusCode"], body(said)["error"]) == (504, "Timeout")


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield


def sqs(*bodies: str) -> dict[str, Any]:
    """A batch as Lambda hands it over."""
    return {"Records": [
        {"messageId": f"m{i}", "receiptHandle": "r", "body": text, "eventSource": "aws:sqs", "awsRegion": REGION}
        for i, text in enumerate(bodies)
    ]}  # fmt: skip


def kinesis(*bodies: bytes) -> dict[str, Any]:
    return {"Records": [
        {"eventSource": "aws:kinesis", "kinesis": {
            "sequenceNumber": f"s{i}", "partitionKey": "k", "data": base64.b64encode(data).decode()}}
        for i, data in enumerate(bodies)
    ]}  # fmt: skip


def failures(said: dict[str, Any]) -> list[str]:
    return [one["itemIdentifier"] for one in said["batchItemFailures"]]


def test_a_queues_bad_records_fail_and_the_others_are_answered(homes: Path, aws: None) -> None:
    queue = boto3.client("sqs").create_queue(QueueName="answers")["QueueUrl"]
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": f"sqs:{queue}"})
    good = [json.dumps(row) for row in ROWS]
    said = made(sqs(good[0], "{", *good[1:], json.dumps({**ROWS[0], "rooms": None}), json.dumps(ROWS[:3])), context())
    assert failures(said) == ["m1", f"m{len(good) + 1}"]
    got: dict[str, Any] = {}
    while more := boto3.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in more:
            one = json.loads(message["Body"])
            got[one["id"]] = one["answer"]
            boto3.client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert [one["prediction"] for one in got.pop(f"m{len(good) + 2}")] == expected(ROWS[:3])
    order = ["m0", *(f"m{i}" for i in range(2, len(good) + 1))]
    assert sorted(got) == sorted(order)
    assert [got[key]["prediction"] for key in order] == expected(ROWS)


def test_a_stream_stops_at_the_first_record_that_fails(homes: Path, aws: None) -> None:
    boto3.client("kinesis").create_stream(StreamName="answers", ShardCount=1)
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "kinesis:answers"})
    raw = [json.dumps(row).encode() for row in ROWS[:4]]
    said = made(kinesis(raw[0], raw[1], b"{", raw[2], b"{"), context())
    assert failures(said) == ["s2"]
    api = boto3.client("kinesis")
    shard = api.list_shards(StreamName="answers")["Shards"][0]["ShardId"]
    start = api.get_shard_iterator(StreamName="answers", ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    found = [json.loads(one["Data"]) for one in api.get_records(ShardIterator=start)["Records"]]
    assert [(one["id"], one["answer"]["prediction"]) for one in found] == list(
        zip(["s0", "s1"], expected(ROWS[:2]), strict=True)
    )
    bad = kinesis(raw[0])
    bad["Records"][0]["kinesis"]["data"] = "?"
    assert failures(made(bad, context())) == ["s0"]


def test_answers_that_the_queue_does_not_take_are_failures(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        return {"Failed": [{"Id": one["Id"], "Code": "Busy"} for one in Entries if one["Id"] == "1"]}

    client = SimpleNamespace(send_message_batch=send)
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "sqs:https://x/1/q"}, clients=lambda _: client)
    assert failures(made(sqs(*[json.dumps(row) for row in ROWS[:3]]), context())) == ["m1"]


def test_what_is_not_done_in_time_comes_again(homes: Path, aws: None) -> None:
    boto3.client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "s3://bucket/answers"})
    left = iter([10.0, 10.0, 10.0, 10.0, 0.1, 0.1])
    clock = SimpleNamespace(get_remaining_time_in_millis=lambda: next(left) * 1e3)
    assert failures(made(sqs(*[json.dumps(row) for row in ROWS[:4]]), clock)) == ["m2", "m3"]
    [one] = boto3.client("s3").list_objects_v2(Bucket="bucket")["Contents"]
    lines = boto3.client("s3").get_object(Bucket="bucket", Key=one["Key"])["Body"].read().decode().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["m0", "m1"]


def test_answers_are_never_lost_for_want_of_a_place(ask: handler.Handler) -> None:
    with pytest.raises(handler.Refused, match="ANYPORT_OUTPUT is not set"):
        ask(sqs(json.dumps(ROWS[0])), context())
    for said in ("s3:", "ftp://x", "queue", "sqs:"):
        with pytest.raises(Mistake, match="names no place"):
            outputs.output(said, lambda _: None)


def test_a_long_batch_is_cut_as_the_services_take_it() -> None:
    sent = [outputs.Sent(str(i), "x" * 300_000) for i in range(25)]
    pieces = list(outputs.cut(sent, most=10, size=1 << 20))
    assert [one for _, piece in pieces for one in piece] == sent
    assert all(len(piece) <= 10 and sum(len(one.body) for one in piece) <= 1 << 20 for _, piece in pieces)
    assert [start for start, _ in pieces] == list(range(0, 25, 3))


def test_an_object_becomes_its_predictions(homes: Path, aws: None) -> None:
    s3 = boto3.client("s3")
    for name in ("inbox", "outbox"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    lines = [json.dumps(row) for row in ROWS] + [json.dumps({**ROWS[0], "rooms": None})]
    s3.put_object(Bucket="inbox", Key="new homes/März+1.jsonl", Body="\n".join(lines).encode())
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "s3://outbox/answers/"})
    event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": "inbox"}, "object": {"key": "new+homes/M%C3%A4rz%2B1.jsonl"}}}]}  # fmt: skip
    [written] = made(event, context())["written"]
    assert written == {"bucket": "outbox", "key": "answers/new homes/März+1.jsonl", "rows": 21, "rejected": 1}
    said = s3.get_object(Bucket="outbox", Key=written["key"])["Body"].read().decode().splitlines()
    assert [json.loads(line)["prediction"] for line in said] == [*expected(ROWS), None]
    rejects = s3.get_object(Bucket="outbox", Key=written["key"] + ".rejects.jsonl")["Body"].read()
    assert json.loads(rejects.splitlines()[0])["row"] == 20
    told = {"source": "aws.s3", "detail-type": "Object Created", "detail": {
        "bucket": {"name": "inbox"}, "object": {"key": "new homes/März+1.jsonl"}}}  # fmt: skip
    assert made(told, context())["written"] == [written]


def test_an_object_that_takes_too_long_leaves_nothing(homes: Path, aws: None) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="inbox", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="inbox", Key="a.jsonl", Body="\n".join(json.dumps(row) for row in ROWS).encode())
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "s3://inbox/answers"})
    event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": "inbox"}, "object": {"key": "a.jsonl"}}}]}  # fmt: skip
    with pytest.raises(Exception, match="raise the timeout or the memory"):
        made(event, context(0.1))
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="inbox")["Contents"]] == ["a.jsonl"]


def test_our_own_answers_are_not_answered_in_turn(homes: Path, aws: None) -> None:
    event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": "bucket"}, "object": {"key": "answers/a.jsonl"}}}]}  # fmt: skip
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "s3://bucket/answers"})
    assert made(event, context()) == {"written": []}
    made = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "s3://bucket"})
    with pytest.raises(events.BadEvent, match="for ever"):
        made(event, context())


# -- one instance ------------------------------------------------------------------------------------------------------


def test_each_event_leaves_one_line_of_metrics(homes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = handler.Handler(homes, environ={})
    made(http("POST", "/predict", json.dumps(ROWS[:7]).encode()), context())
    said = json.loads(capsys.readouterr().out)
    [directive] = said["_aws"]["CloudWatchMetrics"]
    assert {one["Name"] for one in directive["Metrics"]} <= set(said)
    assert all(name in said for names in directive["Dimensions"] for name in names)
    assert (said["Model"], said["Rows"], said["Errors"], said["status"]) == ("homes", 7, 0, 200)
    made(http("GET", "/nowhere", b""), context())
    said = json.loads(capsys.readouterr().out)
    assert (said["Rows"], said["Errors"], said["status"]) == (0, 0, 404)
    queue = SimpleNamespace(send_message_batch=lambda QueueUrl, Entries: {})
    batched = handler.Handler(homes, environ={"ANYPORT_OUTPUT": "sqs:q"}, clients=lambda _: queue)
    batched(sqs(json.dumps(ROWS[:4]), json.dumps(ROWS[4]), "{"), context())
    said = json.loads(capsys.readouterr().out)
    assert (said["Rows"], said["Errors"], said["status"]) == (5, 0, 207)
    handler.Handler(homes, environ={"ANYPORT_METRICS": "off"})(ROWS[0], context())
    assert capsys.readouterr().out == ""


def test_a_restored_snapshot_is_no_twin(homes: Path) -> None:
    from snapshot_restore_py import get_after_restore

    before = len(get_after_restore())
    clients: list[str] = []
    made = handler.Handler(
        homes, environ={"ANYPORT_OUTPUT": "sqs:q"}, clients=lambda name: clients.append(name) or object()
    )
    hooks = list(get_after_restore())[before:]
    assert len(hooks) == 1
    assert made.output is not None
    first = made.output.client
    random.seed(7)
    twins = [random.random()]
    random.seed(7)
    for hook, arguments, named in hooks:
        hook(*arguments, **named)
    assert random.random() not in twins
    assert made.output.client is not first


def test_any_thread_may_ask_a_front(homes: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    front = Front(homes, settings=Settings())
    kind = (("content-type", "application/json"),)

    def one(i: int) -> list[str]:
        some = ROWS[i : i + 3]
        reply = front.answer(Asked("POST", "/predict", headers=kind, body=json.dumps(some).encode()))
        return [answer["prediction"] for answer in json.loads(reply.body)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(16)))
    assert found == [expected(ROWS[i : i + 3]) for i in range(16)]
    assert np.isfinite(front.model.took)
