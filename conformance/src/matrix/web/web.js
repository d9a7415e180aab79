"use strict";
// Shows the matrix of `data`: summaries, the table, and one cell with its traces. The page loads nothing from elsewhere.
const { matrix, requirements, levels } = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const RESULTS = { holds: "holds", known_defect: "known defect", differs: "differs", cannot_run: "cannot run", absent: "absent" };
const MARKS = { holds: "✓", known_defect: "known", differs: "differs", cannot_run: "no run", absent: "–" };
const AREAS = { fork: "A worker starts", listen: "A worker listens", distribution: "A client connects", messages: "Processes exchange messages", disconnect: "A worker disconnects", exit: "A worker dies" };
const KINDS = ["message", "event", "life", "death", "network", "fault"];
const BONDS = ["message", "descriptor", "lost", "garbage", "life", "close", "network"];
/** The scenarios of a difference that are shown at first. */
const FEW = 6;
const hidden = new Set();

function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
/** A text in which `code` is code. */
function prose(text) {
  return text.split("`").map((part, n) => (n % 2 ? node("code", {}, part) : part));
}
const slug = (name) => name.replace(/[^A-Za-z0-9.]+/g, "-");
const link = (row, column) => `#${matrix.scenarios[row].name}/${slug(matrix.arms[column].name)}`;
const plain = (name) => title(name.replace(/ with workers on /, " + workers on ").replace(/\bunix\b/g, "this project"));
const title = (name) => name.replace(/^(node|bun|deno)\b/, (word) => word[0].toUpperCase() + word.slice(1)).replace(/on node\b/, "on Node");
const level = (name) => node("span", { class: `level ${name}`, title: levels[name].meaning }, levels[name].name);
const source = (name) => (name.includes(".html#") ? node("a", { href: `https://nodejs.org/api/${name}`, rel: "noreferrer" }, name) : node("code", {}, name));

// ---- summaries

function counts(summary) {
  return Object.keys(RESULTS).filter((one) => summary.counts[one]).map((one) => [one, summary.counts[one]]);
}
function runtime(summary, column) {
  const all = matrix.scenarios.length;
  const bar = node("div", { class: "bar", "aria-hidden": "true" });
  for (const [result, count] of counts(summary)) {
    const part = node("i", { class: result });
    part.style.width = `${(100 * count) / all}%`;
    bar.append(part);
  }
  const absent = matrix.arms[column].absent;
  const words = absent ? "absent" : counts(summary).map(([result, count]) => `${count} ${RESULTS[result]}`).join(", ");
  return node("a", { href: summary.differences.length ? `#${place(summary.runtime)}` : "#matrix" }, node("strong", {}, plain(summary.runtime)), bar, node("span", {}, words));
}
const place = (runtime, area) => `about-${slug(runtime)}${area ? `-${area}` : ""}`;
/** The summaries with their columns, the runtime with most differences first. */
function heaviest() {
  return matrix.summaries.map((summary, column) => [summary, column]).sort(([a], [b]) => (b.counts.differs ?? 0) - (a.counts.differs ?? 0));
}
/** Areas down, the differing runtimes across: the number of kinds of difference, and the heaviest level. */
function overview() {
  const differing = heaviest().map(([summary]) => summary).filter((summary) => summary.differences.length);
  const head = node("tr", {}, node("th", { scope: "col" }, "What happens when"), ...differing.map(({ runtime }) => node("th", { scope: "col" }, plain(runtime))));
  byId("overview").tHead.replaceChildren(head);
  byId("overview").tBodies[0].replaceChildren(...Object.keys(AREAS).map((area) => {
    const cells = differing.map(({ runtime, differences }) => {
      const kinds = differences.filter((one) => one.area === area);
      const rows = new Set(kinds.flatMap((one) => one.scenarios)).size;
      if (!kinds.length) return node("td", { class: "quiet" }, "as in Node");
      const label = `${AREAS[area]} on ${plain(runtime)}: ${kinds.length} kinds of difference in ${rows} scenarios, the heaviest ${levels[kinds[0].level].name}`;
      return node("td", {}, node("a", { class: `level ${kinds[0].level}`, href: `#${place(runtime, area)}`, "aria-label": label, title: label }, `${kinds.length} in ${rows}`));
    });
    return node("tr", {}, node("th", { scope: "row" }, AREAS[area]), ...cells);
  }));
}
function about(summary, column) {
  if (!summary.differences.length) return null;
  const made = node("article", { id: place(summary.runtime) }, node("h2", {}, `What ${plain(summary.runtime)} does differently`));
  const differs = summary.counts.differs ?? 0;
  made.append(node("p", { class: "quiet" }, `In ${differs} of ${matrix.scenarios.length} scenarios a trace differs from every trace of Node. By area, the heaviest first; each name leads to the traces.`));
  for (const area of Object.keys(AREAS)) {
    const differences = summary.differences.filter((one) => one.area === area);
    if (!differences.length) continue;
    const list = node("ul");
    for (const one of differences) list.append(difference(one, column));
    made.append(node("h3", { id: place(summary.runtime, area) }, AREAS[area]), list);
  }
  return made;
}
function difference(one, column) {
  const text = one.note ? prose(one.note) : ["Not so: ", ...prose(one.node)];
  const item = node("li", {}, node("p", {}, level(one.level), ...text));
  if (one.note) item.append(node("p", { class: "quiet" }, "Node: ", ...prose(one.node)));
  const names = one.scenarios.map((name) => node("a", { href: link(matrix.scenarios.findIndex((row) => row.name === name), column) }, name));
  const listed = (names) => names.flatMap((name, n) => (n ? [", ", name] : [name]));
  item.append(node("p", { class: "names" }, ...listed(names.slice(0, FEW))));
  if (names.length > FEW) item.append(node("details", { class: "names" }, node("summary", {}, `${names.length - FEW} more scenarios`), ...listed(names.slice(FEW))));
  return item;
}

