// One decoding step of a whole model: one token for each sequence of a batch.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "matrix.h"
#include "time_mixing.h"
#include "token_shift.h"

namespace rwkv_music {

// All vectors are float32, whatever the dtype of the matrices.
struct DecodeLayer {
  const float *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;  // [C]
  const float* mixes;       // [6, C]: for r, decay, k, v, rate, gate
  const float* channel_mix; // [C]
  const float* parameters;  // [H, 8, N]: HeadParameters
  Matrix receptance, key, value, output;
  Matrix decay1, decay2, rate1, rate2, gate1, gate2;
  Matrix residual1, residual2;  // no panels in the first layer
  Matrix channel_key, channel_value;
};

struct DecodeModel {
  int64_t num_layers, channels;
  const DecodeLayer* layers;
  const float* embedding;  // [V, C], with ln0 already applied
  const float *norm_weight, *norm_bias;
  Matrix head;
};

struct DecodeStep {
  DecodeModel model;
  int64_t batch;
  const int64_t* ids;  // [B]
  float* shifts;       // [L, 2, B, C]: last inputs of time mixing and channel mixing
  float* wkv;          // [L, B, H, key, value]
  float* logits;       // [B, V]
};

// Buffers for the intermediate results of a layer, [B, dim] each.
struct DecodeBuffers {
  std::vector<float> x, normed, mixed[6], r, decay, k, v, rate, gate, residual, value_first, y, hidden;
  const std::unique_ptr<Chunk<float>> chunk{new Chunk<float>};

  DecodeBuffers(const DecodeModel& model, int64_t batch) {
    const int64_t size = batch * model.channels;
    for (auto* vector : {&x, &normed, &r, &decay, &k, &v, &rate, &gate, &residual, &value_first, &y})
      vector->resize(size);
    for (auto& vector : mixed) vector.resize(size);
    int64_t max_hidden = 0;
    for (int64_t i = 0; i < model.num_layers; ++i) {
      const DecodeLayer& layer = model.layers[i];
      max_hidden = std::max(
          {max_hidden, layer.channel_key.rows, layer.decay1.rows, layer.rate1.rows, layer.gate1.rows,
           layer.residual1.rows});
    }
    hidden.resize(batch * max_hidden);
  }
};

// mixed_j = n + (previous - n) mix_j for the whole batch; `previous` becomes n.
inline void shift_tokens(
    const float* normed, float* previous, const float* mixes, int count, int64_t channels,
    int64_t batch, std::vector<float>* mixed) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < channels; c += Lanes<float>::count) {
      const int64_t offset = b * channels + c;
      const Vector<float> n = load(normed + offset), change = load(previous + offset) - n;
      for (int j = 0; j < count; ++j)
        store(mixed[j].data() + offset, n + change * load(mixes + j * channels + c));
      store(previous + offset, n);
    }
}

template <typename Function>
RM_INLINE void apply(float* x, int64_t count, const Function& function) {
  for (int64_t i = 0; i < count; i += Lanes<float>::count) store(x + i, function(load(x + i)));
}

// out = function(x first^T) second^T.
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
    const DecodeLayer& layer, DecodeBuffers& buffers, float* wkv, int64_t channels, int64_t batch,
    bool is_first) {
  TimeMixingForward x{};
  x.sizes = {batch, 1, channels / kHead, kFloat32, 1};
  x.r = one_step(buffers.r.data(), channels);
  x.decay = one_step(buffers.decay.data(), channels);
  x.k = one_step(buffers.k.data(), channels);
  x.v = one_step(buffers.v.data(), channels);
  x.rate = one_step(buffers.rate.data(), channels);
  if (!is_first) {
    x.residual = one_step(buffers.residual.data(), channels);
    x.value_first = one_step(buffers.value_first.data(), channels);
  }
  Chunk<float>& chunk = *buffers.chunk;
  chunk.count = 1;
  chunk.reset[0] = false;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t head = 0; head < x.sizes.heads; ++head) {
      const auto& p = reinterpret_cast<const HeadParameters<float>*>(layer.parameters)[head];
      const int64_t offset = b * channels + head * kHead;
      load_step<float>(x, b, 0, head, p, chunk.steps[0]);
      forward_chunk(chunk, wkv + (b * x.sizes.heads + head) * kState);
      store_output(chunk.steps[0], p, buffers.gate.data() + offset, buffers.y.data() + offset);
    }
}

