// The page of unfrag watch: reads the JSON beside it and draws. No text from a server ever becomes markup: everything goes
// through text nodes and attributes.
"use strict";

// ---------- making elements ----------
/** What cannot be seen, or turns the order of what stands around it, becomes its number: as `printable` does in a terminal. */
const HIDDEN = /(?![\n\t])\p{Cc}|[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const shown = (text) => String(text).replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
const SPOKEN = new Set(["title", "aria-label"]);
const SVG = "http://www.w3.org/2000/svg";
function fill(node, attrs, children) {
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : SPOKEN.has(name) ? shown(value) : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(shown(child)));
  }
  return node;
}
const h = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
const s = (tag, attrs, ...children) => fill(document.createElementNS(SVG, tag), attrs, children);
const $ = (id) => document.getElementById(id);
const put = (node, ...children) => { node.replaceChildren(...children.flat(Infinity).filter(Boolean)); };

// ---------- words ----------
function bytes(n) {
  if (n === null || n === undefined) return "–";
  const sign = n < 0 ? "−" : ""; let v = Math.abs(n), u = 0;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  while (v >= 999.5 && u < 5) { v /= 1024; u++; }
  return sign + (u === 0 ? Math.round(v) : v < 9.995 ? v.toFixed(2) : v < 99.95 ? v.toFixed(1) : v.toFixed(0)) + "\u00a0" + units[u];
}
function span(seconds) {
  const v = Math.max(0, seconds);
  if (v < 90) return Math.round(v) + " s";
  if (v < 5400) return Math.round(v / 60) + " min";
  if (v < 129600) return (v / 3600).toFixed(v < 36000 ? 1 : 0) + " h";
  return (v / 86400).toFixed(v < 864000 ? 1 : 0) + " d";
}
const many = (n, one, more) => `${n} ${n === 1 ? one : more || one + "s"}`;
const pad2 = (n) => String(n).padStart(2, "0");
function when(at, wide) {
  const d = new Date(at * 1000), now = new Date();
  const hm = `${pad2(d.getHours())}:${pad2(d.getMinutes())}`;
  if (!wide && d.toDateString() === now.toDateString()) return `${hm}:${pad2(d.getSeconds())}`;
  return `${d.getFullYear() === now.getFullYear() ? "" : d.getFullYear() + "-"}${pad2(d.getMonth() + 1)}-${pad2(d.getDate())} ${hm}`;
}
const ORDER = ["lost", "urgent", "act", "watch", "healthy"];
const WORD = { lost: "no answer", urgent: "urgent", act: "act", watch: "watch", healthy: "healthy", info: "info", reading: "reading" };
const verdict = (r) => r.failure ? (r.failure.is_loading ? "watch" : "lost") : r.verdict || "reading";
const badge = (v) => h("span", { class: `badge v-${v === "reading" ? "info" : v}` }, WORD[v] || v);

// ---------- talking to the watch ----------
let token = sessionStorage.getItem("token") || "";
async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", authorization: "Bearer " + token } };
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
  return answer.json();
}
function banner(text) { $("banner").hidden = !text; $("banner").textContent = shown(text || ""); }

// ---------- keeping the place ----------
/** Draws anew, and leaves the keyboard's focus where it was: on the same element, or on its like. */
function inPlace(draw) {
  const list = () => [...$("main").querySelectorAll("a, button, summary, input, select")];
  const was = document.activeElement, at = list().indexOf(was), text = was?.textContent;
  draw();
  if (at < 0 || document.activeElement === was) return;
  const now = list(), like = was.isConnected ? was : now[at]?.textContent === text ? now[at] : now.find((x) => x.textContent === text);
  like?.focus({ preventScroll: true });
}
/** Text that somebody is marking must not be drawn over. */
const isMarking = () => { const mark = getSelection(); return Boolean(mark && !mark.isCollapsed && $("main").contains(mark.anchorNode)); };

// ---------- tip ----------
function tip(event, ...children) {
  const box = $("tip"); put(box, ...children); box.hidden = false;
  const x = event.clientX + 14, y = event.clientY + 14;
  box.style.left = Math.max(8, Math.min(x, innerWidth - box.offsetWidth - 8)) + "px";
  box.style.top = (y + box.offsetHeight > innerHeight - 8 ? Math.max(8, event.clientY - box.offsetHeight - 10) : y) + "px";
}
const untip = () => { $("tip").hidden = true; };

// ---------- the fleet ----------
const fleet = { data: null, filter: "", only: "", sort: "verdict", rows: new Map(), shown: 200, here: null };
/** What is reached first: the limit on RSS, or maxmemory. */
const full = (r) => [r.until, r.until_maxmemory].filter(Boolean).sort((a, b) => a.likely_s - b.likely_s)[0] || null;
const SORTS = {
  verdict: ["worst first", (a, b) => ORDER.indexOf(verdict(a)) - ORDER.indexOf(verdict(b)) || (b.waste || 0) - (a.waste || 0)],
  waste: ["most waste", (a, b) => (b.waste ?? -1) - (a.waste ?? -1)],
  headroom: ["least headroom", (a, b) => (a.headroom ?? Infinity) - (b.headroom ?? Infinity)],
  until: ["soonest at its limit", (a, b) => (full(a)?.likely_s ?? Infinity) - (full(b)?.likely_s ?? Infinity)],
  rss: ["largest", (a, b) => (b.rss || 0) - (a.rss || 0)],
  shard: ["by deployment", (a, b) => a.group.localeCompare(b.group) || (a.shard || a.name).localeCompare(b.shard || b.name) || a.name.localeCompare(b.name)],
  name: ["by name", (a, b) => a.name.localeCompare(b.name)],
};

