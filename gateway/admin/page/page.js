// The rollouts page: asks the admin API every two seconds and draws what it says.
// Everything that comes from outside becomes text nodes only: no markup is ever made from it.

const EVERY_MS = 2000;
const SVG = "http://www.w3.org/2000/svg";
const DRAFTED = { why: "", told: "", bad: false };
const LABELS = {
  approve: "Approve", deny: "Deny", resume: "Resume", pause: "Pause", promote: "Promote one step", skip: "Skip the next step",
  retry: "Retry from the start", abort: "Abort", rollback: "Roll back now",
};
const STOPPING = new Set(["abort", "rollback", "deny"]);
const GOING = new Set(["approve", "resume"]);

const at = (id) => document.getElementById(id);
let shown = null; // the rollout that is looked at: status, events, points, disagreements
let drawn = "";
let busy = false;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  fill(element, attributes, children);
  return element;
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
}

async function ask(path, body) {
  const request = { headers: { "x-graduand-who": who() } };
  if (body) Object.assign(request, { method: "POST", body: JSON.stringify(body) });
  if (body) request.headers["content-type"] = "application/json";
  const answer = await fetch(path, request);
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error ? data.error.message : `status ${answer.status}`);
  return data;
}

// Headers carry Latin letters only; the store keeps what arrives.
const who = () => encodeURI(at("who").value.trim().slice(0, 80)).replaceAll("%20", " ") || "page";
const name = () => decodeURIComponent(location.hash.slice(1));
const path = (id, more = "") => `/v1/rollouts/${encodeURIComponent(id)}${more}`;

// Words and numbers.

const percent = (share, digits = 1) => `${(share * 100).toFixed(digits)}%`;
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const when = (seconds) => new Date(seconds * 1000).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}

