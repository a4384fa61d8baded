'use strict';
// The page: it takes the stream of -/page/events and draws what it says. Every text goes into the
// document as text, never as HTML.

const $ = id => document.getElementById(id);
const apps = new Map(), rowOf = new Map(), sparkOf = new Map();
let order = [], entries = [], daemon = {}, host = '', ahead = 0; // ahead: clock of the daemon less ours, in ms
const now = () => Date.now() + ahead;

// Elements.

function el(tag, props, ...kids) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (k in e && k !== 'list') e[k] = v; else if (v != null) e.setAttribute(k, v);
  }
  e.append(...kids.filter(k => k != null && k !== false));
  return e;
}
function svg(tag, attributes, ...kids) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...kids);
  return e;
}
// put changes a node only where it is another: writing to the document costs a layout.
function put(node, text, className) {
  text = String(text);
  if (node.shown !== text) { node.textContent = text; node.shown = text; }
  if (className !== undefined && node.className !== className) node.className = className;
}
function show(node, visible) { if (node.hidden === visible) node.hidden = !visible; }
function same(node, value) {
  const text = JSON.stringify(value);
  if (node.was === text) return true;
  node.was = text;
  return false;
}

// Words.

const marks = { running: '●', reloading: '◐', holding: '‖', backoff: '✕', failed: '✕', stopped: '○' };
const mark = s => marks[s] || '◌';
function seconds(s) {
  if (s < 0.9995) return `${(s * 1000).toFixed(0)} ms`;
  if (s < 9.95) return `${s.toFixed(1).replace('.0', '')} s`;
  if (s < 119.5) return `${s.toFixed(0)} s`;
  if (s < 7200) return `${(s / 60).toFixed(0)} min`;
  if (s < 172800) return `${(s / 3600).toFixed(0)} h`;
  return `${(s / 86400).toFixed(0)} d`;
}
const latency = s => s ? seconds(s) : '–';
function size(n) {
  if (!n) return '–';
  if (n < 1048576) return `${n >> 10} KB`;
  if (n < 10 * 2 ** 30) return `${Math.round(n / 1048576)} MB`;
  return `${Math.round(n / 2 ** 30)} GB`;
}
const rate = n => n >= 100 ? n.toFixed(0) : n.toFixed(1);
const age = ms => ms ? seconds(Math.max(0, (now() - ms) / 1000)) : '–';
const clock = ms => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const change = (a, b) => !a || a === b ? `${b || '–'}` : !b ? `${a}` : `${a} → ${b}`;
const count = (n, one, many) => `${n} ${n === 1 ? one : many || one + 's'}`;
const percent = x => `${(x * 100).toFixed(x && x < 0.1 ? 1 : 0)} %`;

// The stream.

let events;
function connect() {
  events = new EventSource('-/page/events');
  events.addEventListener('update', e => update(JSON.parse(e.data)));
  events.addEventListener('entry', e => { entries.push(JSON.parse(e.data)); entries = entries.slice(-100); draw(); });
  events.onopen = () => live(true);
  events.onerror = () => { live(false); if (events.readyState === EventSource.CLOSED) setTimeout(connect, 5000); };
}
function live(on) {
  const l = $('link');
  l.dataset.is = on ? 'on' : 'off';
  put(l.firstElementChild, on ? '●' : '○');
  put(l.lastElementChild, on ? 'live' : 'no connection, trying again');
}

function update(u) {
  ahead = u.now - Date.now();
  if (u.daemon) daemon = u.daemon;
  if (u.fleet || u.host !== undefined) { announceRollout(fleet, u.fleet); fleet = u.fleet; }
  if (u.entries || u.host !== undefined) { entries = u.entries || []; host = u.host || ''; }
  if (u.order) {
    order = u.order;
    for (const name of apps.keys()) if (!order.includes(name)) apps.delete(name);
    for (const name of rowOf.keys()) if (!order.includes(name)) rowOf.delete(name);
    setTimeout(loadSparks, 0);
  }
  for (const r of u.rows || []) { announce(apps.get(r.name), r); apps.set(r.name, r); }
  title();
  if (!range && daemon.began) setRange(u.now - daemon.began < 10 * 60000 ? 'live' : 'hour');
  if (chosen) addPoint(u.now);
  draw();
}

// announce tells a screen reader of a change that matters.
function announce(was, is) {
  if (!was || was.state === is.state && was.gen === is.gen) return;
  let text = `${is.name} is ${is.state}`;
  if (is.gen && is.gen !== was.gen) text = `${is.name} serves generation ${is.gen}`;
  else if (is.state === 'reloading' && is.operation) text += `, generation ${change(is.operation.from, is.operation.to)}`;
  $('news').textContent = text;
}