function spark(r) {
  const { rss, used } = r.spark; const n = rss.length;
  const box = s("svg", { class: "spark", viewBox: `0 0 ${Math.max(n - 1, 1)} 1000`, preserveAspectRatio: "none", role: "img", "aria-label": "RSS and used memory over " + span(r.spark.span_s) });
  if (n < 2) return box;
  const y = (v) => 1000 - v * .94;
  const area = (list) => "M0 1000" + list.map((v, i) => `L${i} ${y(v)}`).join("") + `L${list.length - 1} 1000Z`;
  box.append(s("path", { class: "rss", d: area(rss) }), s("path", { class: "used", d: area(used) }), s("path", { class: "edge", d: "M" + rss.map((v, i) => `${i} ${y(v)}`).join("L") }));
  return box;
}
/** A bar reaches to the limit where that is in sight, else to RSS: a far limit would make every bar a dot. */
const scale = (rss, limit) => Math.max(1, rss || 0, limit && limit <= (rss || 0) * 4 ? limit : 0);
function mini(r) {
  const whole = scale(r.rss, r.limit);
  const part = (v) => Math.max(0, Math.min(100, (v || 0) / whole * 100));
  const used = part(Math.min(r.used || 0, r.rss || 0)), rss = part(r.rss);
  return s("svg", { class: "mini", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "f-gap", x: 0, width: rss, height: 10 }), s("rect", { class: "f-used", x: 0, width: used, height: 10 }));
}
function describe(r) {
  if (r.failure) return [r.group !== r.name && r.group, r.failure.message].filter(Boolean).join(" · ");
  if (!r.server) return "not read yet";
  const name = { redis: "Redis", valkey: "Valkey" }[r.server.flavor] || r.server.flavor;
  return [r.group !== r.name && r.group, r.server.role, `${name} ${r.server.version || ""}`.trim(), r.quiet && `(${r.quiet})`].filter(Boolean).join(" · ");
}
function cells(r) {
  const v = verdict(r);
  const until = full(r) ? `${full(r) === r.until ? "limit" : "maxmemory"} in ${span(full(r).likely_s)}` : r.headroom === null ? "" : r.limit ? `of ${bytes(r.limit)}` : "";
  return [
    h("span", { class: "c-v" }, badge(v)),
    h("span", { class: "c-name" }, h("span", { class: "name" }, r.name), h("span", { class: "what" }, describe(r))),
    h("span", { class: "c-spark" }, spark(r)),
    h("span", { class: "c-mini" }, mini(r), h("div", { class: "mini-note" }, v === "lost" || !r.summary ? "" : r.summary)),
    h("span", { class: "num" }, h("span", { class: "lab" }, "resident"), h("span", { class: "big" }, bytes(r.rss)), h("span", { class: "what" }, r.used === null ? "" : bytes(r.used) + " used")),
    h("span", { class: "num" }, h("span", { class: "lab" }, "waste"), h("span", { class: "big" }, bytes(r.waste)), h("span", { class: "what" }, r.rss && r.waste ? Math.round(r.waste / r.rss * 100) + " % of RSS" : "")),
    h("span", { class: "num" }, h("span", { class: "lab" }, "headroom"), h("span", { class: "big" }, bytes(r.headroom)), h("span", { class: "what" }, until)),
  ];
}
function headline(all) {
  const count = {}; for (const r of all) count[verdict(r)] = (count[verdict(r)] || 0) + 1;
  const parts = [];
  if (count.lost) parts.push(`${count.lost} ${count.lost === 1 ? "does" : "do"} not answer`);
  if (count.urgent) parts.push(`${count.urgent} ${count.urgent === 1 ? "is" : "are"} urgent`);
  if (count.act) parts.push(`${count.act} to act on`);
  if (!parts.length) parts.push(count.watch ? `nothing to act on, ${count.watch} to keep an eye on` : "all is well");
  const waste = all.reduce((sum, r) => sum + (r.failure ? 0 : r.waste || 0), 0);
  return [`${many(all.length, "server")}: ${parts.join(", ")}. ${waste ? bytes(waste) + " could come back." : ""}`, count];
}
function soonest(all) {
  const r = all.filter((x) => full(x) && !x.failure).sort(SORTS.until[1])[0];
  if (r) { const u = full(r); return `The first to reach its ${u === r.until ? "limit" : "maxmemory"} is ${r.name}, in about ${span(u.likely_s)} (${span(u.soonest_s)} to ${u.latest_s ? span(u.latest_s) : "never"}) if it goes on like this.`; }
  return all.length ? "No server is certainly heading for its limit." : "";
}
function listed() {
  const words = fleet.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (r) => `${r.name} ${r.group} ${r.shard || ""} ${describe(r)} ${r.cause || ""} ${r.alerts.join(" ")}`.toLowerCase();
  return fleet.data.servers.filter((r) => (!fleet.only || verdict(r) === fleet.only) && words.every((w) => text(r).includes(w))).sort(SORTS[fleet.sort][1]);
}
function drawFleet() { inPlace(drawList); }
function drawList() {
  const main = $("main");
  if (!main.querySelector(".fleet")) {
    fleet.rows.clear();
    put(main,
      h("h1", { class: "headline", id: "headline" }), h("p", { class: "sub", id: "soonest" }), h("div", { class: "counts", id: "counts" }),
      h("div", { class: "find" },
        h("input", { id: "search", type: "search", placeholder: "Find a server  ( / )", "aria-label": "Find a server", value: fleet.filter, oninput: (e) => { fleet.filter = e.target.value; fleet.shown = 200; drawFleet(); } }),
        h("select", { id: "sort", "aria-label": "Order", onchange: (e) => { fleet.sort = e.target.value; drawFleet(); } },
          Object.entries(SORTS).map(([key, [text]]) => h("option", { value: key, selected: key === fleet.sort }, text)))),
      h("div", { class: "fleet", id: "fleet" }));
    document.title = "unfrag";
  }
  const all = fleet.data.servers; const [line, count] = headline(all);
  $("headline").textContent = line; $("soonest").textContent = shown(soonest(all));
  put($("counts"), ORDER.map((v) => h("button", { class: `count c-${v}${count[v] ? "" : " zero"}`, "aria-pressed": String(fleet.only === v), onclick: () => { fleet.only = fleet.only === v ? "" : v; drawFleet(); } }, h("b", {}, count[v] || 0), h("span", {}, WORD[v]))));
  const rows = listed(); const out = [h("div", { class: "row head", "aria-hidden": "true" }, ["", "server", "past day", "where it is", "resident", "waste", "headroom"].map((t, i) => h("span", { class: i > 3 ? "num" : i === 3 ? "c-mini" : "" }, t)))];
  let group = null;
  for (const r of rows.slice(0, fleet.shown)) {
    if (fleet.sort === "shard" && r.group !== group) { group = r.group; out.push(h("div", { class: "groupname" }, group)); }
    const key = JSON.stringify(r); let kept = fleet.rows.get(r.id);
    if (!kept) { kept = { node: h("a", { href: `#/server/${r.id}` }), key: "" }; fleet.rows.set(r.id, kept); }
    if (kept.key !== key) { kept.key = key; put(kept.node, cells(r)); kept.node.className = `row ${verdict(r)}${r.rss === null ? " unread" : ""}`; kept.node.title = shown(r.summary || ""); }
    out.push(kept.node);
  }
  if (!rows.length) out.push(h("p", { class: "empty" }, all.length ? "No server matches." : "No server is watched yet."));
  if (rows.length > fleet.shown) out.push(h("button", { class: "more", onclick: () => { fleet.shown = rows.length; drawFleet(); } }, `Show all ${rows.length}`));
  put($("fleet"), out);
}

