// Run by node: node --test tests/widgets/branches.test.mjs
import assert from "node:assert/strict";
import test from "node:test";

import { pathTo, treePlaces } from "../../widgets/rwkv_music_widgets/static/branches.mjs";

//  0 - 1 - 3
//   \    \ 4
//    \ 2 - 5
const NODES = [[0, null, ""], [1, 0, ""], [2, 0, ""], [3, 1, ""], [4, 1, ""], [5, 2, ""]];

test("children stand to the right, the first one in its parent's row, and no two meet", () => {
  const places = treePlaces(NODES);
  const at = (id) => [places.get(id).column, places.get(id).row];
  assert.deepEqual(NODES.map(([id]) => at(id)), [[0, 0], [1, 0], [1, 2], [2, 0], [2, 1], [2, 2]]);
  assert.equal(new Set(NODES.map(([id]) => String(at(id)))).size, NODES.length);
});

test("the path leads from the prompt to a node", () => {
  assert.deepEqual(pathTo(NODES, 4), [0, 1, 4]);
  assert.deepEqual(pathTo(NODES, 0), [0]);
  assert.equal(treePlaces([]).size, 0);
});
