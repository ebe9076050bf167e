"""The command line: argv → one API call → text or --json; the exit code comes from the error."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from anyport import __version__
from anyport.errors import AnyportError

COMMANDS = ("pack", "inspect", "predict", "serve", "targets", "build", "check", "deploy", "sign", "verify", "keygen",
            "doctor")  # fmt: skip
"""One module each, beside this one."""


class Parser(argparse.ArgumentParser):
    """argparse with exit code 2 and our own words."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n  next: {self.prog} --help\n")


def parser(wanted: str | None = None) -> Parser:
    """The whole command line, or only as much as the command `wanted` needs (the others stay unimported)."""
    top = Parser(
        prog="anyport",
        description="One trained model, packed once, running anywhere, and proven to answer the same there.",
        epilog="example: anyport pack model.joblib --data train.csv --label target --trust all",
    )
    top.add_argument("--version", action="version", version=f"anyport {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        if wanted in COMMANDS and name != wanted:
            commands.add_parser(name)
            continue
        module = importlib.import_module(f"anyport.cli.{name}")
        first, _, example = (module.__doc__ or "").partition("\n\n")
        sub = commands.add_parser(
            name, help=first.partition(": ")[2], description=first.partition(": ")[2], epilog=example.strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.arguments(sub)
        sub.add_argument("--json", action="store_true", help="print the result as JSON")
        sub.add_argument("--debug", action="store_true", help="show a traceback on errors")
        sub.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code (0, 2, 3, 4, 5 or 70; 130 after Ctrl-C)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parser(argv[0] if argv else None).parse_args(argv)
    try:
        return int(args.run(args))
    except AnyportError as error:
        if args.debug:
            raise
        return failed(error, as_json=args.json)
    except KeyboardInterrupt:
        print("interrupted; nothing was half-written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if args.debug:
            raise
        return failed(full(error), as_json=args.json)
    except Exception as error:  # the outermost edge: our bug, said plainly
        if args.debug:
            raise
        bug = AnyportError(
            f"this is a bug in anyport: {type(error).__name__}: {error}",
            fix="run it again with --debug and report what it prints",
        )
        return failed(bug, as_json=args.json)


def full(error: OSError) -> AnyportError:
    """An operating system's refusal as the caller's error."""
    from anyport.errors import Mistake

    where = f"{error.filename}: " if error.filename else ""
    return Mistake(f"{where}{error.strerror or error}; nothing was half-written")


def failed(error: AnyportError, *, as_json: bool) -> int:
    """Print an error on stderr (or as JSON on stdout) and give its exit code."""
    from anyport.cli.show import emit_json, style

    if as_json:
        emit_json(error.as_dict())
    else:
        print(f"{style('error', 'red', stream=sys.stderr)}: {error.what}", file=sys.stderr)
        if error.fix:
            print(f"  next: {error.fix}", file=sys.stderr)
    return error.exit_code


def common_trust(sub: Any) -> None:
    """--trust, of every command that may open a file which can execute code."""
    sub.add_argument(
        "--trust", metavar="NAMES|all", help="consent to run the code of these modules (comma-separated), or of all"
    )