function title() {
  const bad = [...apps.values()].find(a => a.state !== 'running' && a.state !== 'stopped');
  const text = bad ? `${mark(bad.state)} ${bad.name} ${bad.state}${bad.held ? ' ' + bad.held : ''}` : `tideover${host ? ' · ' + host : ''}`;
  if (document.title !== text) document.title = text;
}

// Drawing: once a frame at most, and not at all while the tab is hidden.

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; drawAll(); });
}
let ticking = 0;
function drawAll() {
  put($('daemon'), `${daemon.version || ''} · up ${age(daemon.began)}${daemon.ending ? ' · shutting down' : ''}`);
  document.querySelector('.host').textContent = host;
  const app = chosen && apps.get(chosen);
  show($('overview'), !app); show($('totals'), !app); show($('app'), !!app);
  drawOperations(app);
  if (app) drawApp(app); else { drawTotals(); drawTable(); }
  drawFleet(app);
  drawEntries(app);
  const runs = [...apps.values()].some(a => a.operation && a.operation.running);
  if (runs && !ticking) ticking = setInterval(draw, 250);
  if (!runs && ticking) { clearInterval(ticking); ticking = 0; }
}

function tiles(list, values) {
  values.forEach(([name, value, unit, tone], i) => {
    let d = list.children[i];
    if (!d) { d = el('div', {}, el('dt'), el('dd', {}, el('span'), ' ', el('small'))); list.append(d); }
    put(d.firstChild, name);
    put(d.lastChild.firstChild, value);
    put(d.lastChild.lastChild, unit || '');
    d.lastChild.className = tone ? `note-${tone}` : '';
  });
  while (list.children.length > values.length) list.lastChild.remove();
}

function drawTotals() {
  let rps = 0, inflight = 0, held = 0, failing = 0, serve = 0;
  for (const a of apps.values()) { rps += a.rps; inflight += a.inflight; held += a.held; failing += a.failing; serve += a.gen > 0; }
  tiles($('totals'), [['Apps serving', serve, `of ${order.length}`], ['Requests', rate(rps), 'per s'], ['In flight', inflight], ['Held', held], ['5xx', rate(failing), 'per s'],
    ['Client connections', daemon.connections || 0, daemon.limit ? `of ${daemon.limit}` : '']]);
}

// The table.

const classes = ['', '', 'n c3', 'c4', 'n', 'c2', 'n c1', 'n', 'n c3', 'n', 'n c1', 'n c2', 'n c3', 'n c1'];
function makeRow(name) {
  const tr = el('tr', {}, el('th', { scope: 'row' }, el('a', { href: '#/app/' + encodeURIComponent(name), textContent: name })));
  tr.append(...classes.slice(1).map(c => el('td', { className: c })));
  tr.children[1].append(el('span', { className: 'mark', ariaHidden: 'true' }), ' ', el('span'));
  rowOf.set(name, tr);
  return tr;
}
let shownOrder = '';
function drawTable() {
  show($('filter'), order.length > 8);
  const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const visible = order.filter(name => {
    const a = apps.get(name);
    return a && words.every(w => `${name} ${a.state} ${a.revision || ''}`.toLowerCase().includes(w));
  });
  const body = $('apps').tBodies[0];
  if (shownOrder !== visible.join('\n') || !body.isConnected) {
    shownOrder = visible.join('\n');
    body.replaceChildren(...visible.map(name => rowOf.get(name) || makeRow(name)));
    if (!visible.length) body.append(el('tr', {}, el('td', { colSpan: 14, textContent: order.length ? 'no app matches' : 'no app' })));
  }
  for (const name of visible) {
    const a = apps.get(name), tr = rowOf.get(name), c = tr.children;
    put(c[13], age(a.ready));
    if (tr.drawn === a) continue;
    tr.drawn = a;
    const web = v => a.web ? v : '–', zero = (v, base) => base + (v ? '' : ' zero');
    drawState(c[1], a);
    put(c[2], a.gen || '–');
    put(c[3], a.revision || ''); c[3].title = a.revision || '';
    put(c[4], web(rate(a.rps)), zero(a.rps, 'n'));
    put(c[6], web(a.capacity ? `${a.inflight} / ${a.capacity}` : a.inflight), a.capacity && a.inflight >= a.capacity ? 'n c1 care' : zero(a.inflight, 'n c1'));
    put(c[7], web(a.held), a.held ? 'n care' : 'n zero');
    put(c[8], latency(a.p50)); put(c[9], latency(a.p95));
    put(c[10], web(rate(a.failing)), a.failing ? 'n c1 alert' : 'n c1 zero');
    put(c[11], size(a.mem), a.memmax && a.mem > 0.9 * a.memmax ? 'n c2 care' : 'n c2');
    put(c[12], a.procs ? percent(a.cpu || 0) : '–');
  }
}
function drawState(node, a) {
  node.dataset.state = a.state;
  put(node.children[0], mark(a.state));
  put(node.children[1], a.state + (a.drained ? ', drained' : ''));
  node.title = a.attention || '';
}

