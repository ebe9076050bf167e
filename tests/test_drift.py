"""Drift: the formulas are scipy's; rows like the training data are stable, planted shifts are found and named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import served
from scipy import stats as scipy_stats
from test_metrics import families
from test_serve import MODEL, Up, up

from anyport import baseline, bundle
from anyport.batch import Batch, Column, Outcome, rows, take
from anyport.ingest import to_batch
from anyport.serve import drift, hot
from anyport.serve.metrics import SPREAD, Metrics
from anyport.serve.settings import Settings
from anyport.serve.watch import BUCKETS, Watch
from anyport.signature import Field, Signature

SETTINGS = Settings(watch_rows=1_000_000, drift_window=1200)
NONE = (0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    return bundle.read(served.bundle(tmp_path_factory.mktemp("drift") / "homes", MODEL))


@pytest.fixture(scope="module")
def live(homes: bundle.Bundle) -> Iterator[Up]:
    with up(homes.path, watch_rows=100_000) as running:
        yield running


def seen(homes: bundle.Bundle, records: list[dict[str, Any]]) -> dict[str, drift.Drift]:
    """The drift of every column after these rows."""
    made = Metrics([("homes", "1")], 1)
    watch = Watch(homes)
    watch.tick(made.slot(0, 0), SETTINGS, 1000.0)
    batch, refused = to_batch(records, served.SIGNATURE.inputs)
    assert not refused
    watch.batch(batch, served.outcome(MODEL, batch), NONE)
    watch.tick(made.slot(0, 0), SETTINGS, 1001.0)
    return {one.column: one for one in watch.drifts(watch.counts(made.slots(0), SETTINGS, 1001.0)[1])}


@pytest.mark.parametrize("seed", range(5))
def test_psi_is_the_sum_of_both_relative_entropies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, got = rng.integers(0, 90, 12).astype(float), rng.integers(0, 40, 12).astype(float)
    base[0] = got[0] = got[1] = 0  # one bin is empty in both, one in what was seen
    p, q = base[1:] + 0.5, got[1:] + 0.5
    expected = scipy_stats.entropy(p, q) + scipy_stats.entropy(q, p)  # which normalise
    assert drift.psi(base, got) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 10, 4000), (rng.normal(5, 2, 3000).clip(0, 9)).astype(int)
    p, q = np.bincount(a, minlength=10), np.bincount(b, minlength=10)
    assert drift.ks(p, q) == pytest.approx(scipy_stats.ks_2samp(a, b).statistic, abs=1e-12)
    by_hand = sum(abs(x / 4000 - y / 3000) for x, y in zip(p.tolist(), q.tolist(), strict=True)) / 2
    assert drift.tv(p / 4000, q / 3000) == pytest.approx(by_hand, rel=1e-12)


def test_noise_is_the_psi_of_samples_of_one_distribution() -> None:
    rng = np.random.default_rng(8)
    shares = rng.dirichlet(np.full(11, 5.0))
    n, m = 500, 2000
    found = [drift.psi(rng.multinomial(m, shares).astype(float), rng.multinomial(n, shares)) for _ in range(1500)]
    assert np.mean(found) == pytest.approx(10 * (1 / n + 1 / m), rel=0.06)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_rows_of_the_training_distribution_are_stable(homes: bundle.Bundle, seed: int) -> None:
    found = seen(homes, served.rows(1500, seed=seed))
    assert set(found) == {"age", "rooms", "home city", "plan", "owner", "prediction"}
    for one in found.values():
        assert one.verdict == "stable", one
        assert one.psi is not None
        assert one.psi < 0.1


def older(row: dict[str, Any]) -> None:
    row["age"] = None if row["age"] is None else row["age"] + 20


def gone(row: dict[str, Any]) -> None:
    row["age"] = None if row["rooms"] > 5 else row["age"]


def elsewhere(row: dict[str, Any]) -> None:
    row["home city"] = "Atlantis" if row["rooms"] > 3 else row["home city"]


def golden(row: dict[str, Any]) -> None:
    row["plan"] = "gold"


def owned(row: dict[str, Any]) -> None:
    row["owner"] = True


@pytest.mark.parametrize(
    ("change", "column"),
    [(older, "age"), (gone, "age"), (elsewhere, "home city"), (golden, "plan"), (owned, "owner")],
)
def test_a_planted_shift_is_found_and_named(homes: bundle.Bundle, change: Any, column: str) -> None:
    records = served.rows(1500, seed=14)
    for row in records:
        change(row)
    found = seen(homes, records)
    assert {name for name, one in found.items() if one.side == "input" and one.verdict != "stable"} == {column}
    one = found[column]
    assert one.verdict == "drifted"
    if change is gone:
        share = sum(row["age"] is None for row in records) / len(records)
        assert one.missing == pytest.approx(share)
        assert one.expected_missing == pytest.approx(0.1, abs=0.03)
        assert one.distance is not None
        assert one.distance < 0.1  # those that are there are as they were
    if change is elsewhere:
        # the baseline names Oslo, Québec, …: "nowhere" too, as it was frequent
        assert one.unseen == pytest.approx(sum(row["home city"] == "Atlantis" for row in records) / len(records))
        assert one.measure == "tv"
    if change is older:
        ages = np.array([row["age"] for row in records if row["age"] is not None])
        expected = scipy_stats.ks_2samp(ages, ages - 20).statistic
        assert one.distance == pytest.approx(expected, abs=0.08)  # at deciles only


def test_predictions_drift_with_what_they_depend_on(homes: bundle.Bundle) -> None:
    records = served.rows(1500, seed=15)
    for row in records:
        row["rooms"] = 8
    found = seen(homes, records)
    assert found["prediction"].verdict == "drifted"
    assert found["prediction"].side == "output"


def test_few_rows_say_nothing(homes: bundle.Bundle) -> None:
    found = seen(homes, served.rows(30, seed=16))
    assert (found["age"].verdict, found["age"].rows, found["age"].psi) == ("few rows", 30, None)
    assert seen(homes, served.rows(250, seed=16))["age"].verdict == "stable"


def test_both_paths_count_alike(homes: bundle.Bundle) -> None:
    from anyport import predictor

    made = predictor.of(homes)
    fast = hot.of(made)
    assert fast is not None
    records = served.rows(200, seed=17)
    parsed = [fast.row(msgspec.json.encode(row)) for row in records]
    for at, row in enumerate(parsed):
        assert fast.fill(row, fast.views[at]) is None
    batch, _ = to_batch(records, served.SIGNATURE.inputs)
    watch = Watch(homes)
    by_row = watch.hot(([parsed[:3], *parsed[3:]], fast.answers(0, 200), NONE))
    by_column = watch.cold((batch, made.predict(batch)))
    for axis, one, other in zip(watch.axes, by_row, by_column, strict=True):
        assert one.tolist() == other.tolist(), axis.name
        assert one.sum() == 200


def test_the_window_slides_and_workers_are_summed(homes: bundle.Bundle) -> None:
    made = Metrics([("homes", "1")], 3)
    batch, _ = to_batch(served.rows(40, seed=18), served.SIGNATURE.inputs)
    answers = served.outcome(MODEL, batch)
    watches = [Watch(homes) for _ in range(3)]

    def at(now: float) -> tuple[float, float]:
        ever, window = watches[0].counts(made.slots(0), SETTINGS, now)
        return ever["input", "age"].sum(), window["input", "age"].sum()

    for worker, watch in enumerate(watches):
        watch.tick(made.slot(0, worker), SETTINGS, 12_000.0)
        watch.batch(batch, answers, NONE)
        watch.tick(made.slot(0, worker), SETTINGS, 12_001.0)
    assert at(12_001.0) == (120, 120)
    watches[1].batch(batch, answers, NONE)
    watches[1].tick(made.slot(0, 1), SETTINGS, 12_600.0)
    assert at(12_600.0) == (160, 160)
    assert at(13_199.0) == (160, 160)
    assert at(13_201.0) == (160, 40)
    assert at(13_801.0) == (160, 0)
    watches[1].batch(batch, answers, NONE)
    watches[1].tick(made.slot(0, 1), SETTINGS, 13_900.0)  # takes over an old bucket
    assert at(13_900.0) == (200, 40)


def test_refused_rows_are_not_counted(homes: bundle.Bundle) -> None:
    made = Metrics([("homes", "1")], 1)
    watch = Watch(homes)
    watch.tick(made.slot(0, 0), SETTINGS, 1000.0)
    batch, _ = to_batch(served.rows(10, seed=19), served.SIGNATURE.inputs)
    watch.batch(batch, Outcome(served.outcome(MODEL, batch).outputs, {3: (), 4: ()}), NONE)
    watch.tick(made.slot(0, 0), SETTINGS, 1001.0)
    assert watch.counts(made.slots(0), SETTINGS, 1001.0)[0]["input", "rooms"].sum() == 8


def several() -> tuple[Signature, Batch]:
    """Columns of every kind that a baseline describes."""
    n = 3000
    rng = np.random.default_rng(20)
    texts = np.empty(n, object)
    texts[:] = [f"t{i}" for i in rng.integers(0, 4, n)]
    gone = rng.random(n) < 0.2
    texts[gone] = None
    when = np.datetime64("2024-01-01", "us") + rng.integers(0, 10**9, n).astype("timedelta64[us]")
    when[gone] = np.datetime64("NaT")
    infinite = rng.normal(size=n)
    infinite[:5] = np.inf
    fields = (
        Field(name="f", dtype="float32"), Field(name="i", dtype="int16", nullable=True),
        Field(name="t", dtype="string"), Field(name="when", dtype="datetime"),
        Field(name="code", dtype="int64", levels=(1, 2, 3), closed=True), Field(name="constant", dtype="float64"),
        Field(name="nothing", dtype="float64"), Field(name="b", dtype="bool"),
        Field(name="tensor", dtype="float64", shape=(2,)),
    )  # fmt: skip
    columns = {
        "f": Column(infinite.astype(np.float32)), "i": Column(rng.integers(-9, 9, n).astype(np.int16), ~gone),
        "t": Column(texts, ~gone), "when": Column(when), "code": Column(rng.integers(1, 4, n)),
        "constant": Column(np.full(n, 7.0)), "nothing": Column(np.full(n, np.nan)), "b": Column(rng.random(n) < 0.3),
        "tensor": Column(rng.normal(size=(n, 2))),
    }  # fmt: skip
    return Signature(inputs=fields, outputs=()), columns


def test_every_kind_of_column_is_stable_on_its_own_rows() -> None:
    signature, columns = several()
    said = baseline.make(columns, Outcome({}, {}), signature)
    axes = drift.axes(signature, msgspec.json.decode(msgspec.json.encode(said)))
    assert [axis.name for axis in axes] == ["f", "i", "t", "when", "code", "constant", "nothing", "b"]
    for axis in axes:
        counts = axis.count(columns[axis.name])
        assert counts.sum() == rows(columns)
        assert len(axis.words()) == axis.width == len(counts)
        one = drift.of(axis, counts, said["rows"])
        assert one.verdict == "stable", one
        assert one.psi == pytest.approx(0, abs=1e-3)
        assert one.distance == pytest.approx(0, abs=2e-3)
        shuffled = take(columns, np.random.default_rng(1).permutation(rows(columns))[:1000])[axis.name]
        assert drift.of(axis, axis.count(shuffled), said["rows"]).verdict == "stable"


def test_a_constant_that_moves_and_a_column_that_appears_have_drifted() -> None:
    signature, columns = several()
    axes = {a.name: a for a in drift.axes(signature, baseline.make(columns, Outcome({}, {}), signature))}
    below = drift.of(axes["constant"], axes["constant"].count(Column(np.full(500, 6.0))), 3000)
    appeared = drift.of(axes["nothing"], axes["nothing"].count(Column(np.full(500, 6.0))), 3000)
    assert (below.verdict, appeared.verdict) == ("drifted", "drifted")
    assert (appeared.missing, appeared.expected_missing) == (0.0, 1.0)


def test_more_columns_than_memory_holds_are_told(homes: bundle.Bundle, caplog: pytest.LogCaptureFixture) -> None:
    fields = tuple(Field(name=f"c{i}", dtype="float64") for i in range(1200))
    columns = {field.name: Column(np.arange(100.0)) for field in fields}
    signature = Signature(inputs=fields, outputs=())
    from anyport.serve.watch import fitting

    kept = fitting(drift.axes(signature, baseline.make(columns, Outcome({}, {}), signature)), "wide")
    assert 600 < len(kept) < 800
    assert (1 + BUCKETS[0]) * (1 + sum(axis.width for axis in kept)) <= SPREAD
    assert f"from c{len(kept)} on" in caplog.text


def test_a_bundle_without_a_baseline_has_no_drift(homes: bundle.Bundle) -> None:
    axes = drift.axes(homes.signature, None)
    assert [(axis.name, axis.levels) for axis in axes] == [("prediction", served.LABELS)]
    with pytest.raises(ValueError, match="baseline"):
        drift.of(axes[0], axes[0].count(["yes"] * 300), 0)


def test_the_server_tells_drift_in_both_places(live: Up) -> None:
    records = served.rows(600, seed=21)
    for row in records:
        older(row)
    for row in records[:20]:
        assert live.ask(row)[0] == 200
    assert live.ask(records[20:])[0] == 200
    told = {
        (sample.name, sample.labels["column"]): sample.value
        for family in families(live.ask(None, "/metrics", method="GET")[2])
        for sample in family.samples
        if sample.name.startswith("anyport_drift")
    }
    columns = live.ask(None, "/stats", method="GET")[2]["models"][0]["drift"]["columns"]
    found = {one["column"]: one for one in columns}
    assert told["anyport_drift_rows", "age"] == found["age"]["rows"] == 600
    assert told["anyport_drift_psi", "age"] == pytest.approx(found["age"]["psi"])
    assert found["age"]["psi"] > 0.25
    assert found["age"]["verdict"] == "drifted"
    assert told["anyport_drift_psi", "plan"] < 0.1
    assert found["plan"]["verdict"] == "stable"
