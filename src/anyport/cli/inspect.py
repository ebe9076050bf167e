"""anyport inspect: show what is in a bundle: signature, form, proof, size, environment.

example:
  anyport inspect penguins.anyport
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyport.bundle import Bundle


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", help="a bundle folder or .tar.gz")


def run(args: Namespace) -> int:
    from anyport.bundle import read
    from anyport.cli.show import emit_json, next_line

    bundle = read(args.bundle)
    if args.json:
        emit_json(described(bundle))
    else:
        print(text(bundle))
        print(next_line(f"anyport check {args.bundle}"))
    return 0


def described(bundle: Bundle) -> dict[str, Any]:
    """Everything that `inspect` shows, as data."""
    import msgspec

    manifest = msgspec.to_builtins(bundle.manifest)
    sizes = {name: (bundle.path / name).stat().st_size for name in bundle.manifest.files}
    golden = facts_of(bundle)
    return {
        **manifest, "path": str(bundle.path), "digest": bundle.digest, "version": bundle.version, "meta": bundle.meta(),
        "sizes": sizes, "golden_rows": golden,
    }  # fmt: skip


def facts_of(bundle: Bundle) -> dict[str, int]:
    """How many golden rows there are of each kind."""
    from collections import Counter

    from anyport.golden.store import read

    file = bundle.member("golden.npz")
    if file is None:
        return {}
    golden = read(file, bundle.signature)
    counted = dict(sorted(Counter(golden.why).items()))
    return {"rows": len(golden.why), **counted, "excluded": len(golden.excluded)}


def text(bundle: Bundle) -> str:
    """The bundle as people read it."""
    from anyport.cli.show import facts, size, style, table

    m = bundle.manifest
    golden = facts_of(bundle)
    kinds = ", ".join(f"{n} {why}" for why, n in golden.items() if why not in ("rows", "excluded"))
    total = sum((bundle.path / name).stat().st_size for name in m.files)
    head = [
        ("bundle", f"{style(bundle.name, 'bold')}  version {bundle.version}  {size(total)}  {bundle.path}"),
        ("model", f"{m.framework}, form {m.form}" + (f" ({m.kept})" if m.kept else "")),
        ("golden", f"{golden.get('rows', 0)} rows ({kinds}), {m.golden}"),
        ("tolerance", f"rtol {m.tolerance.rtol:g}, atol {m.tolerance.atol:g}, flips {m.tolerance.flips:g}"),
        ("noise", f"{m.noise:.2g} between one row and a batch; {golden.get('excluded', 0)} labels contradicted"),
    ]
    if m.why_no_graph:
        head.append(("no graph", m.why_no_graph[:300]))
    if m.form == "python":
        head.append(("environment", f"Python {m.python}, {', '.join(m.requirements)}"))
    parts = [facts(head), ""]
    parts.append(table(("input", "takes", "unknown level"), [(f.name, f.says(), level(f)) for f in m.signature.inputs]))
    parts += ["", table(("output", "gives", "labels"), [
        (f.name, f.says().removesuffix(" or missing"), "" if f.levels is None else ", ".join(map(str, f.levels[:6]))
         + (" …" if len(f.levels) > 6 else ""))
        for f in m.signature.outputs
    ])]  # fmt: skip
    if m.tried:
        body = [
            (t.name, "kept" if t.name == m.kept else ("rejected" if t.rejected else "right"),
             "" if t.worst is None else f"{t.worst:.2g}", str(t.rows or ""),
             "" if t.microseconds is None else f"{t.microseconds:g} µs", t.rejected or t.why)
            for t in m.tried
        ]  # fmt: skip
        colours = ["green" if row[1] == "kept" else "" for row in body]
        parts += ["", table(("candidate", "verdict", "worst", "rows", "one row", "why"), body, colours=colours)]
    return "\n".join(parts)


def level(field: Any) -> str:
    """What happens to a level the model has not seen."""
    if not field.is_text:
        return ""
    return "refused" if field.closed else "answered"