// ---------- a server ----------
const RANGES = [["1 h", 3600], ["6 h", 21600], ["24 h", 86400], ["7 d", 604800], ["30 d", 2592000]];
const LAYERS = [["used", "used", "used"], ["overhead", "allocated beyond used", "overhead"], ["frag", "fragmentation", "frag"], ["retained", "retained by the allocator", "retained"], ["outside", "outside the allocator", "outside"]];
const one = { id: null, data: null, history: null, events: [], bins: null, range: Number(localStorage.getItem("range")) || 21600 };

/** The rungs of the ladder as parts that add up to RSS, from cumulative levels; unknown levels are skipped. */
function parts(used, allocated, active, resident, rss) {
  const out = { used: 0, overhead: 0, frag: 0, retained: 0, outside: 0 };
  if (rss === null || rss === undefined) return out;
  let at = Math.min(used ?? 0, rss); out.used = at;
  for (const [key, level] of [["overhead", allocated], ["frag", active], ["retained", resident]]) {
    if (level === null || level === undefined) continue;
    const top = Math.min(level, rss); out[key] = Math.max(0, top - at); at = Math.max(at, top);
  }
  out.outside = Math.max(0, rss - at);
  return out;
}
const known = (l) => l.allocated !== null && l.allocated !== undefined;
function ladderCard(d) {
  const l = d.report.layers, p = parts(l.used, l.allocated, l.active, l.resident, l.rss);
  const whole = scale(l.rss, l.limit);
  let x = 0; const bar = s("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": "The ladder now" });
  const items = [];
  for (const [key, name, css] of LAYERS) {
    if (!p[key]) continue;
    const w = p[key] / whole * 1000; bar.append(s("rect", { class: "f-" + css, x, width: w, height: 10 })); x += w;
    items.push(h("span", {}, h("i", { class: "b-" + css }), key === "outside" && !known(l) ? "beyond used" : name, " ", h("b", {}, bytes(p[key]))));
  }
  if (l.limit) items.push(h("span", {}, h("i", { class: "b-room" }), "headroom ", h("b", {}, bytes(l.limit - l.rss)), ` to the limit of ${bytes(l.limit)}`));
  if (l.maxmemory) items.push(h("span", {}, "maxmemory ", h("b", {}, bytes(l.maxmemory)), l.used ? ` (${Math.round(l.used / l.maxmemory * 100)} % used)` : ""));
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "Where the memory is"), h("p", {}, `${bytes(l.rss)} resident for ${bytes(l.used)} of data`)), bar, h("div", { class: "legend" }, items));
}