inline void add(std::vector<float>& x, const std::vector<float>& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

inline void decode_time_mixing(
    const DecodeLayer& layer, DecodeBuffers& buffers, float* shift, float* wkv, int64_t channels,
    int64_t batch, bool is_first) {
  for (int64_t b = 0; b < batch; ++b)
    layer_norm(
        buffers.x.data() + b * channels, layer.norm1_weight, layer.norm1_bias, channels,
        buffers.normed.data() + b * channels);
  shift_tokens(buffers.normed.data(), shift, layer.mixes, 6, channels, batch, buffers.mixed);
  const std::vector<float>* mixed = buffers.mixed;
  const float *x_r = mixed[0].data(), *x_w = mixed[1].data(), *x_k = mixed[2].data(),
              *x_v = mixed[3].data(), *x_a = mixed[4].data(), *x_g = mixed[5].data();
  float* inner = buffers.hidden.data();
  const auto identity = [](Vector<float> x) { return x; };
  multiply(layer.receptance, x_r, buffers.r.data(), batch);
  multiply(layer.key, x_k, buffers.k.data(), batch);
  multiply(layer.value, x_v, buffers.v.data(), batch);
  low_rank(layer.decay1, layer.decay2, x_w, inner, buffers.decay.data(), batch, tanh<float>);
  low_rank(layer.rate1, layer.rate2, x_a, inner, buffers.rate.data(), batch, identity);
  low_rank(layer.gate1, layer.gate2, x_g, inner, buffers.gate.data(), batch, sigmoid<float>);
  if (is_first)
    buffers.value_first = buffers.v;
  else
    low_rank(layer.residual1, layer.residual2, x_v, inner, buffers.residual.data(), batch, identity);
  decode_heads(layer, buffers, wkv, channels, batch, is_first);
  multiply(layer.output, buffers.y.data(), buffers.normed.data(), batch);
  add(buffers.x, buffers.normed);
}

inline void decode_channel_mixing(
    const DecodeLayer& layer, DecodeBuffers& buffers, float* shift, int64_t channels, int64_t batch) {
  for (int64_t b = 0; b < batch; ++b)
    layer_norm(
        buffers.x.data() + b * channels, layer.norm2_weight, layer.norm2_bias, channels,
        buffers.normed.data() + b * channels);
  shift_tokens(buffers.normed.data(), shift, layer.channel_mix, 1, channels, batch, buffers.mixed);
  multiply(layer.channel_key, buffers.mixed[0].data(), buffers.hidden.data(), batch);
  apply(buffers.hidden.data(), batch * layer.channel_key.rows, [](Vector<float> x) {
    const Vector<float> positive = maximum<float>(Vector<float>{}, x);
    return positive * positive;
  });
  multiply(layer.channel_value, buffers.hidden.data(), buffers.normed.data(), batch, true);
  add(buffers.x, buffers.normed);
}

inline void decode_step(const DecodeStep& step) {
  const DecodeModel& model = step.model;
  const int64_t channels = model.channels, size = step.batch * channels;
  DecodeBuffers buffers(model, step.batch);
  for (int64_t b = 0; b < step.batch; ++b)
    std::memcpy(
        buffers.x.data() + b * channels, model.embedding + step.ids[b] * channels,
        channels * sizeof(float));
  for (int64_t i = 0; i < model.num_layers; ++i) {
    float* shifts = step.shifts + 2 * i * size;
    float* wkv = step.wkv + i * size * kHead;
    decode_time_mixing(model.layers[i], buffers, shifts, wkv, channels, step.batch, i == 0);
    decode_channel_mixing(model.layers[i], buffers, shifts + size, channels, step.batch);
  }
  for (int64_t b = 0; b < step.batch; ++b)
    layer_norm(
        buffers.x.data() + b * channels, model.norm_weight, model.norm_bias, channels,
        buffers.normed.data() + b * channels);
  multiply(model.head, buffers.normed.data(), step.logits, step.batch);
}

}  // namespace rwkv_music
