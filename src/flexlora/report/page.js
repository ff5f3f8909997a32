// The browser of samples.

const form = document.getElementById("filters");
const list = document.getElementById("list");
const FIELDS = ["variant", "task", "status", "flip", "q"];
const PAGE = 25;
let page = 0;
let allOpen = false;
let shown = [];

function fillSelect(name, values) {
  for (const value of new Set(values)) form.elements[name].append(new Option(value, value));
}

function entryOf(sample) {
  return data.entries[sample.entry];
}

function haystack(sample) {
  sample.text ??= [sample.id, data.prompts[sample.prompt], sample.completion, sample.stdout, sample.stderr]
    .join("\n").toLowerCase();
  return sample.text;
}

function matchesText(sample, wanted) {
  // "id:HumanEval/1" is that problem alone, not HumanEval/10 too.
  return wanted.startsWith("id:") ? sample.id === wanted.slice(3) : haystack(sample).includes(wanted.toLowerCase());
}

function matches(sample, filters) {
  const entry = entryOf(sample);
  // A link names a variant by its side ("main/adapter"); several baselines share one side.
  return (!filters.variant || filters.variant === entry.name || filters.variant === entry.side)
    && (!filters.task || filters.task === entry.task)
    && (!filters.status || filters.status === sample.status)
    && (!filters.flip || sample.flips.some((flip) => filters.flip === "any" || filters.flip === flip.kind))
    && (!filters.q || matchesText(sample, filters.q));
}

function fillBody(body, sample) {
  if (body.childElementCount) return;
  const parts = element("div", "parts");
  parts.append(block("Prompt", data.prompts[sample.prompt]), block("Completion", sample.completion));
  if (sample.stdout) parts.append(block("Standard output", sample.stdout));
  if (sample.stderr) parts.append(block("Standard error", sample.stderr));
  const facts = sample.facts.map(([name, value]) => `${name} ${value}`).join(" · ");
  const same = element("button", "link", "All variants of this problem");
  same.type = "button";
  same.addEventListener("click", () => apply({ task: entryOf(sample).task, q: `id:${sample.id}` }, true));
  const foot = element("p", "facts", facts);
  foot.append(" ", same, ...flipButtons(sample));
  body.append(parts, foot);
}

function card(sample) {
  const entry = entryOf(sample);
  const made = element("details", "sample");
  const head = element("summary");
  head.append(element("span", `status ${sample.status === "OK" ? "ok" : "failed"}`, sample.status));
  head.append(element("span", "id", sample.id + (entry.many ? ` #${sample.sample}` : "")));
  head.append(element("span", "where", `${entry.name} · ${entry.task}`));
  for (const flip of sample.flips) head.append(element("span", `flip ${flip.kind}`, flip.words));
  const body = element("div", "body");
  made.append(head, body);
  made.addEventListener("toggle", () => { if (made.open) fillBody(body, sample); });
  if (allOpen) { made.open = true; fillBody(body, sample); }
  return made;
}

function draw() {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  list.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(card));
  const many = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  let count = shown.length === data.samples.length ? many(shown.length, "sample")
    : `${shown.length.toLocaleString("en")} of ${many(data.samples.length, "sample")}`;
  if (pages > 1) count += `, page ${page + 1} of ${pages.toLocaleString("en")}`;
  if (!shown.length) count = data.samples.length ? "No sample matches these filters." : "This run has no samples.";
  document.getElementById("count").textContent = count;
  for (const end of ["", "-bottom"]) {
    const previous = document.getElementById("previous" + end);
    const next = document.getElementById("next" + end);
    previous.hidden = next.hidden = pages < 2;
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }
  const unfold = document.getElementById("unfold");
  unfold.hidden = !shown.length;
  unfold.setAttribute("aria-pressed", String(allOpen));
  unfold.textContent = allOpen ? "Close all" : "Open all";
}

function current() {
  return Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
}

function refresh() {
  const filters = current();
  shown = data.samples.filter((sample) => matches(sample, filters));
  draw();
}

function remember() {
  const set = Object.entries(current()).filter(([, value]) => value);
  if (page) set.push(["page", String(page + 1)]);
  if (allOpen) set.push(["open", "1"]);
  // Keeps the filters when the page is reloaded or its address is passed on.
  history.replaceState(null, "", "#" + (set.length ? new URLSearchParams(set) : "samples"));
}

function apply(filters, scroll) {
  for (const name of FIELDS) {
    const field = form.elements[name];
    field.value = filters[name] ?? "";
    // A value that no sample here has: keep it, so that the answer is "none" and not "all".
    if (filters[name] && field.value !== filters[name]) {
      field.append(new Option(filters[name], filters[name]));
      field.value = filters[name];
    }
  }
  page = Math.max(0, (parseInt(filters.page, 10) || 1) - 1);
  refresh();
  if (scroll) {
    remember();
    document.getElementById("samples").scrollIntoView();
  }
}

function readFragment() {
  const filters = fragmentFields();
  if (!filters || "comparison" in filters) return; // a plain link to a section, or one to a flipped problem
  allOpen = filters.open === "1";
  apply(filters, true);
}

function turn(step) {
  page += step;
  draw();
  remember();
  document.getElementById("samples").scrollIntoView();
}

let waiting = 0;
if (form) {  // a run without samples has none
  fillSelect("variant", data.entries.map((entry) => entry.name));
  fillSelect("task", data.entries.map((entry) => entry.task));
  fillSelect("status", data.samples.map((sample) => sample.status).sort());
  form.hidden = false;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { page = 0; refresh(); remember(); }, 120);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { page = 0; refresh(); remember(); }));
  for (const end of ["", "-bottom"]) {
    document.getElementById("previous" + end).addEventListener("click", () => turn(-1));
    document.getElementById("next" + end).addEventListener("click", () => turn(1));
  }
  document.getElementById("unfold").addEventListener("click", () => { allOpen = !allOpen; draw(); remember(); });
  window.addEventListener("hashchange", readFragment);
  refresh();
  readFragment();
}
