// The live page: takes sections as server-sent events, and writes what changed. All text goes in as text, never as HTML.
"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const NONE = "–", KEYED = { clients: 0, runs: "name" };
  const RUNNING = ["starting", "waiting", "training", "testing", "stopping"];
  const SILENT = 25000, RETRY = 3000, GLANCE = 30000; // milliseconds; the page's process is silent for ten seconds at most
  let shown = {}, dirty = new Set(), session = null, ended = false, stale = false;

  // Numbers, written as in reports.
  const three = x => x < 9.995 ? x.toFixed(2) : x < 99.95 ? x.toFixed(1) : x.toFixed(0);
  const scaled = (x, units) => {
    let power = 0;
    while (Math.abs(x) >= 999.5 && power < units.length - 1) { x /= 1000; power++; }
    return [x, units[power], power];
  };
  const given = x => x !== null && x !== undefined;
  const percent = x => given(x) ? `${(100 * x).toFixed(1)}\u00a0%` : NONE;
  const count = x => given(x) ? Math.round(x).toLocaleString("en-US") : NONE;
  const plain = x => !given(x) ? NONE : x === 0 ? "0" : Math.abs(x) < 1e-4 || Math.abs(x) >= 1e9 ? x.toExponential(2) : Math.abs(x) < 10 ? x.toFixed(3) : Number(x.toPrecision(4)).toLocaleString("en-US");
  const size = x => { if (!given(x)) return NONE; const [n, unit, power] = scaled(x, ["B", "kB", "MB", "GB", "TB", "PB"]); return `${power ? three(n) : Math.round(n)}\u00a0${unit}`; };
  const joules = x => { if (!given(x)) return NONE; const [n, unit] = scaled(x, ["J", "kJ", "MJ", "GJ"]); return `${three(n)} ${unit}`; };
  const milliseconds = x => !given(x) ? "" : x < 100 ? `${x.toFixed(1)} ms` : x < 10000 ? `${x.toFixed(0)} ms` : duration(x / 1000);
  const duration = s => {
    if (!given(s)) return NONE;
    if (s < 59.95) return `${s.toFixed(1)} s`;
    const minutes = Math.floor(Math.round(s) / 60);
    if (minutes < 60) return `${minutes} min ${String(Math.round(s) % 60).padStart(2, "0")} s`;
    const all = Math.round(s / 60);
    return `${Math.floor(all / 60)} h ${String(all % 60).padStart(2, "0")} min`;
  };
  const writer = style => style.share ? percent : x => given(x) && style.unit ? `${plain(x)} ${style.unit}` : plain(x);

  // Elements.
  const make = (name, attributes = {}, ...inside) => {
    const found = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) key === "class" ? found.className = value : found.setAttribute(key, value);
    found.append(...inside);
    return found;
  };
  const draw = (name, attributes = {}, text) => {
    const found = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    if (text !== undefined) found.textContent = text;
    return found;
  };
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const show = (element, wanted) => { if (element.hidden === wanted) element.hidden = !wanted; };

  // Events.
  function take(event, sections) {
    if (event === "all") { shown = sections; dirty = new Set(Object.keys(sections)); }
    for (const [name, value] of event === "all" ? [] : Object.entries(sections)) {
      const base = name.replace("+", "");
      if (name === "history+") shown.history.push(...value);
      else if (name !== base) {
        const key = KEYED[base], rows = new Map(value.map(row => [row[key], row]));
        shown[base] = shown[base].map(row => rows.get(row[key]) ?? row);
      } else shown[name] = value;
      dirty.add(base);
    }
    if (document.hidden) render(); // browsers draw no frames of it
    else requestAnimationFrame(render);
  }
  function render() {
    if (!dirty.size) return;
    const changed = dirty;
    dirty = new Set();
    show($("run"), Boolean(shown.run));
    show($("runs"), Boolean(shown.runs));
    if (shown.runs) { renderFolder(); return; }
    renderHead();
    renderProgress();
    renderTiles();
    if (["history", "score"].some(name => changed.has(name))) renderCharts();
    if (["clients", "columns", "score"].some(name => changed.has(name))) renderClients(changed.has("clients"));
  }
  // A browser opens six connections to one address, and a stream holds one: tabs in the background only glance.
  let leave = () => {};
  function connect() {
    leave();
    const source = new EventSource(`/events${location.pathname === "/" ? "" : location.pathname}`);
    let heard = Date.now();
    const watching = setInterval(() => { if (Date.now() - heard > SILENT) { lose("no connection"); later(RETRY); } }, 5000);
    leave = () => { clearInterval(watching); source.close(); };
    for (const name of ["all", "change", "still"]) source.addEventListener(name, event => {
      heard = Date.now();
      if (stale) dirty.add("run");
      stale = false;
      showLink("live", "");
      if (name !== "still") take(name, JSON.parse(event.data));
      if (document.hidden) later(GLANCE);
    });
    source.addEventListener("end", () => { ended = true; leave(); lose("ended"); });
    source.onerror = () => {
      if (ended) return;
      lose("no connection");
      if (source.readyState === EventSource.CLOSED) later(RETRY);
    };
  }
  function later(wait) {
    leave();
    const timer = setTimeout(connect, wait);
    leave = () => clearTimeout(timer);
  }
  function lose(link) {
    if (!stale) showLink(link, `${ended ? "The page's process has ended" : "No connection to the page's process"}: this is what it told last, at ${new Date().toLocaleTimeString()}.`);
    stale = true;
    if (shown.run) renderHead();
  }
  function showLink(link, banner) {
    write($("link"), link);
    write($("lost"), banner);
    show($("lost"), Boolean(banner));
  }

  // The head of a run.
  function renderHead() {
    const run = shown.run, state = $("state"), unknown = stale && RUNNING.includes(run.state);
    write($("name"), run.name);
    document.title = `${unknown ? $("link").textContent : run.state} · ${run.name} · sglr`;
    const facts = [run.method, run.model, run.dataset, run.engine && `engine ${run.engine}`, given(run.seed) && run.seed !== "" && `seed ${run.seed}`, run.folder];
    write($("facts"), facts.filter(Boolean).join(" · "));
    write(state, run.state);
    document.body.classList.toggle("stale", unknown);
    state.className = `state ${RUNNING.concat("finished", "stopped", "failed", "diverged", "interrupted", "unreachable").includes(run.state) ? run.state : ""}`;
    const damaged = run.damaged.length ? `Damaged and left out: ${run.damaged.join(", ")}.` : "";
    const why = [run.why && run.why.charAt(0).toUpperCase() + run.why.slice(1), damaged].filter(Boolean).join(" · ");
    write($("why"), why);
    show($("why"), Boolean(why));
    renderStop();
  }
  function renderStop() {
    show($("stop"), Boolean(shown.can_stop && session && !stale));
    write($("stop"), shown.run && shown.run.stops_after === "epoch" ? "Stop sooner…" : "Stop…");
  }
  const share = () => {
    const at = shown.progress;
    if (shown.run.state === "finished") return 1;
    const epochs = at.epochs || shown.run.epochs, done = shown.history.length;
    if (!epochs) return null;
    return Math.min(1, at.epoch ? Math.max(done, at.epoch - 1 + (at.steps ? at.step / at.steps : 0)) / epochs : done / epochs);
  };
  const left = () => {
    const part = share(), seconds = shown.cost.seconds;
    return shown.run.state === "training" && part > 0.005 && seconds ? seconds * (1 - part) / part : null;
  };
  function renderProgress() {
    const at = shown.progress, run = shown.run, part = share(), epochs = at.epochs || run.epochs;
    const told = [];
    if (epochs) told.push(run.state === "finished" ? `${shown.history.length || epochs} epochs` : !at.epoch && !shown.history.length ? `${epochs} epochs, none has begun` : `epoch ${at.epoch || shown.history.length} of ${epochs}`);
    if (at.steps && run.state !== "finished") told.push(`step ${count(at.step)} of ${count(at.steps)}`);
    if (given(at.samples_per_second)) told.push(`${count(at.samples_per_second)} samples/s`);
    if (given(left())) told.push(`about ${duration(left())} left`);
    write($("where"), told.join(" · ") || "no epoch has finished yet");
    $("bar").value = part ?? 0;
    show($("bar"), given(part));
  }

  // Tiles.
  function tiles() {
    const { history, score, test, cost, progress, run } = shown, say = writer(score), last = history[history.length - 1] || {};
    const scored = history.filter(row => score.validation in row), found = [];
    const best = scored.reduce((a, b) => !a || (score.higher ? b[score.validation] > a[score.validation] : b[score.validation] < a[score.validation]) ? b : a, null);
    if (test) found.push([`Test ${score.title}`, say(test.mean), given(test.low) && given(test.high) ? `95\u00a0%: ${say(test.low).replace(/\u00a0%$/, "")} to ${say(test.high)}` : given(test.epoch) ? `of epoch ${test.epoch}` : ""]);
    else if (best) found.push([`Validation ${score.title}`, say(scored[scored.length - 1][score.validation]), best === scored[scored.length - 1] ? "the best so far" : `best ${say(best[score.validation])} (epoch ${best.epoch})`]);
    if (given(last.loss)) found.push(["Loss", plain(last.loss), given(last.validation_loss) ? `validation ${plain(last.validation_loss)}` : ""]);
    if (given(progress.samples_per_second)) found.push(["Samples per second", count(progress.samples_per_second), "in training"]);
    const states = countStates(), all = shown.clients.length;
    if (all && !states.simulated) found.push([RUNNING.includes(run.state) ? "Clients here" : "Clients at the end", `${(states.here || 0) + (states.late || 0) + (states.done || 0)} of ${all}`, Object.entries(states).filter(([state]) => state !== "here").map(([state, n]) => `${n} ${state}`).join(", ") || "none is late"]);
    else if (run.clients) found.push(["Clients", count(run.clients), all ? "simulated" : ""]);
    if (given(cost.up_bytes)) found.push(["Sent", size(cost.up_bytes + (cost.down_bytes || 0)), `↑ ${size(cost.up_bytes)}  ↓ ${size(cost.down_bytes)}`]);
    if (given(cost.seconds)) found.push(["Time", duration(cost.seconds), "with every resume"]);
    if (given(cost.joules)) found.push(["Energy", joules(cost.joules), "measured here"]);
    else if (given(cost.modelled_joules)) found.push(["Energy", joules(cost.modelled_joules), "modelled"]);
    return found;
  }
  function renderTiles() {
    const box = $("tiles"), found = tiles();
    while (box.children.length > found.length) box.lastChild.remove();
    while (box.children.length < found.length) box.append(make("div", {}, make("dt"), make("dd", { class: "figure" }), make("dd", { class: "note" })));
    found.forEach((texts, n) => texts.forEach((text, m) => write(box.children[n].children[m], text)));
  }

  // Charts.
  const LEAKS = { leakage_labels: "labels inferred", leakage_label_leakage: "labels inferred", leakage_distance_correlation: "distance correlation", leakage_explained: "inputs explained", leakage_mutual_information: "mutual information" };
  function charts() {
    const { score, history } = shown, has = key => history.some(row => key in row);
    const lines = keys => keys.filter(([key]) => has(key)).map(([key, label, paint, dash]) => ({ key, label, paint, dash }));
    const leaking = [...new Set(history.flatMap(row => Object.keys(row).filter(key => key.startsWith("leakage_"))))];
    return [
      { title: score.heading, say: writer(score), lines: lines([[score.validation, "validation", "k-0", false], [score.training, "training", "k-train", true]]) },
      { title: "Loss", say: plain, lines: lines([["validation_loss", "validation", "k-0", false], ["loss", "training", "k-train", true]]) },
      { title: "Leakage", say: plain, lines: leaking.map((key, n) => ({ key, label: LEAKS[key] || key.slice(8).replaceAll("_", " "), paint: `k-${(n + 1) % 4}`, dash: n > 2 })) },
    ].filter(one => one.lines.length);
  }
  const nice = (low, high, most, least = 0) => {
    const raw = Math.max(least, (high - low) / most || 1), unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].find(n => n * unit >= raw * 0.999) * unit, found = [];
    for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) found.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
    return found;
  };
  const written = (tick, step) => Math.abs(tick) >= 1e6 || step < 1e-6 ? tick.toExponential(2) : String(Number(tick.toFixed(Math.max(0, 1 - Math.floor(Math.log10(step))))));
  const thinned = points => { const step = Math.ceil(points.length / 400); return step < 2 ? points : points.filter((_, n) => n % step === 0 || n === points.length - 1); };
  const LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 26;
  let places = [];
  function renderCharts() {
    const box = $("charts"), wanted = charts();
    while (box.children.length > wanted.length) box.lastChild.remove();
    while (box.children.length < wanted.length) box.append(newChart());
    places = wanted.map((one, n) => drawChart(box.children[n], one));
  }
  function newChart() {
    const svg = draw("svg", { class: "chart", role: "img", tabindex: "0" }), card = make("div", { class: "card" }, make("div", { class: "heading" }, make("h2"), make("p", { class: "readout", "aria-live": "polite" })), svg, make("div", { class: "keys" }));
    const at = event => { const n = [...$("charts").children].indexOf(card); return places[n] && { place: places[n], x: event.clientX - svg.getBoundingClientRect().left }; };
    svg.addEventListener("pointermove", event => { const found = at(event); if (found) found.place.point(found.place.epochAt(found.x)); });
    svg.addEventListener("pointerleave", event => at(event)?.place.point(null));
    svg.addEventListener("blur", event => at({ clientX: 0 })?.place.point(null));
    svg.addEventListener("keydown", event => {
      const found = at({ clientX: 0 }), move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (found && move) { event.preventDefault(); found.place.move(move); }
    });
    new ResizeObserver(() => { const n = [...$("charts").children].indexOf(card); if (places[n] && places[n].width !== svg.clientWidth) renderCharts(); }).observe(svg);
    return card;
  }
  function drawChart(card, one) {
    const [heading, svg, keys] = card.children, [title, readout] = heading.children, rows = shown.history;
    write(title, one.title);
    const width = svg.clientWidth || 420, height = svg.clientHeight || 220;
    const series = one.lines.map(line => ({ ...line, points: rows.filter(row => line.key in row).map(row => [row.epoch, row[line.key]]) }));
    const values = series.flatMap(line => line.points.map(point => point[1]));
    let low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    if (low === high) { low -= Math.abs(low) * 0.1 || 0.1; high += Math.abs(high) * 0.1 || 0.1; }
    const margin = (high - low) * 0.06;
    [low, high] = [low >= 0 ? Math.max(0, low - margin) : low - margin, one.say === percent ? Math.min(1.005, high + margin) : high + margin];
    const first = rows[0].epoch, last = Math.max(rows[rows.length - 1].epoch, first + 1);
    const x = epoch => LEFT + (epoch - first) / (last - first) * (width - LEFT - RIGHT), y = value => TOP + (high - value) / (high - low) * (height - TOP - BOTTOM);
    const parts = [];
    const ticks = nice(low, high, 4), step = ticks.length > 1 ? ticks[1] - ticks[0] : high - low;
    for (const tick of ticks) parts.push(draw("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }), draw("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, one.say === percent ? `${written(100 * tick, 100 * step)} %` : written(tick, step)));
    for (const tick of nice(first, last, Math.max(2, width / 90), 1).filter(Number.isInteger)) parts.push(draw("text", { x: x(tick), y: height - 8, "text-anchor": "middle" }, String(tick)));
    for (const line of [...series].reverse()) {
      const points = thinned(line.points);
      if (points.length > 1) parts.push(draw("path", { class: `curve ${line.paint}${line.dash ? " dash" : ""}`, d: points.map(([a, b], n) => `${n ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("") }));
      for (const [a, b] of points.length < 12 ? points : points.slice(-1)) parts.push(draw("circle", { class: line.paint, cx: x(a), cy: y(b), r: 2.5 }));
    }
    const cross = draw("line", { class: "cross", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(...parts, cross);
    const told = epoch => { const row = rows.find(found => found.epoch === epoch); return row ? `epoch ${epoch}: ${series.filter(line => line.key in row).map(line => `${line.label} ${one.say(row[line.key])}`).join(", ")}` : ""; };
    svg.setAttribute("aria-label", `${one.title} over ${rows.length} epochs; ${told(rows[rows.length - 1].epoch)}. Arrow keys go from epoch to epoch.`);
    keys.replaceChildren(...series.map(line => { const key = draw("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }); key.append(draw("path", { class: `curve ${line.paint}${line.dash ? " dash" : ""}`, d: "M0 4H26" })); return make("span", {}, key, line.label); }));
    let at = null;
    const point = epoch => {
      at = epoch;
      write(readout, epoch === null ? "" : told(epoch));
      cross.setAttribute("visibility", epoch === null ? "hidden" : "visible");
      if (epoch !== null) for (const name of ["x1", "x2"]) cross.setAttribute(name, x(epoch));
    };
    point(null);
    const epochs = rows.map(row => row.epoch), nearest = place => epochs.reduce((a, b) => Math.abs(b - place) < Math.abs(a - place) ? b : a);
    return { width: svg.clientWidth, point, epochAt: left => nearest(first + (left - LEFT) / (width - LEFT - RIGHT) * (last - first)), move: by => point(epochs[Math.min(epochs.length - 1, Math.max(0, at === null ? epochs.length - 1 : epochs.indexOf(at) + by))]) };
  }

  // Clients.
  const STATES = ["here", "late", "away", "out", "never", "done", "simulated"];
  const HEADINGS = { client: "Client", state: "State", samples: "Samples", rate: "Rate", answer_ms: "Answers in", round_trip_ms: "Round trip", absences: "Absences", rejected: "Refused", up_bytes: "Sent up", down_bytes: "Sent down", remark: "Remarks", score: "Test score" };
  const WRITE = { client: String, state: String, samples: x => given(x) ? count(x) : "", rate: x => given(x) ? `${size(x)}/s` : "", answer_ms: milliseconds, round_trip_ms: milliseconds, absences: x => x ? count(x) : "", rejected: x => x ? count(x) : "", up_bytes: x => given(x) ? size(x) : "", down_bytes: x => given(x) ? size(x) : "", remark: x => x || "", score: x => given(x) ? writer(shown.score)(x) : "" };
  const SPARKED = 40, rates = new Map(), lines = new Map();
  let columns = [], sorted = { by: "client", down: false }, only = null, inView = new Set();
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) entry.isIntersecting ? inView.add(entry.target) : inView.delete(entry.target);
    for (const line of lines.values()) if (inView.has(line.row)) drawSpark(line);
  }, { root: document.querySelector("#clients .scroll"), rootMargin: "100px" });
  const cellOf = name => shown.columns.indexOf(name);
  const stateOf = row => row[cellOf("state")];
  function countStates() {
    const found = {};
    for (const row of shown.clients) found[stateOf(row)] = (found[stateOf(row)] || 0) + 1;
    return found;
  }
  function renderClients(measured) {
    const rows = shown.clients, simulated = rows.length && rows.every(row => stateOf(row) === "simulated");
    show($("clients"), rows.length > 0);
    if (!rows.length) return;
    if (measured) for (const row of rows) remember(row[0], row[cellOf("rate")]);
    const hidden = simulated ? ["state", "answer_ms", "round_trip_ms", "absences", "rejected", "remark"] : [];
    for (const name of simulated ? ["rate", "up_bytes", "down_bytes", "score"] : ["score"]) if (!rows.some(row => given(row[cellOf(name)]))) hidden.push(name);
    const wanted = shown.columns.filter(name => !hidden.includes(name));
    if (wanted.join() !== columns.join()) { columns = wanted; newTable(); }
    show($("chips"), !simulated);
    show($("grid"), !simulated);
    write($("clients-note"), simulated ? "These clients are simulated on the machine that trains: none has a connection, and none is late. Bytes are known while it trains." : "Rates and sparklines show bytes in both directions; absences are steps that went on without the client.");
    renderChips();
    renderGrid();
    renderRows();
  }
  function remember(client, rate) {
    if (!given(rate)) return;
    const found = rates.get(client) || [];
    found.push(rate);
    if (found.length > SPARKED) found.shift();
    rates.set(client, found);
  }
  function newTable() {
    const number = name => !["client", "state", "remark"].includes(name);
    $("table").tHead.replaceChildren(make("tr", {}, ...columns.map(name => {
      const button = make("button", { type: "button" }, HEADINGS[name]);
      button.addEventListener("click", () => sortBy(name));
      return make("th", { scope: "col", class: number(name) ? "number" : "", "data-name": name }, button);
    })));
    $("sort").replaceChildren(...columns.flatMap(name => [false, true].map(down => new Option(`${HEADINGS[name]} ${down ? "↓" : "↑"}`, `${name} ${down}`))));
    lines.clear();
    inView.clear();
    seen.disconnect();
    $("table").tBodies[0].replaceChildren();
    showSort();
  }
  function sortBy(name, down = null) {
    sorted = { by: name, down: down ?? (sorted.by === name ? !sorted.down : !["client", "state", "remark"].includes(name)) };
    showSort();
    renderRows();
  }
  function showSort() {
    $("sort").value = `${sorted.by} ${sorted.down}`;
    for (const head of $("table").tHead.rows[0].cells) head.dataset.name === sorted.by ? head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending") : head.removeAttribute("aria-sort");
  }
  function renderChips() {
    const states = countStates(), found = STATES.filter(state => states[state]).concat(Object.keys(states).filter(state => !STATES.includes(state)));
    const box = $("chips"), key = found.join();
    if (box.dataset.key !== key) {
      box.dataset.key = key;
      if (!found.includes(only)) only = null;
      box.replaceChildren(...found.map(state => {
        const button = make("button", { type: "button", "data-state": state }, make("span", { class: `mark ${STATES.includes(state) ? state : ""}`, "aria-hidden": "true" }), make("span"));
        button.addEventListener("click", () => { only = only === state ? null : state; renderChips(); renderGrid(); renderRows(); });
        return button;
      }));
    }
    for (const button of box.children) {
      write(button.lastChild, `${button.dataset.state} ${states[button.dataset.state]}`);
      button.setAttribute("aria-pressed", String(only === button.dataset.state));
    }
    $("grid").setAttribute("aria-label", `${shown.clients.length} clients: ${found.map(state => `${states[state]} ${state}`).join(", ")}`);
  }
  const marked = row => (row[cellOf("rejected")] || 0) > 0;
  function renderGrid() {
    const box = $("grid"), rows = shown.clients;
    box.classList.toggle("few", rows.length <= 40);
    while (box.children.length > rows.length) box.lastChild.remove();
    while (box.children.length < rows.length) box.append(make("i"));
    rows.forEach((row, n) => {
      const state = stateOf(row), cell = box.children[n];
      const paint = `${STATES.includes(state) ? state : ""}${marked(row) && state !== "out" ? " marked" : ""}${matches(row) ? "" : " dim"}`;
      if (cell.className !== paint) cell.className = paint;
      const title = `client ${row[0]}: ${state}${row[cellOf("remark")] ? `, ${row[cellOf("remark")]}` : ""}`;
      if (cell.title !== title) cell.title = title;
    });
  }
  function matches(row) {
    if (only && stateOf(row) !== only) return false;
    const text = $("find").value.trim().toLowerCase();
    if (!text) return true;
    return /^\d+$/.test(text) ? String(row[0]) === text || String(row[0]).startsWith(text) : `${row[0]} ${stateOf(row)} ${row[cellOf("remark")]}`.toLowerCase().includes(text);
  }
  function inOrder() {
    const cell = cellOf(sorted.by), sign = sorted.down ? -1 : 1;
    return shown.clients.filter(matches).sort((a, b) => {
      const [one, other] = [a[cell], b[cell]];
      if (given(one) !== given(other)) return given(one) ? -1 : 1;
      return (one < other ? -sign : one > other ? sign : 0) || a[0] - b[0];
    });
  }
  function newLine(client) {
    const row = make("tr"), cells = columns.map((name, n) => {
      const cell = make(n ? "td" : "th", { class: ["client", "state"].includes(name) ? "" : name === "remark" ? "remark" : "number" });
      if (!n) cell.scope = "row";
      return row.appendChild(cell);
    });
    const line = { client, row, cells, values: [], texts: cells.map(cell => cell.appendChild(document.createTextNode(""))) };
    const state = columns.indexOf("state"), rate = columns.indexOf("rate");
    if (state >= 0) { line.mark = make("span", { "aria-hidden": "true" }); cells[state].prepend(line.mark); }
    if (rate >= 0) { const spark = draw("svg", { class: "spark", viewBox: "0 0 72 20", preserveAspectRatio: "none", "aria-hidden": "true" }); line.spark = spark.appendChild(draw("path")); cells[rate].prepend(spark, " "); }
    seen.observe(row);
    return line;
  }
  function drawSpark(line) {
    const found = rates.get(line.client);
    if (!line.spark || !found || found.length < 2) return;
    const most = Math.max(...found) || 1, step = 72 / (SPARKED - 1), from = 72 - step * (found.length - 1);
    line.spark.setAttribute("d", found.map((rate, n) => `${n ? "L" : "M"}${(from + n * step).toFixed(1)} ${(18.5 - 17 * rate / most).toFixed(1)}`).join(""));
  }
  function renderRows() {
    const body = $("table").tBodies[0], rows = inOrder();
    const places = columns.map(cellOf);
    const wanted = rows.map(row => {
      const line = lines.get(row[0]) || newLine(row[0]);
      lines.set(row[0], line);
      columns.forEach((name, n) => {
        const value = row[places[n]];
        if (line.values[n] === value) return;
        line.values[n] = value;
        const text = WRITE[name](value);
        if (line.texts[n].data !== text) line.texts[n].data = text;
        if (name === "state") line.mark.className = `mark ${STATES.includes(value) ? value : ""}`;
        if (name === "absences" || name === "rejected") line.cells[n].classList.toggle("warn", value > 0);
      });
      if (inView.has(line.row)) drawSpark(line);
      return line.row;
    });
    if (wanted.length !== body.rows.length || wanted.some((row, n) => body.rows[n] !== row)) body.replaceChildren(...wanted);
    write($("clients-count"), rows.length === shown.clients.length ? `${count(rows.length)} in all` : `${count(rows.length)} of ${count(shown.clients.length)} shown`);
  }

  // A folder of runs.
  const RUN_HEADINGS = ["Run", "State", "Progress", "Score", "Curve", "Loss", "Sent", "Time"];
  const runLines = new Map();
  function renderFolder() {
    write($("name"), shown.folder.name);
    write($("facts"), shown.folder.folder);
    write($("kind"), "sglr · runs");
    document.title = `${shown.folder.name} · sglr`;
    if (!$("runs-table").tHead.rows.length) $("runs-table").tHead.append(make("tr", {}, ...RUN_HEADINGS.map((name, n) => make("th", { scope: "col", class: n > 2 ? "number" : "" }, name))));
    const text = $("find-run").value.trim().toLowerCase();
    const found = shown.runs.filter(run => `${run.label} ${run.name} ${run.state}`.toLowerCase().includes(text));
    const wanted = found.map(run => { const line = runLines.get(run.name) || newRun(run.name); runLines.set(run.name, line); writeRun(line, run); return line.row; });
    const body = $("runs-table").tBodies[0];
    if (wanted.length !== body.rows.length || wanted.some((row, n) => body.rows[n] !== row)) body.replaceChildren(...wanted);
    const running = shown.runs.filter(run => RUNNING.includes(run.state)).length, done = shown.runs.filter(run => run.state === "finished").length;
    write($("runs-count"), `${done} of ${shown.runs.length} finished, ${running} at work`);
  }
  function newRun(name) {
    const link = make("a", { href: `/runs/${name.split("/").map(encodeURIComponent).join("/")}` }), spark = draw("svg", { class: "spark", viewBox: "0 0 72 20", preserveAspectRatio: "none", "aria-hidden": "true" });
    const bar = make("progress", { max: "1", "aria-label": "progress" }), told = make("span"), state = make("span", { class: "state" });
    const cells = RUN_HEADINGS.map((_, n) => make("td", { class: n > 2 ? "number" : n ? "" : "run" }));
    cells[0].append(link, make("div", { class: "note" }, name));
    cells[1].append(state);
    cells[2].append(bar, told);
    cells[4].append(spark);
    return { row: make("tr", {}, ...cells), cells, link, state, bar, told, path: spark.appendChild(draw("path")) };
  }
  function writeRun(line, run) {
    const cells = line.cells, epochs = run.epochs, part = run.state === "finished" ? 1 : epochs ? Math.min(1, (run.epochs_done + (run.steps && RUNNING.includes(run.state) ? run.step / run.steps % 1 : 0)) / epochs) : 0;
    write(line.link, run.label || run.name);
    write(line.state, run.state);
    line.state.className = `state ${run.state}`;
    line.state.title = run.why;
    line.bar.value = part;
    write(line.told, epochs ? `${run.epochs_done} of ${epochs}` : `${run.epochs_done} epochs`);
    write(cells[3], writer(run.style)(run.score));
    write(cells[5], plain(run.loss));
    write(cells[6], size(given(run.cost.up_bytes) ? run.cost.up_bytes + (run.cost.down_bytes || 0) : null));
    write(cells[7], duration(run.cost.seconds));
    const low = Math.min(...run.curve), span = Math.max(...run.curve) - low || 1;
    if (run.curve.length > 1) line.path.setAttribute("d", run.curve.map((value, n) => `${n ? "L" : "M"}${(72 * n / (run.curve.length - 1)).toFixed(1)} ${(18.5 - 17 * (value - low) / span).toFixed(1)}`).join(""));
  }

  // Stopping.
  function ask() {
    $("sure").checked = false;
    $("confirm").disabled = true;
    show($("ask-problem"), false);
    write($("ask-resume"), shown.run.engine === "remote" ? "start the server by the same command" : `sglr resume ${shown.run.folder}`);
    write($("ask-about"), location.pathname === "/" ? "It ends with a checkpoint, as with Ctrl\u2011C." : "It ends with a checkpoint, as with Ctrl\u2011C, and so does the study that it belongs to.");
    $("ask").showModal();
  }
  async function stop() {
    $("confirm").disabled = true;
    const run = decodeURIComponent(location.pathname.replace(/^\/(runs\/)?/, "")), after = new FormData($("ask").querySelector("form")).get("after");
    let problem = "";
    try {
      const answer = await fetch("/stop", { method: "POST", headers: { "Content-Type": "application/json", "X-Sglr-Page": session }, body: JSON.stringify({ run, after }) });
      problem = answer.ok ? "" : await answer.text();
    } catch { problem = "Not stopped: the page's process does not answer."; }
    if (!problem) { $("ask").close(); return; }
    write($("ask-problem"), problem);
    show($("ask-problem"), true);
    $("confirm").disabled = false;
  }

  $("stop").addEventListener("click", ask);
  $("sure").addEventListener("change", event => { $("confirm").disabled = !event.target.checked; });
  $("confirm").addEventListener("click", stop);
  $("find").addEventListener("input", () => { renderGrid(); renderRows(); });
  $("find-run").addEventListener("input", renderFolder);
  $("sort").addEventListener("change", event => { const [name, down] = event.target.value.split(" "); sortBy(name, down === "true"); });
  $("grid").addEventListener("click", event => { const n = [...$("grid").children].indexOf(event.target); if (n >= 0) { $("find").value = $("find").value === String(shown.clients[n][0]) ? "" : String(shown.clients[n][0]); renderGrid(); renderRows(); } });
  show($("up"), location.pathname !== "/");
  fetch("/session").then(answer => answer.json()).then(found => { session = found.page; renderStop(); }).catch(() => {});
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !ended) connect(); });
  connect();
})();
