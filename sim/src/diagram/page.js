"use strict";
// Places the rows of `data`, hides kinds of rows, and reacts to keys and the mouse. The page loads nothing
// from elsewhere.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const ROW = 24, GUTTER = 52, TOP = 6, NARROWEST = 118;

// The legend, which is also the filter: kind, name, meaning, and whether it is shown at first.
const KINDS = [
  ["message", "messages", "bytes written to a channel, and read", true],
  ["event", "events", "events of programs", true],
  ["life", "starts and ends", "of processes", true],
  ["death", "deaths", "a process is killed, a connection is reset", true],
  ["network", "connections", "clients and their connections", true],
  ["fault", "faults", "injected faults", true],
  ["kernel", "kernel", "every other call and answer", false],
  ["line", "observations", "lines that programs record", false],
];
const BONDS = {
  message: "message", descriptor: "message with a descriptor", lost: "message whose descriptor is lost",
  garbage: "line that no machine wrote", life: "start, kill or end of a process", close: "close of a channel",
  network: "connection",
};
const SHAPES = {
  message: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", event: "M0 -5.5L5.5 0L0 5.5L-5.5 0z",
  life: "M-5 4L0 -5L5 4z", death: "M-4.5 -4.5L4.5 4.5M4.5 -4.5L-4.5 4.5", network: "M-4 -4H4V4H-4z",
  kernel: "M-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0z", line: "M-4.5 -2.5H4.5M-4.5 2.5H2", fault: "M1 -6.5L-4.5 1H-0.5L-1.5 6.5L4.5 -1.5H0.5z",
};

const kinds = new Map(KINDS.map(([kind, , , on]) => [kind, on]));
const columns = data.columns.map(() => true);
const comes = data.rows.map(() => []), leads = data.rows.map(() => []);
data.arrows.forEach((arrow, n) => {
  leads[arrow.from].push(n);
  if (arrow.to !== null) comes[arrow.to].push(n);
});
let shown = [], place = new Map(), lefts = [], picked = null, wrong, elements = new Map();

function node(name, attributes, ...inside) {
  const made = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}