function niceStep(top, count) {
  const raw = top / count, unit = Math.pow(1024, Math.max(0, Math.floor(Math.log(raw) / Math.log(1024))));
  for (const m of [1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 250, 256, 400, 500, 512]) if (m * unit >= raw) return m * unit;
  return 1024 * unit;
}
function timeTicks(from, until, count) {
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800]; const want = (until - from) / count;
  const step = steps.find((x) => x >= want) || 604800, zone = new Date(from * 1000).getTimezoneOffset() * 60, out = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= until; t += step) out.push(t);
  return [out, step];
}
function chart(hist, events, limit) {
  const W = Math.max(320, Math.min(760, $("main").clientWidth - 40)), H = 280, L = 64, R = 10, T = 12, B = 40;
  const at = hist.at_s, m = hist.means, n = at.length;
  const box = s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "The ladder over time, as stacked bars" });
  if (n < 2) return h("p", { class: "quiet" }, "There is not enough history yet for a chart; it begins with the next looks.");
  const from = at[0], until = at[n - 1] + hist.step_s;
  const x = (t) => L + (t - from) / (until - from) * (W - L - R);
  let top = 0; for (let i = 0; i < n; i++) top = Math.max(top, m.rss[i] || 0);
  const maxm = [...m.maxmemory].reverse().find((v) => v !== null) || 0;
  if (maxm && maxm < top * 1.8) top = Math.max(top, maxm);
  const near = limit && limit < top * 2; if (near) top = Math.max(top, limit);
  top = (top || 1) * 1.06; const y = (v) => T + (1 - v / top) * (H - T - B);
  const step = niceStep(top, 4);
  for (let v = 0; v <= top; v += step) box.append(s("line", { class: "grid-line", x1: L, x2: W - R, y1: y(v), y2: y(v) }), s("text", { x: L - 8, y: y(v) + 4, "text-anchor": "end" }, bytes(v)));
  const [ticks, tickStep] = timeTicks(from, until, W / 105);
  for (const t of ticks) { const d = new Date(t * 1000); box.append(s("text", { x: Math.min(x(t), W - 16), y: H - 8, "text-anchor": "middle" }, tickStep >= 86400 ? `${pad2(d.getMonth() + 1)}-${pad2(d.getDate())}` : `${pad2(d.getHours())}:${pad2(d.getMinutes())}`)); }
  const paths = Object.fromEntries(LAYERS.map(([k]) => [k, ""]));
  const width = Math.max(.6, (W - L - R) / ((until - from) / hist.step_s)); let down = "";
  const rows = [];
  for (let i = 0; i < n; i++) {
    const p = parts(m.used[i], m.allocated[i], m.active[i], m.resident[i], m.rss[i]); rows.push(p);
    const left = x(at[i]), w = Math.min(width, W - R - left) * (width > 5 ? .86 : 1.02); let base = 0;
    if (m.up[i] === 0) down += `M${left.toFixed(1)} ${T}h${w.toFixed(2)}V${H - B}h${(-w).toFixed(2)}Z`;
    for (const [key] of LAYERS) { if (!p[key]) continue; const y0 = y(base), y1 = y(base + p[key]); paths[key] += `M${left.toFixed(1)} ${y0.toFixed(1)}V${y1.toFixed(1)}h${w.toFixed(2)}V${y0.toFixed(1)}Z`; base += p[key]; }
  }
  for (const [key, , css] of LAYERS) if (paths[key]) box.append(s("path", { class: "f-" + css, d: paths[key] }));
  if (down) box.append(s("path", { class: "down", d: down }));
  if (near) box.append(s("line", { class: "limit", x1: L, x2: W - R, y1: y(limit), y2: y(limit) }), s("text", { x: W - R, y: y(limit) - 5, "text-anchor": "end" }, "limit " + bytes(limit)));
  if (maxm && maxm <= top) box.append(s("line", { class: "maxm", x1: L, x2: W - R, y1: y(maxm), y2: y(maxm) }), s("text", { x: L + 4, y: y(maxm) - 5 }, "maxmemory"));
  for (const e of events) {
    if (e.at_s < from || e.at_s > until || e.what === "begun" || e.what === "resolved") continue;
    const g = s("g", {}, s("line", { class: "mark", x1: x(e.at_s), x2: x(e.at_s), y1: T, y2: H - B }), s("circle", { class: `flag ${e.what}`, cx: x(e.at_s), cy: H - B + 10, r: 5 }), s("circle", { cx: x(e.at_s), cy: H - B + 10, r: 11, fill: "transparent" }));
    g.addEventListener("pointermove", (ev) => { ev.stopPropagation(); tip(ev, h("div", {}, h("b", {}, e.what), when(e.at_s, true)), h("p", {}, e.text)); });
    box.append(g);
  }
  const cross = s("line", { class: "cross", y1: T, y2: H - B, visibility: "hidden" }); box.append(cross);
  box.addEventListener("pointermove", (ev) => {
    const r = box.getBoundingClientRect(), t = from + ((ev.clientX - r.left) / r.width * W - L) / (W - L - R) * (until - from);
    let i = at.findIndex((a) => a + hist.step_s > t); if (i < 0) i = n - 1; if (t < from) return untip();
    cross.setAttribute("x1", x(at[i])); cross.setAttribute("x2", x(at[i])); cross.setAttribute("visibility", "visible");
    const lines = LAYERS.filter(([k]) => rows[i][k]).reverse().map(([k, name, css]) => h("div", {}, h("span", {}, h("i", { class: "b-" + css }), name), h("b", {}, bytes(rows[i][k]))));
    tip(ev, h("div", {}, h("b", {}, when(at[i], true)), m.up[i] === 0 ? "no answer" : ""), lines, h("div", {}, h("span", {}, "resident"), h("b", {}, bytes(m.rss[i]))), m.keys[i] !== null && h("div", {}, h("span", {}, "keys"), h("b", {}, m.keys[i].toLocaleString("en"))), m.forking[i] > 0 && h("div", {}, "a fork was at work"));
  });
  box.addEventListener("pointerleave", () => { cross.setAttribute("visibility", "hidden"); untip(); });
  return box;
}
function chartCard(d) {
  const seg = h("div", { class: "seg", role: "group", "aria-label": "Time shown" }, RANGES.map(([text, sec]) => h("button", { "aria-pressed": String(one.range === sec), onclick: () => { one.range = sec; localStorage.setItem("range", sec); loadServer(true); } }, text)));
  const body = one.history?.error ? h("p", { class: "quiet" }, sentence(one.history.error)) : one.history ? chart(one.history, one.events, d.limit) : h("p", { class: "quiet" }, "Reading…");
  const legend = h("div", { class: "legend" }, LAYERS.filter(([k]) => k === "used" || (known(d.report?.layers || {}) ? true : k === "outside")).map(([k, name, css]) => h("span", {}, h("i", { class: "b-" + css }), k === "outside" && !known(d.report?.layers || {}) ? "beyond used" : name)));
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "The ladder over time"), seg), body, legend);
}