async function loadSparks() {
  if (document.hidden) return;
  try {
    const all = await (await fetch('-/page/curves')).json();
    const n = Math.max(2, ...Object.values(all).map(([rates]) => rates.length));
    for (const [name, [rates, held]] of Object.entries(all)) {
      const tr = rowOf.get(name) || makeRow(name);
      if (rates.length < 2) continue;
      const top = Math.max(1, ...rates), topHeld = Math.max(...held), x = i => 110 - (rates.length - 1 - i) * 110 / (n - 1);
      const line = rates.map((v, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${(20 - v / top * 18).toFixed(1)}`).join('');
      const ticks = held.map((v, i) => v ? `M${x(i).toFixed(1)} 22v-${Math.max(3, v / topHeld * 10).toFixed(1)}` : '').join('');
      const s = svg('svg', { viewBox: '0 0 110 22', role: 'img', 'aria-label': `at most ${rate(Math.max(...rates))} requests per second, ${topHeld} held` },
        svg('path', { class: 'area', d: `${line}V22H${x(0).toFixed(1)}Z` }), svg('path', { class: 'line', d: line }), svg('path', { class: 'line held', d: ticks }));
      tr.children[5].replaceChildren(s);
    }
    put($('spark'), now() - daemon.began < 3600000 ? `Last ${seconds((now() - daemon.began) / 1000)}` : 'Last hour');
    draw();
  } catch { /* the stream says that there is no connection */ }
}

// An operation: what the old and the new generation did, on one line of time.

function spans(t) {
  let at = 0, gone = -1, began = -1, serves = -1, drained = -1;
  const steps = [];
  const step = (name, took, ended, result) => {
    if (name === 'hold' || name === 'stop') gone = gone < 0 ? at : gone;
    if (name === 'start' && began < 0) began = at;
    steps.push({ name, at, took, ended, result });
    at += took;
    if (ended && result === 'ok' && (name === 'swap' || name === 'release' || name === 'ready' && t.from === 0)) {
      serves = at;
      if (gone < 0) gone = at;
    }
  };
  for (const p of t.phases) {
    if (p.name === 'drain' && gone >= 0) drained = gone + p.s;
    step(p.name, p.s, true, p.result);
  }
  if (t.phase) step(t.phase, Math.max(0, (now() - t.since) / 1000), false);
  const total = Math.max(at, t.running && !t.phase ? (now() - t.begun) / 1000 : 0, 0.05);
  const old = [], fresh = [];
  if (t.from > 0) {
    const end = gone < 0 ? total : gone;
    if (end > 0) old.push(['serving', 0, end]);
    if (gone >= 0) {
      const until = drained >= 0 ? drained : t.running ? (began > gone ? began : total) : began > gone ? began : gone;
      if (until > gone) old.push(['draining', gone, until]);
    }
  }
  if (began >= 0) {
    const failed = !t.running && serves < 0;
    const end = serves < 0 ? (failed ? (steps.findLast(s => s.name === 'ready') || steps.at(-1)).at + (steps.findLast(s => s.name === 'ready') || steps.at(-1)).took : total) : serves;
    fresh.push([failed ? 'failed' : 'starting', began, end]);
    if (serves >= 0 && total > serves) fresh.push(['serving', serves, total]);
  }
  return { total, steps, old, fresh };
}
function drawOperation(box, t, name) {
  let p = box.parts;
  if (!p) {
    p = box.parts = { head: el('b'), sub: el('span'), names: [el('div'), el('div'), el('div', { className: 'sr', textContent: 'Phases' })],
      lanes: [el('div', { className: 'lane' }), el('div', { className: 'lane' }), el('div', { className: 'lane scale' })] };
    box.className = 'operation';
    box.append(el('h3', {}, p.head, p.sub), el('div', { className: 'lanes' }, p.names[0], p.lanes[0], p.names[1], p.lanes[1], p.names[2], p.lanes[2]));
  }
  const s = spans(t), left = (t.draining || []).reduce((n, d) => n + d.inflight + (d.tunnels || 0), 0);
  put(p.head, `${name ? name + ': ' : ''}${t.verb}, generation ${change(t.from, t.to)}`);
  const facts = [];
  if (t.running) facts.push(t.phase ? `${t.phase} ${seconds((now() - t.since) / 1000)}` : 'begun'); else facts.push(`${t.result} in ${seconds((t.ended - t.begun) / 1000)}`, clock(t.ended));
  if (t.running && t.ended) facts.unshift(`${t.result} in ${seconds((t.ended - t.begun) / 1000)}`);
  if (t.held) facts.push(`${t.held} held, longest ${seconds(t.heldmax)}`);
  if (t.ended) facts.push(`${t.lost || 0} lost`);
  if (left) facts.push(`${count(left, 'request')} left in the old generation`);
  if (t.error) facts.push(t.error);
  put(p.sub, facts.join(' · '));
  const lane = (i, label, parts) => {
    put(p.names[i], label);
    show(p.names[i], !!label); show(p.lanes[i], !!label);
    place(p.lanes[i], parts, s.total);
  };
  const words = { serving: 'serves', starting: 'starts', draining: left ? `drains, ${left} left` : 'drains', failed: 'failed' };
  lane(0, t.from ? `generation ${t.from}` : '', s.old.map(([k, a, b]) => [k, a, b, words[k]]));
  lane(1, t.to && t.to !== t.from ? `generation ${t.to}` : '', s.fresh.map(([k, a, b]) => [k, a, b, words[k]]));
  place(p.lanes[2], s.steps.filter(x => x.took > s.total / 25).map(x => ['', x.at, x.at + x.took, x.name, seconds(x.took) + (x.result && x.result !== 'ok' ? ', ' + x.result : '')]), s.total);
}
function place(lane, parts, total) {
  parts.forEach(([kind, from, to, text, more], i) => {
    let e = lane.children[i];
    if (!e) { e = el('span', {}, el('b'), el('span')); lane.append(e); }
    e.className = kind;
    const last = more === undefined ? to : i + 1 < parts.length ? parts[i + 1][1] : total;
    e.style.left = `${from / total * 100}%`;
    e.style.width = `${(last - from) / total * 100}%`;
    put(e.firstChild, text); put(e.lastChild, more || '');
    e.title = more ? `${text} ${more}` : text;
  });
  while (lane.children.length > parts.length) lane.lastChild.remove();
}
const operationBoxes = new Map();
function drawOperations(app) {
  const box = $('operations');
  const running = app ? [] : [...apps.values()].filter(a => a.operation && a.operation.running).slice(0, 8);
  show(box, running.length > 0);
  for (const [name, b] of operationBoxes) if (!running.some(a => a.name === name)) { b.remove(); operationBoxes.delete(name); }
  for (const a of running) {
    let b = operationBoxes.get(a.name);
    if (!b) { b = el('div'); operationBoxes.set(a.name, b); box.append(b); }
    drawOperation(b, a.operation, a.name);
  }
}

// One app.

let chosen = '', series = null, loaded = 0;
let range = ''; // which curves are shown; empty: those that fit the age of the daemon

function route() {
  const m = location.hash.match(/^#\/app\/(.+)$/);
  const before = chosen;
  chosen = m ? decodeURIComponent(m[1]) : '';
  if (chosen === before) return draw();
  series = null; loaded = 0; shownEntries = '';
  $('operation').replaceChildren();
  stopTail();
  show($('lines'), false);
  $('outcome').replaceChildren();
  if (chosen) { if (range) loadCurves(); } else loadSparks();
  drawAll();
  scrollTo(0, 0);
  (chosen ? $('name') : $('main')).focus({ preventScroll: true });
}

function drawApp(a) {
  put($('name'), a.name);
  const state = $('state');
  if (!state.firstChild) state.append(el('span', { className: 'mark', ariaHidden: 'true' }), el('span'), ' ');
  drawState(state, a);
  put($('facts'), [a.gen ? `generation ${a.gen}` : '', a.revision ? `revision ${a.revision}` : '', a.ready ? `since ${age(a.ready)}` : '', (a.listen || []).join(' '), a.pid ? `pid ${a.pid}` : '', a.procs ? count(a.procs, 'process', 'processes') : '',
    a.restarts ? count(a.restarts, 'crash', 'crashes') : ''].filter(Boolean).join(' · '));
  const wait = a.next ? `; the next try is in ${seconds(Math.max(0, (a.next - now()) / 1000))}` : '';
  const why = a.attention ? a.attention + wait : (a.holds || []).length ? `Requests are held: ${a.holds.join(', ')}.` : '';
  show($('attention'), !!why); put($('attention'), why);
  const values = a.web ? [['Requests', rate(a.rps), 'per s'], ['In flight', a.inflight, a.capacity ? `of ${a.capacity}` : ''],
    ['Held', a.held, a.held ? `oldest ${seconds(a.oldest || 0)}` : `of ${a.limit}`], ['p50', latency(a.p50)], ['p95', latency(a.p95)], ['5xx', rate(a.failing), 'per s']] : [];
  tiles($('numbers'), [...values, ['Memory', size(a.mem), a.memmax ? `of ${size(a.memmax)}` : ''], ['CPU', a.procs ? percent(a.cpu || 0) : '–']]);
  const t = $('operation');
  show(t, !!a.operation);
  if (a.operation) { if (!t.firstChild) t.append(el('div')); drawOperation(t.firstChild, a.operation); }
  drawCharts(a);
  drawCompare(a);
  drawOwn(a);
  drawActions(a);
}

function drawCompare(a) {
  const c = a.compare, box = $('compare');
  if (same(box, c || null)) return;
  if (!c) return box.replaceChildren(el('p', { className: 'quiet', textContent: 'After a reload the new generation is compared with the old one here, for 15 minutes.' }));
  const line = (name, f) => el('tr', {}, el('th', { scope: 'row', textContent: name }), el('td', { className: 'n', textContent: f(c.old) }), el('td', { className: 'n', textContent: f(c.new) }));
  const share = s => s.n ? `${percent(s.failed / s.n)} (${s.failed})` : '–';
  box.replaceChildren(el('table', {}, el('caption', { className: 'sr', textContent: 'Requests of the new generation and of the one before' }),
    el('thead', {}, el('tr', {}, el('td', {}), el('th', { scope: 'col', className: 'n', textContent: `generation ${c.from}` }), el('th', { scope: 'col', className: 'n', textContent: `generation ${c.to}` }))),
    el('tbody', {}, line('p50', s => latency(s.p50)), line('p95', s => latency(s.p95)), line('5xx', share), line('requests', s => s.n))));
}

function drawOwn(a) {
  const box = $('own');
  if (same(box, a.own || null)) return;
  if (!a.own) return box.replaceChildren(el('p', { className: 'quiet', textContent: 'Every request since the start of tideover has got the answer of the app.' }));
  box.replaceChildren(el('table', {}, el('caption', { className: 'sr', textContent: 'Requests that tideover itself has ended since its start' }),
    el('thead', {}, el('tr', {}, el('th', { scope: 'col', textContent: 'cause' }), el('th', { scope: 'col', textContent: 'status' }), el('th', { scope: 'col', className: 'n', textContent: 'requests' }))),
    el('tbody', {}, ...a.own.map(o => el('tr', {}, el('td', { textContent: o.text }), el('td', { textContent: o.status }), el('td', { className: 'n', textContent: o.n }))))));
}

// Curves.

async function loadCurves() {
  const app = chosen, which = range;
  loaded = Date.now();
  try {
    const c = await (await fetch(`-/page/curves?app=${encodeURIComponent(app)}${which === 'live' ? '&live' : ''}`)).json();
    if (app === chosen && which === range) { series = c; draw(); }
  } catch { /* as above */ }
}
// addPoint goes on with the curves of the last minutes; those of the hour are asked for again.
function addPoint(at) {
  const a = apps.get(chosen);
  if (!a || !series || document.hidden) return;
  if (range === 'hour') { if (Date.now() - loaded > 10000) loadCurves(); return; }
  if (at - series.end < 900) return;
  const missed = Math.min(180, Math.round((at - series.end) / 1000));
  for (let i = 0; i < missed; i++) for (const k of ['rps', 'failing', 'held', 'p50', 'p95']) { series[k].push(a[k]); if (series[k].length > 180) series[k].shift(); }
  series.end = at;
}
const W = 600, H = 110;
function path(values, n, top) {
  return values.map((v, i) => `${i ? 'L' : 'M'}${((n - values.length + i) / (n - 1) * W).toFixed(1)} ${(H - 2 - v / top * (H - 8)).toFixed(1)}`).join('');
}
function niceTop(v) {
  if (v <= 0) return 1;
  const p = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 2.5, 5, 10].find(m => m * p >= v) * p;
}
const chartKinds = [
  { name: 'Requests', keys: [['rps', 'line'], ['failing', 'line failing']], area: 'area', value: a => `${rate(a.rps)} per s`, legend: 'dotted: 5xx', text: rate },
  { name: 'Held', keys: [['held', 'line held']], area: 'heldarea', value: a => a.held, legend: '', text: v => v.toFixed(0) },
  { name: 'Latency', keys: [['p95', 'line'], ['p50', 'line second']], area: '', value: a => `p95 ${latency(a.p95)}`, legend: 'dashed: p50', text: seconds },
];
function drawCharts(a) {
  const box = $('charts');
  show(box, a.web); show(box.previousElementSibling, a.web);
  if (!a.web) return;
  if (!box.firstChild) for (const k of chartKinds) box.append(makeChart(k));
  [...box.children].forEach((f, i) => {
    const k = chartKinds[i];
    put(f.parts.value, k.value(a));
    if (!series || f.drawn === series && f.end === series.end) return;
    f.drawn = series; f.end = series.end;
    const n = range === 'hour' ? 360 : 180, most = Math.max(0, ...series[k.keys[0][0]]), top = niceTop(most);
    put(f.parts.top, `${k.legend}${k.legend ? ' · ' : ''}max ${k.text(most)}`);
    const from = series.end - n * series.step;
    const reloads = entries.filter(e => e.app === a.name && e.phases && e.time > from);
    const lines = reloads.map(e => { const x = ((e.time - from) / (n * series.step) * W).toFixed(1); return svg('path', { class: 'event', d: `M${x} 0V${H}` }, svg('title', {}, e.what)); });
    const main = path(series[k.keys[0][0]], n, top), first = ((n - series[k.keys[0][0]].length) / (n - 1) * W).toFixed(1);
    f.parts.svg.replaceChildren(...(k.area && main ? [svg('path', { class: k.area, d: `${main}V${H}H${first}Z` })] : []), ...lines,
      ...k.keys.toReversed().map(([key, c]) => svg('path', { class: c, d: path(series[key], n, top) })), f.parts.at);
    f.parts.svg.setAttribute('aria-label', `${k.name}: now ${k.value(a)}, at most ${k.text(most)}${reloads.length ? ', ' + count(reloads.length, 'operation') + ' marked' : ''}`);
    put(f.parts.from, range === 'hour' ? '60 min ago' : '3 min ago');
  });
}
function makeChart(k) {
  const f = el('figure', { className: 'chart' });
  f.parts = { value: el('b'), top: el('span'), from: el('span'), svg: svg('svg', { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: 'none', role: 'img' }), at: svg('path', { class: 'at' }), mid: el('span'), end: el('span', { textContent: 'now' }) };
  const p = f.parts;
  f.append(el('figcaption', {}, el('span', { textContent: k.name }), p.value, p.top), p.svg, el('div', { className: 'axis' }, p.from, p.mid, p.end));
  p.svg.addEventListener('pointermove', e => {
    if (!series) return;
    const n = range === 'hour' ? 360 : 180, part = e.offsetX / p.svg.clientWidth, i = Math.round(part * (n - 1)) - (n - series.rps.length);
    p.at.setAttribute('d', `M${part * W} 0V${H}`);
    put(p.mid, i >= 0 && i < series.rps.length ? `${clock(series.end - (n - 1 - Math.round(part * (n - 1))) * series.step)} · ${k.keys.map(([key]) => `${key} ${k.text(series[key][i])}`).join(', ')}` : '');
  });
  p.svg.addEventListener('pointerleave', () => { p.at.setAttribute('d', ''); put(p.mid, ''); });
  return f;
}
document.querySelectorAll('[data-range]').forEach(b => b.addEventListener('click', () => {
  setRange(b.dataset.range);
}));
function setRange(to) {
  range = to; series = null;
  press('[data-range]', document.querySelector(`[data-range=${to}]`));
  if (chosen) loadCurves();
}
function press(group, pressed) { document.querySelectorAll(group).forEach(b => b.setAttribute('aria-pressed', b === pressed)); }

// Actions. The user types the token, this tab keeps it (sessionStorage) and sends it with each request
// that needs it; no cookie does, so that no other site can use it.

const moment = a => Math.min(30, a.timeout || 30);
const actions = [
  { id: 'reload', name: 'Reload', if: a => a.state !== 'stopped', effect: a => a.web ? 'The new generation starts first; the old one serves until the new one answers.' : 'It is started anew with the code and the settings of now.' },
  { id: 'restart', name: 'Restart', if: a => a.state !== 'stopped', effect: a => a.web ? 'It is stopped and started; requests are held meanwhile.' : 'It is stopped and started.' },
  { id: 'hold', name: 'Hold', if: a => a.web && a.state !== 'stopped' && !isHeld(a), effect: a => `Its requests wait, for ${seconds(moment(a))} at most.` },
  { id: 'release', name: 'Release', if: a => a.web && isHeld(a), effect: () => 'The requests that wait are answered.' },
  { id: 'drain', name: 'Drain', if: a => a.web && !a.drained, effect: () => 'Load balancers are asked to send its requests elsewhere; those that come are served.' },
  { id: 'undrain', name: 'Undrain', if: a => a.drained, effect: () => 'Load balancers may send its requests here again.' },
  { id: 'stop', name: 'Stop', if: a => a.state !== 'stopped', effect: a => a.web ? 'Clients get 503 until it is started again.' : 'It stays down until it is started again.' },
  { id: 'start', name: 'Start', if: a => a.state === 'stopped', effect: () => 'It is started, and stays up.' },
];
const isHeld = a => (a.holds || []).some(name => name.startsWith('operator'));

function drawActions(a) {
  const box = $('actions');
  show(box, !!daemon.acts); show($('output'), !!daemon.acts);
  if (!daemon.acts) return;
  if (!box.firstChild) {
    for (const action of actions) box.append(action.button = el('button', { type: 'button', textContent: action.name, onclick: () => perform(action, chosen) }));
    box.append(el('button', { type: 'button', id: 'forget', className: 'quiet', textContent: 'Forget token', onclick: forget }));
  }
  for (const action of actions) { show(action.button, !!action.if(a)); action.button.setAttribute('aria-disabled', running.has(`${action.id} ${a.name}`)); }
  show($('forget'), hasToken());
  put($('follow'), tail ? 'Stop reading' : 'Read');
  put($('tail'), tail ? tail.text : '');
}

const running = new Set(); // actions that have no answer yet: a hold has none before the requests in flight have ended
async function perform(action, name) {
  const a = apps.get(name), key = `${action.id} ${name}`;
  if (!a || running.has(key)) return;
  $('question').textContent = `${action.name} ${name}?`;
  $('effect').textContent = action.effect(a);
  $('yes').textContent = action.name;
  if (await choice($('confirm')) !== 'yes' || !await needToken(`To ${action.id} ${name}, type the token.`)) return;
  running.add(key);
  tell('', `${action.name} ${name} …`);
  draw();
  try {
    const response = await request(`actions/${action.id}`, name), answer = await response.json();
    tell(response.ok ? 'ok' : 'bad', `${response.ok ? '✓' : '✕'} ${action.name} ${name}: ${answer.text}`, answer.hint);
    $('news').textContent = `${action.name} ${name}: ${answer.text}`;
  } catch {
    tell('bad', `✕ ${action.name} ${name}: no answer; the history says what has come of it`);
  }
  running.delete(key);
  draw();
}
function tell(tone, text, hint) {
  const o = $('outcome');
  o.dataset.tone = tone;
  o.replaceChildren(text, ...(hint ? [el('small', { textContent: hint })] : []));
}
// choice shows a dialog and returns the value of the button that closes it; '' by Escape.
function choice(dialog) {
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(done => dialog.addEventListener('close', () => done(dialog.returnValue), { once: true }));
}

const hasToken = () => sessionStorage.getItem('token') !== null;
function forget() { sessionStorage.removeItem('token'); stopTail(); draw(); }
async function needToken(why) {
  if (hasToken()) return true;
  $('token-why').textContent = `${why} It is in the file that token_file in [daemon.admin_auth] names.`;
  $('token').value = '';
  const typed = await choice($('asking')) === 'yes' && $('token').value.trim();
  $('token').value = '';
  if (!typed) return false;
  sessionStorage.setItem('token', typed);
  return true;
}
async function request(path, app, signal) {
  const response = await fetch(`-/page/${path}`, { method: 'POST', signal, body: JSON.stringify({ app }),
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${sessionStorage.getItem('token')}` } });
  if (response.status === 401 || response.status === 403) sessionStorage.removeItem('token');
  return response;
}

// Output of the app, as long as it is asked for.

const maxLines = 1000;
let tail = null; // the request that runs
async function startTail(name) {
  if (!await needToken(`To read the output of ${name}, type the token.`) || chosen !== name || tail) return;
  const mine = tail = { stop: new AbortController(), text: 'reads' };
  const list = $('lines');
  list.replaceChildren();
  show(list, true);
  draw();
  let text = 'It has ended.';
  try {
    const response = await request('output', name, mine.stop.signal);
    if (!response.ok) throw new Error((await response.json()).text);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ''; ;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      addLines(list, lines.map(line => JSON.parse(line)));
    }
  } catch (e) {
    text = mine.stop.signal.aborted ? '' : e.message || 'no connection';
  }
  if (tail !== mine) return;
  tail = null;
  if (text) addLines(list, [{ stream: 'tideover', text }]);
  draw();
}
function stopTail() {
  if (tail) tail.stop.abort();
  tail = null;
}
function addLines(list, lines) {
  const follows = list.scrollTop + list.clientHeight > list.scrollHeight - 30;
  list.append(...lines.slice(-maxLines).map(l => el('li', { className: l.stream }, el('span', { className: 'pre', textContent: l.time ? `${clock(l.time)} ${l.gen || ''} ` : '' }), l.text)));
  while (list.children.length > maxLines) list.firstChild.remove();
  if (follows) list.scrollTop = list.scrollHeight;
}
document.querySelectorAll('dialog [value=no]').forEach(b => b.addEventListener('click', () => b.closest('dialog').close('no')));
$('follow').addEventListener('click', () => { if (tail) { stopTail(); draw(); } else startTail(chosen); });

