// One token through a whole model, for each sequence of a batch: what generation repeats.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "matrix.h"
#include "time_mixing.h"
#include "token_shift.h"

namespace rwkv_music {

// All vectors are float32, whatever the matrices hold.
struct DecodeLayer {
  const float *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;  // [C]
  const float* mixes;       // [6, C]: of r, decay, k, v, rate, gate
  const float* channel_mix; // [C]
  const float* parameters;  // [H, 8, N]: HeadParameters
  Matrix receptance, key, value, output;
  Matrix decay1, decay2, rate1, rate2, gate1, gate2;
  Matrix share1, share2;  // no panels in the first layer
  Matrix channel_key, channel_value;
};

struct DecodeModel {
  int64_t num_layers, channels;
  const DecodeLayer* layers;
  const float* embedding;  // [V, C], already through ln0
  const float *norm_weight, *norm_bias;
  Matrix head;
};

struct DecodeStep {
  DecodeModel model;
  int64_t batch;
  const int64_t* ids;  // [B]
  float* shifts;       // [L, 2, B, C]: the last inputs of time and channel mixing
  float* wkv;          // [L, B, H, key, value]
  float* logits;       // [B, V]
};

// Room for what a layer computes, [B, width] each.
struct DecodeRoom {
  std::vector<float> x, normed, mixed[6], r, decay, k, v, rate, gate, share, value_first, y, hidden;
  const std::unique_ptr<Chunk<float>> chunk{new Chunk<float>};

  DecodeRoom(const DecodeModel& model, int64_t batch) {
    const int64_t size = batch * model.channels;
    for (auto* each : {&x, &normed, &r, &decay, &k, &v, &rate, &gate, &share, &value_first, &y})
      each->resize(size);
    for (auto& each : mixed) each.resize(size);
    int64_t widest = 0;
    for (int64_t i = 0; i < model.num_layers; ++i) {
      const DecodeLayer& each = model.layers[i];
      widest = std::max(
          {widest, each.channel_key.rows, each.decay1.rows, each.rate1.rows, each.gate1.rows,
           each.share1.rows});
    }
    hidden.resize(batch * widest);
  }
};

// mixed_j = n + (before - n) mix_j for the whole batch; `before` becomes n.
inline void shift_tokens(
    const float* normed, float* before, const float* mixes, int count, int64_t channels,
    int64_t batch, std::vector<float>* mixed) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < channels; c += Lanes<float>::count) {
      const int64_t place = b * channels + c;
      const Vector<float> n = load(normed + place), change = load(before + place) - n;
      for (int j = 0; j < count; ++j)
        store(mixed[j].data() + place, n + change * load(mixes + j * channels + c));
      store(before + place, n);
    }
}

template <typename Function>
RM_INLINE void apply(float* x, int64_t count, const Function& function) {
  for (int64_t i = 0; i < count; i += Lanes<float>::count) store(x + i, function(load(x + i)));
}

// x first second, with a nonlinearity between.
template <typename Function>
void low_rank(
    const Matrix& first, const Matrix& second, const float* x, float* inner, float* out,
    int64_t batch, const Function& function) {
  multiply(first, x, inner, batch);
  apply(inner, batch * first.rows, function);
  multiply(second, inner, out, batch);
}

inline Sequence one_step(float* data, int64_t channels) { return {data, channels, 0, kHead}; }

inline void decode_heads(
    const DecodeLayer& layer, DecodeRoom& room, float* wkv, int64_t channels, int64_t batch,
    bool is_first) {
  TimeMixingForward x{};
  x.sizes = {batch, 1, channels / kHead, kFloat32, 1};
  x.r = one_step(room.r.data(), channels);
  x.decay = one_step(room.decay.data(), channels);
  x.k = one_step(room.k.data(), channels);
  x.v = one_step(room.v.data(), channels);
  x.rate = one_step(room.rate.data(), channels);
  if (!is_first) {
    x.share = one_step(room.share.data(), channels);
    x.value_first = one_step(room.value_first.data(), channels);
  }
  Chunk<float>& chunk = *room.chunk;
  chunk.count = 1;
  chunk.reset[0] = false;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t head = 0; head < x.sizes.heads; ++head) {
      const auto& p = reinterpret_cast<const HeadParameters<float>*>(layer.parameters)[head];
      const int64_t place = b * channels + head * kHead;
      load_step<float>(x, b, 0, head, p, chunk.steps[0]);
      forward_chunk(chunk, wkv + (b * x.sizes.heads + head) * kState);
      store_output(chunk.steps[0], p, room.gate.data() + place, room.y.data() + place);
    }
}