function rate(perS) { const perH = perS * 3600; return Math.abs(perH) >= 1024 ? `${bytes(perH)} an hour` : `${bytes(perH * 24)} a day`; }
function outlookCard(d) {
  const o = d.outlook, out = [];
  if (o.span_s < 600) out.push(h("p", { class: "quiet" }, "Ten minutes of history are needed before a trend can be told."));
  else {
    const sure = (x) => x && (x.low > 0 || x.high < 0);
    const range = (x) => ` (${bytes(Math.min(Math.abs(x.low), Math.abs(x.high)) * 3600)} to ${bytes(Math.max(Math.abs(x.low), Math.abs(x.high)) * 3600)} an hour)`;
    const line = (name, x) => h("p", {}, sure(x) ? `${name} ${x.per_s > 0 ? "grows" : "shrinks"} by about ${rate(Math.abs(x.per_s))}${range(x)}.` : `${name} shows no certain trend.`);
    out.push(line("Resident memory", o.rss)); if (o.fragmentation) out.push(line("Fragmentation", o.fragmentation));
    const u = o.until_limit;
    out.push(h("p", {}, u ? h("b", {}, `At this rate the limit is reached in about ${span(u.likely_s)} (${span(u.soonest_s)} to ${u.latest_s ? span(u.latest_s) : "never"}).`) : d.limit ? "The limit is not being approached for certain." : "No limit is known."));
    const m = o.until_maxmemory;
    if (m) out.push(h("p", {}, h("b", {}, `The data reaches maxmemory in about ${span(m.likely_s)} (${span(m.soonest_s)} to ${m.latest_s ? span(m.latest_s) : "never"}).`)));
    if (o.fragmentation_since_s) {
      const t = o.fragmentation_since_s, then = one.events.filter((e) => ["config", "version", "role", "restart"].includes(e.what) && e.at_s <= t + 300 && e.at_s >= t - 1800);
      out.push(h("p", {}, `Fragmentation has been rising since ${when(t, true)}.`, then.length ? " What changed then:" : " Nothing that unfrag can see was changed then."), then.length ? h("ul", {}, then.map((e) => h("li", {}, e.text))) : null);
    }
    out.push(h("p", { class: "faint" }, `From ${span(o.span_s)} of history; median of all slopes, 95 % intervals.`));
  }
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "Where it is going")), out);
}

const REMEDIES = [["purge", "Purge"], ["defrag", "Defrag"], ["repack", "Repack"], ["restart", "Restart"]];
function reclaimCard(d) {
  const r = d.report.reclaim, top = Math.max(1, ...REMEDIES.map(([k]) => r[k].unavailable ? 0 : r[k].high ?? r[k].bytes ?? 0));
  const rows = REMEDIES.map(([key, name]) => {
    const e = r[key], off = e.unavailable || e.bytes === null, w = (v) => v / top * 300;
    const bar = s("svg", { viewBox: "0 0 302 18", preserveAspectRatio: "none" });
    if (!off) { bar.append(s("rect", { class: "est", x: 0, y: 3, rx: 2, width: Math.max(1, w(e.bytes)), height: 12 })); if (e.low !== null && e.high !== null) bar.append(s("path", { class: "range", fill: "none", d: `M${w(e.low)} 9H${w(e.high)}M${w(e.low)} 4v10M${w(e.high)} 4v10` })); }
    const range = !off && e.low !== null && e.high ? `between ${bytes(e.low)} and ${bytes(e.high)}` : "";
    return h("div", { class: "remedy" }, h("span", { class: "name" }, name), bar, h("b", { class: "num" }, off ? "–" : bytes(e.bytes)), h("span", { class: "why" }, e.unavailable || [range, e.basis && `from ${e.basis}`].filter(Boolean).join("; ")));
  });
  const running = d.jobs.find((j) => j.status === "running"), can = fleet.data?.can_act;
  const act = running ? null : can ? h("button", { class: "go", onclick: () => fixDialog(d) }, "Fix this…") : h("p", { class: "quiet" }, h("span", {}, "This page is read-only. In a terminal:"), command(`unfrag fix ${d.name}`));
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "What would come back")), rows, h("div", {}, act));
}

function command(line) {
  // A remark in parentheses behind the command is not to be typed.
  const [, text, remark] = /^(.*?\S)(?:\s{2,}\((.*)\))?$/s.exec(line) || [null, line];
  const copy = h("button", { onclick: async () => { try { await navigator.clipboard.writeText(shown(text)); copy.textContent = "copied"; } catch { copy.textContent = "select it"; } setTimeout(() => { copy.textContent = "copy"; }, 1500); } }, "copy");
  return [h("div", { class: "cmd" }, h("code", {}, text), copy), remark && h("p", { class: "remark" }, remark)];
}
const isCommand = (text) => /^(unfrag|redis-cli|valkey-cli|CONFIG|MEMORY|echo|sysctl|kubectl|docker)\b/.test(text);
function findingsCard(d) {
  const list = d.report.findings.map((f) => h("article", { class: "finding" },
    h("span", {}, badge(f.severity), " ", h("span", { class: "faint mono" }, f.id), d.alerts.some((a) => a.id === f.id) ? h("span", { class: "faint" }, " · alerting") : null),
    h("h3", {}, f.title), f.meaning && h("p", {}, f.meaning),
    f.remedies.slice(0, 3).map((r) => isCommand(r.next) ? command(r.next) : h("p", {}, "→ " + r.next)),
    f.evidence.length ? h("details", {}, h("summary", {}, `Evidence (${f.evidence.length})`), h("table", {}, f.evidence.map((e) => h("tr", {}, h("td", { class: "mono" }, e.what), h("td", { class: "v" }, e.value), h("td", {}, e.source))))) : null,
    f.folklore ? h("p", { class: "folk" }, f.folklore) : null));
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "Findings"), h("p", {}, many(d.report.findings.length, "finding"))), list.length ? list : h("p", { class: "quiet" }, "Nothing is wrong here."));
}

