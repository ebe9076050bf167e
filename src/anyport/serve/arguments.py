"""The server's settings as options of a command line, as ANYPORT_… variables, and as a TOML file."""

from __future__ import annotations

import os
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from anyport.errors import Mistake
from anyport.serve.settings import Settings

PREFIX = "ANYPORT_"
VENDORS = {
    "AIP_HTTP_PORT": "port", "AIP_PREDICT_ROUTE": "predict_route", "AIP_HEALTH_ROUTE": "health_route",
    "SAGEMAKER_BIND_TO_PORT": "port",
}  # fmt: skip
"""What Vertex AI and SageMaker tell their containers → the setting; everything of ours comes before it."""
PAYLOAD = "SAGEMAKER_MAX_PAYLOAD_IN_MB"
"""Of a batch transform's container."""
UNLIMITED = 1 << 40
"""Bytes of a body where SageMaker says 0: no limit."""


def add(parser: ArgumentParser) -> None:
    """One option for each setting, and --config."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help=f"settings as TOML; options come before it, and it before {PREFIX}… variables",
    )  # fmt: skip
    for field in fields():
        said = " ".join(part for part in (describe(field), default(field)) if part)
        if isinstance(bare(field.type), inspect.BoolType):
            parser.add_argument(option(field.name), action=BooleanOptionalAction, default=None, help=said)
        else:
            many = isinstance(bare(field.type), inspect.VarTupleType)
            parser.add_argument(
                option(field.name), action="append" if many else "store", metavar=word(field), default=None, help=said
            )


def settings(given: Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings: options, then the file, then our variables, then vendors', then defaults. Mistake naming the one
    that is wrong."""
    said = vendors(environ)
    for field in fields():
        text = environ.get(PREFIX + field.name.upper())
        if text is not None:
            many = isinstance(bare(field.type), inspect.VarTupleType)
            said[field.name] = [part for part in text.split(",") if part] if many else text
    said |= from_file(given.config) if given.config else {}
    said |= {f.name: value for f in fields() if (value := getattr(given, f.name, None)) is not None}
    return checked(said)


def vendors(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the cloud says that runs this container. It asks from outside, so all addresses are listened on."""
    said: dict[str, Any] = {}
    for variable, name in VENDORS.items():
        if text := environ.get(variable):
            try:
                said[name] = getattr(checked({name: text}), name)
            except Mistake as error:
                raise Mistake(f"{variable}: {error.what}", fix="mend the variable") from error
    if "port" in said:
        said["host"] = "0.0.0.0"
    megabytes = environ.get(PAYLOAD)
    if megabytes:
        if not megabytes.isascii() or not megabytes.isdigit() or len(megabytes) > 6:
            raise Mistake(f"{PAYLOAD}={megabytes} is no number of megabytes", fix="mend the variable")
        said["max_body"] = (int(megabytes) << 20) or UNLIMITED
    return said


def checked(said: Mapping[str, Any]) -> Settings:
    """Settings from texts or values. Mistake naming the one that is wrong."""
    known = {field.name for field in fields()}
    for name in said:
        if name not in known:
            raise Mistake(f"there is no setting {name!r}", fix="anyport serve --help lists them")
    for name, value in said.items():
        try:
            msgspec.convert({name: value}, Settings, strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            raise Mistake(f"{option(name)} {value}: {str(error).partition(' - at')[0]}", fix="mend it") from error
    return msgspec.convert(dict(said), Settings, strict=False, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    assert kind is Path, f"settings are numbers, texts and paths; {kind} is none"
    return Path(value)


def from_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file. Mistake where it cannot be read."""
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Mistake(f"the settings cannot be read: {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Mistake(f"{path} is not TOML: {error}", fix="write one `name = value` a line") from error


@cache
def fields() -> tuple[inspect.Field, ...]:
    """Every setting, in order."""
    info = inspect.type_info(Settings)
    assert isinstance(info, inspect.StructType)
    return info.fields


def option(name: str) -> str:
    """The option of a setting: max_body is --max-body."""
    return "--" + name.replace("_", "-")


def described(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", ""))
    return ""


def describe(field: inspect.Field) -> str:
    """What a setting is."""
    return described(field.type)


def default(field: inspect.Field) -> str:
    """Its default in words; "" for none."""
    value = field.default
    shown = value not in (None, "", (), False, msgspec.NODEFAULT)
    return f"(default {value})" if shown else ""


def bare(kind: inspect.Type) -> inspect.Type:
    """A setting's type without its description and without None."""
    if isinstance(kind, inspect.Metadata):
        return bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next(bare(one) for one in kind.types if not isinstance(one, inspect.NoneType))
    return kind


def word(field: inspect.Field) -> str:
    """What stands for the value in --help."""
    kind = bare(field.type)
    if isinstance(kind, inspect.LiteralType):
        return "|".join(map(str, kind.values))
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return "N"
    return (
        "FILE" if field.name.endswith(("_file", "_cert", "_key")) else "DIR" if field.name.endswith("_dir") else "TEXT"
    )
