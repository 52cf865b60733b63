"use strict";
// The page of the control plane. It asks for what the commands ask for and shows it.
// Every value that came from outside goes through textContent: addresses and replies may hold anything.

const at = id => document.getElementById(id);
const element = (tag, text, ...children) => {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
};
const drawn = (tag, attributes, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const button = (words, act, kind = "") => {
  const made = element("button", words);
  made.type = "button";
  made.className = kind;
  made.addEventListener("click", act);
  return made;
};

// Asking.

let asking = null;
const token = () => {
  asking ??= new Promise(resolve => {
    const gate = at("gate");
    gate.addEventListener("close", () => {
      if (at("token").value) sessionStorage.setItem("token", at("token").value.trim());
      at("token").value = "";
      asking = null;
      resolve();
    }, { once: true });
    gate.showModal();
  });
  return asking;
};
const ask = async (path, order) => {
  const known = sessionStorage.getItem("token");
  const headers = known ? { Authorization: `Bearer ${known}` } : {};
  const request = order === undefined ? { headers }
    : { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(order) };
  const answer = await fetch(path, request);
  if (answer.status === 401) {
    await token();
    throw new Error("the token was missing or wrong");
  }
  if (!answer.ok) {
    const { detail } = await answer.json().catch(() => ({ detail: answer.statusText }));
    throw Object.assign(new Error(detail), { status: answer.status });
  }
  return answer;
};
const get = async (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  const words = new URLSearchParams(given).toString();
  return (await ask(words ? `${path}?${words}` : path)).json();
};

// Words and numbers.

const three = value => Number(value.toPrecision(3));
const time = micros =>
  micros < 1e3 ? `${micros} us` : micros < 1e6 ? `${three(micros / 1e3)} ms`
    : micros < 6e8 ? `${three(micros / 1e6)} s` : `${three(micros / 6e7)} min`;
const size = octets => octets < 1024 ? `${octets} octets` : octets < 1048576 ? `${three(octets / 1024)} KiB` : `${Math.round(octets / 1048576)} MiB`;
const wait = seconds =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min`
    : seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
const ago = seconds => `${wait(Math.max(0, Math.round(Date.now() / 1000 - seconds)))} ago`;
const clock = micros => new Date(micros / 1000).toLocaleString();

const table = (place, heads, rows, nothing) => {
  const row = (tag, cells) => element("tr", null, ...cells.map(cell => {
    const made = cell instanceof Element ? element(tag, null, cell) : element(tag, cell?.text ?? cell);
    if (cell?.kind) made.className = cell.kind;
    if (tag === "th") made.scope = "col";
    return made;
  }));
  const body = rows.length ? rows.map(cells => row("td", cells))
    : [row("td", [{ text: nothing, kind: "text empty" }])];
  if (!rows.length) body[0].firstChild.colSpan = heads.length;
  place.replaceChildren(element("thead", null, row("th", heads)), element("tbody", null, ...body));
};

// Facts and rates.

const FACTS = [
  ["queued", "recipients_queued"], ["delivered", "recipients_delivered_total"],
  ["bounced", "recipients_bounced_total"], ["expired", "recipients_expired_total"],
  ["removed", "recipients_removed_total"], ["accounts differ by", "accounting_difference"],
  ["connections in", "connections_in"], ["connections out", "connections_out"],
  ["memory", "memory_used_bytes", size], ["spool", "spool_size_bytes", size],
];
const value = (text, name) => Number(text.match(new RegExp(`^ringpost_${name} (\\S+)$`, "m"))?.[1] ?? NaN);
const facts = text => at("facts").replaceChildren(...FACTS.map(([title, name, shown]) => {
  const number = value(text, name);
  const words = Number.isNaN(number) ? "?" : shown ? shown(number) : number.toLocaleString();
  return element("div", null, element("dt", title), element("dd", words));
}));

const SAMPLES_MAX = 120;
const samples = [];
const rates = text => {
  samples.push({
    at: performance.now() / 1000,
    accepted: value(text, "messages_accepted_total"),
    delivered: value(text, "recipients_delivered_total"),
  });
  if (samples.length > SAMPLES_MAX) samples.shift();
  const steps = samples.slice(1).map((now, index) => {
    const before = samples[index];
    const rate = name => Math.max(0, (now[name] - before[name]) / (now.at - before.at));
    return { accepted: rate("accepted"), delivered: rate("delivered") };
  });
  const most = Math.max(1, ...steps.flatMap(step => [step.accepted, step.delivered]));
  const [width, height, left] = [720, 130, 52];
  const last = steps.at(-1) ?? { accepted: 0, delivered: 0 };
  const words = `now ${three(last.accepted)} accepted and ${three(last.delivered)} delivered a second`;
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
  for (const part of [0, .5, 1]) {
    const y = height - 10 - part * (height - 22);
    picture.append(drawn("line", { x1: left, x2: width, y1: y, y2: y, class: "axis" }),
      drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, three(part * most).toLocaleString()));
  }
  for (const name of ["accepted", "delivered"]) {
    const points = steps.map((step, index) => {
      const x = width - (steps.length - 1 - index) * (width - left) / (SAMPLES_MAX - 2);
      return `${x.toFixed(1)},${(height - 10 - step[name] / most * (height - 22)).toFixed(1)}`;
    });
    picture.append(drawn("polyline", { points: points.join(" "), class: name }));
  }
  at("rates").replaceChildren(picture);
};

const percent = share => `${Math.round(100 * share)} %`;
const shards = rows => table(at("shards"),
  ["shard", "core", "busy", "on its core", "wake-ups/s", "clients", "hosts", "queued", "messages/sync", "letters", "memory", "state"],
  rows.map(row => [row.shard, row.cpu ?? "any", { text: percent(row.recent.busy), kind: row.recent.busy > .9 ? "warm3" : row.recent.busy > .6 ? "warm1" : "" },
    percent(row.recent.on_cpu), Math.round(row.recent.wakeups).toLocaleString(), row.connections_in, row.connections_out, row.messages_queued,
    row.syncs ? three(row.synced_messages / row.syncs) : "", row.letters_waiting, size(row.memory_used), row.health.replaceAll("_", " ")]),
  "No shard answered.");

// The queue.

const AGES = [5, 10, 20, 40, 80, 160, 320, 640, 1280, "older"];
const ROWS_MAX = 30;
const shape = rows => {
  const sum = row => row.ages.reduce((sum, age) => sum + age, 0);
  const most = Math.max(1, ...rows.flatMap(row => row.ages));
  const warm = count => ({ text: count, kind: count ? `warm${1 + Math.floor(2.99 * Math.log1p(count) / Math.log1p(most) - 1e-9)}` : "" });
  const found = row => ({ kind: "text", text: [row.learned?.rate, row.learned?.connections && `${row.learned.connections} connections`,
    row.waits_for_tomorrow && "tomorrow"].filter(Boolean).join(", ") });
  const shown = rows.filter(sum).slice(0, ROWS_MAX), remarks = shown.some(row => found(row).text);
  table(at("shape"), ["destination", "total", ...AGES, ...remarks ? [{ text: "found to take", kind: "text" }] : []], shown.map(row =>
    [button(row.destination, () => look(row.destination), "link"), sum(row), ...row.ages.map(warm), ...remarks ? [found(row)] : []]), "Nobody waits.");
};

const bounces = failed => table(at("bounces"), ["when", "recipient", "status", "message", "reply"].map(text => ({ text, kind: "text" })),
  failed.map(one => [clock(one.at), { text: one.to, kind: "text" }, `${one.status} ${one.dsn}`,
    button(one.id, () => look(one.id), "link"), { text: one.relay ? `${one.relay}: ${one.text}` : one.text, kind: "text" }]),
  "No mail failed since the relay was started, as far as it remembers.");

// Latency.

const WINDOWS = ["minute", "hour", "start"];
const PERCENTILES = [["p50", .5], ["p90", .9], ["p99", .99], ["p99_9", .999], ["p99_99", .9999], ["max", .99999]];
const options = (place, values, chosen) => {
  if ([...place.options].map(option => option.value).join() === values.map(([value]) => value).join()) return;
  place.replaceChildren(...values.map(([value, words]) => {
    const option = element("option", words);
    option.value = value;
    option.selected = value === chosen;
    return option;
  }));
};
const latency = async () => {
  const destination = at("destination").value;
  const all = await get("/api/v1/latency/windows", { destination });
  const since = all.at(-1);
  options(at("destination"), [["", "all destinations"], ...since.destinations.map(name => [name, name])], destination);
  const timed = since.stages.filter(row => row.unit === "us");
  const usual = ["dot_to_reply", "commit_wait"].find(name => timed.some(row => row.stage === name));
  options(at("stage"), timed.map(row => [row.stage, row.stage.replaceAll("_", " ")]), at("stage").value || usual);
  const stage = at("stage").value;
  const rows = all[WINDOWS.indexOf(at("window").value)].stages;
  table(at("latency"), ["stage", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"], rows.map(row => {
    const shown = row.unit === "us" ? time : String;
    return [row.stage.replaceAll("_", " "), row.count.toLocaleString(), ...PERCENTILES.map(([name]) => shown(row[name]))];
  }), "Nothing happened in that time.");
  rows.forEach((row, index) => at("latency").tBodies[0].rows[index].classList.toggle("chosen", row.stage === stage));
  percentiles(stage, all);
};

const decades = values => {
  const known = values.filter(value => value > 0);
  const low = Math.floor(Math.log10(Math.min(...known, 1e5))), high = Math.ceil(Math.log10(Math.max(...known, 10 ** (low + 1))));
  return { low, high, part: value => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low) };
};
const frame = (words, [width, height, left, bottom], scale) => {
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
  for (let decade = scale.low; decade <= scale.high; decade += 1) {
    const y = height - bottom - scale.part(10 ** decade) * (height - bottom - 8);
    picture.append(drawn("line", { x1: left, x2: width, y1: y, y2: y, class: "axis" }),
      drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, time(10 ** decade)));
  }
  return picture;
};
const SIZE = [460, 240, 56, 22];
const percentiles = (stage, all) => {
  const lines = all.map(one => one.stages.find(row => row.stage === stage));
  const scale = decades(lines.flatMap(row => row ? PERCENTILES.map(([name]) => row[name]) : []));
  const [width, height, left, bottom] = SIZE;
  const said = lines.map((row, index) => row ? `${WINDOWS[index]}: half within ${time(row.p50)}, 99 % within ${time(row.p99)}` : "");
  const picture = frame(`${stage}; ${said.filter(Boolean).join("; ")}`, SIZE, scale);
  const x = quantile => left + 14 + (Math.log10(1 / (1 - quantile)) - .3) / 4.7 * (width - left - 34);
  for (const [name, quantile] of PERCENTILES) {
    picture.append(drawn("text", { x: x(quantile), y: height - 6, "text-anchor": "middle" }, name.replace("p", "").replace("_", ".")));
  }
  lines.forEach((row, index) => {
    if (!row) return;
    const points = PERCENTILES.map(([name, quantile]) =>
      `${x(quantile).toFixed(1)},${(height - bottom - scale.part(row[name]) * (height - bottom - 8)).toFixed(1)}`);
    picture.append(drawn("polyline", { points: points.join(" "), class: WINDOWS[index] }));
  });
  at("percentiles").replaceChildren(picture);
};

const MINUTES = 60;
const STEPS = 6; // of a decade
const heat = async () => {
  const stage = at("stage").value;
  if (!stage) return;
  const { minutes } = await get("/api/v1/latency/minutes", { stage });
  const scale = decades(minutes.flatMap(counts => counts.map(([value]) => value)));
  const [width, height, left, bottom] = SIZE;
  const cells = minutes.map(counts => {
    const sums = new Map();
    for (const [value, count] of counts) {
      const step = Math.floor((Math.log10(Math.max(value, 1)) - scale.low) * STEPS);
      sums.set(step, (sums.get(step) ?? 0) + count);
    }
    return sums;
  });
  const most = Math.max(1, ...cells.flatMap(sums => [...sums.values()]));
  const picture = frame(`${stage} in each of the last ${minutes.length} minutes; darker where more`, SIZE, scale);
  const [across, up] = [(width - left) / MINUTES, (height - bottom - 8) / (STEPS * (scale.high - scale.low))];
  cells.forEach((sums, index) => {
    for (const [step, count] of sums) {
      const cell = drawn("rect", {
        x: (width - (cells.length - index) * across).toFixed(1), y: (height - bottom - (step + 1) * up).toFixed(1),
        width: (across - .5).toFixed(1), height: (up - .5).toFixed(1), class: "cell",
        "fill-opacity": (.15 + .85 * Math.log1p(count) / Math.log1p(most)).toFixed(2),
      });
      cell.append(drawn("title", {}, `${cells.length - index} min ago, up to ${time(Math.round(10 ** (scale.low + (step + 1) / STEPS)))}: ${count}`));
      picture.append(cell);
    }
  });
  for (const minute of [60, 45, 30, 15]) {
    picture.append(drawn("text", { x: width - minute * across, y: height - 6 }, `${minute} min ago`));
  }
  if (!minutes.length) picture.append(drawn("text", { x: left + 20, y: height / 2 }, "A minute must pass first."));
  at("heat").replaceChildren(picture);
};

// One message, one address, one domain.

const ORDERS = [["retry", "Retry now", "is attempted now"], ["hold", "Hold", "waits until it is released"],
  ["release", "Release", "goes on with its schedule"], ["redirect", "Redirect", "goes to another address in place of those that wait"], ["bounce", "Bounce", "fails, and its sender is told"],
  ["remove", "Remove", "is forgotten, and nobody is told; for ten minutes it can be put back"]];
const PUT_BACK = [["undo", "Put back", "goes on as it did before it was removed"]];
const GRAVE = ["bounce", "remove"];
const sure = (words, act) => new Promise(resolve => {
  const dialog = at("confirm");
  at("confirm-words").textContent = words;
  at("confirm-yes").textContent = act;
  at("confirm-why").value = "";
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  dialog.showModal();
});
// Where to; empty when it was thought better of.
const whereto = named => new Promise(resolve => {
  const dialog = at("redirect");
  at("redirect-words").textContent = `${named} goes to this address in place of those that wait:`;
  at("into").value = "";
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? at("into").value.trim() : ""), { once: true });
  dialog.showModal();
});
const some = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;
const reached = ({ messages, recipients }) => `${some(messages, "message")}, ${some(recipients, "recipient")}`;
// What a selector means is counted by a dry run before anything is done.
const orders = (selector, named, all = "", acts = ORDERS) => element("div", null, ...acts.map(([act, words, then]) => button(words + all, async () => {
  try {
    const into = act === "redirect" ? await whereto(named) : "";
    if (act === "redirect" && !into) return;
    const meant = into ? { ...selector, into } : selector;
    const order = async more => (await ask(`/api/v1/queue/${act}`, { ...meant, ...more })).json();
    const would = await order({ dry_run: true });
    const end = into ? `goes to ${into}` : then;
    if (!await sure(`${named} (${reached(would)}) ${end}.`, words + all)) return;
    const reason = at("confirm-why").value.trim();
    say(`${words}: ${reached(await order(reason ? { reason } : {}))}.`);
  } catch (error) {
    say(error.message);
  }
  look(at("wanted").value, true);
}, GRAVE.includes(act) ? "grave" : "")));
const say = words => { at("state").textContent = words; };

const message = entry => {
  const block = element("div", null, element("h3", null, button(entry.id, () => look(entry.id), "link")),
    element("p", `From <${entry.from}>, ${size(entry.size)}, accepted ${ago(entry.accepted)}.`));
  const recipients = element("table");
  table(recipients, ["recipient", "state", "next attempt", "attempts", "why it is still here"].map(text => ({ text, kind: "text" })),
    entry.recipients.map(one => [{ text: one.address, kind: "text" }, one.state.replaceAll("_", " "),
      one.state === "waiting" ? `in ${wait(one.due_in)}` : one.state === "removed" ? `gone in ${wait(one.due_in)}` : "", one.attempts, { text: one.reason ?? "", kind: "text" }]), "All are settled.");
  const wide = element("div", null, recipients);
  wide.className = "wide";
  const gone = entry.recipients.some(one => one.state === "removed");
  const acts = orders({ id: entry.id }, `Message ${entry.id}`, "", gone ? PUT_BACK : ORDERS);
  acts.className = "orders";
  block.append(wide, acts);
  return block;
};
const moments = trace => {
  const list = element("table");
  table(list, ["when", { text: "what", kind: "text" }], trace.moments.map(({ at, event, ...rest }) =>
    [clock(at), { text: `${event.replaceAll("_", " ")} ${JSON.stringify(rest).slice(1, -1).replaceAll(",\"", ", \"").replaceAll("\"", "")}`, kind: "text" }]),
    "Nothing is remembered.");
  return element("div", null, element("h3", "What happened to it"), list);
};
// Objects as lists of terms, lists as lists; what is not there is left out.
const tree = told => {
  if (told === null || typeof told !== "object") return element("span", String(told));
  if (Array.isArray(told)) return element("ol", null, ...told.map(one => element("li", null, tree(one))));
  const known = Object.entries(told).filter(([, value]) => value !== null && !(Array.isArray(value) && !value.length));
  return element("dl", null, ...known.map(([name, value]) =>
    element("div", null, element("dt", name.replaceAll("_", " ")), element("dd", null, tree(value)))));
};
const explained = ({ recipient, ...told }) => {
  const list = tree(told);
  list.className = "tree";
  return element("div", null, element("h3", `How mail to ${recipient} would travel now`), list);
};

const LIST_MAX = 25;
const absent = error => { if (error.status === 404) return null; throw error; };
const answers = async wanted => {
  if (!/[@.:]/.test(wanted)) {
    const trace = await get(`/api/v1/trace/${encodeURIComponent(wanted)}`).catch(absent);
    if (!trace) return [element("p", `Nothing is known of ${wanted}: shards remember the newest messages, the log has all.`)];
    return [...(trace.queued ? [message(trace.queued)] : [element("p", "It is not in the queue.")]), moments(trace)];
  }
  const limit = LIST_MAX;
  const address = wanted.includes("@");
  // A next hop may be a smart host or go by a pool: then it is no domain.
  const lists = address ? [{ to: wanted, limit }, { from: wanted, limit }] : [{ domain: wanted, limit }, { destination: wanted, limit }];
  const [told, ...found] = await Promise.all([
    get("/api/v1/explain", { recipient: address ? wanted : `postmaster@${wanted.split(" via ")[0]}` }).catch(() => null),
    ...lists.map(query => get("/api/v1/queue", query))]);
  const entries = [...new Map(found.flat().map(entry => [entry.id, entry])).values()];
  const words = entries.length ? `${entries.length === 1 ? "1 message waits" : `${entries.length} messages wait`}${entries.length >= limit ? ", or more" : ""}.` : "No message waits.";
  const selector = address ? { to: wanted } : found[0].length ? { domain: wanted } : { destination: wanted };
  const bulk = orders(selector, `All mail to ${wanted}`, " all");
  bulk.className = "orders";
  return [element("p", words), ...(entries.length > 1 ? [bulk] : []), ...entries.map(message), ...(told ? [explained(told)] : [])];
};
const look = async (wanted, again = false) => {
  at("wanted").value = wanted;
  at("found").hidden = false;
  at("found-head").textContent = wanted;
  try {
    at("answer").replaceChildren(...await answers(wanted.trim()));
  } catch (error) {
    at("answer").replaceChildren(element("p", error.message));
  }
  if (!again) at("found-head").focus();
};

// All of it, every five seconds while somebody looks.

const PERIOD_MS = 5000;
const ready = async () => {
  const answer = await fetch("/readyz");
  const { status, detail } = await answer.json();
  say(detail ?? status);
  at("state").className = answer.ok ? "ready" : "not";
};
let due = null;
const refresh = async () => {
  clearTimeout(due);
  if (!document.hidden) {
    try {
      await ready();
      const text = await (await ask("/metrics")).text();
      facts(text);
      rates(text);
      shards(await get("/api/v1/shards"));
      shape(await get("/api/v1/queue/shape"));
      bounces(await get("/api/v1/bounces", { limit: 12 }));
      await latency();
      await heat();
    } catch (error) {
      say(error.message);
      at("state").className = "not";
    }
  }
  due = setTimeout(refresh, PERIOD_MS);
};
at("search").addEventListener("submit", event => { event.preventDefault(); look(at("wanted").value); });
at("close").addEventListener("click", () => { at("found").hidden = true; at("wanted").focus(); });
at("choice").addEventListener("change", () => latency().then(heat).catch(error => say(error.message)));
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
