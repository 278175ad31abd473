// The tree of a session: where each node is drawn. Uses no DOM.

/**
 * Return the column and row of each node of a tree. The first child is in its parent's row, others
 * below it.
 *
 * @param {[number, number | null, string][]} nodes id, parent and label, parents first
 * @returns {Map<number, {column: number, row: number}>}
 */
export function treePlaces(nodes) {
  const children = new Map(nodes.map(([id]) => [id, []]));
  for (const [id, parent] of nodes) if (parent !== null) children.get(parent).push(id);
  const places = new Map();
  let lastRow = -1;
  const place = (id, column, row) => {
    places.set(id, { column, row });
    lastRow = Math.max(lastRow, row);
    children.get(id).forEach((child, index) => place(child, column + 1, index ? lastRow + 1 : row));
  };
  for (const [id, parent] of nodes) if (parent === null) place(id, 0, lastRow + 1);
  return places;
}

/** Return the nodes from the root to one of them. */
export function pathTo(nodes, id) {
  const parents = new Map(nodes.map(([node, parent]) => [node, parent]));
  const path = [];
  for (let node = id; node !== null && node !== undefined; node = parents.get(node)) path.unshift(node);
  return path;
}
