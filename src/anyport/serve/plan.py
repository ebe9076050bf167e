"""Plan: which bundles a server serves, how the versions of one name share its traffic, and which of them shadows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from anyport.bundle import Bundle
from anyport.errors import Mistake
from anyport.signature import Field, Signature


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bundle of a plan: where it lies, and what was found there.

    `name`, `version` and `digest` are filled in when the bundle is read. Where the caller gives them, what is found
    must be that; a digest that is being served already is not read again, whatever lies at `path` by now.
    """

    path: str
    name: str = ""
    version: str = ""
    digest: str = ""
    alias: str = ""
    """The name that it is served under instead of its own."""


class Shadow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version that gets a copy of the others' requests, and of what share of them."""

    version: str
    share: float = 1.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is served. The first entry's name is also at /predict."""

    models: tuple[Entry, ...] = ()
    traffic: Mapping[str, Mapping[str, float]] = {}
    """Name → version → weight, for requests that name no version. A version without one gets none of them; a name
    that is not here gives all to its first version."""
    shadow: Mapping[str, Shadow] = {}
    """Name → its shadow."""
    generation: int = 0
    """Counts the changes; the server's to set."""

    def weights(self, name: str) -> dict[str, float]:
        """Version → share of the requests that name none; every version of the name, in the plan's order."""
        versions = [entry.version for entry in self.models if entry.name == name]
        given = self.traffic.get(name) or dict.fromkeys(versions[:1], 1.0)
        total = sum(given.values())
        return {version: given.get(version, 0.0) / total for version in versions}

    def used(self, name: str) -> set[str]:
        """Versions that requests reach without naming them, or that shadow those: their columns must agree."""
        weighted = {version for version, weight in self.weights(name).items() if weight > 0}
        return weighted | {self.shadow[name].version} if name in self.shadow else weighted

    def fresh(self) -> Plan:
        """The same plan without digests and versions: whatever lies at its paths by now."""
        return msgspec.structs.replace(
            self, models=tuple(Entry(one.path, one.name, alias=one.alias) for one in self.models)
        )

    def renamed(self, versions: Mapping[tuple[str, str], str]) -> Plan:
        """Traffic and shadow with other versions in the place of some: (name, version) → version."""

        def now(name: str, version: str) -> str:
            return versions.get((name, version), version)

        traffic = {name: {now(name, v): w for v, w in given.items()} for name, given in self.traffic.items()}
        shadow = {
            name: msgspec.structs.replace(one, version=now(name, one.version)) for name, one in self.shadow.items()
        }
        return msgspec.structs.replace(self, traffic=traffic, shadow=shadow)


def entry(path: str, bundle: Bundle, alias: str = "") -> Entry:
    """The entry of a bundle that was read."""
    return Entry(path, alias or bundle.name, bundle.version, bundle.digest, alias)


def patched(plan: Plan, patch: Mapping[str, Any]) -> Plan:
    """A plan changed by a JSON merge patch (RFC 7396): what is given replaces, null removes, lists are replaced whole.

    Mistake where the result is no plan.
    """

    def merged(old: Any, new: Any) -> Any:
        if not isinstance(new, dict):
            return new
        old = old if isinstance(old, dict) else {}
        return {k: v for k, v in old.items() if k not in new} | {
            k: merged(old.get(k), v) for k, v in new.items() if v is not None
        }

    return of(merged(msgspec.to_builtins(plan), patch))


def of(value: Any) -> Plan:
    """A plan from parsed JSON. Mistake where it is none."""
    try:
        return msgspec.convert(value, Plan)
    except msgspec.ValidationError as error:
        raise Mistake(f"this is no plan: {error}", fix="GET /admin/plan shows one") from error


def check(plan: Plan, signatures: Mapping[str, Signature], before: Plan, served: Mapping[str, Signature]) -> None:
    """Mistake where a complete plan cannot be served after `before`. `signatures` and `served` are by digest.

    Requests that name no version must not notice a change by their columns being refused: all versions that get such
    requests, or a copy of them, take and give the same columns, and the same as those before.
    """
    named = [(one.name, one.version) for one in plan.models]
    for name, version in {pair for pair in named if named.count(pair) > 1}:
        raise Mistake(f"{name} version {version} is given twice", fix="pack one of them with another --version")
    versions = {name: [v for n, v in named if n == name] for name, _ in named}
    for name, given in plan.traffic.items():
        known(versions, name, given, "traffic")
        if any(not (weight >= 0 and math.isfinite(weight)) for weight in given.values()) or sum(given.values()) <= 0:
            shown = ", ".join(f"{version}: {weight:g}" for version, weight in given.items())
            raise Mistake(f"traffic of {name}: weights are not negative and one is above 0, got {shown or 'none'}")
    for name, shadow in plan.shadow.items():
        known(versions, name, [shadow.version], "shadow")
        if not 0 < shadow.share <= 1:
            raise Mistake(f"shadow of {name}: a share is above 0 and at most 1, got {shadow.share:g}")
        if plan.weights(name)[shadow.version] == 1:
            raise Mistake(f"{name} version {shadow.version} answers every request: it cannot shadow itself")
    for name in versions:
        used = [one for one in plan.models if one.name == name and one.version in plan.used(name)]
        old = [one for one in before.models if one.name == name and before.weights(name)[one.version] > 0]
        first, signature = (old[0], served[old[0].digest]) if old else (used[0], signatures[used[0].digest])
        for one in used:
            said = mismatch(signature, signatures[one.digest])
            if said:
                raise Mistake(
                    f"{name} version {one.version} ({one.path}) does not take the place of version {first.version}:"
                    f" {said}",
                    fix="give it another name, or no traffic: callers reach it by its version",
                )


def known(versions: Mapping[str, Sequence[str]], name: str, given: Sequence[str] | Mapping[str, Any], of: str) -> None:
    """Mistake where a part of a plan speaks of what is not in it."""
    if name not in versions:
        raise Mistake(f"{of}: there is no model {name}", fix=f"models: {', '.join(versions) or 'none'}")
    for version in given:
        if version not in versions[name]:
            raise Mistake(
                f"{of}: there is no {name} version {version}", fix=f"versions of it: {', '.join(versions[name])}"
            )


def mismatch(old: Signature, new: Signature) -> str:
    """How the columns of two signatures differ in name, type or shape; "" where they do not.

    Bounds, levels and missing values may: every retraining moves them, and a row says by itself what is wrong.
    """
    for what, ours, theirs in (("input", old.inputs, new.inputs), ("output", old.outputs, new.outputs)):
        have, wanted = {f.name: kind(f) for f in theirs}, {f.name: kind(f) for f in ours}
        for name in [*wanted, *(set(have) - set(wanted))]:
            if wanted.get(name) != have.get(name):
                return f"{what} {name!r}: expected {wanted.get(name, 'none')}, got {have.get(name, 'none')}"
    return ""


def kind(field: Field) -> str:
    """A column's type and shape in words."""
    text: str = "text" if field.is_text else field.dtype
    if field.shape:
        text += f"[{', '.join(str(axis or '?') for axis in field.shape)}]"
        if field.levels:  # one number a label: another label is another column
            text += f" of {', '.join(map(str, field.levels))}"
    return text