inline void add(std::vector<float>& x, const std::vector<float>& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

inline void decode_time_mixing(
    const DecodeLayer& layer, DecodeRoom& room, float* shift, float* wkv, int64_t channels,
    int64_t batch, bool is_first) {
  for (int64_t b = 0; b < batch; ++b)
    layer_norm(
        room.x.data() + b * channels, layer.norm1_weight, layer.norm1_bias, channels,
        room.normed.data() + b * channels);
  shift_tokens(room.normed.data(), shift, layer.mixes, 6, channels, batch, room.mixed);
  const float *x_r = room.mixed[0].data(), *x_w = room.mixed[1].data(), *x_k = room.mixed[2].data(),
              *x_v = room.mixed[3].data(), *x_a = room.mixed[4].data(), *x_g = room.mixed[5].data();
  float* inner = room.hidden.data();
  const auto itself = [](Vector<float> x) { return x; };
  multiply(layer.receptance, x_r, room.r.data(), batch);
  multiply(layer.key, x_k, room.k.data(), batch);
  multiply(layer.value, x_v, room.v.data(), batch);
  low_rank(layer.decay1, layer.decay2, x_w, inner, room.decay.data(), batch, tanh<float>);
  low_rank(layer.rate1, layer.rate2, x_a, inner, room.rate.data(), batch, itself);
  low_rank(layer.gate1, layer.gate2, x_g, inner, room.gate.data(), batch, sigmoid<float>);
  if (is_first)
    room.value_first = room.v;
  else
    low_rank(layer.share1, layer.share2, x_v, inner, room.share.data(), batch, itself);
  decode_heads(layer, room, wkv, channels, batch, is_first);
  multiply(layer.output, room.y.data(), room.normed.data(), batch);
  add(room.x, room.normed);
}

inline void decode_channel_mixing(
    const DecodeLayer& layer, DecodeRoom& room, float* shift, int64_t channels, int64_t batch) {
  for (int64_t b = 0; b < batch; ++b)
    layer_norm(
        room.x.data() + b * channels, layer.norm2_weight, layer.norm2_bias, channels,
        room.normed.data() + b * channels);
  shift_tokens(room.normed.data(), shift, layer.channel_mix, 1, channels, batch, room.mixed);
  multiply(layer.channel_key, room.mixed[0].data(), room.hidden.data(), batch);
  apply(room.hidden.data(), batch * layer.channel_key.rows, [](Vector<float> x) {
    const Vector<float> positive = maximum<float>(Vector<float>{}, x);
    return positive * positive;
  });
  multiply(layer.channel_value, room.hidden.data(), room.normed.data(), batch, true);
  add(room.x, room.normed);
}

inline void decode_step(const DecodeStep& step) {
  const DecodeModel& model = step.model;
  const int64_t channels = model.channels, size = step.batch * channels;
  DecodeRoom room(model, step.batch);
  for (int64_t b = 0; b < step.batch; ++b)
    std::memcpy(
        room.x.data() + b * channels, model.embedding + step.ids[b] * channels,
        channels * sizeof(float));
  for (int64_t i = 0; i < model.num_layers; ++i) {
    float* shifts = step.shifts + 2 * i * size;
    float* wkv = step.wkv + i * size * kHead;
    decode_time_mixing(model.layers[i], room, shifts, wkv, channels, step.batch, i == 0);
    decode_channel_mixing(model.layers[i], room, shifts + size, channels, step.batch);
  }
  for (int64_t b = 0; b < step.batch; ++b)
    layer_norm(
        room.x.data() + b * channels, model.norm_weight, model.norm_bias, channels,
        room.normed.data() + b * channels);
  multiply(model.head, room.normed.data(), step.logits, step.batch);
}

}  // namespace rwkv_music
