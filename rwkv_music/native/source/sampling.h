// Choice of the next token of each candidate: top-p and top-k over the allowed tokens.
//
// Random numbers are those of `torch.multinomial`: one exponentially distributed number per token of
// the vocabulary, of which only the first few are computed.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "functions.h"

namespace rwkv_music {

constexpr int kTwisterWords = 624, kTwisterShift = 397;

// Mersenne Twister MT19937; `words` holds its 624 words and the position of the next one.
struct Twister {
  uint32_t* words;

  static uint32_t twist(uint32_t high, uint32_t low) {
    const uint32_t mixed = (high & 0x80000000u) | (low & 0x7fffffffu);
    return (mixed >> 1) ^ (-(low & 1u) & 0x9908b0dfu);
  }
  void refill() {
    constexpr int wrap = kTwisterWords - kTwisterShift;
    for (int i = 0; i < wrap; ++i) words[i] = words[i + kTwisterShift] ^ twist(words[i], words[i + 1]);
    for (int i = wrap; i < kTwisterWords - 1; ++i) words[i] = words[i - wrap] ^ twist(words[i], words[i + 1]);
    words[kTwisterWords - 1] = words[kTwisterShift - 1] ^ twist(words[kTwisterWords - 1], words[0]);
    words[kTwisterWords] = 0;
  }
  uint32_t next() {
    if (words[kTwisterWords] >= uint32_t(kTwisterWords)) refill();
    uint32_t y = words[words[kTwisterWords]++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
  }
  void skip(int64_t count) {
    while (count > 0) {
      if (words[kTwisterWords] >= uint32_t(kTwisterWords)) refill();
      const int64_t taken = std::min<int64_t>(count, kTwisterWords - words[kTwisterWords]);
      words[kTwisterWords] += static_cast<uint32_t>(taken);
      count -= taken;
    }
  }
  float exponential() {
    const uint64_t high = next();
    const uint64_t bits = ((high << 32) | next()) & ((uint64_t(1) << 53) - 1);
    return static_cast<float>(-std::log1p(-static_cast<double>(bits) * 0x1p-53));
  }
};

struct TokenSampling {
  int64_t batch, vocabulary;
  const float* logits;     // [B, V]
  uint8_t* legal;    // [B, V]: tokens that the grammar allows
  uint8_t* allowed;  // [B, V]: those of them that may be chosen
  uint32_t* const* twisters;
  double temperature, top_p;
  int64_t top_k;    // 0 for all
  int64_t* tokens;  // [B]: chosen if negative, otherwise taken as they are
  double* nats;     // [B]: -ln p of the token, without masks and temperature
  double* removed;  // [B]: probability, among the legal tokens, of those that are not allowed
};

struct SamplingBuffers {
  std::vector<float> weights, probabilities;
  std::vector<int32_t> ids, order;

  explicit SamplingBuffers(int64_t vocabulary)
      : weights(vocabulary), probabilities(vocabulary), ids(vocabulary), order(vocabulary) {}
};

// Writes exp(logits - maximum) and returns their sum.
inline double relative_probabilities(const float* logits, float largest, int64_t count, float* weights) {
  constexpr int lanes = Lanes<float>::count;
  Vector<float> sums{};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const Vector<float> weight = exp<float>(load(logits + i) - largest);
    store(weights + i, weight);
    sums += weight;
  }
  double sum = 0;
  for (int lane = 0; lane < lanes; ++lane) sum += sums[lane];
  for (; i < count; ++i) sum += weights[i] = std::exp(logits[i] - largest);
  return sum;
}

inline int64_t list_ids(const uint8_t* mask, int64_t count, int32_t* ids) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, mask + i, std::min<int64_t>(8, count - i));
    if (!eight) continue;
    for (int64_t j = i; j < std::min(i + 8, count); ++j)
      if (mask[j]) ids[found++] = static_cast<int32_t>(j);
  }
  return found;
}