// ---- the table

function mark(row, column) {
  const cell = matrix.scenarios[row].cells[column];
  const weight = cell.result === "differs" && cell.level ? `, ${levels[cell.level].name}` : "";
  const label = `${matrix.scenarios[row].name} on ${plain(matrix.arms[column].name)}: ${RESULTS[cell.result]}${weight}`;
  return node("a", { class: `mark ${cell.result} ${cell.level ?? ""}`, href: link(row, column), "aria-label": label, title: label, "data-at": `${row}/${column}`, tabindex: "-1" }, MARKS[cell.result]);
}
function wanted(row) {
  const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const { name, description, cells } = matrix.scenarios[row];
  const inColumns = columns().map((column) => cells[column]);
  const texts = [name, description, ...inColumns.flatMap((cell) => [cell.note ?? "", ...cell.differences ?? []].map((one) => (typeof one === "string" ? one : `${one.requirement} ${one.seen} ${one.expected}`)))];
  const text = texts.join(" ").toLowerCase();
  const area = byId("area").value;
  const isMeant = (cell) => !hidden.has(cell.result) && (area === "" || (cell.differences ?? []).some((one) => requirements[one.requirement]?.area === area));
  return words.every((word) => text.includes(word)) && inColumns.some(isMeant);
}
function columns() {
  const chosen = byId("arm").value;
  return matrix.arms.map((_, column) => column).filter((column) => chosen === "" || Number(chosen) === column);
}
function draw() {
  const shown = columns();
  const head = node("tr", {}, node("th", { scope: "col" }, "Scenario"), ...shown.map((column) => node("th", { scope: "col" }, plain(matrix.arms[column].name))));
  byId("table").tHead.replaceChildren(head);
  const rows = matrix.scenarios.map((_, row) => row).filter(wanted);
  byId("table").tBodies[0].replaceChildren(...rows.map((row) => {
    const { name, description } = matrix.scenarios[row];
    return node("tr", {}, node("th", { scope: "row", title: description }, name), ...shown.map((column) => node("td", {}, mark(row, column))));
  }));
  byId("table").querySelector(".mark")?.setAttribute("tabindex", "0");
  byId("shown").textContent = `${rows.length} of ${matrix.scenarios.length} scenarios`;
}
function chips() {
  byId("results").replaceChildren(...Object.keys(RESULTS).map((result) => {
    const made = node("button", { type: "button", "data-result": result, "aria-pressed": String(!hidden.has(result)) }, RESULTS[result]);
    made.addEventListener("click", () => {
      if (!hidden.delete(result)) hidden.add(result);
      chips();
      draw();
      byId("results").querySelector(`[data-result=${result}]`).focus();
    });
    return made;
  }));
}

// ---- a cell

