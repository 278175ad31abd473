// The strip below a zoomed piano roll: the whole piece, and which part of it is shown.

import { noteRgb } from "./theme.mjs";

export const OVERVIEW_HEIGHT = 22;

/** Shows the piece and lets the pointer move the view. */
export class Overview {
  /** @param {(share: number) => void} moveTo called with the wanted middle, from 0 to 1 */
  constructor(moveTo) {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "rwkv-roll-overview";
    this.canvas.setAttribute("aria-hidden", "true"); // the arrow keys move the view as well
    this.canvas.style.height = `${OVERVIEW_HEIGHT}px`;
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.point(event, moveTo);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.point(event, moveTo);
    });
  }

  point(event, moveTo) {
    const box = this.canvas.getBoundingClientRect();
    moveTo((event.clientX - box.left) / box.width);
  }

  /** Draw the notes anew at the next `draw`. */
  forget() {
    this.picture = null;
  }

  /** Draw the strip; it is hidden while the whole piece is shown. */
  draw(notes, time, end, width, colors) {
    const isWhole = time.first <= 0 && time.last >= end;
    this.canvas.hidden = isWhole;
    if (isWhole) return;
    if (!this.picture || this.picture.width !== width || this.dark !== colors.dark) {
      this.picture = overviewPicture(notes, end, width, colors.dark);
      this.dark = colors.dark;
    }
    this.canvas.width = width;
    this.canvas.height = OVERVIEW_HEIGHT;
    const pen = this.canvas.getContext("2d");
    pen.fillStyle = colors.background;
    pen.fillRect(0, 0, width, OVERVIEW_HEIGHT);
    pen.putImageData(this.picture, 0, 0);
    const [left, right] = [(time.first / end) * width, (time.last / end) * width];
    pen.fillStyle = colors.selection;
    pen.fillRect(left, 0, right - left, OVERVIEW_HEIGHT);
    pen.strokeStyle = colors.edge;
    pen.strokeRect(left + 0.5, 0.5, Math.max(2, right - left - 1), OVERVIEW_HEIGHT - 1);
  }
}

function overviewPicture(notes, end, width, dark) {
  const background = dark ? [21, 24, 28] : [255, 255, 255];
  const image = new ImageData(width, OVERVIEW_HEIGHT);
  for (let at = 0; at < image.data.length; at += 4) image.data.set([...background, 255], at);
  const [lowest, highest] = notes.lowest <= notes.highest ? [notes.lowest, notes.highest] : [0, 127];
  const rows = OVERVIEW_HEIGHT - 3;
  for (let i = 0; i < notes.count; i += 1) {
    const share = (notes.pitch[i] - lowest) / Math.max(1, highest - lowest);
    const y = notes.isDrum[i] ? rows + 1 : Math.round((1 - share) * (rows - 1)) + 1;
    const first = Math.floor((notes.onset[i] / end) * width);
    const last = Math.min(width - 1, Math.ceil(((notes.onset[i] + notes.duration[i]) / end) * width));
    const rgb = noteRgb(notes.part[i], 90, dark);
    for (let x = first; x <= Math.max(first, last - 1) && x < width; x += 1) {
      const at = 4 * (y * width + x);
      for (let channel = 0; channel < 3; channel += 1) image.data[at + channel] = 255 * rgb[channel];
    }
  }
  return image;
}
