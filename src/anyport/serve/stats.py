"""GET /stats: the recent past of every model as JSON, enough for charts without a database."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from anyport.serve import series
from anyport.serve.drift import Axis
from anyport.serve.metrics import STAGES, total

if TYPE_CHECKING:
    from anyport.serve.model import Served
    from anyport.serve.site import Site


def stats(site: Site, *, seconds: int = 1, now: float | None = None) -> dict[str, Any]:
    """What the models did lately: in buckets of 1 s over two minutes, or of 10 s over an hour."""
    now = time() if now is None else now
    said = [one for host in site.metrics.hosts() if (one := host.said())["seen"] > now - 10]
    return {
        "time": now, "workers": len(said), "resident_bytes": sum(one["resident"] for one in said),
        "connections": sum(one["connections"] for one in said),
        "models": [of(model, site, seconds=seconds, now=now) for model in site.models],
    }  # fmt: skip


def of(model: Served, site: Site, *, seconds: int, now: float) -> dict[str, Any]:
    """One model's."""
    slots = model.slot.everywhere()
    sums = total(slots)
    ever, window = model.watch.counts(slots, site.settings, now)
    stages = {name: sums.stage(name) for name in STAGES}
    return {
        "name": model.name, "version": model.version, "ready": model.predictor is not None,
        "requests": sum(sums.codes.values()), "rows": sums.rows, "refused_rows": sums.refused,
        "codes": {str(code): n for code, n in sums.codes.items()}, "errors": sums.kinds,
        "in_flight": sums.open, "queued": sums.queued,
        "latency_ms": {f"p{q}": series.milliseconds(sums.seconds, q / 100) for q in (50, 95, 99)},
        "stages_ms": {
            name: {"p50": series.milliseconds(counts, 0.5), "p99": series.milliseconds(counts, 0.99)}
            for name, (counts, _) in stages.items()
        },
        "recent": series.recent(slots, seconds, now=now),
        "predictions": [spread(axis, ever[axis.side, axis.name].tolist(), window[axis.side, axis.name].tolist())
                        for axis in model.watch.axes if axis.side == "output"],
        "drift": {
            "window_seconds": site.settings.drift_window, "baseline_rows": model.watch.base_rows,
            "columns": model.watch.drifts(window),
        },
    }  # fmt: skip


def spread(axis: Axis, ever: list[float], window: list[float]) -> dict[str, Any]:
    """How one output was distributed in the sample: rows in each bin since the start and within the drift's window."""
    return {
        "output": axis.name, "bins": axis.words(), "ever": ever, "window": window,
        "baseline": axis.expected,
    }  # fmt: skip


def encoded(site: Site, *, seconds: int) -> bytes:
    """`stats` as JSON."""
    return msgspec.json.encode(stats(site, seconds=seconds))
