// Table of files: sorted by any column, filtered by verdict and text, one row selectable.

import { guardKeys } from "./keys.mjs";
import { isDark, onThemeChange } from "./theme.mjs";

const ROWS_AT_ONCE = 200;

/** Return rows sorted by a column; unknown values come last in both directions. */
export function sortedRows(rows, column, descending) {
  const direction = descending ? -1 : 1;
  return rows
    .map((row, index) => [row.values[column], index, row])
    .sort(([a, first], [b, second]) => {
      if (a === null || b === null) return (a === null) - (b === null) || first - second;
      const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
      return direction * order || first - second;
    })
    .map(([, , row]) => row);
}

/** Return rows with a verdict ("" for all) whose name or remarks contain a text. */
export function filteredRows(rows, verdict, text) {
  const needle = text.toLowerCase();
  return rows.filter(
    (row) =>
      (!verdict || row.verdict === verdict) &&
      (!needle || [row.name, ...row.remarks].some((line) => line.toLowerCase().includes(needle))),
  );
}

class FileTableView {
  constructor(model, el) {
    this.model = model;
    this.verdict = "";
    this.text = "";
    this.column = null;
    this.descending = false;
    this.most = ROWS_AT_ONCE;
    this.build(el);
    const rows = () => this.draw();
    const selected = () => this.markSelected();
    model.on("change:rows", rows);
    model.on("change:selected", selected);
    const endTheme = onThemeChange(() => this.theme());
    this.destroy = () => {
      model.off("change:rows", rows);
      model.off("change:selected", selected);
      endTheme();
    };
    this.theme();
    this.draw();
  }

  build(el) {
    this.root = document.createElement("div");
    this.root.className = "rwkv-files";
    guardKeys(this.root);
    this.filters = document.createElement("div");
    this.filters.className = "rwkv-files-filters";
    this.filters.setAttribute("role", "group");
    this.filters.setAttribute("aria-label", "Show");
    this.search = document.createElement("input");
    this.search.type = "search";
    this.search.placeholder = "find in names and remarks";
    this.search.setAttribute("aria-label", "Find in names and remarks");
    this.search.addEventListener("input", () => {
      this.text = this.search.value;
      this.draw();
    });
    const bar = document.createElement("div");
    bar.className = "rwkv-files-bar";
    bar.append(this.filters, this.search);
    this.frame = document.createElement("div");
    this.frame.className = "rwkv-files-frame";
    this.table = document.createElement("table");
    this.frame.append(this.table);
    this.more = document.createElement("button");
    this.more.type = "button";
    this.more.addEventListener("click", () => {
      this.most += 5 * ROWS_AT_ONCE;
      this.draw();
    });
    this.root.append(bar, this.frame, this.more);
    el.append(this.root);
  }

  theme() {
    this.root.dataset.theme = isDark() ? "dark" : "light";
  }

  draw() {
    const rows = this.model.get("rows");
    this.drawFilters(rows);
    let shown = filteredRows(rows, this.verdict, this.text);
    if (this.column !== null) shown = sortedRows(shown, this.column, this.descending);
    const body = document.createElement("tbody");
    body.append(...shown.slice(0, this.most).map((row) => this.drawRow(row)));
    this.table.replaceChildren(this.drawHead(), body);
    this.more.hidden = shown.length <= this.most;
    this.more.textContent = `show more of the ${shown.length} files`;
    this.root.dataset.shown = shown.length;
    this.markSelected();
  }

  drawFilters(rows) {
    const counts = new Map([["", rows.length]]);
    for (const verdict of this.model.get("verdicts")) counts.set(verdict, 0);
    for (const row of rows) counts.set(row.verdict, (counts.get(row.verdict) ?? 0) + 1);
    this.filters.replaceChildren(
      ...[...counts].map(([verdict, count]) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = `${verdict || "all"} ${count}`;
        button.setAttribute("aria-pressed", String(verdict === this.verdict));
        button.addEventListener("click", () => {
          this.verdict = verdict;
          this.most = ROWS_AT_ONCE;
          this.draw();
        });
        return button;
      }),
    );
  }

  drawHead() {
    const head = document.createElement("thead");
    const line = document.createElement("tr");
    line.append(
      ...this.model.get("columns").map(({ title, help }, column) => {
        const cell = document.createElement("th");
        const button = document.createElement("button");
        const isSorted = column === this.column;
        button.type = "button";
        button.title = help;
        button.textContent = title + (isSorted ? (this.descending ? " \u25be" : " \u25b4") : "");
        cell.scope = "col";
        const order = this.descending ? "descending" : "ascending";
        cell.setAttribute("aria-sort", isSorted ? order : "none");
        button.addEventListener("click", () => {
          this.descending = isSorted && !this.descending;
          this.column = column;
          this.draw();
        });
        cell.append(button);
        return cell;
      }),
    );
    head.append(line);
    return head;
  }

  drawRow(row) {
    const line = document.createElement("tr");
    line.tabIndex = 0;
    line.dataset.name = row.name;
    line.append(
      ...row.texts.map((text, column) => {
        const cell = document.createElement("td");
        if (column === 0) {
          const chip = document.createElement("span");
          chip.className = `rwkv-files-chip rwkv-files-${row.verdict.replace(" ", "-")}`;
          chip.textContent = text;
          cell.append(chip);
        } else {
          cell.textContent = text;
        }
        if (column === 1) {
          cell.append(...row.remarks.map((remark) => this.drawRemark(remark)));
        }
        return cell;
      }),
    );
    line.addEventListener("click", () => this.select(row.name));
    line.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      this.select(row.name);
    });
    return line;
  }

  drawRemark(remark) {
    const note = document.createElement("div");
    note.className = "rwkv-files-remark";
    note.textContent = remark;
    return note;
  }

  select(name) {
    this.model.set("selected", name);
    this.model.save_changes();
    this.markSelected();
  }

  markSelected() {
    const selected = this.model.get("selected");
    for (const line of this.table.querySelectorAll("tbody tr")) {
      line.setAttribute("aria-selected", String(line.dataset.name === selected));
    }
  }
}

export default {
  render({ model, el }) {
    const view = new FileTableView(model, el);
    return () => view.destroy();
  },
};
