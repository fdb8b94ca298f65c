"use strict";
(() => {
  const SEQUENCE = 1, SITE = 2, SUGGESTION = 11, PAGE = 12, SHOWN = 200;
  const rows = JSON.parse(document.getElementById("data").textContent);
  const texts = rows.map((row) => row.slice(0, PAGE).join(" ").toLowerCase());
  const byId = (id) => document.getElementById(id);
  const headings = [...document.querySelectorAll("#table th")];
  const body = document.querySelector("#table tbody");
  const state = { column: 0, direction: 1, all: false };

  const compare = (a, b) => {
    const [x, y] = [a[state.column], b[state.column]];
    if (x === y) return 0;
    if (x === null) return 1; // missing values come last in either direction
    if (y === null) return -1;
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return state.direction * order;
  };

  const selected = () => {
    const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [sequence, site, flagged] = [byId("sequence").value, byId("site").value, byId("only-flagged").checked];
    return rows.filter((row, at) =>
      (!sequence || row[SEQUENCE] === sequence) && (!site || row[SITE] === site) &&
      (!flagged || row[SUGGESTION]) && words.every((word) => texts[at].includes(word)));
  };

  const cell = (row, value, column) => {
    const made = document.createElement("td");
    const numeric = headings[column].classList.contains("number");
    if (numeric) made.className = "number";
    const text = value === null ? (column === SUGGESTION ? "" : "n/a") : numeric ? value.toFixed(4) : String(value);
    if (column === 0 && row[PAGE]) {
      const link = document.createElement("a");
      link.href = row[PAGE];
      link.textContent = text;
      made.append(link);
    } else made.textContent = text;
    return made;
  };

  const draw = () => {
    const found = selected().sort(compare);
    const shown = state.all ? found : found.slice(0, SHOWN);
    body.replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      if (row[SUGGESTION]) line.className = "flagged";
      line.append(...row.slice(0, PAGE).map((value, column) => cell(row, value, column)));
      return line;
    }));
    byId("found").textContent = `${found.length} of ${rows.length} scans`;
    byId("more").hidden = shown.length === found.length;
    byId("more").textContent = `Show all ${found.length}`;
    headings.forEach((heading, column) => heading.setAttribute("aria-sort",
      column !== state.column ? "none" : state.direction > 0 ? "ascending" : "descending"));
  };

  const options = (id, column) => {
    for (const value of [...new Set(rows.map((row) => row[column]))].sort()) byId(id).append(new Option(value, value));
    byId(id).addEventListener("change", draw);
  };

  options("sequence", SEQUENCE);
  options("site", SITE);
  byId("text").addEventListener("input", draw);
  byId("only-flagged").addEventListener("change", draw);
  byId("more").addEventListener("click", () => { state.all = true; draw(); });
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    state.direction = state.column === column ? -state.direction : 1;
    state.column = column;
    draw();
  }));
  draw();
})();
