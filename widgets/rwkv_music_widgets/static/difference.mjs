// What two versions of a score have in common. Uses no DOM.

function placeOf(notes, i) {
  return `${notes.part[i]},${notes.onset[i]},${notes.pitch[i]},${notes.duration[i]}`;
}

function placesOf(notes) {
  const places = new Set();
  for (let i = 0; i < notes.count; i += 1) places.add(placeOf(notes, i));
  return places;
}

function notIn(notes, places) {
  const indices = [];
  for (let i = 0; i < notes.count; i += 1) if (!places.has(placeOf(notes, i))) indices.push(i);
  return indices;
}

/**
 * Return the indices of the notes of either version that the other does not have.
 *
 * Notes are the same if part, onset, pitch and duration are.
 *
 * @returns {{missing: number[], added: number[]}} of `notes` and of `other`
 */
export function differences(notes, other) {
  return { missing: notIn(notes, placesOf(other)), added: notIn(other, placesOf(notes)) };
}
