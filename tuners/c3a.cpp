#include "tuners/c3a.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <cmath>
#include <utility>

#include "tuners/config/c3a_options.h"
#include "tuners/config/target_match.h"
#include "tuners/initial_values.h"
#include "tuners/mapped_linear.h"
#include "tuners/maps/tiled_map.h"

namespace tunefleet::tuners {
namespace {

/// The blocks written out and divided by the inputs.
at::Tensor dense_blocks(const at::Tensor& kernel) {
  const int64_t rows = kernel.size(0), cols = kernel.size(1), b = kernel.size(2);
  const auto place = at::arange(b, kernel.options().dtype(at::kLong).requires_grad(false));
  const auto shift = place.unsqueeze(0).sub(place.unsqueeze(1)).remainder(b);  // (j - i) mod b
  const auto blocks = kernel.index_select(2, shift.flatten()).view({rows, cols, b, b});
  return blocks.transpose(1, 2).reshape({rows * b, cols * b}).div(static_cast<double>(cols * b));
}

at::Tensor initial_kernel(at::IntArrayRef shape, const std::string& init, int64_t out, int64_t in,
                          RandomStream stream) {
  if (init == "true") return at::zeros(shape, at::kFloat);
  if (init == "gaussian") return normal_values(shape, 1.0, stream);
  if (init == "kaiming_uniform") return kaiming_values(shape, in, stream);
  return uniform_values(shape, std::sqrt(6.0 / static_cast<double>(in + out)), stream);
}

}  // namespace

std::shared_ptr<const LinearMap> circulant_map(int64_t out, int64_t in, int64_t b) {
  const loops::TileFourier fourier(b);
  return std::make_shared<TiledMap>(
      TiledMapParts{.in = fourier_basis(in, fourier, -1),
                    .out = fourier_basis(out, fourier, -1),
                    .core = circulant_core(out / b, in / b, b),
                    .scale = 1.0 / static_cast<double>(b * in),  // the transforms leave a b
                    .dense = &dense_blocks});
}

Result<std::unique_ptr<Adapter>> make_c3a(const TunerOptions& options,
                                          const AdapterRequest& request) {
  const auto& own = options.as<C3aOptions>();
  SharedMaps maps;
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const auto* pattern = find_pattern(own.block_size_pattern, site.path);
        const int64_t b = pattern == nullptr ? own.block_size : *pattern;
        const int64_t out = site.out_features(), in = site.in_features();
        if (out % b != 0 || in % b != 0) {
          return fail(ErrorCode::kInvalidArgument,
                      c10::str("c3a option block_size divides inputs and outputs of every target "
                               "(block_size_pattern sets it for single modules): ",
                               b, ", ", site.path, " is [", out, ", ", in, "]"));
        }
        const at::NoGradGuard no_grad;
        const RandomStream stream(request.seed,
                                  stream_id(c10::str(site.path, ".c3a_kernel.", request.name)));
        return std::make_unique<MappedLinear>(
            site, "c3a_kernel",
            initial_kernel({out / b, in / b, b}, own.init_weights, out, in, stream),
            maps.of(site, b, [&] { return circulant_map(out, in, b); }));
      });
}

}  // namespace tunefleet::tuners
