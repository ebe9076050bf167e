"""The page, in a real Chromium: a row is asked and answered as by the original, by mouse and by keyboard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import engines
import pytest
import served
from browser import Browser, program
from test_serve import MODEL, Up, same, up

from anyport.kit.runtime import carry
from anyport.serve import keys
from anyport.serve.contracts.page import FILES

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("page") / "homes", MODEL)


@pytest.fixture(scope="module")
def live(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    other = served.bundle(tmp_path_factory.mktemp("page") / "flats", MODEL, name="flats", version='v 2/"β"')
    with up(homes, other) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    engines.must(program() != "", "no chromium on this machine: apt-get install chromium")
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, live: Up) -> Iterator[Browser]:
    """The page with its form, as on a desk in daylight."""
    chromium.events.clear()
    chromium.look(width=1280, height=900, scheme="light")
    chromium.go(live.url + "/")
    chromium.wait("!document.getElementById('open').hidden")
    yield chromium
    assert all(url.startswith((live.url, "data:")) for url in chromium.asked()), "the page asks others for something"


ROW: dict[str, Any] = {"age": 51.25, "rooms": 6, "home city": "東京", "plan": "gold", "owner": True}


def field(name: str) -> str:
    return f"document.getElementsByName({json.dumps(name)})[0]"


def fill(page: Browser, row: dict[str, Any]) -> None:
    """Set every field as a person would: focus and type, choose, tick."""
    for name, value in row.items():
        one = field(name)
        if isinstance(value, bool):
            page.run(f"{one}.checked !== {json.dumps(value)} && {one}.click()")
        elif name == "plan":
            page.run(f"{one}.selectedIndex = {served.PLANS.index(value)}; {one}.dispatchEvent(new Event('change'))")
        else:
            none = f"document.getElementById({one}.id + '-none')"
            page.run(f"{none} && {none}.checked !== {json.dumps(value is None)} && {none}.click()")
            page.run(f"{one}.focus()")
            if value is None and name == "home city":
                continue
            if value is None:
                page.run(f"{one}.value = ''")
            else:
                page.type(str(value))


def shown(page: Browser) -> Any:
    """The answer's JSON, as the page shows it."""
    page.wait("document.querySelector('#answer details pre') && !document.getElementById('answer').ariaBusy")
    return json.loads(page.run("document.querySelector('#answer details pre').textContent"))


def predict(page: Browser) -> None:
    page.run("document.getElementById('answer').replaceChildren(); document.querySelector('#ask .primary').click()")


@pytest.mark.parametrize("row", [ROW, ROW | {"age": None, "home city": None, "owner": False, "plan": "basic"}])
def test_a_row_is_answered_as_the_original_answers_it(page: Browser, row: dict[str, Any]) -> None:
    fill(page, row)
    predict(page)
    (expected,) = served.ask(MODEL, [row])
    assert same(shown(page), expected)
    assert page.run("document.querySelector('.verdict').textContent") == expected["prediction"]
    first = page.run("document.querySelector('.bars .label').textContent")
    assert first == max(expected["probability"], key=expected["probability"].__getitem__)
    assert re.fullmatch(
        r"Answered in [\d.]+ ms, there and back.", page.run("document.querySelector('.took').textContent")
    )
    assert page.complaints() == []


def test_the_form_holds_a_row_that_is_answered(page: Browser) -> None:
    predict(page)
    assert shown(page)["prediction"] in served.LABELS


def test_a_wrong_value_is_told_at_its_field(page: Browser) -> None:
    fill(page, ROW | {"age": 2_000_000})
    predict(page)
    page.wait("document.querySelector('[aria-invalid]')")
    assert page.run("document.activeElement.name") == "age"
    told = page.run("document.getElementById(document.activeElement.id + '-error').textContent")
    assert "expected" in told
    assert "got 2000000" in told
    assert page.run("document.activeElement.getAttribute('aria-describedby')").endswith("-error")
    assert "cannot be answered" in page.run("document.getElementById('answer').textContent")
    page.type("30")
    assert page.run("document.querySelectorAll('[aria-invalid]').length") == 0
    fill(page, {"rooms": ""})  # a number that may not be missing
    page.run(f"{field('rooms')}.value = ''")
    predict(page)
    page.wait("document.querySelector('[aria-invalid]')")
    assert page.run("document.activeElement.name") == "rooms"
    assert "got a missing value" in page.run(
        "document.getElementById(document.activeElement.id + '-error').textContent"
    )


def test_a_keyboard_is_enough(page: Browser) -> None:
    page.run("document.body.focus()")
    names = []
    page.press("Tab")
    assert page.run("document.activeElement.textContent") == "Skip to the form"
    for _ in range(12):
        page.press("Tab")
        names.append(page.run("document.activeElement.name || document.activeElement.textContent"))
        if names[-1] == "age":
            page.type("51.25")
        if names[-1] == "rooms":
            page.type("6")
        if names[-1] == "owner" and not page.run("document.activeElement.checked"):
            page.press("Space")
        outlined = page.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outlined != "none", f"nobody sees that {names[-1]} is focused"
        if names[-1] == "Predict":
            break
    open_fields = page.run("[...document.querySelectorAll('#fields [name]:enabled')].map((one) => one.name)")
    assert [name for name in names if name in ROW] == open_fields
    assert {"age", "rooms", "plan", "owner"} <= set(open_fields)
    page.press("Enter")
    asked = page.run("JSON.parse(row())")
    assert (asked["age"], asked["rooms"], asked["owner"]) == (51.25, 6, True)
    assert same(shown(page), served.ask(MODEL, [asked])[0])