function evidence(logE) {
  if (Math.abs(logE) >= 13) return `10^${Math.round(logE / Math.LN10)}`;
  return Number(Math.exp(logE).toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
}

function tone(phase) {
  if (phase === "promoted") return "good";
  if (phase === "hold") return "warn";
  if (phase.startsWith("roll") || phase === "aborted") return "bad";
  return phase === "superseded" || phase === "draft" ? "rest" : "";
}

function badge(one) {
  const text = one.phase.replace("_", " ") + (one.hold ? `: ${one.hold.replace("_", " ")}` : "");
  return make("span", { class: `badge ${tone(one.phase)}` }, text);
}

// The parts of the page.

function title(status) {
  const steps = status.steps.map((step) =>
    make("li", { class: step.place, "aria-current": step.place === "now" ? "step" : null },
      step.name + (step.approval ? " (approval)" : "")));
  return make("section", {},
    make("div", { class: "title" }, make("strong", {}, status.id), badge(status),
      make("small", {}, `${status.student}${status.incumbent ? ` beside ${status.incumbent}` : ""} · version ${status.version} · attempt ${status.attempt}`)),
    make("ol", { class: "steps" }, ...steps));
}

function facts(status) {
  const found = status.agreement, step = status.in_step;
  const left = status.seconds_left;
  const cells = [[`${status.weight}%`, `of units, mode ${status.mode}`]];
  if (found) cells.push([found.n ? percent(found.share) : "–", found.n ? `agree, ${percent(found.low)} to ${percent(found.high)}; ${found.requests} requests tell as much as ${Math.min(found.effective, found.requests)} independent ones` : "no pair compared yet"]);
  cells.push([String(status.pairs), `pairs compared${status.unparsed ? `, ${status.unparsed} unreadable` : ""}`]);
  const dwell = step && step.dwell_s ? ` of ${span(step.dwell_s)}` : "";
  if (step) cells.push([`${step.n} / ${step.n_min}`, `observations in ${step.name}, ${span(step.dwelt_s)}${dwell}`]);
  if (status.judge) cells.push([String(status.judge.waiting), `pairs wait for the judge, ${status.judge.unscored} unscored`]);
  if (status.labels) cells.push([String(status.labels.waiting), `requests wait for a label, ${status.labels.right} of ${status.labels.counted} right`]);
  if (left !== null) cells.push([left < 1 ? "now" : `≈ ${span(left)}`, "to the next step"]);
  return make("section", { class: "facts" }, ...cells.map(([big, small]) => make("div", {}, make("b", {}, big), make("span", {}, small))));
}

function reasons(status) {
  const lines = status.reasons.map((reason) => make("li", {}, reason));
  const counts = Object.entries(status.counts).map(([what, count]) => `${what}: ${count}`).join(" · ");
  if (status.threshold && status.threshold.ready) lines.push(make("li", {}, `Hybrid: ${status.threshold.said}`));
  return make("section", {}, make("h2", {}, "Why it is here, and what is missing"), make("ul", { class: "reasons" }, ...lines),
    counts ? make("p", { class: "readout" }, counts) : null);
}

function gates(status) {
  const parts = [make("h2", {}, "Evidence against its threshold")];
  const sides = [["To be proved before the next step", status.gates, ""], ["Would roll it back", status.harm, "harm"]];
  if (status.watch) sides.push(["Watch after promotion", [{ ...status.watch, name: "drop of agreement" }], "harm"]);
  for (const [heading, list, kind] of sides) {
    if (list.length) parts.push(make("h3", {}, heading), ...list.map((gate) => gateRow(gate, kind)));
  }
  return make("section", {}, ...parts);
}

function gateRow(gate, kind) {
  const fillPart = make("i");
  // The mark of the threshold stands at 80% of the bar.
  fillPart.style.width = `${Math.max(0, Math.min(1, (0.8 * gate.log_e) / gate.log_threshold)) * 100}%`;
  const said = gate.n || gate.log_e > 0 ? `evidence ${evidence(gate.log_e)} of ${evidence(gate.log_threshold)}`
    : `nothing seen yet; evidence of ${evidence(gate.log_threshold)} counts`;
  const bar = make("div", { class: `bar ${kind} ${gate.reached ? "reached" : ""}`, role: "img", "aria-label": said }, fillPart, make("b"));
  return make("div", { class: "gate" }, make("span", { class: "name" }, gate.name), bar,
    make("small", {}, `${said}${gate.n && gate.note ? ` · ${gate.note}` : ""}${kind === "" && gate.reached ? " · proved" : ""}`));
}

function chart(status, points) {
  const usable = points.filter((point) => point.agreement !== null);
  const section = make("section", {}, make("h2", {}, "Agreement with the teacher, with its anytime-valid 95% band"));
  if (usable.length < 2) {
    section.append(make("p", { class: "empty" }, "The curve begins with the first compared pairs."));
    return section;
  }
  const around = matchMedia("(max-width: 760px)").matches ? 66 : 82; // paddings and borders, as in page.css
  const width = Math.max(240, at("main").clientWidth - around), height = 220;
  const left = 48, right = width - 8, top = 18, bottom = height - 24;
  const p0 = status.agreement ? status.agreement.p0 : null;
  const settled = usable.slice(Math.floor(usable.length / 10));
  const lowest = Math.min(...settled.map((point) => point.low), p0 ?? 1);
  const floor = Math.max(0, Math.floor(lowest * 20 - 0.5) / 20);
  const tick = [0.01, 0.02, 0.05, 0.1, 0.2].find((size) => (1 - floor) / size <= 5.01) || 0.25;
  const from = usable[0].at, to = Math.max(usable.at(-1).at, from + 1);
  const x = (seconds) => left + ((seconds - from) / (to - from)) * (right - left);
  const y = (share) => bottom - ((Math.max(share, floor) - floor) / (1 - floor)) * (bottom - top);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `agreement from ${clock(from)} to ${clock(to)}, now ${percent(usable.at(-1).agreement)}` });
  for (let mark = 0; 1 - mark * tick >= floor - 1e-9; mark++) {
    const share = 1 - mark * tick;
    svg.append(draw("line", { class: "grid", x1: left, x2: right, y1: y(share), y2: y(share) }),
      draw("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share, 0)));
  }
  svg.append(draw("text", { x: left, y: height - 6 }, clock(from)), draw("text", { x: right, y: height - 6, "text-anchor": "end" }, clock(to)));
  const edge = (key) => usable.map((point) => `${x(point.at).toFixed(1)},${y(point[key]).toFixed(1)}`);
  svg.append(draw("polygon", { class: "band", points: [...edge("high"), ...edge("low").reverse()].join(" ") }));
  let lastNamed = -100;
  usable.forEach((point, number) => {
    if (number && point.step === usable[number - 1].step) return;
    if (number) svg.append(draw("line", { class: "step", x1: x(point.at), x2: x(point.at), y1: top, y2: bottom }));
    if (x(point.at) - lastNamed > 70 && x(point.at) < right - 60) {
      svg.append(draw("text", { x: x(point.at) + 4, y: top - 5 }, point.step));
      lastNamed = x(point.at);
    }
  });
  if (p0 !== null) {
    svg.append(draw("line", { class: "asked", x1: left, x2: right, y1: y(p0), y2: y(p0) }),
      draw("text", { class: "asked-name", x: right - 4, y: y(p0) + 15, "text-anchor": "end" }, `asked for: more than ${percent(p0, p0 * 100 % 1 ? 1 : 0)}`));
  }
  svg.append(draw("polyline", { class: "mean", points: edge("agreement").join(" ") }));
  const cursor = draw("line", { class: "cursor", y1: top, y2: bottom, visibility: "hidden" });
  const readout = make("p", { class: "readout" });
  const tell = (point) => {
    readout.textContent = `${clock(point.at)} · ${point.step} · ${percent(point.agreement)} (${percent(point.low)} to ${percent(point.high)}) of ${point.pairs} pairs`;
  };
  tell(usable.at(-1));
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const seconds = from + (((event.clientX - box.left) / box.width) * width - left) / (right - left) * (to - from);
    const near = usable.reduce((best, point) => (Math.abs(point.at - seconds) < Math.abs(best.at - seconds) ? point : best));
    cursor.setAttribute("x1", x(near.at));
    cursor.setAttribute("x2", x(near.at));
    cursor.setAttribute("visibility", "visible");
    tell(near);
  });
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(usable.at(-1)); });
  section.append(svg, readout);
  return section;
}

