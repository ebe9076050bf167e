"""Everything that is counted, as Prometheus text.

Format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/ . OpenMetrics 1.0 where a scraper prefers it:
https://prometheus.io/docs/specs/om/open_metrics_spec/ .
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING

import anyport
from anyport.serve.metrics import CODES, KINDS, ROWS, SECONDS, SHADOW, STAGES, Host, total

if TYPE_CHECKING:
    from anyport.serve.model import Served
    from anyport.serve.site import Site

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPEN = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
Sample = tuple[str, Mapping[str, object], float]
"""Suffix of the family's name, labels, value."""


def text(site: Site, *, open_metrics: bool = False) -> str:
    """All metrics of all workers."""
    lines = []
    for name, kind, says, samples in families(site):
        # OpenMetrics names a family of counters without the suffix that its samples have
        family = name.removesuffix("_total") if open_metrics and kind == "counter" else name
        lines += [f"# HELP {family} {says}", f"# TYPE {family} {kind}"]
        lines += [f"{name}{suffix}{labelled(labels)} {written(value)}" for suffix, labels, value in samples]
    if open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def labelled(labels: Mapping[str, object]) -> str:
    """Labels in braces; a backslash, a quote and a line's end are escaped."""
    if not labels:
        return ""
    pairs = (
        (name, str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for name, value in labels.items()
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in pairs) + "}"


def written(value: float) -> str:
    """A number: whole ones without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))


def families(site: Site) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """Name, type, help and samples of each metric."""
    named = [({"model": m.name, "version": m.version}, m, total(m.slot.everywhere())) for m in site.models]
    yield "anyport_requests_total", "counter", "Prediction requests by status code.", [
        ("", {**at, "code": code}, n) for at, _, sums in named for code, n in sums.codes.items()
    ]  # fmt: skip
    yield "anyport_errors_total", "counter", "Prediction requests that got no answer, by the error's name.", [
        ("", {**at, "kind": kind}, n) for at, _, sums in named for kind, n in sums.kinds.items()
    ]  # fmt: skip
    yield "anyport_request_seconds", "histogram", "Time from a whole request read to its answer written.", [
        sample for at, _, sums in named for sample in histogram(at, SECONDS, sums.seconds, sums.seconds_sum)
    ]  # fmt: skip
    yield "anyport_stage_seconds", "histogram", "Where the time goes, of a sample of requests.", [
        sample for at, _, sums in named for stage in STAGES
        for sample in histogram({**at, "stage": stage}, SECONDS, *sums.stage(stage))
    ]  # fmt: skip
    yield "anyport_run_rows", "histogram", "Rows in one run of the model.", [
        sample for at, _, sums in named for sample in histogram(at, ROWS, sums.runs, sums.rows)
    ]  # fmt: skip
    for name, says, attribute in (
        ("anyport_refused_rows_total", "Rows that the model does not answer.", "refused"),
        ("anyport_logged_rows_total", "Rows in finished files of the prediction log.", "logged"),
        (
            "anyport_log_dropped_rows_total",
            "Rows that the prediction log had no room for, or could not write.",
            "dropped",
        ),
    ):
        yield name, "counter", says, [("", at, getattr(sums, attribute)) for at, _, sums in named]
    yield "anyport_in_flight", "gauge", "Requests under way.", [("", at, sums.open) for at, _, sums in named]
    yield "anyport_queue_requests", "gauge", "Requests that wait for a slow model.", [
        ("", at, sums.queued) for at, _, sums in named
    ]  # fmt: skip
    yield "anyport_model_info", "gauge", "The models that are served; always 1.", [
        ("", {**at, "digest": m.bundle.digest[:12], "framework": m.bundle.manifest.framework, "form": m.bundle.form}, 1)
        for at, m, _ in named
    ]  # fmt: skip
    yield "anyport_model_ready", "gauge", "Whether the model has answered its golden row.", [
        ("", at, float(m.predictor is not None)) for at, m, _ in named
    ]  # fmt: skip
    shadowed = [({"model": name, "version": v}, site.metrics.shadow(name, v)) for name, v in site.metrics.models]
    for key, says in SHADOW.items():
        kind = "gauge" if key == "largest" else "counter"
        name = f"anyport_shadow_{key}" + ("_total" if kind == "counter" else "_difference")
        yield name, kind, says, [("", at, counts[key]) for at, counts in shadowed if any(counts.values())]
    yield from distributions(site, [(at, m) for at, m, _ in named])
    yield from processes(site)


def histogram(
    labels: Mapping[str, object], bounds: Sequence[float], counts: Sequence[float], summed: float
) -> list[Sample]:
    """The samples of one histogram; Prometheus wants its buckets cumulated."""
    samples: list[Sample] = []
    below = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        below += count
        samples.append(("_bucket", {**labels, "le": repr(float(bound))}, below))
    below += counts[-1]
    return [
        *samples,
        ("_bucket", {**labels, "le": "+Inf"}, below),
        ("_sum", labels, summed),
        ("_count", labels, below),
    ]


def distributions(
    site: Site, models: Sequence[tuple[Mapping[str, object], Served]]
) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """What was predicted, and how far it and the inputs have drifted."""
    predicted: list[Sample] = []
    valued: list[Sample] = []
    drifted: dict[str, list[Sample]] = {name: [] for name in ("psi", "noise", "distance", "missing", "unseen", "rows")}
    for at, model in models:
        ever, window = model.watch.counts(model.slot.everywhere(), site.settings)
        for axis in model.watch.axes:
            cells = ever[axis.side, axis.name].tolist()
            labels = {**at, "output": axis.name}
            if axis.side == "output" and axis.levels is not None:
                words = zip(axis.words(), cells, strict=True)
                predicted += [("", {**labels, "label": word}, n) for word, n in words if n or word in axis.levels]
            elif axis.side == "output":
                below = 0.0
                for edge, n in zip(axis.edges, cells, strict=False):
                    below += n
                    valued.append(("", {**labels, "below": f"{edge:.6g}"}, below))
                valued.append(("", {**labels, "below": "+Inf"}, sum(cells[:-1])))
        for one in model.watch.drifts(window):
            labels = {**at, "side": one.side, "column": one.column}
            drifted["rows"].append(("", labels, one.rows))
            for name, value in (
                ("psi", one.psi), ("noise", one.noise), ("distance", one.distance), ("missing", one.missing),
                ("unseen", one.unseen),
            ):  # fmt: skip
                if value is not None:
                    more = {"measure": one.measure} if name == "distance" else {}
                    drifted[name].append(("", {**labels, **more}, value))
    yield "anyport_predictions_total", "counter", "Labels predicted, of a sample of rows.", predicted
    yield "anyport_predicted_below_total", "counter", "Numbers predicted below a bound, of a sample of rows.", valued
    window_of = f"over the last {site.settings.drift_window} s"
    for name, says in (
        ("psi", f"Population stability index {window_of}, against the bundle's baseline."),
        ("noise", "The index to be expected where nothing has drifted."),
        ("distance", f"Kolmogorov-Smirnov (ks) or total variation (tv) distance {window_of}."),
        ("missing", f"Share of missing values {window_of}."),
        ("unseen", f"Share of texts that the baseline does not name {window_of}."),
        ("rows", f"Rows that drift was measured on {window_of}."),
    ):
        yield f"anyport_drift_{name}", "gauge", says, drifted[name]


def processes(site: Site) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """What belongs to no model."""
    hosts = site.metrics.hosts()
    yield "anyport_other_requests_total", "counter", "Requests that reached no model, by status code.", [
        ("", {"code": code}, n) for i, code in enumerate(CODES) if (n := sum(host.cells[i] for host in hosts))
    ]  # fmt: skip
    yield "anyport_other_errors_total", "counter", "Errors of requests that reached no model, by name.", [
        ("", {"kind": kind}, n) for i, kind in enumerate(KINDS) if (n := sum(h.cells[Host.KIND + i] for h in hosts))
    ]  # fmt: skip
    yield "anyport_info", "gauge", "The server; always 1.", [("", {"version": anyport.__version__}, 1)]
    said = [one for host in hosts if (one := host.said())["seen"] > time() - 10]
    yield "anyport_workers", "gauge", "Workers that are alive.", [("", {}, len(said))]
    yield "anyport_connections", "gauge", "Open connections.", [("", {}, sum(one["connections"] for one in said))]
    for name, kind, says, value in (
        ("process_resident_memory_bytes", "gauge", "Resident memory, summed over workers.", "resident"),
        ("process_open_fds", "gauge", "Open file descriptors, summed over workers.", "files"),
        ("process_cpu_seconds_total", "counter", "CPU time of the workers that are alive.", "cpu"),
    ):
        yield name, kind, says, [("", {}, sum(one[value] for one in said))]
    if said:
        yield "process_start_time_seconds", "gauge", "Unix time at which the first worker started.", [
            ("", {}, min(one["started"] for one in said))
        ]  # fmt: skip