inline double removed_probability(
    const uint8_t* legal, const uint8_t* allowed, const float* weights, int64_t count) {
  double total = 0, lost = 0;
  for (int64_t i = 0; i < count; ++i)
    if (legal[i]) {
      total += weights[i];
      if (!allowed[i]) lost += weights[i];
    }
  return total > 0 ? lost / total : 0;
}

// Writes the probabilities of the allowed tokens.
inline void allowed_probabilities(
    const float* logits, double temperature, int64_t count, SamplingBuffers& buffers) {
  double total = 0;
  float* p = buffers.probabilities.data();
  for (int64_t i = 0; i < count; ++i) total += p[i] = buffers.weights[buffers.ids[i]];
  if (temperature != 1 || total <= 1e-20) {
    float largest = -INFINITY;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, logits[buffers.ids[i]]);
    total = 0;
    for (int64_t i = 0; i < count; ++i)
      total += p[i] = std::exp((logits[buffers.ids[i]] - largest) / static_cast<float>(temperature));
  }
  for (int64_t i = 0; i < count; ++i) p[i] = static_cast<float>(p[i] / total);
}

// Lists the indices that top-p and top-k keep, the likeliest first, and returns their number.
inline int64_t most_likely(const TokenSampling& x, int64_t count, SamplingBuffers& buffers) {
  const float* p = buffers.probabilities.data();
  int32_t* order = buffers.order.data();
  // All those below this bound together have less than 1 - top_p: top-p keeps none of them.
  const double bound = (1 - x.top_p) / count * (1 - 1e-4);
  int64_t large = 0;
  for (int64_t i = 0; i < count; ++i)
    if (p[i] >= bound) order[large++] = static_cast<int32_t>(i);
  std::sort(order, order + large, [p](int32_t a, int32_t b) {
    return p[a] != p[b] ? p[a] > p[b] : a < b;
  });
  int64_t kept = 0;
  float before = 0;
  while (kept < large && before < x.top_p) before += p[order[kept++]];
  return x.top_k ? std::min(kept, x.top_k) : kept;
}

inline int64_t choose_token(
    const TokenSampling& x, const float* logits, Twister twister, int64_t count, SamplingBuffers& buffers) {
  const int32_t* ids = buffers.ids.data();
  if (x.temperature == 0)
    return *std::max_element(
        ids, ids + count, [logits](int32_t a, int32_t b) { return logits[a] < logits[b]; });
  int64_t used = 0, best = 0;
  if (count > 1) {
    allowed_probabilities(logits, x.temperature, count, buffers);
    used = most_likely(x, count, buffers);
    float largest = -1;
    for (int64_t i = 0; i < used; ++i) {
      const int32_t index = buffers.order[i];
      const float score = buffers.probabilities[index] / twister.exponential();
      if (score > largest) largest = score, best = index;
    }
  }
  twister.skip(2 * (x.vocabulary - used));
  return ids[best];
}

inline void sample_tokens(const TokenSampling& x) {
  SamplingBuffers buffers(x.vocabulary);
  for (int64_t b = 0; b < x.batch; ++b) {
    const float* logits = x.logits + b * x.vocabulary;
    const uint8_t *legal = x.legal + b * x.vocabulary, *allowed = x.allowed + b * x.vocabulary;
    const float largest = *std::max_element(logits, logits + x.vocabulary);
    const double sum = relative_probabilities(logits, largest, x.vocabulary, buffers.weights.data());
    x.removed[b] = 0;
    if (x.tokens[b] < 0) {
      if (std::memcmp(legal, allowed, x.vocabulary))
        x.removed[b] = removed_probability(legal, allowed, buffers.weights.data(), x.vocabulary);
      const int64_t count = list_ids(allowed, x.vocabulary, buffers.ids.data());
      x.tokens[b] = choose_token(x, logits, Twister{x.twisters[b]}, count, buffers);
    }
    x.nats[b] = std::log(sum) + largest - logits[x.tokens[b]];
  }
}

}  // namespace rwkv_music