/** From the ground to orange to red, in a way that also works in grey. */
function heatColor(v) {
  const dark = document.documentElement.dataset.theme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const stops = dark ? [[28, 34, 46], [94, 60, 40], [222, 120, 48], [255, 196, 128]] : [[243, 244, 247], [250, 214, 178], [234, 127, 49], [140, 38, 20]];
  const at = Math.max(0, Math.min(.9999, v)) * 3, i = Math.floor(at), f = at - i;
  return `rgb(${stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * f)).join(",")})`;
}
function heatCard(d) {
  const head = h("header", {}, h("h2", {}, "Which size classes waste it"), h("p", {}, "free bytes in jemalloc's slabs, over time"));
  const card = h("section", { class: "card" }, head);
  let rows = one.bins?.rows || []; if (!rows.length && d.bins.length) rows = [[d.deep_at_ms / 1000, d.bins]];
  if (!rows.length) { card.append(h("p", { class: "quiet" }, known(d.report.layers) ? "The first whole sample is still to come." : "This build's allocator does not tell.")); return card; }
  const peak = new Map(); for (const [, bins] of rows) for (const b of bins) peak.set(b[0], Math.max(peak.get(b[0]) || 0, b[3]));
  const sizes = [...peak.keys()].filter((k) => peak.get(k) > 0).sort((a, b) => peak.get(b) - peak.get(a)).slice(0, 24).sort((a, b) => a - b);
  const top = Math.max(1, ...sizes.map((k) => peak.get(k)));
  const W = Math.max(320, Math.min(760, $("main").clientWidth - 40)), L = 64, R = 76, rowH = 15, H = sizes.length * rowH + 22, cell = (W - L - R) / rows.length;
  const box = s("svg", { class: "heat", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Heat map of wasted bytes by size class" });
  const now = new Map(d.bins.map((b) => [b[0], b]));
  sizes.forEach((size, i) => {
    box.append(s("text", { x: L - 8, y: i * rowH + 11, "text-anchor": "end" }, size >= 1024 ? `${size / 1024} KiB` : `${size} B`));
    rows.forEach(([at, bins], k) => {
      const b = bins.find((z) => z[0] === size); if (!b) return;
      const rect = s("rect", { x: L + k * cell, y: i * rowH, width: Math.max(.5, cell - (cell > 4 ? 1 : 0)), height: rowH - 1, fill: heatColor(Math.sqrt(b[3] / top)), rx: cell > 6 ? 2 : 0 });
      rect.addEventListener("pointermove", (ev) => tip(ev, h("div", {}, h("b", {}, `${size} B class`), when(at, true)), h("div", {}, "free in slabs", h("b", {}, bytes(b[3]))), h("div", {}, "slabs", h("b", {}, b[1].toLocaleString("en"))), h("div", {}, "live regions", h("b", {}, b[2].toLocaleString("en")))));
      rect.addEventListener("pointerleave", untip); box.append(rect);
    });
    if (now.get(size)) box.append(s("text", { x: W - R + 8, y: i * rowH + 11 }, bytes(now.get(size)[3])));
  });
  box.append(s("text", { x: L, y: H - 4 }, when(rows[0][0], true)), s("text", { x: W - R, y: H - 4, "text-anchor": "end" }, when(rows[rows.length - 1][0], true)));
  const ramp = h("canvas", { width: 90, height: 8 }), ink = ramp.getContext("2d"); for (let i = 0; i < 90; i++) { ink.fillStyle = heatColor(i / 90); ink.fillRect(i, 0, 1, 8); }
  card.append(box, h("div", { class: "scale" }, "none", ramp, bytes(top), h("span", {}, `· right: now, of the last whole sample`)));
  return card;
}
function eventsCard() {
  const list = one.events.filter((e) => e.at_s >= Date.now() / 1000 - one.range).slice(0, 120).map((e) => h("li", {}, h("time", {}, when(e.at_s)), h("span", { class: "kind" }, e.what), h("span", { class: "t" }, e.text)));
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "What happened")), list.length ? h("ul", { class: "lines" }, list) : h("p", { class: "quiet" }, "Nothing in the time shown."));
}
function outcomesCard(d) {
  const rows = d.outcomes.map((line) => {
    let o; try { o = JSON.parse(line.text); } catch { return null; }
    const top = Math.max(1, o.predicted_bytes, o.reclaimed_bytes), w = (v) => Math.max(0, v) / top * 100;
    const off = o.predicted_bytes ? Math.round((o.reclaimed_bytes - o.predicted_bytes) / o.predicted_bytes * 100) : null;
    return h("div", { class: "outcome" }, h("b", {}, `${bytes(o.reclaimed_bytes)} came back`), h("span", { class: "quiet" }, ` of ${bytes(o.predicted_bytes)} predicted${off === null ? "" : ` (${off > 0 ? "+" : ""}${off} %)`} · ${when(line.at_s, true)} · by the ${line.what}`),
      s("svg", { viewBox: "0 0 100 36", preserveAspectRatio: "none" }, s("rect", { class: "o-pred", x: 0, y: 4, width: w(o.predicted_bytes), height: 11 }), s("rect", { class: "o-meas", x: 0, y: 20, width: w(o.reclaimed_bytes), height: 11 })),
      h("p", { class: "quiet" }, o.steps.map((x) => `${x.remedy} ${bytes(x.reclaimed_bytes)} in ${span(x.duration_ms / 1000)}${x.latency_us.during.p999 ? `, p99.9 ${(x.latency_us.baseline.p999 / 1000).toFixed(1)} → ${(x.latency_us.during.p999 / 1000).toFixed(1)} ms` : ""}`).join("; "), o.error ? h("b", {}, " " + o.error) : null));
  }).filter(Boolean);
  if (!rows.length && !d.decisions.length) return null;
  const decided = d.decisions.map((x) => h("li", {}, h("time", {}, when(x.at_s)), h("span", { class: "kind" }, x.acts ? "acted" : "waited"), h("span", { class: "t" }, x.text)));
  return h("section", { class: "card" }, rows.length ? h("header", {}, h("h2", {}, "What was done"), h("div", { class: "legend" }, h("span", {}, "grey predicted, green measured"))) : null, rows, decided.length ? [h("h2", {}, "What the policy decided"), h("ul", { class: "lines" }, decided)] : null);
}
function jobCard(d) {
  const j = d.jobs[0]; if (!j || (j.status !== "running" && Date.now() / 1000 - j.ended_s > 900)) return null;
  const live = j.status === "running";
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, live ? "A fix is at work" : `The fix is over: ${j.status}`), h("p", {}, `begun ${when(j.begun_s)}${j.rss ? `, RSS ${bytes(j.rss)}` : ""}`)),
    live ? (j.done === null ? h("progress", {}) : h("progress", { value: j.done, max: 1 })) : null, h("div", { class: "log" }, j.lines.join("\n")),
    live && fleet.data?.can_act ? h("div", { class: "buttons" }, h("button", { class: "go plain", onclick: () => withToken(async () => { await ask(`api/v1/jobs/${j.id}/stop`, {}); loadServer(false); }) }, "Stop, and put everything back")) : null);
}
function drawServer() { inPlace(drawOne); }
function drawOne() {
  const d = one.data; if (!d) return;
  document.title = shown(`${d.name} · unfrag`); const v = verdict(d), sv = d.server;
  const facts = sv && [d.group !== d.name && d.group, { redis: "Redis", valkey: "Valkey" }[sv.flavor] + " " + (sv.version || ""), sv.allocator, sv.role, d.shard && d.shard !== d.name ? `of ${d.shard}` : null, sv.uptime_s !== null ? `up ${span(sv.uptime_s)}` : null, sv.keys !== null ? many(sv.keys.toLocaleString("en"), "key", "keys") : null, d.read_at_ms ? `read ${span(Date.now() / 1000 - d.read_at_ms / 1000)} ago` : null, d.quiet ? `alerts wait: ${d.quiet}` : null];
  const open = [...$("main").querySelectorAll("details")].map((x) => x.open), scroll = $("main").querySelector(".lines")?.scrollTop;
  put($("main"), h("a", { class: "crumb", href: "#/" }, "← all servers"),
    h("div", { class: "title" }, badge(v), h("h1", {}, d.name)),
    h("p", { class: "headline" }, d.failure ? `It does not answer: ${d.failure.message}.` : d.summary ? sentence(d.summary) : "It has not been read yet."),
    d.failure ? h("p", { class: "sub" }, `Since ${when(d.failure.since_s, true)}. ${d.failure.hint ? sentence(d.failure.hint) : ""} ${d.report ? "Below is what was known last." : ""}`) : null,
    facts && h("div", { class: "facts" }, facts.filter(Boolean).map((f) => h("span", {}, f))),
    d.report ? h("div", { class: "grid" }, h("div", { class: "col" }, jobCard(d), ladderCard(d), chartCard(d), findingsCard(d), heatCard(d)), h("div", { class: "col" }, reclaimCard(d), outlookCard(d), outcomesCard(d), eventsCard())) : h("div", { class: "grid" }, h("div", { class: "col" }, one.history ? chartCard(d) : null), h("div", { class: "col" }, eventsCard())));
  [...$("main").querySelectorAll("details")].forEach((x, i) => { x.open = open[i] || false; });
  const list = $("main").querySelector(".lines"); if (list && scroll) list.scrollTop = scroll;
}
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
/** Trends look back this far, whatever the chart shows: so do the events that may explain them. */
const DAY = 86400;
async function loadServer(all) {
  const id = one.id, until = Math.floor(Date.now() / 1000), q = `?from=${until - one.range}&until=${until}`;
  try {
    const wanted = [ask(`api/v1/targets/${id}`)];
    if (all || until - (one.loaded || 0) >= 10) { one.loaded = until; wanted.push(ask(`api/v1/targets/${id}/history${q}`).catch((error) => ({ error: error.message })), ask(`api/v1/targets/${id}/events?from=${until - Math.max(one.range, DAY)}`), ask(`api/v1/targets/${id}/bins${q}`)); }
    const [data, history, events, bins] = await Promise.all(wanted); if (one.id !== id) return;
    one.data = data; if (history) { one.history = history; one.events = events.events; one.bins = bins; }
    banner(fleet.said); if (all || !isMarking()) drawServer();
  } catch (error) { banner(`The watch does not answer: ${error.message}`); }
}

