"""Inside a database's Python: the model of a table, opened once in each session; nothing is left on the disk."""


def opened(held, digest, fetch, fail, table, python_path):  # type: ignore[no-untyped-def]
    """The function that answers, from the dict `held` or from the bytes that `fetch` gives (None: they are gone), which
    must have this sha256. `fail(what, hint)` raises the database's own error."""
    import hashlib
    import importlib.abc
    import importlib.machinery
    import importlib.util
    import io
    import os
    import sys
    import tempfile
    import zipfile

    key = "anyport " + digest
    if key in held:
        return held[key]
    data = fetch()
    if data is None:
        fail(f"anyport: the table {table} has lost the model {digest[:12]}", "run up.sql again")
    if hashlib.sha256(data).hexdigest() != digest:
        fail(f"anyport: the model in {table} is not the one that was installed: its sha256 differs",
             "run down.sql, then up.sql")  # fmt: skip
    if python_path and python_path not in sys.path:
        sys.path.insert(0, python_path)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    python = f"the server's Python {sys.version.split()[0]}"
    for module in ("numpy", "onnxruntime", "msgspec"):
        if importlib.util.find_spec(module) is None:
            fail(f"anyport: {python} has no {module}",
                 "pip install numpy onnxruntime msgspec where it looks, for this very version of Python")  # fmt: skip
    archive = zipfile.ZipFile(io.BytesIO(data))
    sources = {name: archive.read(name) for name in archive.namelist() if name.startswith("runtime/")}

    class Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
        """The modules of the archive's runtime/, from memory."""

        def where(self, name: str) -> str | None:
            base = "runtime/" + name.replace(".", "/")
            return next((p for p in (base + "/__init__.py", base + ".py") if p in sources), None)

        def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
            where = self.where(name)
            if where is None:
                return None
            spec = importlib.machinery.ModuleSpec(name, self, origin=where, is_package=where.endswith("/__init__.py"))
            return spec

        def get_source(self, name):  # type: ignore[no-untyped-def]
            return sources[self.where(name) or name].decode()

    # of two versions of anyport in one session each has its own: what is open keeps the modules it was made of
    for name in [n for n in sys.modules if n.partition(".")[0] in ("anyport", "anyport_answer")]:
        del sys.modules[name]
    finder = Finder()
    sys.meta_path.insert(0, finder)
    try:
        with tempfile.TemporaryDirectory(prefix="anyport-") as folder:
            for name in archive.namelist():
                if name.startswith("bundle"):
                    archive.extract(name, folder)
            answer = importlib.import_module("anyport_answer")
            least = archive.read("least.txt").decode()
            if answer.runtime()[:2] < tuple(int(part) for part in least.split(".")):
                fail(f"anyport: {python} has an onnxruntime that answers this model wrongly; it takes {least} or newer",
                     "pip install --upgrade onnxruntime, in a newer Python if need be")  # fmt: skip
            answering = answer.answering(os.path.join(folder, "bundle"))
    finally:
        sys.meta_path.remove(finder)
        sys.meta_path.append(finder)  # for what is imported later
    held[key] = answering
    return answering
