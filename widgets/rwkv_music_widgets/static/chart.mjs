// A line chart of a training run: raw and smoothed training loss, validation points, baselines.

import { onThemeChange, themeColors } from "./theme.mjs";

const MARGIN = { left: 46, right: 14, top: 12, bottom: 34 };

/** Return round tick values of an axis, about `count` of them between two values. */
export function axisTicks(low, high, count) {
  const rough = Math.max(1e-9, (high - low) / count);
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= rough);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) {
    ticks.push(Number(value.toPrecision(10)));
  }
  return ticks;
}

/** Return the exponential moving average, starting at the first value. */
export function smoothed(values, share = 0.1) {
  const result = [];
  let mean = values[0];
  for (const value of values) {
    mean += share * (value - mean);
    result.push(mean);
  }
  return result;
}

const LABEL_HEIGHT = 12;

/** Return the (step, value) pairs of a binary trait of float32. */
export function unpackPoints(view) {
  const points = [];
  for (let at = 0; at + 8 <= view.byteLength; at += 8) {
    points.push([view.getFloat32(at, true), view.getFloat32(at + 4, true)]);
  }
  return points;
}

/** Return the range of values to show; the first losses would flatten all later ones. */
export function valueRange(train, valid, baselines) {
  const tail = train.slice(Math.floor(train.length / 10)).map((point) => point[1]);
  const values = [...tail, ...valid.map((point) => point[1])];
  if (baselines.length) values.push(Math.min(...baselines.map(([, value]) => value)));
  if (!values.length) return [0, 1];
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const room = Math.max(0.05, (high - low) * 0.08);
  return [Math.max(0, low - room), high + room];
}

function drawAxes(pen, box, toX, toY, ranges, colors) {
  pen.font = "10px sans-serif";
  pen.lineWidth = 1;
  for (const value of axisTicks(ranges.low, ranges.high, 5)) {
    pen.strokeStyle = colors.beat;
    pen.beginPath();
    pen.moveTo(box.left, Math.round(toY(value)) + 0.5);
    pen.lineTo(box.right, Math.round(toY(value)) + 0.5);
    pen.stroke();
    pen.fillStyle = colors.faint;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillText(String(value), box.left - 6, toY(value));
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const step of axisTicks(0, ranges.steps, 8)) {
    pen.fillText(String(step), toX(step), box.bottom + 5);
  }
  pen.fillText("optimizer step", (box.left + box.right) / 2, box.bottom + 19);
}

function drawLine(pen, points, toX, toY, color, width) {
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([step, value], index) => {
    if (index) pen.lineTo(toX(step), toY(value));
    else pen.moveTo(toX(step), toY(value));
  });
  pen.stroke();
}

function drawValid(pen, valid, toX, toY, color, colors) {
  drawLine(pen, valid, toX, toY, color, 1.5);
  let best = 0;
  valid.forEach(([step, value], index) => {
    if (value < valid[best][1]) best = index;
    pen.fillStyle = color;
    pen.beginPath();
    pen.arc(toX(step), toY(value), 3, 0, 7);
    pen.fill();
  });
  if (!valid.length) return;
  pen.strokeStyle = colors.text;
  pen.beginPath();
  pen.arc(toX(valid[best][0]), toY(valid[best][1]), 6, 0, 7);
  pen.stroke();
}

/** Baselines within the range are dotted lines; those above it are named at the top edge. */
function drawBaselines(pen, baselines, box, toY, high, colors) {
  pen.fillStyle = pen.strokeStyle = colors.seam;
  pen.textAlign = "right";
  for (const [name, value] of baselines.filter(([, value]) => value <= high)) {
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(box.left, toY(value));
    pen.lineTo(box.right, toY(value));
    pen.stroke();
    pen.setLineDash([]);
    // Below the line if the names at the top edge are above it.
    const isHigh = toY(value) < box.top + 2 * LABEL_HEIGHT;
    pen.textBaseline = isHigh ? "top" : "bottom";
    pen.fillText(`${name} ${value.toFixed(3)}`, box.right, toY(value) + (isHigh ? 3 : -2));
  }
  const beyond = baselines.filter(([, value]) => value > high);
  if (!beyond.length) return;
  const names = beyond.map(([name, value]) => `${name} ${value.toFixed(2)}`).join(",  ");
  pen.textBaseline = "top";
  pen.fillText(`\u2191 ${names}`, box.right, box.top - 4);
}

class ChartView {
  constructor(model, el) {
    this.model = model;
    el.classList.add("rwkv-chart");
    this.legend = document.createElement("div");
    this.legend.className = "rwkv-roll-legend";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    el.append(this.legend, this.canvas);
    const draw = () => this.draw();
    model.on("change:version", draw);
    const resize = new ResizeObserver(draw);
    resize.observe(el);
    const themed = onThemeChange(draw);
    this.cleanup = () => {
      model.off("change:version", draw);
      resize.disconnect();
      themed();
    };
    this.draw();
  }

  draw() {
    // JupyterLab removes cells outside the viewport from the page; they have no width then.
    const width = this.canvas.parentElement.clientWidth || this.lastWidth || 700;
    this.lastWidth = width;
    const height = this.model.get("height");
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const colors = themeColors();
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = colors.background;
    pen.fillRect(0, 0, width, height);
    const train = unpackPoints(this.model.get("train"));
    const valid = unpackPoints(this.model.get("valid"));
    const baselines = this.model.get("baselines");
    const [low, high] = valueRange(train, valid, baselines);
    const last = train.length ? train[train.length - 1][0] : 1;
    const steps = Math.max(1, last);
    const box = {
      left: MARGIN.left, right: width - MARGIN.right,
      top: MARGIN.top, bottom: height - MARGIN.bottom,
    };
    const toX = (step) => box.left + (step / steps) * (box.right - box.left);
    const toY = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
    drawAxes(pen, box, toX, toY, { low, high, steps }, colors);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top - 6, box.right - box.left + 8, box.bottom - box.top + 8);
    pen.clip();
    const [own, held] = colors.dark ? ["#56b4e9", "#e69f9f"] : ["#0072b2", "#d55e00"];
    pen.globalAlpha = 0.3;
    drawLine(pen, train, toX, toY, own, 1);
    pen.globalAlpha = 1;
    const means = smoothed(train.map((point) => point[1]));
    drawLine(pen, train.map(([step], index) => [step, means[index]]), toX, toY, own, 1.8);
    drawBaselines(pen, baselines, box, toY, high, colors);
    drawValid(pen, valid, toX, toY, held, colors);
    pen.restore();
    this.drawLegend(own, held);
    Object.assign(this.canvas.dataset, {
      points: train.length, valid: valid.length, baselines: baselines.length,
      theme: colors.dark ? "dark" : "light",
    });
    this.canvas.setAttribute("aria-label", this.model.get("summary"));
  }

  drawLegend(own, held) {
    const entries = [[own, "training (smoothed)"], [held, "held-out pieces (ring: best)"]];
    this.legend.replaceChildren("nats per completion token:", ...entries.map(([color, text]) => {
      const entry = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.style.background = color;
      entry.append(swatch, text);
      return entry;
    }));
  }
}

export default {
  render({ model, el }) {
    const view = new ChartView(model, el);
    return () => view.cleanup();
  },
};