// ---------- acting ----------
function dialog(...children) { put($("dialog"), ...children); if (!$("dialog").open) $("dialog").showModal(); }
const shut = () => $("dialog").close();
async function withToken(then) {
  if (token) { try { await ask("api/v1/token", {}); return await then(); } catch (error) { if (!/token/.test(error.message)) return dialog(h("h2", {}, "That did not work"), h("p", {}, error.message), h("div", { class: "buttons" }, h("button", { class: "go", onclick: shut }, "Close"))); } }
  const input = h("input", { type: "password", autocomplete: "off", required: true }), bad = h("p", { class: "bad" });
  const form = h("form", {}, h("h2", {}, "Unlock acting"), h("p", { class: "quiet" }, "The token is in the file that the watch was started with. It is kept until this tab is closed."), h("label", {}, "Token", input), bad, h("div", { class: "buttons" }, h("button", { class: "go plain", type: "button", onclick: shut }, "Cancel"), h("button", { class: "go" }, "Unlock")));
  form.addEventListener("submit", async (e) => { e.preventDefault(); token = input.value.trim(); try { await ask("api/v1/token", {}); sessionStorage.setItem("token", token); shut(); unlockButton(); await then(); } catch (error) { token = ""; bad.textContent = error.message; } });
  dialog(form); input.focus();
}
function fixDialog(d) {
  withToken(async () => {
    const r = d.report.reclaim, picks = REMEDIES.slice(0, 3).map(([key, name]) => { const off = Boolean(r[key].unavailable); return [key, h("input", { type: "checkbox", checked: !off, disabled: off }), `${name}${off ? ": " + r[key].unavailable : r[key].bytes === null ? "" : ", about " + bytes(r[key].bytes)}`]; });
    const budget = h("input", { type: "number", min: 1, max: 100, value: 5 }), minutes = h("input", { type: "number", min: 1, max: 360, value: 15 }), bad = h("p", { class: "bad" });
    const form = h("form", {}, h("h2", {}, `Fix ${d.name}`), h("p", { class: "quiet" }, "The plan is made anew from a fresh sample; guards may still refuse. Whatever is changed is put back."), picks.map(([, box, text]) => h("label", { class: "check" }, box, text)), h("label", {}, "Latency that may be added at p99.9, in milliseconds", budget), h("label", {}, "Longest run, in minutes", minutes), bad, h("div", { class: "buttons" }, h("button", { class: "go plain", type: "button", onclick: shut }, "Cancel"), h("button", { class: "go" }, "Begin")));
    form.addEventListener("submit", async (e) => { e.preventDefault(); const only = picks.filter(([, box]) => box.checked).map(([key]) => key); if (!only.length) { bad.textContent = "Choose at least one remedy."; return; } try { await ask(`api/v1/targets/${d.id}/fix`, { only, latency_budget_ms: Number(budget.value), max_duration_s: Number(minutes.value) * 60 }); shut(); loadServer(true); } catch (error) { bad.textContent = error.message; } });
    dialog(form);
  });
}
function unlockButton() { $("unlock").hidden = !fleet.data?.can_act; $("unlock").textContent = token ? "Lock" : "Unlock"; }
$("unlock").addEventListener("click", () => { if (token) { token = ""; sessionStorage.removeItem("token"); unlockButton(); } else withToken(async () => {}); });