function glyph(kind) {
  return node("svg:svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, node("svg:path", { d: SHAPES[kind], class: `glyph ${kind}` }));
}
const lifeline = (column) => lefts[column] + 14;
const middle = (row) => TOP + place.get(row) * ROW + ROW / 2;

// ---- filter

function fits(row, words) {
  const text = `${row.label}\n${row.detail}\n${data.columns[row.column].name}\n#${row.step} `.toLowerCase();
  return words.every((word) => text.includes(/^#\d+$/.test(word) ? `${word} ` : word));
}
function choose() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const is = (row) => kinds.get(row.kind) && columns[row.column] && fits(row, words);
  shown = data.rows.map((_, n) => n).filter((n) => is(data.rows[n]));
  place = new Map(shown.map((n, at) => [n, at]));
  // The step itself may have no visible row: then the last visible row before it.
  wrong = data.rows[shown.findLast((n) => data.rows[n].step <= data.about.step)]?.step;
  byId("shown").textContent = shown.length === data.rows.length ? "" : `${shown.length} of ${data.rows.length} rows`;
}
function widths() {
  const longest = data.columns.map(() => 9);
  for (const n of shown) {
    const row = data.rows[n];
    longest[row.column] = Math.max(longest[row.column], row.label.length + (row.descriptor ? 4 : 0));
  }
  const wanted = longest.map((letters) => Math.min(290, 52 + letters * 6.8)), room = byId("scroll").clientWidth;
  // If not all columns fit, the widest columns become narrower: a row has only one label, which may extend to
  // the right.
  let most = 290;
  const width = (column) => Math.min(wanted[column], most);
  const total = () => wanted.reduce((sum, _, column) => sum + width(column), GUTTER + 12);
  while (most > NARROWEST && total() > room) most -= 4;
  let left = GUTTER;
  lefts = wanted.map((_, column) => {
    left += width(column);
    return left - width(column);
  });
  return Math.max(left + 12, room);
}

// ---- drawing

function draw() {
  choose();
  const width = widths(), height = TOP + shown.length * ROW + 8;
  Object.assign(byId("field").style, { width: `${width}px`, height: `${height}px` });
  byId("heads").style.width = `${width}px`;
  byId("heads").replaceChildren(...data.columns.map(head));
  elements = new Map(shown.map((n) => [n, element(n)]));
  byId("rows").replaceChildren(...elements.values());
  for (const id of ["below", "above"]) Object.assign(byId(id).style, { width: `${width}px`, height: `${height}px` });
  byId("below").replaceChildren(...data.columns.flatMap((_, n) => life(n, height)), ...data.arrows.flatMap((_, n) => arrow(n)), ...shown.map(shape));
  if (picked !== null && !place.has(picked)) picked = null;
  highlight();
  map();
}
function head(column, n) {
  const made = node("button", { class: `head ${column.role}`, "aria-pressed": String(columns[n]), title: "Show or hide" }, column.name);
  made.style.left = `${lefts[n]}px`;
  made.addEventListener("click", () => { columns[n] = !columns[n]; draw(); });
  return made;
}
function element(n) {
  const row = data.rows[n];
  const label = node("span", { class: "label" }, row.label);
  if (row.descriptor) label.append(node("span", { class: "fd" }, "fd"));
  Object.assign(label.style, { left: `${lifeline(row.column) + 14}px`, maxWidth: "300px" });
  const bad = row.step === wrong ? " bad" : "";
  const made = node("button", { class: `row ${row.kind}${bad}`, role: "option", tabindex: "-1", "data-row": n, "aria-label": `step ${row.step}, ${data.columns[row.column].name}: ${row.label}` });
  made.append(node("span", { class: "step" }, before(n) === row.step ? "" : String(row.step)), label);
  made.style.top = `${TOP + place.get(n) * ROW}px`;
  made.addEventListener("click", () => pick(n, false));
  return made;
}
const before = (n) => data.rows[shown[place.get(n) - 1]]?.step;
function shape(n) {
  const row = data.rows[n];
  return node("svg:path", { d: SHAPES[row.kind], class: `glyph ${row.kind}`, transform: `translate(${lifeline(row.column)} ${middle(n)})` });
}

// A lifeline from start to end; a bar for each reaction, from its cause to its last row.
function life(column, height) {
  const own = shown.filter((n) => data.rows[n].column === column);
  const x = lifeline(column), line = (from, to, is) => node("svg:line", { x1: x, x2: x, y1: from, y2: to, class: `lifeline ${is}` });
  if (own.length === 0) return [line(0, height, "not")];
  const from = middle(own[0]), over = own.find((n) => data.rows[n].ends);
  const until = over === undefined ? height : middle(over);
  const parts = [line(0, from, "not"), line(from, until, "")];
  if (over !== undefined) parts.push(line(until, height, "not"));
  let first = null, last = null;
  const bar = () => {
    if (first !== null && last !== first) parts.push(node("svg:rect", { x: x - 4, width: 8, y: middle(first), height: middle(last) - middle(first), rx: 3, class: "busy" }));
  };
  for (const n of own) {
    if (data.rows[n].begins) { bar(); first = n; }
    last = n;
  }
  bar();
  return parts;
}
function arrow(n) {
  const { from, to, toward, kind } = data.arrows[n];
  if (!place.has(from) || !columns[toward] || (to !== null && !place.has(to))) return [];
  const x1 = lifeline(data.rows[from].column), y1 = middle(from), side = Math.sign(lifeline(toward) - x1);
  if (to === null) {
    const x = x1 + side * 46, y = y1 + 12;
    return [
      node("svg:path", { d: `M${x1 + side * 6} ${y1}L${x} ${y}`, class: `arrow never ${kind}` }),
      node("svg:path", { d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`, class: "glyph death" }),
    ];
  }
  const x2 = lifeline(data.rows[to].column) - side * 6, y2 = middle(to), angle = Math.atan2(y2 - y1, x2 - x1);
  const tip = (turn) => `${x2 - 8 * Math.cos(angle + turn)} ${y2 - 8 * Math.sin(angle + turn)}`;
  return [
    node("svg:path", { d: `M${x1 + side * 5} ${y1}L${x2 - side * 4} ${y2}`, class: `arrow ${kind}` }),
    node("svg:path", { d: `M${x2} ${y2}L${tip(0.42)}L${tip(-0.42)}z`, class: `tip ${kind}` }),
  ];
}
function map() {
  const marks = shown.filter((n) => ["fault", "death"].includes(data.rows[n].kind) || data.rows[n].step === wrong || n === picked);
  const ticks = marks.map((n) => {
    const tick = node("i"), row = data.rows[n];
    const colour = n === picked ? "accent" : row.step === wrong ? "bad" : row.kind;
    Object.assign(tick.style, { top: `${(100 * place.get(n)) / Math.max(1, shown.length)}%`, background: `var(--${colour})` });
    return tick;
  });
  const scroll = byId("scroll"), view = node("i", { class: "view" });
  Object.assign(view.style, { top: `${(100 * scroll.scrollTop) / scroll.scrollHeight}%`, height: `${(100 * scroll.clientHeight) / scroll.scrollHeight}%` });
  byId("map").replaceChildren(view, ...ticks);
}

// ---- the side panel

function pick(n, follow = true) {
  picked = n;
  highlight();
  map();
  // A diagram inside another page has no address of its own.
  if (self === top) history.replaceState(null, "", n === null ? location.pathname + location.search : `#row-${n}`);
  const made = elements.get(n);
  if (!made) return;
  made.focus({ preventScroll: true });
  if (follow) {
    const scroll = byId("scroll"), x = lefts[data.rows[n].column], y = middle(n) + 38;
    if (y < scroll.scrollTop + 110) scroll.scrollTop = y - 110;
    if (y > scroll.scrollTop + scroll.clientHeight - 70) scroll.scrollTop = y - scroll.clientHeight + 70;
    if (x < scroll.scrollLeft + GUTTER || x + 200 > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = x - GUTTER - 40;
  }
}
function highlight() {
  for (const [n, made] of elements) {
    made.classList.toggle("picked", n === picked);
    made.setAttribute("aria-selected", String(n === picked));
    made.tabIndex = n === (picked ?? shown[0]) ? 0 : -1;
  }
  const bonds = picked === null ? [] : [...comes[picked], ...leads[picked]];
  byId("above").replaceChildren(...bonds.flatMap(arrow));
  byId("side").replaceChildren(...(picked === null ? help() : panel(picked)));
}
function panel(n) {
  const row = data.rows[n], name = KINDS.find(([kind]) => kind === row.kind);
  const parts = [
    node("h2", {}, glyph(row.kind), `Step ${row.step}, ${data.columns[row.column].name}`),
    node("span", { class: "quiet" }, `${row.label}`),
    node("pre", {}, row.detail),
  ];
  const link = (title, bonds, end) => {
    if (bonds.length === 0) return;
    parts.push(node("h3", {}, title), ...bonds.map((bond) => go(data.arrows[bond], end)));
  };
  link("Caused by", comes[n], "from");
  link("Leads to", leads[n], "to");
  parts.push(node("h3", {}, name[1]), node("span", { class: "quiet" }, name[2]));
  return parts;
}
function go(bond, end) {
  const target = bond[end], what = `${BONDS[bond.kind]}${bond.label ? `: ${bond.label}` : ""}`;
  if (target === null) return node("div", { class: "never" }, `${what} never arrived`);
  const row = data.rows[target], where = `step ${row.step}, ${data.columns[row.column].name}`;
  const made = node("button", { class: "jump" }, `${where} — ${what}`);
  made.addEventListener("click", () => reveal(target));
  return made;
}
function reveal(n) {
  if (!place.has(n)) {
    kinds.set(data.rows[n].kind, true);
    columns[data.rows[n].column] = true;
    byId("search").value = "";
    legend();
    draw();
  }
  pick(n);
}
function help() {
  const keys = [
    ["↑ ↓", "the previous row, the next row"], ["← →", "its cause, its effect"], ["f", "the next fault or death"],
    ["Home End", "the first row, the last row"], ["/", "filter"], ["Esc", "clear the selection"], ["t", "light or dark"],
  ];
  const key = ([names, what]) => [node("dt", {}, ...names.split(" ").flatMap((name) => [node("kbd", {}, name), " "])), node("dd", {}, what)];
  const faulty = data.about.faulty.map((text) => node("p", { class: "bad" }, text));
  return [
    node("h2", {}, faulty.length ? "What is wrong" : "Nothing is wrong"), ...faulty,
    node("p", { class: "quiet" }, "Time runs downward; each column is a process or a client. Click a row, or use the keys:"),
    node("dl", {}, ...keys.flatMap(key)),
    node("h3", {}, "Marks"), node("dl", {}, ...KINDS.flatMap(([kind, name, what]) => [node("dt", {}, glyph(kind), ` ${name}`), node("dd", {}, what)])),
    node("h3", {}, "Lines"), node("dl", {}, ...Object.entries(BONDS).flatMap(([kind, what]) => [node("dt", {}, sample(kind)), node("dd", {}, what)])),
    node("p", { class: "quiet" }, "A bar on a lifeline is one reaction; rows of other columns beside it interrupted it. “fd” marks a descriptor sent with a message. An arrow that ends in a cross never arrived."),
  ];
}
function sample(kind) {
  const made = node("svg:svg", { viewBox: "0 0 34 12" }, node("svg:path", { d: "M1 6H26", class: `arrow ${kind}` }), node("svg:path", { d: "M33 6L25 2.5V9.5z", class: `tip ${kind}` }));
  Object.assign(made.style, { width: "34px", height: "12px" });
  return made;
}

// ---- input

function legend() {
  byId("kinds").replaceChildren(...KINDS.map(([kind, name, what]) => {
    const n = data.rows.filter((row) => row.kind === kind).length;
    const made = node("button", { class: "kind", "data-kind": kind, "aria-pressed": String(kinds.get(kind)), title: `${what}: show or hide` }, glyph(kind), name, node("span", { class: "n" }, String(n)));
    made.addEventListener("click", () => { kinds.set(kind, !kinds.get(kind)); legend(); draw(); });
    return made;
  }));
}
function walk(by) {
  const at = picked === null ? (by > 0 ? -1 : shown.length) : place.get(picked);
  const next = shown[Math.max(0, Math.min(shown.length - 1, at + by))];
  if (next !== undefined) pick(next);
}
function along(bonds, end) {
  if (picked === null) return;
  const target = bonds[picked].map((bond) => data.arrows[bond][end]).find((row) => row !== null);
  if (target !== undefined) reveal(target);
}
function trouble() {
  const is = (n) => ["fault", "death"].includes(data.rows[n].kind) || data.rows[n].step === wrong;
  const found = shown.filter(is);
  const next = found.find((n) => n > (picked ?? -1)) ?? found[0];
  if (next !== undefined) pick(next);
}
function theme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
}
const KEYS = {
  ArrowDown: () => walk(1), j: () => walk(1), ArrowUp: () => walk(-1), k: () => walk(-1), PageDown: () => walk(15), PageUp: () => walk(-15),
  Home: () => walk(-1e9), End: () => walk(1e9), ArrowRight: () => along(leads, "to"), ArrowLeft: () => along(comes, "from"),
  f: trouble, t: theme, Escape: () => pick(null), "/": () => byId("search").focus(),
};
document.addEventListener("keydown", (event) => {
  const search = byId("search");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.activeElement === search) {
    if (event.key === "Escape") { search.value = ""; draw(); }
    if (["Escape", "Enter"].includes(event.key)) search.blur();
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
byId("search").addEventListener("input", draw);
byId("theme").addEventListener("click", theme);
byId("scroll").addEventListener("scroll", map);
byId("map").addEventListener("click", (event) => {
  const scroll = byId("scroll"), box = byId("map").getBoundingClientRect();
  scroll.scrollTop = ((event.clientY - box.top) / box.height) * scroll.scrollHeight - scroll.clientHeight / 2;
});
byId("copy").addEventListener("click", () => {
  const range = document.createRange();
  range.selectNodeContents(byId("line"));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  navigator.clipboard?.writeText(byId("line").textContent).then(() => { byId("copy").textContent = "copied"; }, () => {});
});
addEventListener("resize", draw);

function begin() {
  const { name, description, line, faulty } = data.about, last = data.rows.at(-1)?.step ?? 0;
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.title = `A run of ${name}`;
  byId("name").textContent = name;
  byId("description").textContent = description;
  byId("line").textContent = line;
  const good = faulty.length === 0, sort = good ? "good" : "bad";
  byId("verdict").textContent = good ? "holds" : "fails";
  byId("verdict").classList.add(sort);
  const faults = data.rows.filter((row) => row.kind === "fault").length;
  byId("count").textContent = `${last} steps, ${data.columns.length} columns, ${faults} ${faults === 1 ? "fault" : "faults"}`;
  byId("end").textContent = good ? "✓ The run is complete, and every check holds." : faulty.map((text) => `✗ ${text}`).join("\n");
  byId("end").classList.add(sort);
  legend();
  draw();
  const linked = /^#row-(\d+)$/.exec(location.hash);
  if (linked && data.rows[Number(linked[1])]) reveal(Number(linked[1]));
  else if (data.about.step) { byId("scroll").scrollTop = byId("scroll").scrollHeight; }
}
begin();