function verbs(status) {
  if (!status.possible.length) return null;
  const why = make("input", { id: "why", "aria-label": "Reason", placeholder: "reason, kept with the decision", maxlength: 1000,
    oninput: (event) => { DRAFTED.why = event.target.value; } });
  why.value = DRAFTED.why;
  const told = make("p", { class: `told ${DRAFTED.bad ? "bad" : ""}`, role: "status" }, DRAFTED.told);
  const order = Object.keys(LABELS);
  const possible = [...status.possible].sort((one, other) => order.indexOf(one.verb) - order.indexOf(other.verb));
  const buttons = possible.map(({ verb, needs_reason: needsReason }) =>
    make("button", { type: "button", class: STOPPING.has(verb) ? "stop" : GOING.has(verb) ? "go" : "", onclick: () => act(status, verb, needsReason) },
      LABELS[verb] || verb));
  return make("section", {}, make("h2", {}, "Decide"), make("form", { onsubmit: (event) => event.preventDefault() }, why, ...buttons, told));
}

async function act(status, verb, needsReason) {
  if (busy) return;
  const why = DRAFTED.why.trim();
  if (needsReason && !why) return tell("This goes on without the evidence, so it needs a reason.", true);
  busy = true;
  try {
    await ask(path(status.id, `/${verb}`), { version: status.version, why, key: crypto.randomUUID ? crypto.randomUUID() : String(Math.random()) });
    DRAFTED.why = "";
    tell(`Done: ${(LABELS[verb] || verb).toLowerCase()}.`, false);
  } catch (error) {
    tell(error.message, true);
  }
  busy = false;
  await look();
}

function tell(text, bad) {
  DRAFTED.told = text;
  DRAFTED.bad = bad;
  drawn = "";
  if (shown) render();
}

function timeline(events) {
  const rows = [...events].reverse().slice(0, 100).map((event) =>
    make("div", { class: "event" }, make("time", {}, when(event.at)),
      make("div", {}, make("p", {}, make("b", {}, event.event.replace("_", " ")), ` → ${event.phase.replace("_", " ")} by ${event.who}`),
        event.reason ? make("p", {}, event.reason) : null)));
  return make("section", {}, make("h2", {}, "What happened"), ...rows);
}

