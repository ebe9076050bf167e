"""Archives: folder → .tar.gz or .zip with the same bytes every time, and a .tar.gz unpacked without trusting it."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from anyport.bundle import MAX_MEMBER, members, sha256
from anyport.errors import BadBundle, Mistake
from anyport.places import cache

LEVEL = 6
BLOCK = 1 << 20
MAX_HEADER = 16 << 20
"""No read asks for more at once: a tar header may claim any length, and tarfile would take it into memory."""
MAX_MEMBERS = 100_000
MAX_TOTAL = 16 << 30
BOMB = (1 << 30, 200)
"""Bytes, and how many times the archive's own size: what unpacks past both is a decompression bomb."""


def tar_gz(folder: Path, out: Path) -> Path:
    """Write the files of `folder` as a .tar.gz: sorted, times and owners zero, so equal files give equal bytes."""
    names = members(folder)
    with (
        _written(out) as work,
        work.open("wb") as raw,
        # filename="" and mtime=0 keep the name and the clock out of gzip's header
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = (folder / name).stat().st_size
            info.mode = _mode(folder / name)
            with (folder / name).open("rb") as file:
                tar.addfile(info, file)
    return out


def zip_folder(folder: Path, out: Path, *, below: str = "", onto: Path | None = None) -> Path:
    """Write the files of `folder` as a .zip: sorted, dated 1980, Unix modes, so equal files give equal bytes.

    In the archive they lie below the folder `below`, after the members of the archive `onto`.
    """
    names = members(folder)
    with _written(out) as work, _zip(work, onto) as archive:
        for name in names:
            info = zipfile.ZipInfo(f"{below}/{name}" if below else name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = (0o100000 | _mode(folder / name)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = (folder / name).stat().st_size  # ZipFile.open decides on zip64 by it
            with (folder / name).open("rb") as file, archive.open(info, "w") as sink:
                shutil.copyfileobj(file, sink, BLOCK)
    return out


def _zip(work: Path, onto: Path | None) -> zipfile.ZipFile:
    """An archive that is to be written; one that is gone on with is copied, not compressed again."""
    if onto is not None:
        shutil.copyfile(onto, work)
    return zipfile.ZipFile(work, "a" if onto is not None else "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)


def unpacked(path: Path) -> Path:
    """The folder that a .tar.gz holds, unpacked once into this user's cache under its sha256.

    An archive of one folder gives that folder. Raises BadBundle, naming the member, for everything that is
    not a plain file or folder inside the archive, and leaves nothing behind.
    """
    try:
        digest = sha256(path)
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from error
    home = cache("unpacked") / digest
    if not home.is_dir():
        work = Path(tempfile.mkdtemp(prefix=f".{digest[:12]}.", dir=home.parent))
        try:
            _extract(path, work)
            os.chmod(work, 0o700)
            os.rename(work, home)
        except OSError as error:
            if not home.is_dir():  # else another process was faster, with the same bytes
                raise Mistake(f"{path} cannot be unpacked into {home.parent}: {error.strerror}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
    found = list(home.iterdir())
    return found[0] if len(found) == 1 and found[0].is_dir() else home


class _Reader(gzip.GzipFile):
    """A gzip stream that refuses to be read in one huge gulp, and that ends when too much came out of it."""

    limit = MAX_TOTAL

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER:
            raise BadBundle(f"{self.name}: a header claims to be larger than {MAX_HEADER >> 20} MB")
        if self.tell() > self.limit:
            raise BadBundle(f"{self.name} unpacks to more than {self.limit >> 20} MB: a decompression bomb")
        return super().read(size)


def _extract(path: Path, folder: Path) -> None:
    """Every member of the archive as a plain file below `folder`, each one checked before it is written."""
    with path.open("rb") as raw, _Reader(str(path), "rb", fileobj=raw) as packed:
        packed.limit = min(MAX_TOTAL, max(BOMB[0], BOMB[1] * path.stat().st_size))
        try:
            with tarfile.open(fileobj=packed, mode="r:", errorlevel=2) as tar:
                for count, member in enumerate(tar):
                    if count >= MAX_MEMBERS:
                        raise BadBundle(f"{path} has more than {MAX_MEMBERS} members")
                    _place(tar, member, folder, refuse=_refusal(path, member))
            while packed.read(BLOCK):  # the padding too, so that gzip's checksum is compared
                continue
        except tarfile.ReadError as error:
            raise BadBundle(f"{path} is not a .tar.gz, or it is damaged: {error}") from error
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError) as error:
            raise BadBundle(f"{path} is damaged: {error}") from error


def _refusal(path: Path, member: tarfile.TarInfo) -> Callable[[str], BadBundle]:
    return lambda why: BadBundle(f"{path}: member {member.name!r} {why}")


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, *, refuse: Callable[[str], BadBundle]) -> None:
    """Write one member, or refuse it."""
    name = member.name
    parts = PurePosixPath(name).parts
    if not name or "\0" in name or "\\" in name or any(":" in part for part in parts):
        raise refuse("has a name that is not a plain path")
    if name.startswith("/"):
        raise refuse("has an absolute path")
    if ".." in parts:
        raise refuse("would be written outside the folder it is unpacked into")
    if member.issym() or member.islnk():
        raise refuse(f"is a link to {member.linkname!r}; only plain files are unpacked")
    if member.isdir():
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise refuse("comes twice, as a file and as a folder") from error
        return
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):  # isreg() would let sparse files through
        raise refuse("is a device, a pipe or a sparse file; only plain files are unpacked")
    if member.size > MAX_MEMBER:
        raise refuse(f"is {member.size} bytes; the most is {MAX_MEMBER}")
    target = folder.joinpath(*parts)
    if target == folder:
        raise refuse("has no name")
    source = tar.extractfile(member)
    assert source is not None, "a regular member has content"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as sink:
            shutil.copyfileobj(source, sink, BLOCK)
            written = sink.tell()
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise refuse("comes twice") from error
    if written != member.size:
        raise refuse(f"is cut short: {written} of {member.size} bytes")
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _mode(file: Path) -> int:
    return 0o755 if file.stat().st_mode & 0o100 else 0o644


@contextmanager
def _written(out: Path) -> Iterator[Path]:
    """A temporary file beside `out` that becomes it when the block ends well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    os.close(handle)
    work = Path(name)
    try:
        yield work
        work.chmod(0o644)
        os.replace(work, out)
    finally:
        work.unlink(missing_ok=True)
