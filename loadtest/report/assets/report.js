// Three conveniences that the page works without: the theme, sorting a table by a column, and folds that open for print.
"use strict";

const button = document.getElementById("theme");
const themes = ["system", "light", "dark"];
const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
function show(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = `Theme: ${theme === "system" ? "as the system" : theme}`;
  button.dataset.now = theme;
}
button.hidden = false;
show(themes.includes(stored) ? stored : "system");
button.addEventListener("click", () => {
  const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
  show(next);
  try { localStorage.setItem("theme", next); } catch { /* a page opened from a file may have no storage */ }
});

function valueOf(row, column) {
  const cell = row.children[column];
  const figure = cell.dataset.value;
  return figure === undefined ? cell.textContent.trim() : Number(figure);
}
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return a.localeCompare(b);
}
for (const table of document.querySelectorAll("table[data-sortable]")) {
  for (const head of table.tHead.rows[0].cells) {
    const label = document.createElement("button");
    label.type = "button";
    label.append(...head.childNodes);
    head.append(label);
    label.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const column = Number(head.dataset.column);
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("divider"));
        rows.sort((one, two) => (up ? 1 : -1) * compare(valueOf(one, column), valueOf(two, column)));
        body.append(...rows);
      }
    });
  }
}

addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) { fold.open = true; fold.dataset.closed = ""; }
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-closed]")) { fold.open = false; delete fold.dataset.closed; }
});
if (location.hash) document.querySelector(location.hash)?.closest("details")?.setAttribute("open", "");