// The hosts of the fleet.

let fleet;
const turns = { ok: '●', reloading: '◐', failed: '✕', gone: '✕', away: '✕', skipped: '○' };
const tones = { ok: 'running', reloading: 'reloading', failed: 'failed', gone: 'failed', away: 'failed', skipped: 'stopped' };
function drawFleet(app) {
  show($('fleet'), !!fleet && !app);
  if (!fleet || app || same($('hosts'), fleet)) return;
  const r = fleet.rollout, facts = [`${fleet.group}: ${count(fleet.members, 'host')}${fleet.members > fleet.hosts.length ? `, ${fleet.hosts.length} of them shown` : ''}`];
  if (r) facts.push(`rollout ${r.id} of ${r.app} ${r.revision || ''}`.trim() + `: ${r.state}, ${r.done} of ${r.of} done`);
  if (r && r.halted) facts.push(r.halted);
  if (fleet.behind) facts.push(`a turn of this host waits for ${fleet.behind}`);
  if (fleet.error) facts.push(`as last known: ${fleet.error}`);
  put($('rollout'), facts.join(' · '));
  $('hosts').tBodies[0].replaceChildren(...fleet.hosts.map(h => {
    const turn = h.turn || (h.here ? '' : 'away'), a = h.app || {};
    return el('tr', {}, el('th', { scope: 'row', textContent: h.name + (h.name === fleet.host ? ' (this one)' : '') }),
      el('td', { 'data-state': tones[turn] || '' }, turn ? el('span', { className: 'mark', ariaHidden: 'true', textContent: turns[turn] || '◌' }) : '–', turn && ' ' + turn),
      el('td', { textContent: a.name ? a.name + (h.apps > 1 ? ` and ${h.apps - 1} more` : '') : '–' }),
      el('td', { className: 'c1', 'data-state': a.state }, a.state ? el('span', { className: 'mark', ariaHidden: 'true', textContent: mark(a.state) }) : '–', a.state && ' ' + a.state),
      el('td', { className: 'n c2', textContent: a.generation || '–' }), el('td', { className: 'c1', textContent: a.revision || '' }));
  }));
}
// announceRollout tells a screen reader how a rollout ends.
function announceRollout(was, is) {
  if (!was || !was.rollout || !is || !is.rollout || was.rollout.state === is.rollout.state) return;
  $('news').textContent = `The rollout of ${is.rollout.app} is ${is.rollout.state}${is.rollout.halted ? ', ' + is.rollout.halted : ''}`;
}

