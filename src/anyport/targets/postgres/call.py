"""Inside PL/Python: where `opened` finds the model, and how it says what is wrong."""


def asked(opened, plpy, GD, table, digest, python_path):  # type: ignore[no-untyped-def]
    """The function that answers: of this session, or of the table's bytes."""

    def fetch():  # type: ignore[no-untyped-def]
        found = plpy.execute(f"select bytes from {table} where sha256 = '{digest}'")
        return found[0]["bytes"] if len(found) else None

    def fail(what: str, hint: str) -> None:
        plpy.error(what, hint=hint)

    return opened(GD, digest, fetch, fail, table, python_path)
