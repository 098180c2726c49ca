#include "tuners/sites.h"

#include <c10/util/Exception.h>

namespace tunefleet::tuners {

at::Tensor ForwardContext::dropout(const at::Tensor& x, uint64_t stream, double p) const {
  if (!training || p == 0.0) return x;
  TORCH_CHECK(dropout_function != nullptr && token_keys.defined(),
              "training with dropout needs the model's dropout and token_keys");
  return dropout_function(x, *this, stream, p);
}

}  // namespace tunefleet::tuners
