// exp, sigmoid and the decay of RWKV-7 on vectors, accurate to two units in the last place.
#pragma once

#include "lanes.h"

namespace rwkv_music {

// exp(-1/2): the state's decay is exp(-kDecayRate sigmoid(logit)).
constexpr double kDecayRate = 0.60653065971263342360;

template <typename Real>
struct Precision;
template <>
struct Precision<float> {
  static constexpr int mantissa_bits = 23, bias = 127, exp_terms = 7, expm1_terms = 10;
  static constexpr float exp_limit = 87.0f, rounding = 12582912.0f;  // 1.5 * 2^23
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <>
struct Precision<double> {
  static constexpr int mantissa_bits = 52, bias = 1023, exp_terms = 14, expm1_terms = 18;
  static constexpr double exp_limit = 708.0, rounding = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93147180369123816490e-01;
  static constexpr double ln2_low = 1.90821492927058770002e-10;
};

template <typename Real>
constexpr Real inverse_factorial(int n) {
  return n < 2 ? Real(1) : inverse_factorial<Real>(n - 1) / Real(n);
}

// Series of exp from term `First`, divided by x^First: sum of x^(n - First) / n!.
template <typename Real, int First, int Last>
RM_INLINE Vector<Real> exp_series(Vector<Real> x) {
  constexpr Real coefficient = inverse_factorial<Real>(First);  // or Clang would call the function
  if constexpr (First == Last)
    return fill<Real>(coefficient);
  else
    return exp_series<Real, First + 1, Last>(x) * x + coefficient;
}

template <typename Real>
RM_INLINE Vector<Real> exp(Vector<Real> x) {
  using P = Precision<Real>;
  using Integer = typename Lanes<Real>::Integer;
  // This order of arguments propagates NaN.
  x = maximum<Real>(fill<Real>(-P::exp_limit), minimum<Real>(fill<Real>(P::exp_limit), x));
  // x = n ln 2 + rest with an integer n, rounded by adding a number whose last bit has the value 1.
  const Vector<Real> shifted = x * Real(1.44269504088896340736) + P::rounding;
  const Vector<Real> n = shifted - P::rounding;
  const Vector<Real> rest = (x - n * P::ln2_high) - n * P::ln2_low;
  const Integers<Real> power =
      (__builtin_convertvector(n, Integers<Real>) + Integer(P::bias)) << P::mantissa_bits;
  return exp_series<Real, 0, P::exp_terms>(rest) * (Vector<Real>)power;
}

template <typename Real>
RM_INLINE Vector<Real> sigmoid(Vector<Real> x) {
  return Real(1) / (Real(1) + exp<Real>(-x));
}

template <typename Real>
RM_INLINE Vector<Real> tanh(Vector<Real> x) {
  return Real(1) - Real(2) / (Real(1) + exp<Real>(x * Real(2)));
}

// The amount forgotten, 1 - decay, computed without cancellation where the decay is near 1.
template <typename Real>
RM_INLINE Vector<Real> forget_amount(Vector<Real> sigmoid_of_logit) {
  const Vector<Real> log_decay = sigmoid_of_logit * Real(-kDecayRate);
  return -log_decay * exp_series<Real, 1, Precision<Real>::expm1_terms>(log_decay);
}

// The amount forgotten and its derivative with respect to the logit. sigmoid(-x) is computed as
// exp(-x) sigmoid(x), since 1 - sigmoid(x) would cancel at large x.
template <typename Real>
RM_INLINE void forget_amount_and_slope(Vector<Real> logit, Vector<Real>& forget, Vector<Real>& slope) {
  const Vector<Real> inverse = exp<Real>(-logit), s = Real(1) / (Real(1) + inverse);
  forget = forget_amount<Real>(s);
  slope = (Real(1) - forget) * Real(kDecayRate) * s * (inverse * s);
}

}  // namespace rwkv_music
