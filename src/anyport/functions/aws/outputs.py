"""Where the answers to batches go: an SQS queue, a Kinesis stream, or objects in S3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from anyport.bundle import sha256_of
from anyport.errors import Mistake
from anyport.functions.messages import Sent, cut

Clients = Callable[[str], Any]
SERVICES = {"sqs": "sqs", "kinesis": "kinesis", "s3": "s3"}


class Output:
    """A place for answers. `send` gives the indices of those that it did not take, with the reason of each."""

    def __init__(self, kind: str, where: str, clients: Clients) -> None:
        self.kind = kind
        self.where = where
        self.clients = clients
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The service's client, made when it is first needed."""
        if self._client is None:
            self._client = self.clients(SERVICES[self.kind])
        return self._client

    def forget(self) -> None:
        """Make the client anew when it is next needed: its connections and credentials are a snapshot's."""
        self._client = None

    @property
    def bucket(self) -> str:
        return self.where.partition("/")[0]

    @property
    def prefix(self) -> str:
        """Ends with a slash, or is empty."""
        found = self.where.partition("/")[2].strip("/")
        return f"{found}/" if found else ""

    def send(self, answers: Sequence[Sent]) -> dict[int, str]:
        """Send them; gives what was not taken, by index."""
        if not answers:
            return {}
        return {"sqs": self._sqs, "kinesis": self._kinesis, "s3": self._s3}[self.kind](answers)

    def _sqs(self, answers: Sequence[Sent]) -> dict[int, str]:
        lost: dict[int, str] = {}
        for start, some in cut(answers, most=10, size=1 << 20):
            entries = [{"Id": str(start + i), "MessageBody": one.body} for i, one in enumerate(some)]
            said = self.client.send_message_batch(QueueUrl=self.where, Entries=entries)
            lost |= {int(f["Id"]): f"{f['Code']}: {f.get('Message', '')}" for f in said.get("Failed", ())}
        return lost

    def _kinesis(self, answers: Sequence[Sent]) -> dict[int, str]:
        lost: dict[int, str] = {}
        for start, some in cut(answers, most=500, size=5 << 20):
            entries = [{"Data": one.body.encode(), "PartitionKey": one.key[-256:] or "-"} for one in some]
            said = self.client.put_records(StreamName=self.where, Records=entries)
            for i, result in enumerate(said["Records"]):
                if "ErrorCode" in result:
                    lost[start + i] = f"{result['ErrorCode']}: {result.get('ErrorMessage', '')}"
        return lost

    def _s3(self, answers: Sequence[Sent]) -> dict[int, str]:
        # the same records again give the same object: a batch that is delivered twice is written once
        name = sha256_of("\n".join(one.key for one in answers).encode()).hexdigest()[:32]
        body = "".join(f"{one.body}\n" for one in answers).encode()
        self.client.put_object(
            Bucket=self.bucket, Key=f"{self.prefix}{name}.jsonl", Body=body, ContentType="application/x-ndjson"
        )
        return {}


def output(said: str, clients: Clients) -> Output | None:
    """The place that ANYPORT_OUTPUT names; None for "". Mistake for what names none."""
    if not said:
        return None
    kind, _, where = said.partition(":")
    where = where.removeprefix("//") if kind == "s3" else where
    if kind not in SERVICES or not where:
        raise Mistake(
            f"ANYPORT_OUTPUT={said} names no place", fix="s3://BUCKET/PREFIX, sqs:QUEUE_URL or kinesis:STREAM"
        )
    return Output(kind, where, clients)
