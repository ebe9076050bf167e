"use strict";
// The page: a form from the signature, answers, snippets, and charts of /stats. No library, no build step.

const $ = (id) => document.getElementById(id);
const state = { models: [], model: null, key: "", code: "curl", step: 1, stats: null, asked: 0 };
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "line"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (state.key) headers["X-API-Key"] = state.key;
  return fetch(path, { ...options, headers, cache: "no-store" });
}

// what is served

async function start() {
  let reply;
  try {
    reply = await call("page/models.json");
  } catch (error) {
    $("says").textContent = `The server cannot be reached: ${error.message}`;
    return;
  }
  if (reply.status === 401) {
    $("says").textContent = "What is served here is told to those who have a key.";
    $("locked").hidden = false;
    if (state.key) {
      $("key-error").textContent = "This key is not accepted.";
      $("key").setAttribute("aria-invalid", "true");
    }
    $("key").focus();
    return;
  }
  if (!reply.ok) {
    $("says").textContent = `The server answered ${reply.status}.`;
    return;
  }
  const said = await reply.json();
  state.models = said.models;
  const unlocked = !$("locked").hidden;
  $("locked").hidden = true;
  const chooser = $("model");
  chooser.replaceChildren(...said.models.map((m, i) => make("option", { value: i }, `${m.name} ${m.version}`)));
  $("chooser").hidden = said.models.length < 2;
  choose(0);
  if (unlocked) $("ask").querySelector("input, select, textarea, button").focus();
  follow();
}