def test_snippets_do_what_they_say(page: Browser, live: Up) -> None:
    row = ROW | {"home city": 'it\'s a "quoted" \\ city', "age": None}
    fill(page, row)
    (expected,) = served.ask(MODEL, [row])
    curl = page.run("document.getElementById('code').textContent")
    engines.program("curl", "curl")
    done = subprocess.run(["sh", "-c", f"{curl} -sS"], capture_output=True, text=True, timeout=20, check=True)
    assert same(json.loads(done.stdout), expected)
    page.run("document.querySelector('[data-code=python]').click()")
    code = page.run("document.getElementById('code').textContent")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert eval(done.stdout)["prediction"] == expected["prediction"]
    assert page.run("document.querySelector('[data-code=python]').ariaPressed") == "true"


def test_another_model_is_chosen(page: Browser) -> None:
    assert page.run("document.getElementById('name').textContent") == "homes"
    page.run("$('model').value = 1; $('model').dispatchEvent(new Event('change'))")
    assert page.run("document.getElementById('name').textContent") == "flats"
    fill(page, ROW)
    predict(page)
    assert same(shown(page), served.ask(MODEL, [ROW])[0])


def test_charts_and_drift_follow_what_happens(page: Browser, live: Up) -> None:
    for row in served.rows(40, seed=3):
        live.ask(row)
    live.ask({"age": 1})
    page.wait("[...document.querySelectorAll('#charts .value')].some((v) => /^[1-9].* \\/ s$/.test(v.textContent))")
    labels = page.run(
        "[...document.querySelectorAll('#charts svg')].map((s) => s.ariaLabel || s.getAttribute('aria-label'))"
    )
    assert [label.partition(":")[0] for label in labels] == ["Requests a second", "Latency in ms", "Rows a run"]
    assert page.run("document.querySelectorAll('#charts path.line').length") == 5
    rows = page.run("[...document.querySelectorAll('#drift th')].map((t) => t.textContent)")
    assert set(rows) == {*ROW, "→ prediction"}
    page.run("document.querySelector('[data-step=\"10\"]').click()")
    page.wait("document.querySelector('#charts .axis').textContent.startsWith('60 min ago')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_nobody_is_kept_out(page: Browser, live: Up, scheme: str, width: int, height: int, tmp_path: Path) -> None:
    """axe-core's rules (contrast 4.5 among them) in every look, with an answer and with an error on the page."""
    page.look(width=width, height=height, scheme=scheme)
    page.run(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8") + ";0")
    for age in (30, 2_000_000):
        fill(page, ROW | {"age": age})
        predict(page)
        page.wait("document.querySelector('.took, .problem')")
        page.wait("document.querySelector('#charts svg')")
        found = page.run("axe.run().then((r) => r.violations.map((v) => [v.id, v.impact, v.nodes.map((n) => n.html)]))")
        assert found == []
    assert page.run("document.documentElement.scrollWidth") <= width, "one has to scroll sideways"
    picture = tmp_path / "page.png"
    page.picture(picture)
    assert picture.stat().st_size > 20_000


def test_a_key_is_asked_for_and_kept_nowhere(chromium: Browser, homes: Path) -> None:
    with up(homes, keys=keys.Keys(["secret"])) as running:
        chromium.go(running.url + "/")
        chromium.wait("!document.getElementById('locked').hidden")
        assert chromium.run("document.activeElement.id") == "key"
        chromium.type("wrong")
        chromium.press("Enter")
        chromium.wait("document.getElementById('key-error').textContent")
        chromium.type("secret")
        chromium.press("Enter")
        chromium.wait("!document.getElementById('open').hidden")
        fill(chromium, ROW)
        predict(chromium)
        assert same(shown(chromium), served.ask(MODEL, [ROW])[0])
        assert "$ANYPORT_KEY" in chromium.run("document.getElementById('code').textContent")
        assert "secret" not in chromium.run("document.documentElement.outerHTML")
        assert chromium.run("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        chromium.go(running.url + "/readyz")  # the page would go on asking for /stats


def test_what_a_browser_gets_and_what_a_probe_gets(live: Up) -> None:
    status, headers, html = live.ask(None, "/", method="GET", **HTML)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert headers["vary"] == "accept, accept-encoding"
    assert "<script>" not in html
    assert " style=" not in html
    assert live.ask(None, "/", method="GET", Accept="*/*")[2] == "Healthy"
    assert sum(file.stat().st_size for file in FILES.iterdir()) < 50_000


def test_the_files_travel_with_what_serves(tmp_path: Path) -> None:
    carry(tmp_path, "anyport.serve.__main__")
    assert sorted(p.name for p in (tmp_path / "anyport/serve/page").iterdir()) == ["index.html", "page.css", "page.js"]
