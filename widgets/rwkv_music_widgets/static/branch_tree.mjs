// The tree of a session: a button for each version, which makes it the current score.

import { pathTo, treePlaces } from "./branches.mjs";
import { guardKeys } from "./keys.mjs";

const [COLUMN, ROW, SIZE] = [52, 26, 22];

function lineBetween(from, to) {
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const [x1, y1] = [from.column * COLUMN + SIZE, from.row * ROW + SIZE / 2];
  const [x2, y2] = [to.column * COLUMN, to.row * ROW + SIZE / 2];
  line.setAttribute("d", `M${x1} ${y1} H${(x1 + x2) / 2} V${y2} H${x2}`);
  return line;
}

export default {
  render({ model, el }) {
    el.classList.add("rwkv-tree");
    el.setAttribute("role", "group");
    el.setAttribute("aria-label", "Versions");
    const draw = () => {
      const [nodes, current] = [model.get("nodes"), model.get("current")];
      const places = treePlaces(nodes);
      const path = new Set(pathTo(nodes, current));
      const all = [...places.values()];
      const wide = Math.max(0, ...all.map(({ column }) => column)) * COLUMN + SIZE;
      const high = Math.max(0, ...all.map(({ row }) => row)) * ROW + SIZE;
      const lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      lines.setAttribute("width", wide);
      lines.setAttribute("height", high);
      const buttons = nodes.map(([id, parent, label]) => {
        const { column, row } = places.get(id);
        if (parent !== null) lines.append(lineBetween(places.get(parent), places.get(id)));
        const button = document.createElement("button");
        button.textContent = id;
        button.title = label;
        button.setAttribute("aria-label", `Version ${id}: ${label}`);
        button.setAttribute("aria-current", String(id === current));
        button.classList.toggle("rwkv-on-path", path.has(id));
        button.style.transform = `translate(${column * COLUMN}px, ${row * ROW}px)`;
        button.addEventListener("click", () => model.send({ type: "go", id }));
        return button;
      });
      const board = document.createElement("div");
      board.style.height = `${high}px`;
      board.append(lines, ...buttons);
      const caption = document.createElement("span");
      caption.textContent = nodes.length ? "Versions: click one to make it the current score" : "";
      el.replaceChildren(caption, board);
    };
    model.on("change:nodes", draw);
    model.on("change:current", draw);
    const unguard = guardKeys(el);
    draw();
    return () => {
      unguard();
      model.off("change:nodes", draw);
      model.off("change:current", draw);
    };
  },
};
