"""What fill.py does: fill the table of vectors, say how it stands, or search it with a row of the model's own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import AnyportError, BadData, Mistake
from anyport.kit.vectors.fill import Summary, fill, search, status
from anyport.kit.vectors.spec import Filling
from anyport.predictor import Predictor


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="fill.py", description="Embed the rows of a table with the model beside this file. What is embedded "
        "already is left alone; run it again after a lost connection, after rows have changed, from cron.",
        epilog="exit codes: 0 done, 2 the caller's mistake or more refused rows than --max-refused, 3 no server or "
        "no library, 70 a bug",
    )  # fmt: skip
    top.add_argument("--dsn", help="the database (default: $DATABASE_URL, else libpq's own PGHOST, PGUSER, …)")
    top.add_argument("--batch", type=int, default=1000, metavar="ROWS", help="rows of one transaction (default 1000)")
    top.add_argument("--limit", type=int, metavar="ROWS", help="embed at most so many and leave the rest for later")
    top.add_argument("--patience", type=int, default=5, metavar="N", help="lost connections in a row (default 5)")
    top.add_argument("--max-refused", type=int, default=-1, metavar="N", help="exit 2 beyond (default -1: never)")
    top.add_argument("--status", action="store_true", help="only count what is embedded and what waits")
    top.add_argument("--search", metavar="JSON", help="only find the rows nearest to this one")
    top.add_argument("-k", type=int, default=10, help="how many --search finds (default 10)")
    top.add_argument("--where", metavar="JSON", help='what they must hold, for instance \'{"city": "Oslo"}\'')
    top.add_argument("--json", action="store_true", help="print the result as JSON")
    top.add_argument("--spec", type=Path, help="another fill.json than the one beside this file")
    top.add_argument("--python", type=Path, help="interpreter of the locked environment of a model of form python")
    top.add_argument("--trust", help="modules whose code a model of form python may run, or all")
    top.add_argument("--lines", action="store_true", help="fill again for every line on stdin, each answered by JSON")
    return top


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """Run fill.py of the artefact in `folder`; gives the exit code."""
    args = parser().parse_args(argv)
    try:
        return run(folder, args)
    except AnyportError as error:
        if args.json:
            emit(error.as_dict())
        else:
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what is written stays, and the next fill goes on from there", file=sys.stderr)
        return 130


def run(folder: Path, args: argparse.Namespace) -> int:
    bundle = read(folder / "bundle")
    spec = load(args.spec or folder / "fill.json")
    dsn = args.dsn or os.environ.get("DATABASE_URL", "")
    if args.status:
        counts = status(dsn, spec, bundle.signature)
        emit(counts) if args.json else print(", ".join(f"{n:,} {name}" for name, n in counts.items()))
        return 0
    with predictor(bundle, args) as chosen:
        if args.lines:
            return lines(dsn, spec, chosen, bundle)
        if args.search is not None:
            return found(dsn, spec, chosen, bundle, args)
        done = fill(dsn, spec, chosen, bundle.signature, rows=args.batch, limit=args.limit, patience=args.patience,
                    tell=say)  # fmt: skip
    emit(msgspec.to_builtins(done)) if args.json else print(words(done, spec))
    many = done.refused if args.max_refused >= 0 else -1
    if many > args.max_refused:
        print(f"{many:,} rows were refused; see column refusal of {spec.vectors}", file=sys.stderr)
        return Mistake.exit_code
    return 0


def load(path: Path) -> Filling:
    """fill.json."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Filling)
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Mistake(f"{path} does not say what to fill: {error}") from error


@contextmanager
def predictor(bundle: Bundle, args: argparse.Namespace) -> Iterator[Predictor]:
    """The model in this process, or, of form python, in its locked environment."""
    if bundle.form == "graph":
        from anyport.predictor import of

        yield of(bundle, threads=os.cpu_count() or 1)
        return
    from anyport.pyform import apart
    from anyport.trust import held

    with apart(bundle, trust=held(args.trust), python=args.python) as chosen:
        yield chosen


def lines(dsn: str, spec: Filling, chosen: Predictor, bundle: Bundle) -> int:
    """Fill whenever a line comes in; that is how `anyport check` asks."""
    for _ in sys.stdin:
        try:
            reply = msgspec.to_builtins(fill(dsn, spec, chosen, bundle.signature))
        except AnyportError as error:
            reply = error.as_dict()
        sys.stdout.write(msgspec.json.encode(reply).decode() + "\n")
        sys.stdout.flush()
    return 0


def found(dsn: str, spec: Filling, chosen: Predictor, bundle: Bundle, args: argparse.Namespace) -> int:
    """Print what is nearest to the row of --search."""
    for text in (args.search, args.where or "{}"):
        if not isinstance(decoded(text), dict):
            raise BadData(f"{text} is no JSON object", fix='--search \'{"column": "value"}\'')
    nearest = search(dsn, spec, chosen, bundle.signature, decoded(args.search), k=args.k, where=args.where)
    if args.json:
        emit([{"key": str(key), "distance": distance} for key, distance in nearest])
    else:
        print("\n".join(f"{distance:.6f}  {key}" for key, distance in nearest) or "nothing is embedded yet")
    return 0


def decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadData(f"{text} is no JSON: {error}") from error


def words(done: Summary, spec: Filling) -> str:
    """A summary in one line."""
    parts = [f"{spec.vectors}: {done.embedded:,} rows embedded in {done.seconds:.1f} s"]
    parts += [f"{done.refused:,} of them refused (column refusal says why)"] if done.refused else []
    parts += [f"{done.unsearchable:,} not searchable (column refusal says why)"] if done.unsearchable else []
    parts += [f"{done.removed:,} removed whose rows are gone"] if done.removed else []
    parts += [f"{done.left:,} still waiting"] if done.left else []
    parts += [f"connected anew {done.reconnected} times"] if done.reconnected else []
    parts += ["index built"] if done.index == "rebuilt" else ["no index"] if done.index == "absent" else []
    return ", ".join(parts)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def emit(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")