/** The lines of both sides, row by row: pairs of equal lines, and lines of one side alone. */
function beside(left, right) {
  const longest = Array.from({ length: left.length + 1 }, () => new Array(right.length + 1).fill(0));
  for (let l = left.length - 1; l >= 0; l--) {
    for (let r = right.length - 1; r >= 0; r--) {
      longest[l][r] = left[l] === right[r] ? 1 + longest[l + 1][r + 1] : Math.max(longest[l + 1][r], longest[l][r + 1]);
    }
  }
  const rows = [];
  let [l, r] = [0, 0];
  while (l < left.length || r < right.length) {
    const same = l < left.length && r < right.length && left[l] === right[r];
    const both = !same && l < left.length && r < right.length && longest[l + 1][r + 1] === longest[l][r];
    if (same || both) rows.push([left[l++], right[r++]]);
    else if (r >= right.length || (l < left.length && longest[l + 1][r] >= longest[l][r + 1])) rows.push([left[l++], null]);
    else rows.push([null, right[r++]]);
  }
  return rows;
}
const rank = (observer) => [["primary", "worker", "client"].indexOf(observer.split(" ")[0]), Number(observer.split(" ")[1] ?? 0)];
function traces(row, column) {
  const { expected, cells } = matrix.scenarios[row], cell = cells[column];
  const left = cell.expected ?? expected, right = cell.trace ?? expected;
  const observers = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort((a, b) => rank(a)[0] - rank(b)[0] || rank(a)[1] - rank(b)[1]);
  const pairs = observers.map((observer) => [observer, beside(left[observer] ?? [], right[observer] ?? [])]);
  const lead = (cell.differences ?? []).find((one) => one.observer);
  const isFirst = (observer, seen, at) => lead && observer === lead.observer && seen !== null && at === lead.line;
  const led = pairs.some(([observer, rows]) => marked(rows).some(([, seen, at]) => isFirst(observer, seen, at)));
  let open = true;
  return pairs.map(([observer, rows]) => {
    const body = node("tbody");
    for (const [wish, seen, at] of marked(rows)) {
      const other = wish !== seen;
      const first = led ? isFirst(observer, seen, at) : other && open;
      if (first) open = false;
      const flag = first ? node("span", { class: "flag" }, "▶ first difference") : null;
      const text = (line) => (line === null ? "" : matrix.lines[line]);
      body.append(node("tr", { class: `${other ? "other" : ""} ${first ? "first" : ""}`.trim() }, node("td", {}, text(wish)), node("td", {}, ...(flag ? [flag] : []), text(seen))));
    }
    const head = node("tr", {}, node("th", { scope: "col" }, "Node, the nearest recorded trace"), node("th", { scope: "col" }, plain(matrix.arms[column].name)));
    return node("table", { class: "trace" }, node("caption", {}, observer), node("thead", {}, head), body);
  });
}
/** The rows with the number of the right line. */
function marked(rows) {
  let at = 0;
  return rows.map(([wish, seen]) => [wish, seen, seen === null ? null : ++at]);
}
function differences(cell) {
  return (cell.differences ?? []).map((one) => {
    const known = requirements[one.requirement];
    const parts = [node("p", {}, level(one.level), ...(known ? prose(known.behaviour) : []))];
    if (one.seen) parts.push(node("p", {}, `${one.observer}, line ${one.line}: `, node("code", {}, one.seen)));
    parts.push(node("p", {}, "Expected: ", ...prose(one.expected)));
    if (known) parts.push(node("p", { class: "quiet" }, "Source: ", source(known.source)));
    return node("div", { class: "difference" }, ...parts);
  });
}
function drawing(number, name, replay) {
  const { columns, rows, arrows } = matrix.drawings[number];
  const label = (at) => matrix.labels[at];
  const diagram = {
    about: { name, description: "The simulator's nearest run.", line: `conformance replay '${replay}'`, faulty: [], step: null },
    columns: columns.map(([name, role]) => ({ name, role })),
    rows: rows.map(([step, column, kind, text, flags]) => ({ step, column, kind: KINDS[kind], label: label(text), detail: label(text), descriptor: (flags & 1) > 0, begins: (flags & 2) > 0, ends: (flags & 4) > 0 })),
    arrows: arrows.map(([from, to, toward, kind, text]) => ({ from, to: to < 0 ? null : to, toward, kind: BONDS[kind], label: label(text) })),
  };
  const frame = node("iframe", { title: `Sequence diagram of ${name}` });
  frame.addEventListener("load", () => {
    frame.contentDocument.documentElement.dataset.theme = document.documentElement.dataset.theme;
    frame.dataset.drawn = "";
  });
  frame.srcdoc = JSON.parse(byId("frame").textContent).replace("/* DATA */", () => JSON.stringify(diagram).replaceAll("<", "\\u003c"));
  return frame;
}
function show(row, column) {
  const scenario = matrix.scenarios[row], cell = scenario.cells[column], name = matrix.arms[column].name;
  const close = node("button", { type: "button" }, "Close");
  close.addEventListener("click", () => byId("cell").close());
  const runs = cell.seen ? ` in ${cell.seen[0]} of ${cell.seen[1]} runs` : "";
  const head = node("div", { class: "cell-head" }, node("div", {}, node("h2", { id: "cell-title", tabindex: "-1", class: "target" }, `${scenario.name} on ${plain(name)}`), node("p", {}, node("span", { class: `result ${cell.result}` }, RESULTS[cell.result]), `${runs}. `, node("span", { class: "quiet" }, ...prose(scenario.description)))), close);
  const body = node("div", { class: "cell-body" });
  if (cell.note) body.append(node("div", { class: "note" }, ...prose(cell.note)));
  if (matrix.arms[column].absent) body.append(node("div", { class: "note" }, matrix.arms[column].absent));
  body.append(...differences(cell));
  if (cell.seen) body.append(node("h3", {}, "Traces side by side"), node("p", { class: "quiet" }, "Each observer has its own lines; lines of two observers have no order."), ...traces(row, column));
  const number = cell.drawing ?? scenario.drawing, replay = cell.replay ?? scenario.replay;
  if (number !== null && number !== undefined) body.append(node("h3", {}, cell.drawing === undefined ? "Node's run on the simulator" : "The simulator's nearest run"), drawing(number, scenario.name, replay), node("pre", {}, `conformance replay '${replay}'`));
  byId("cell").replaceChildren(head, body);
  document.title = `${scenario.name} on ${plain(name)}`;
  if (!byId("cell").open) byId("cell").showModal();
  byId("cell-title").focus();
  const first = body.querySelector(".first");
  if (first && first.getBoundingClientRect().bottom > innerHeight) first.scrollIntoView({ block: "center" });
}
/** Opens the cell of the address. */
function follow() {
  const [name, runtime] = decodeURIComponent(location.hash.slice(1)).split("/");
  const row = matrix.scenarios.findIndex((row) => row.name === name);
  const column = matrix.arms.findIndex((arm) => slug(arm.name) === runtime);
  if (row >= 0 && column >= 0) show(row, column);
  else if (byId("cell").open) byId("cell").close();
}

