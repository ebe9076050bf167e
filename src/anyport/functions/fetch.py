"""A bundle in object storage, because it is too large to travel with the function: each instance fetches it once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from anyport import bundle
from anyport.errors import BadBundle, Missing, Mistake, need


def place(beside: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The bundle of a function: what ANYPORT_BUNDLE names (s3://, gs://, https:// or file:// of a .tar.gz, or
    blob:CONTAINER/NAME in the storage account of an Azure function app), fetched and unpacked below the temporary
    folder, and only if its digest is ANYPORT_DIGEST; else the folder `beside` it.

    BadBundle where another one lies there, Missing where it cannot be fetched.
    """
    url = environ.get("ANYPORT_BUNDLE", "")
    if not url:
        return beside
    from anyport.kit.archive import unpacked  # most functions start without it

    wanted = environ.get("ANYPORT_DIGEST", "")
    if not wanted:
        raise Mistake("ANYPORT_BUNDLE is set without ANYPORT_DIGEST", fix="set it to the digest that is to be served")
    home = Path(tempfile.gettempdir()) / f"anyport-{wanted[:24]}"
    if not home.is_dir():
        work = Path(tempfile.mkdtemp(prefix=".anyport-"))
        try:
            fetch(url, work / "bundle.tar.gz")
            os.environ.setdefault("XDG_CACHE_HOME", str(work))
            shutil.copytree(unpacked(work / "bundle.tar.gz"), work / "new")
            same(work / "new", url, wanted)
            os.rename(work / "new", home)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    same(home, url, wanted)
    return home


def same(folder: Path, url: str, wanted: str) -> None:
    """Raise BadBundle unless this very bundle lies in a folder; every hash is compared."""
    found = bundle.read(folder).digest
    if found != wanted:
        raise BadBundle(f"{url} holds bundle {found[:12]}; expected {wanted[:12]}", fix="deploy the function again")


def fetch(url: str, to: Path) -> None:
    """Write what lies at a URL into a file."""
    parts = urlsplit(url)
    key = parts.path.lstrip("/")
    try:
        if parts.scheme == "s3":
            need("boto3").client("s3").download_file(parts.netloc, key, str(to))
        elif parts.scheme == "gs":
            from anyport.functions.google.api import Google

            Google().download(parts.netloc, key, to)
        elif parts.scheme == "blob":
            from anyport.functions.azure.storage import download

            container, _, name = key.partition("/")
            download(container, name, to)
        elif parts.scheme in ("https", "file"):
            from urllib.request import urlopen

            with urlopen(url, timeout=300) as source, to.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        else:
            raise Mistake(
                f"ANYPORT_BUNDLE={url} is of no kind that can be fetched", fix="s3://, gs://, blob: or https://"
            )
    except (OSError, ValueError) as error:
        raise Missing(f"{url} cannot be fetched: {error}") from error