function choose(at) {
  const model = (state.model = state.models[at]);
  document.title = `${model.name} · anyport`;
  $("name").textContent = model.name;
  const inputs = model.inputs.length;
  $("says").textContent = `Answers ${model.outputs.map((o) => o.name).join(" and ")} from ${inputs} ${inputs === 1 ? "column" : "columns"}.`;
  const facts = [
    ["Version", model.version],
    ["Made with", model.framework],
    ["Runs as", model.form === "graph" ? "a proven graph" : "the Python original"],
    ["Proof", model.proof],
    ["Packed", model.created ? model.created.slice(0, 10) : null],
  ];
  $("facts").replaceChildren(...facts.filter((f) => f[1]).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  $("fields").replaceChildren(...model.inputs.map(cell));
  fill();
  $("open").hidden = $("live").hidden = false;
  $("answer").replaceChildren(make("p", { class: "muted" }, "Press Predict: the form holds a row that the model answers."));
  if (state.stats) draw();
}

// the form

const kind = (field) => {
  if (field.shape.length) return "json";
  if (field.dtype === "bool") return field.nullable ? "select" : "checkbox";
  if (field.levels && field.closed) return "select";
  if (field.dtype === "datetime") return "datetime";
  return field.dtype === "string" || (field.dtype === "category" && (!field.levels || typeof field.levels[0] === "string")) ? "text" : "number";
};
const options = (field) => (field.dtype === "bool" ? [true, false] : field.levels);

function cell(field, at) {
  const id = `f${at}`;
  const how = kind(field);
  const described = { id, name: field.name, "aria-describedby": `${id}-hint ${id}-error` };
  let input;
  const box = make("div", { class: "cell" });
  const under = make("div", { class: "under" });
  if (how === "checkbox") {
    input = make("input", { type: "checkbox", ...described });
    box.append(make("label", { for: id }, field.name), make("div", { class: "tick" }, input, make("span", { "aria-hidden": "true" }, "true")));
  } else {
    if (how === "select") {
      const empty = field.nullable ? [make("option", { value: "" }, "(missing)")] : [];
      input = make("select", described, ...empty, ...options(field).map((v, i) => make("option", { value: `=${i}` }, String(v))));
    } else if (how === "json") {
      input = make("textarea", { rows: 3, spellcheck: "false", ...described });
    } else {
      const more = how === "number" ? { type: "number", step: "any", inputmode: "decimal" } : how === "datetime" ? { type: "datetime-local", step: "0.001" } : { type: "text" };
      if (how === "text" && field.levels) more.list = `${id}-list`;
      if (field.nullable && how === "number") more.placeholder = "missing";
      input = make("input", { autocomplete: "off", ...more, ...described });
    }
    box.append(make("label", { for: id }, field.name), input);
    if (how === "text" && field.levels) box.append(make("datalist", { id: `${id}-list` }, ...field.levels.map((v) => make("option", { value: v }))));
    if (how === "text" && field.nullable) {
      const none = make("input", { type: "checkbox", id: `${id}-none` });
      none.addEventListener("change", () => { input.disabled = none.checked; snippet(); });
      under.append(make("label", { class: "small", for: `${id}-none` }, none, make("span", {}, make("span", { class: "unseen" }, `${field.name} is `), "missing")));
    }
  }
  const empty = field.nullable && ["number", "datetime"].includes(how) ? "; empty: missing" : "";
  const zone = how === "datetime" ? " in UTC" : "";
  const says = (field.nullable ? field.says.replace(/ or missing$/, "") : field.says) + zone + empty;
  under.prepend(make("p", { class: "hint", id: `${id}-hint` }, says));
  box.append(under, make("p", { class: "error", id: `${id}-error` }));
  for (const event of ["input", "change"]) input.addEventListener(event, () => { wrong(at, ""); snippet(); });
  return box;
}

function fill() {
  state.model.inputs.forEach((field, at) => {
    const value = state.model.example ? state.model.example[field.name] : null;
    const input = $(`f${at}`);
    const how = kind(field);
    wrong(at, "");
    if (how === "checkbox") input.checked = value === true;
    else if (how === "select") {
      const found = options(field).indexOf(value);
      input.value = found < 0 ? (field.nullable ? "" : "=0") : `=${found}`;
    } else if (how === "json") input.value = value === null ? "" : JSON.stringify(value);
    else if (how === "datetime") input.value = value === null ? "" : value.replace(/Z$/, "").slice(0, 23);
    else input.value = value === null ? "" : String(value);
    const none = $(`f${at}-none`);
    if (none) input.disabled = none.checked = value === null;
  });
  snippet();
}

// The cell as JSON text: a number as it was typed, so that a large integer keeps its last digits.
function text(field, at) {
  const input = $(`f${at}`);
  const how = kind(field);
  if (how === "checkbox") return String(input.checked);
  if (how === "select") return input.value === "" ? "null" : JSON.stringify(options(field)[Number(input.value.slice(1))]);
  if (how === "text") return input.disabled ? "null" : JSON.stringify(input.value);
  const typed = input.value.trim();
  if (typed === "") return "null";
  if (how === "datetime") return JSON.stringify(field.tz ? `${typed}Z` : typed);
  if (how === "json") return typed;
  return NUMBER.test(typed) ? typed : JSON.stringify(Number(typed));
}

const row = () => `{${state.model.inputs.map((field, at) => `${JSON.stringify(field.name)}: ${text(field, at)}`).join(", ")}}`;

function wrong(at, message) {
  $(`f${at}-error`).textContent = message;
  if (message) $(`f${at}`).setAttribute("aria-invalid", "true");
  else $(`f${at}`).removeAttribute("aria-invalid");
}

// asking

async function ask(event) {
  event.preventDefault();
  const model = state.model;
  const number = ++state.asked;
  model.inputs.forEach((_, at) => wrong(at, ""));
  const bad = model.inputs.findIndex((field, at) => $(`f${at}`).validity.badInput || (kind(field) === "json" && !parses(text(field, at))));
  if (bad >= 0) {
    wrong(bad, `expected ${model.inputs[bad].says}`);
    $(`f${bad}`).focus();
    return;
  }
  $("answer").setAttribute("aria-busy", "true");
  const started = performance.now();
  let reply, said;
  try {
    reply = await call(model.path, { method: "POST", body: row(), headers: { "Content-Type": "application/json" } });
    said = await reply.json();
  } catch (error) {
    reply = null;
    said = { what: `no answer: ${error.message}`, fix: "is the server still there?" };
  }
  const took = performance.now() - started;
  if (number !== state.asked || model !== state.model) return;
  $("answer").removeAttribute("aria-busy");
  if (reply && reply.ok) $("answer").replaceChildren(...answered(model, said), make("p", { class: "took" }, `Answered in ${took.toFixed(1)} ms, there and back.`), raw(said));
  else refused(model, said);
}

function parses(json) {
  try { JSON.parse(json); return true; } catch { return false; }
}

function refused(model, said) {
  const left = [];
  let first = -1;
  for (const error of said.errors || []) {
    const at = model.inputs.findIndex((field) => field.name === error.column);
    const message = `expected ${error.expected}, got ${error.got}`;
    if (at < 0) left.push(`${error.column}: ${message}`);
    else {
      wrong(at, message);
      if (first < 0) first = at;
    }
  }
  const more = [said.fix, ...left, said.id && `The server's log has the reason under ${said.id}.`].filter(Boolean);
  $("answer").replaceChildren(make("div", { class: "problem" }, make("strong", {}, said.what || said.error || "no answer"), ...more.map((line) => make("p", {}, line))));
  if (first >= 0) $(`f${first}`).focus();
}

const shown = (value) => {
  if (value === null || value === undefined) return "missing";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(6)));
  return typeof value === "string" || typeof value !== "object" ? String(value) : JSON.stringify(value);
};