function disagreements(list) {
  const said = (heading, text) => make("div", {}, make("small", {}, heading), make("pre", { class: "said", tabindex: "0" }, text || "(empty)"));
  const rows = list.map((one) =>
    make("div", { class: "pair" }, make("small", {}, [when(one.at), ...one.slices, one.why].filter(Boolean).join(" · ")),
      make("pre", { class: "said", tabindex: "0" }, one.prompt),
      make("div", { class: "both" }, said("teacher", one.teacher), said("student", one.student),
        ...(one.incumbent === undefined ? [] : [said("incumbent", one.incumbent)]),
        ...(one.verdicts || []).map((text, order) => said(order ? "judge, student's answer first" : "judge, teacher's answer first", text)))));
  return make("section", {}, make("h2", {}, "Latest disagreements"), ...(rows.length ? rows : [make("p", { class: "empty" }, "None so far.")]));
}

function listing(rollouts, current) {
  const links = rollouts.map((one) =>
    make("a", { href: `#${encodeURIComponent(one.id)}`, "aria-current": one.id === current ? "page" : null },
      make("strong", {}, one.id), make("small", {}, `${one.phase.replace("_", " ")}${one.step ? ` · ${one.step}` : ""} · ${one.weight}%`)));
  at("list").replaceChildren(...links);
}

function nothing() {
  at("main").replaceChildren(make("section", {}, make("h2", {}, "No rollout yet"),
    make("p", { class: "empty" }, "Write what the student must prove, then start it:"),
    make("pre", { class: "said" }, "# rollout.yaml\nroute: support-triage\nstudent: support-triage@3f9c1a0b22de\nsteps: [shadow, canary 5, canary 25, full]\ngates:\n  - agreement: {p0: 0.95}\ntask: {kind: label, labels: [billing, delivery, other]}\n\n$ graduand rollout start rollout.yaml")));
}

// Drawn anew only when something is different, so that a text that is being marked or a focus is not lost.
function render() {
  const { status, events, points, pairs } = shown;
  const { now: _, ...told } = status;
  const key = JSON.stringify([told, events.length, points.length, pairs.map((one) => one.record), at("main").clientWidth]);
  if (key === drawn) return;
  const focus = document.activeElement, typed = focus && focus.id === "why" ? focus.selectionStart : null;
  const label = focus && focus.tagName === "BUTTON" ? focus.textContent : null;
  drawn = key;
  at("main").replaceChildren(...[title(status), facts(status), reasons(status), verbs(status), chart(status, points), gates(status),
    timeline(events), disagreements(pairs)].filter(Boolean));
  if (typed !== null && at("why")) { at("why").focus(); at("why").setSelectionRange(typed, typed); }
  if (label) [...document.querySelectorAll("button")].find((button) => button.textContent === label)?.focus();
  document.title = `${status.id}: ${status.phase} · Graduand`;
}

async function look() {
  try {
    const { rollouts } = await ask("/v1/rollouts");
    const wanted = name();
    const current = rollouts.find((one) => one.id === wanted) || rollouts[0];
    listing(rollouts, current && current.id);
    if (!current) { shown = null; nothing(); } else {
      const [status, history, course, pairs] = await Promise.all([
        ask(path(current.id)), ask(path(current.id, "/history")), ask(path(current.id, "/course?points=300")), ask(path(current.id, "/disagreements?limit=20")),
      ]);
      shown = { status, events: history.events, points: course.points, pairs: pairs.disagreements };
      render();
    }
    at("connection").textContent = "";
  } catch (error) {
    at("connection").textContent = `The admin plane does not answer: ${error.message}`;
  }
}

async function goOn() {
  if (!document.hidden && !busy) await look();
  setTimeout(goOn, EVERY_MS);
}

at("who").value = localStorage.getItem("graduand-who") || "";
at("who").addEventListener("input", () => localStorage.setItem("graduand-who", at("who").value));
window.addEventListener("hashchange", () => { DRAFTED.why = DRAFTED.told = ""; look(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
goOn();