// History.

let shownEntries = '';
function drawEntries(app) {
  const list = entries.filter(e => !app || e.app === app.name).slice(app ? -30 : -60).reverse();
  const key = `${app ? app.name : ''} ${list.length ? list[0].id : ''} ${list.length}`;
  if (key === shownEntries) return;
  shownEntries = key;
  const day = new Date(now()).toDateString();
  $('entries').tBodies[0].replaceChildren(...list.map(e => {
    const d = new Date(e.time);
    const t = el('time', { dateTime: d.toISOString(), title: d.toLocaleString(), textContent: d.toDateString() === day ? clock(e.time) : d.toLocaleDateString([], { day: '2-digit', month: 'short' }) + ' ' + clock(e.time).slice(0, 5) });
    return el('tr', {}, el('td', {}, t), el('td', { textContent: e.app || 'tideover' }),
      el('td', { 'data-tone': e.tone }, el('b', { textContent: ({ ok: '', warn: '! ', bad: '✕ ' }[e.tone] || '') + e.what }), el('span', { className: 'more', textContent: (e.more || []).map(m => ' · ' + m).join('') })),
      el('td', { className: 'c1 quiet', textContent: e.by || '' }));
  }));
  if (!list.length) $('entries').tBodies[0].append(el('tr', {}, el('td', { colSpan: 4, textContent: 'nothing yet' })));
}

$('filter').addEventListener('input', draw);
addEventListener('hashchange', route);
document.addEventListener('visibilitychange', () => { if (!document.hidden) { draw(); if (chosen) loadCurves(); else loadSparks(); } });
setInterval(() => { if (!chosen) loadSparks(); draw(); }, 60000);
route();
connect();