function answered(model, said) {
  return model.outputs.map((output) => {
    const value = said[output.name];
    const box = make("div", { class: "output" }, make("p", { class: "name" }, output.name));
    if (output.keys && value) box.append(bars(output, value));
    else box.append(make("p", { class: "verdict" }, shown(value)));
    return box;
  });
}

function bars(output, value) {
  const sorted = output.keys.map((key) => [key, value[key]]).sort((a, b) => b[1] - a[1]);
  const top = Math.max(1, ...sorted.map((one) => one[1] || 0));
  const list = make("div", { class: "bars", role: "list" });
  for (const [at, [key, p]] of sorted.slice(0, 12).entries()) {
    const number = p === null ? "missing" : `${(100 * p).toFixed(p > 0.9995 || p < 0.0005 ? 2 : 1)} %`;
    list.append(make("div", { role: "listitem", class: "label" }, key), bar((p || 0) / top, at > 0), make("span", { class: "number" }, number));
  }
  const rest = sorted.length - 12;
  if (rest > 0) list.append(make("span", { class: "label" }, `and ${rest} more`));
  return list;
}

const bar = (share, rest) =>
  make("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, make("rect", { class: rest ? "bar rest" : "bar", width: 100 * Math.min(Math.max(share, 0), 1), height: 8 }));

const raw = (said) => make("details", {}, make("summary", {}, "JSON"), make("pre", { tabindex: 0, "aria-label": "The answer as JSON" }, JSON.stringify(said, null, 2)));

// snippets

function snippet() {
  const url = new URL(state.model.path, document.baseURI).href;
  const body = row();
  if (state.code === "curl") {
    const key = state.key ? ` \\\n  -H "X-API-Key: $ANYPORT_KEY"` : "";
    $("code").textContent = `curl ${quoted(url)} \\\n  -H "Content-Type: application/json"${key} \\\n  -d ${quoted(body)}`;
    return;
  }
  const literal = state.model.inputs.map((field, at) => `    ${JSON.stringify(field.name)}: ${python(text(field, at))},`).join("\n");
  const imports = state.key ? "import json, os, urllib.request" : "import json, urllib.request";
  const key = state.key ? `, "X-API-Key": os.environ["ANYPORT_KEY"]` : "";
  $("code").textContent = `${imports}\n\nrow = {\n${literal}\n}\nrequest = urllib.request.Request(\n    ${JSON.stringify(url)},\n    json.dumps(row).encode(),\n    {"Content-Type": "application/json"${key}},\n)\nwith urllib.request.urlopen(request) as reply:\n    print(json.load(reply))`;
}

const quoted = (plain) => `'${plain.replaceAll("'", `'\\''`)}'`;

// JSON text as a Python literal. Strings of JSON are strings of Python, so only bare words change.
const python = (json) => json.replace(/"(?:[^"\\]|\\.)*"|\bnull\b|\btrue\b|\bfalse\b/g, (found) => ({ null: "None", true: "True", false: "False" })[found] || found);

async function copy() {
  const code = $("code").textContent;
  try {
    await navigator.clipboard.writeText(code);
  } catch {
    // pages that are not https (nor localhost) have no clipboard; a selection can be copied everywhere
    const range = document.createRange();
    range.selectNodeContents($("code"));
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (!document.execCommand("copy")) {
      $("copied").textContent = "Selected: press Ctrl-C.";
      return;
    }
  }
  $("copied").textContent = "Copied.";
  setTimeout(() => { $("copied").textContent = ""; }, 2000);
}

// charts

let following = null;
async function follow() {
  clearTimeout(following);
  const step = state.step;
  if (!document.hidden) {
    try {
      const reply = await call(`stats?step=${step}`);
      if (reply.ok) {
        const said = await reply.json();
        if (step === state.step) {
          state.stats = said;
          draw();
        }
      }
    } catch {
      // the server is away; the next turn asks again
    }
  }
  clearTimeout(following);
  following = setTimeout(follow, state.step === 1 ? 1000 : 5000);
}

function draw() {
  const model = state.stats.models.find((m) => m.name === state.model.name && m.version === state.model.version);
  if (!model) return;
  const recent = model.recent;
  const last = (listed) => listed.slice(-3).filter((v) => v !== null).at(-1);
  const rate = last(recent.requests) || 0;
  const errors = recent.faults.map((n, i) => n + recent.failures[i]);
  const p50 = last(recent.p50), p99 = last(recent.p99);
  $("charts").replaceChildren(
    chart("Requests a second", `${shown(rate)} / s`, recent.requests, errors, "all", "errors", recent),
    chart("Latency in ms", p50 === undefined ? "–" : `${shown(p50)} · ${shown(p99)} ms`, recent.p50, recent.p99, "p50", "p99", recent),
    chart("Rows a run", shown(last(recent.batch) ?? "–"), recent.batch, null, "mean", "", recent),
  );
  drifts(model.drift);
}

function chart(what, value, one, two, first, second, recent) {
  const all = [...one, ...(two || [])].filter((v) => v !== null);
  const top = nice(Math.max(...all, 0) || 1);
  const width = 300, height = 100;
  const path = (values) => {
    let drawn = "", pen = false;
    values.forEach((v, i) => {
      if (v === null) { pen = false; return; }
      const x = (width * i) / (values.length - 1), y = height - (height * v) / top;
      drawn += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      if (!pen && values[i + 1] === null) drawn += "h1.5";
      pen = true;
    });
    return drawn;
  };
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${what}: ${value}; highest ${shown(Math.max(...all, 0))}` });
  for (const y of [0, 50, 100]) svg.append(make("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y }));
  if (one.every((v) => v !== null)) svg.append(make("path", { class: "area", d: `${path(one)}L${width} ${height}L0 ${height}Z` }));
  if (two) svg.append(make("path", { class: "line two", d: path(two) }));
  svg.append(make("path", { class: "line one", d: path(one) }));
  const minutes = Math.round((recent.seconds * one.length) / 60);
  const keys = two ? [make("span", { class: "key" }, first), make("span", { class: "key two" }, second)] : [make("span", { class: "key" }, first)];
  return make("figure", {}, make("figcaption", {}, make("span", { class: "what" }, what), make("span", { class: "value" }, value)),
    svg, make("div", { class: "axis" }, make("span", {}, `${minutes} min ago`), make("span", { class: "row" }, ...keys), make("span", {}, `top ${shown(top)}`)));
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((m) => m * power >= value * 0.999);
}

function drifts(drift) {
  const columns = drift.columns;
  $("drifting").hidden = !columns.length;
  const hours = drift.window_seconds >= 7200 ? `${shown(drift.window_seconds / 3600)} hours` : `${shown(drift.window_seconds / 60)} minutes`;
  const rows = Math.max(0, ...columns.map((c) => c.rows));
  $("drift-says").textContent = `${rows.toLocaleString("en")} rows of the last ${hours} against ${drift.baseline_rows.toLocaleString("en")} of the data that the model was packed with. Drifted: a population stability index (PSI) of 0.25 above what chance would give.`;
  const order = { drifted: 0, shifted: 1, stable: 2, "few rows": 3 };
  const sorted = [...columns].sort((a, b) => order[a.verdict] - order[b.verdict] || (b.psi || 0) - (a.psi || 0));
  const percent = (p) => (p === null ? "–" : `${(100 * p).toFixed(1)} %`);
  $("drift").replaceChildren(...sorted.map((one) => make("tr", {},
    make("th", { scope: "row", title: one.column }, one.side === "output" ? `→ ${one.column}` : one.column),
    make("td", {}, make("span", { class: `chip ${one.verdict.split(" ")[0]}` }, one.verdict === "few rows" ? `few rows: ${one.rows}` : one.verdict)),
    make("td", {}, make("div", { class: "psi" }, bar((one.psi || 0) / 0.5, one.verdict === "stable"), make("span", { class: "number" }, one.psi === null ? "–" : one.psi.toFixed(3)))),
    make("td", { class: "number" }, one.distance === null ? "–" : `${one.distance.toFixed(3)} ${one.measure.toUpperCase()}`),
    make("td", { class: "number" }, one.missing === null ? "–" : `${percent(one.missing)} (${percent(one.expected_missing)})`),
    make("td", { class: "number" }, one.unseen === null ? "–" : `${percent(one.unseen)} (${percent(one.expected_unseen)})`))));
}

// what people do

function press(group, chosen) {
  for (const button of document.querySelectorAll(`[data-${group}]`)) button.setAttribute("aria-pressed", String(button.dataset[group] === chosen));
}

document.addEventListener("DOMContentLoaded", () => {
  $("ask").addEventListener("submit", ask);
  $("reset").addEventListener("click", fill);
  $("copy").addEventListener("click", copy);
  $("model").addEventListener("change", () => choose(Number($("model").value)));
  $("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    state.key = $("key").value.trim();
    $("key-error").textContent = "";
    start();
  });
  for (const button of document.querySelectorAll("[data-code]")) {
    button.addEventListener("click", () => { state.code = button.dataset.code; press("code", state.code); snippet(); });
  }
  for (const button of document.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => { state.step = Number(button.dataset.step); press("step", button.dataset.step); follow(); });
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && state.model) follow(); });
  start();
});
