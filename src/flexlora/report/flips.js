// Flipped problems: the two programs of one comparison beside each other, with the lines in which they differ.

const flipForm = document.getElementById("flip-filters");
const flipList = () => {
  const comparison = data.flips[flipForm.elements.comparison.value];
  const kind = flipForm.elements.kind.value;
  return comparison ? comparison.pairs.filter((pair) => !kind || pair.kind === kind) : [];
};

function longestCommon(left, right) {
  // Lengths of the longest common subsequence of lines, from each pair of places on.
  const table = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
  for (let i = left.length - 1; i >= 0; i--)
    for (let j = right.length - 1; j >= 0; j--)
      table[i][j] = left[i] === right[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  return table;
}

function differingLines(left, right) {
  // [left line or null, right line or null, whether they are equal]
  const table = longestCommon(left, right);
  const rows = [];
  let gone = [], come = [];
  const flush = () => {
    for (let n = 0; n < Math.max(gone.length, come.length); n++) rows.push([gone[n] ?? null, come[n] ?? null, false]);
    gone = []; come = [];
  };
  let i = 0, j = 0;
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) { flush(); rows.push([left[i++], right[j++], true]); }
    else if (j >= right.length || (i < left.length && table[i + 1][j] >= table[i][j + 1])) gone.push(left[i++]);
    else come.push(right[j++]);
  }
  flush();
  return rows;
}

function lineCell(text, side, equal) {
  const cell = element("td", equal ? side : text === null ? `${side} none` : `${side} differs`);
  cell.append(element("code", "", text ?? ""));
  return cell;
}

function programTable(left, right) {
  const table = element("table", "diff");
  const head = element("tr");
  for (const sample of [left, right]) {
    const cell = element("th");
    cell.scope = "col";
    cell.append(data.entries[sample.entry].name, " ", statusOf(sample));
    head.append(cell);
  }
  const top = element("thead");
  top.append(head);
  const body = element("tbody");
  const lines = (sample) => sample.completion.replace(/\n$/, "").split("\n");
  for (const [before, after, equal] of differingLines(lines(left), lines(right))) {
    const row = element("tr", equal ? "same" : "");
    row.append(lineCell(before, "before", equal), lineCell(after, "after", equal));
    body.append(row);
  }
  table.append(top, body);
  return table;
}

function statusOf(sample) {
  return element("span", `status ${sample.status === "OK" ? "ok" : "failed"}`, sample.status);
}

function outputs(left, right) {
  const parts = element("div", "parts");
  for (const [title, name] of [["Standard error", "stderr"], ["Standard output", "stdout"]])
    if (left[name] || right[name])
      for (const sample of [left, right])
        parts.append(block(`${title} of ${data.entries[sample.entry].name}`, sample[name]));
  return parts;
}

function drawFlip() {
  const pairs = flipList();
  const chosen = pairs[flipForm.elements.problem.value];
  const place = document.getElementById("flip");
  document.getElementById("flip-count").textContent = pairs.length
    ? `Problem ${Number(flipForm.elements.problem.value) + 1} of ${pairs.length}` : "No problem flipped that way.";
  for (const [id, there] of [["flip-previous", -1], ["flip-next", 1]])
    document.getElementById(id).disabled = !pairs[Number(flipForm.elements.problem.value) + there];
  place.replaceChildren();
  if (!chosen) return;
  const [left, right] = [data.samples[chosen.left], data.samples[chosen.right]];
  const prompt = data.prompts[right.prompt];
  if (prompt) {
    const made = element("details");
    made.append(element("summary", "", "Prompt"), block("", prompt));
    place.append(made);
  }
  const facts = [left, right].map((sample) => [data.entries[sample.entry].name,
    ...sample.facts.map(([name, value]) => `${name} ${value}`)].join(" · "));
  place.append(programTable(left, right), outputs(left, right), ...facts.map((text) => element("p", "facts", text)));
}

function fillProblems() {
  const options = flipList().map((pair, index) => new Option(`${pair.kind}: ${pair.id}`, index));
  flipForm.elements.problem.replaceChildren(...options);
  drawFlip();
}

function showFlip(comparison, id, kind) {
  flipForm.elements.comparison.value = comparison;
  flipForm.elements.kind.value = kind ?? "";
  fillProblems();
  const place = flipList().findIndex((pair) => pair.id === id);
  flipForm.elements.problem.value = Math.max(0, place);
  drawFlip();
}

function rememberFlip() {
  const chosen = flipList()[flipForm.elements.problem.value];
  const fields = { comparison: flipForm.elements.comparison.value, kind: flipForm.elements.kind.value, problem: chosen?.id ?? "" };
  history.replaceState(null, "", "#" + new URLSearchParams(Object.entries(fields).filter(([, value]) => value)));
}

function flipButtons(sample) {
  // For a sample's card: a link to each comparison in which it flipped.
  const place = data.samples.indexOf(sample);
  return data.flips.flatMap((comparison, number) => comparison.pairs
    .filter((pair) => pair.left === place || pair.right === place)
    .map((pair) => {
      const other = data.samples[pair.left === place ? pair.right : pair.left];
      const made = element("button", "link", `Beside ${data.entries[other.entry].name}`);
      made.type = "button";
      made.addEventListener("click", () => {
        showFlip(number, pair.id);
        rememberFlip();
        document.getElementById("flipped").scrollIntoView();
      });
      return made;
    }));
}

function readFlip() {
  const fields = fragmentFields();
  if (!fields || !("comparison" in fields)) return;
  showFlip(fields.comparison, fields.problem, fields.kind);
  document.getElementById("flipped").scrollIntoView();
}

function turnFlip(step) {
  const field = flipForm.elements.problem;
  field.value = Number(field.value) + step;
  drawFlip();
  rememberFlip();
}

if (flipForm) {
  data.flips.forEach((comparison, number) => {
    const count = (kind) => comparison.pairs.filter((pair) => pair.kind === kind).length;
    const words = `${comparison.name}: ${count("gained")} gained, ${count("lost")} lost`;
    flipForm.elements.comparison.append(new Option(words, number));
  });
  flipForm.hidden = false;
  flipForm.addEventListener("submit", (event) => event.preventDefault());
  flipForm.elements.comparison.addEventListener("change", () => { fillProblems(); rememberFlip(); });
  flipForm.elements.kind.addEventListener("change", () => { fillProblems(); rememberFlip(); });
  flipForm.elements.problem.addEventListener("change", () => { drawFlip(); rememberFlip(); });
  document.getElementById("flip-previous").addEventListener("click", () => turnFlip(-1));
  document.getElementById("flip-next").addEventListener("click", () => turnFlip(1));
  window.addEventListener("hashchange", readFlip);
  fillProblems();
  readFlip();
}