// ---- input

function move(event) {
  const at = event.target.dataset?.at;
  const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!at || !by) return;
  const rows = [...byId("table").tBodies[0].rows], line = event.target.closest("tr"), cell = event.target.closest("td");
  const target = rows[rows.indexOf(line) + by[0]]?.cells[cell.cellIndex + by[1]]?.querySelector("a");
  if (!target) return;
  event.preventDefault();
  target.focus();
}
/** Only one cell is a stop of the tab key. */
function stop(event) {
  if (!event.target.dataset?.at) return;
  byId("table").querySelector('.mark[tabindex="0"]')?.setAttribute("tabindex", "-1");
  event.target.setAttribute("tabindex", "0");
}
document.addEventListener("focusin", stop);
document.addEventListener("keydown", (event) => {
  move(event);
  if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName) && !byId("cell").open) {
    event.preventDefault();
    byId("text").focus();
  }
});
byId("cell").addEventListener("close", () => {
  const back = location.hash.slice(1);
  document.title = "Every runtime on one scale: the cluster of Node.js";
  history.replaceState(null, "", `${location.pathname}${location.search}`);
  byId("table").querySelector(`a[href="#${CSS.escape(back)}"]`)?.focus({ preventScroll: true });
});
addEventListener("hashchange", follow);
byId("text").addEventListener("input", draw);
byId("text").addEventListener("change", draw);
byId("arm").addEventListener("change", draw);
byId("area").addEventListener("change", draw);
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
});

function begin() {
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  byId("lead").append(`The same ${matrix.scenarios.length} scenarios run on every runtime. Each process writes what it observes: forks, messages, connections, disconnects, exits. These traces are compared with what Node does, as its documentation and its code require and as recordings of Node show.`);
  byId("made").textContent = `Run of ${matrix.date}: ${matrix.machine}; ${matrix.runs} runs of each cell, ${Math.ceil(matrix.seconds / 60)} minutes.`;
  byId("runtimes").replaceChildren(...matrix.summaries.map(runtime));
  overview();
  byId("summaries").replaceChildren(...heaviest().map(([summary, column]) => about(summary, column)).filter(Boolean));
  byId("arm").replaceChildren(node("option", { value: "" }, "all"), ...matrix.arms.map((arm, column) => node("option", { value: column }, plain(arm.name))));
  byId("area").replaceChildren(node("option", { value: "" }, "all"), ...Object.entries(AREAS).map(([area, name]) => node("option", { value: area }, name)));
  byId("legend").replaceChildren(...Object.entries(levels).flatMap(([name, { meaning }]) => [node("dt", {}, level(name)), node("dd", {}, `${meaning}.`)]));
  chips();
  draw();
  follow();
}
begin();
