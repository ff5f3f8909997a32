"use strict";
// What the other scripts share. Completions and outputs are hostile text: they are only ever set as textContent.

const data = JSON.parse(document.getElementById("data").textContent);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function block(title, text) {
  const part = element("div", "part");
  part.append(element("h4", "", title));
  if (text) {
    const code = element("pre", "", text);
    code.tabIndex = 0;
    part.append(code);
  } else {
    part.append(element("p", "soft", "empty"));
  }
  return part;
}

function fragmentFields() {
  const fragment = location.hash.slice(1);
  // Without "=" it is a plain link to a section.
  return fragment.includes("=") ? Object.fromEntries(new URLSearchParams(fragment)) : null;
}