// ---------- going round ----------
async function loadFleet() {
  try {
    fleet.data = await ask("api/v1/overview");
    const problems = Object.entries(fleet.data.problems).map(([k, v]) => `${k}: ${v}`), trouble = fleet.data.trouble && `History is not being written: ${fleet.data.trouble}`;
    fleet.said = [trouble, ...problems].filter(Boolean).join(" · "); banner(fleet.said);
    $("status").textContent = [`${many(fleet.data.servers.length, "server")}, ${when(fleet.data.at_s)}`, `policy ${fleet.data.policy}`, fleet.data.running ? many(fleet.data.running, "fix running", "fixes running") : ""].filter(Boolean).join(" · ");
    unlockButton(); if (one.id === null && !isMarking()) drawFleet();
  } catch (error) { banner(`The watch does not answer: ${error.message}`); }
}
function route() {
  untip(); const match = /^#\/server\/(-?\d+)$/.exec(location.hash);
  if (match) { const id = Number(match[1]); if (one.id !== id) { Object.assign(one, { id, data: null, history: null, events: [], bins: null, loaded: 0 }); put($("main"), h("p", { class: "quiet pad" }, "Reading…")); scrollTo(0, 0); } loadServer(true); }
  else { const from = one.id; one.id = null; if (fleet.data) { drawFleet(); if (from !== null) stand(from); } }
}
addEventListener("hashchange", route);
let timer; function beat() { clearTimeout(timer); timer = setTimeout(async () => { if (!document.hidden) { await loadFleet(); if (one.id !== null) await loadServer(false); } beat(); }, (fleet.data?.servers.length || 0) > 200 ? 10000 : 5000); }
addEventListener("resize", () => { if (one.id !== null) drawServer(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) { loadFleet(); if (one.id !== null) loadServer(false); } });

// ---------- light, dark, keys ----------
const theme = localStorage.getItem("theme"); if (theme) document.documentElement.dataset.theme = theme;
function switchTheme() { const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches; document.documentElement.dataset.theme = dark ? "light" : "dark"; localStorage.setItem("theme", dark ? "light" : "dark"); if (one.id !== null) drawServer(); }
$("theme").addEventListener("click", switchTheme);
const KEYS = [["/", "find a server"], ["j  k", "next, previous"], ["Enter", "open"], ["Esc", "back to all servers"], ["1 … 5", "time shown"], ["t", "light or dark"], ["?", "this"]];
const showKeys = () => dialog(h("h2", {}, "Keys"), h("dl", { class: "keys" }, KEYS.map(([k, text]) => [h("dt", {}, h("kbd", {}, k)), h("dd", {}, text)])), h("div", { class: "buttons" }, h("button", { class: "go", onclick: shut }, "Close")));
$("keys").addEventListener("click", showKeys);
const rowsShown = () => [...document.querySelectorAll("a.row")];
/** Stands on a row: from there j and k go on, and Enter opens it. */
function stand(id) { fleet.here = id; rowsShown().find((row) => row.hash === `#/server/${id}`)?.focus(); }
function move(by) {
  const rows = rowsShown(); if (!rows.length) return;
  const at = rows.findIndex((row) => row.hash === `#/server/${fleet.here}`), next = Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by));
  stand(Number(rows[next].hash.slice("#/server/".length)));
}
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || $("dialog").open) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) { if (e.key === "Escape") e.target.blur(); return; }
  if (e.key === "/" && $("search")) { e.preventDefault(); $("search").focus(); }
  else if (e.key === "j" || (e.key === "ArrowDown" && one.id === null)) { e.preventDefault(); move(1); }
  else if (e.key === "k" || (e.key === "ArrowUp" && one.id === null)) { e.preventDefault(); move(-1); }
  else if (e.key === "Escape" && one.id !== null) location.hash = "#/";
  else if (e.key === "t") switchTheme(); else if (e.key === "?") showKeys();
  else if (one.id !== null && RANGES[Number(e.key) - 1]) { one.range = RANGES[Number(e.key) - 1][1]; localStorage.setItem("range", one.range); loadServer(true); }
});
loadFleet().then(route).then(beat);
