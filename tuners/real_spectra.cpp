#include "tuners/real_spectra.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/fft_irfft.h>
#include <ATen/ops/fft_rfft.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>

namespace tunefleet::tuners {
namespace {

constexpr int64_t kTokensOfAThread = 16;

/// Calls work(its part of `out`, first token, tokens) for every thread's share; a GPU needs none.
template <typename Work>
void over_tokens(const at::Tensor& out, const Work& work) {
  if (!out.is_cpu()) {
    at::Tensor whole = out;
    return work(whole, 0, out.size(0));
  }
  at::parallel_for(0, out.size(0), kTokensOfAThread, [&](int64_t from, int64_t to) {
    const at::NoGradGuard no_grad;  // a thread's own setting
    at::Tensor part = out.narrow(0, from, to - from);
    work(part, from, to - from);
  });
}

}  // namespace

at::Tensor block_spectra(const at::Tensor& x, int64_t b) {
  const auto blocks = x.detach().to(at::kFloat).contiguous().view({x.size(0), x.size(1) / b, b});
  const auto spectra = at::empty({blocks.size(0), blocks.size(1), b / 2 + 1},
                                 blocks.options().dtype(at::kComplexFloat));
  over_tokens(spectra, [&](at::Tensor& part, int64_t first, int64_t count) {
    at::fft_rfft_out(part, blocks.narrow(0, first, count));
  });
  return at::view_as_real(spectra).flatten(1);
}

at::Tensor from_block_spectra(const at::Tensor& spectra, int64_t b) {
  const int64_t half = b / 2 + 1, count = spectra.size(1) / (half * 2);
  const auto parts = at::view_as_complex(spectra.view({spectra.size(0), count, half, 2}));
  const auto blocks = at::empty({parts.size(0), count, b}, spectra.options());
  over_tokens(blocks, [&](at::Tensor& part, int64_t first, int64_t tokens) {
    at::fft_irfft_out(part, parts.narrow(0, first, tokens), b);
  });
  return blocks.flatten(1);
}

}  // namespace tunefleet::tuners
