// Conveniences that the page works without: the theme, filters, sorting by a column, and folds that open when they must.
"use strict";

const FACETS = ["server", "format", "protocol", "framework"];

function startTheme() {
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  const show = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme === "system" ? "as the system" : theme}`;
    button.dataset.now = theme;
  };
  button.hidden = false;
  show(themes.includes(stored) ? stored : "system");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
    show(next);
    try { localStorage.setItem("theme", next); } catch { /* a page opened from a file may have no storage */ }
  });
}

// One choice for each facet that has at least two values; a row or mark without the facet stays.
function startFilters() {
  const bar = document.getElementById("filters");
  const faceted = [...document.querySelectorAll(FACETS.map((facet) => `[data-${facet}]`).join(","))];
  const chosen = {};
  const output = document.createElement("output");
  const reset = Object.assign(document.createElement("button"), { type: "button", textContent: "Show all", hidden: true });
  const apply = () => {
    for (const item of faceted) {
      item.toggleAttribute("hidden", FACETS.some((facet) => chosen[facet] && (item.dataset[facet] ?? chosen[facet]) !== chosen[facet]));
    }
    for (const body of document.querySelectorAll(".tiers tbody")) {
      body.hidden = ![...body.rows].some((row) => row.dataset.server && !row.hidden);
    }
    const rows = [...(document.querySelector(".tiers")?.querySelectorAll("tr[data-server]") ?? [])];
    const active = FACETS.some((facet) => chosen[facet]);
    reset.hidden = !active;
    output.textContent = active ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} endpoints` : "";
  };
  const selects = FACETS.flatMap((facet) => {
    const values = [...new Set(faceted.map((item) => item.dataset[facet]).filter(Boolean))].sort();
    if (values.length < 2) return [];
    const select = Object.assign(document.createElement("select"), { name: facet });
    select.append(new Option("all", ""), ...values.map((value) => new Option(value)));
    select.addEventListener("change", () => { chosen[facet] = select.value; apply(); });
    const label = document.createElement("label");
    label.append(facet, select);
    bar.append(label);
    return [select];
  });
  reset.addEventListener("click", () => {
    for (const select of selects) { select.value = ""; chosen[select.name] = ""; }
    apply();
  });
  bar.append(reset, output);
  bar.hidden = selects.length === 0;
}

function valueOf(row, column) {
  const cell = row.children[column];
  if (cell === undefined) return "";
  const figure = cell.dataset.value;
  return figure === undefined ? cell.textContent.trim() : Number(figure);
}

// Figures by size, then texts by the alphabet; a cell without a figure stands last in either direction.
function compare(first, second, direction) {
  if (typeof first === "number" && typeof second === "number") return direction * (first - second);
  if (typeof first === "number") return -1;
  if (typeof second === "number") return 1;
  return direction * first.localeCompare(second);
}

function startSorting() {
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.column === undefined) continue;
      const label = document.createElement("button");
      label.type = "button";
      label.append(...head.childNodes);
      head.append(label);
      label.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const column = Number(head.dataset.column);
        for (const body of table.tBodies) {
          const rows = [...body.rows].filter((row) => !row.classList.contains("divider"));
          rows.sort((first, second) => compare(valueOf(first, column), valueOf(second, column), ascending ? 1 : -1));
          body.append(...rows);
        }
      });
    }
  }
}

function startFolds() {
  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = target && (target.querySelector("details") ?? target.closest("details")); fold; fold = fold.parentElement.closest("details")) {
      fold.open = true;
    }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details:not([open])")) { fold.open = true; fold.dataset.closed = ""; }
  });
  addEventListener("afterprint", () => {
    for (const fold of document.querySelectorAll("details[data-closed]")) { fold.open = false; delete fold.dataset.closed; }
  });
  openTarget();
}

startTheme();
startFilters();
startSorting();
startFolds();
