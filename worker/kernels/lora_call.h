#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "worker/kernels/gemm.h"
#include "worker/kernels/lora_linear.h"

/// What lora_linear()'s node knows of a call, and what both its passes make of it.
namespace tunefleet::kernels {

using torch::autograd::variable_list;

/// Which inputs are what, and what else backward needs beside tensors. Inputs in order: x, and for
/// each layer its weight, its bias if it has one, for each update A, B and its bias if it has one,
/// and the values of each map and each update of the weight.
struct LoraCall : torch::CustomClassHolder {
  struct Update {
    double scaling = 1.0;
    double dropout = 0.0;
    uint64_t key = 0;
    size_t a = 0;  ///< Number of A among the inputs; B is the next, then the bias.
    bool bias = false;
  };
  struct Mapped {
    size_t values = 0;  ///< Likewise.
    std::shared_ptr<const tuners::LinearMap> map;
  };
  struct WeightPart {
    size_t values = 0, count = 0;  ///< The first of them, and how many.
    std::shared_ptr<const tuners::WeightMap> map;
  };
  struct Layer {
    size_t weight = 0;  ///< Likewise; its bias is the next.
    bool bias = false;
    std::vector<Update> updates{};
    std::vector<Mapped> mapped{};
    std::vector<WeightPart> weight_parts{};
  };
  std::vector<Layer> layers;
  size_t inputs = 1;
  Product product = Product::kFast;
  at::Tensor token_keys;
};
using LoraCallPointer = c10::intrusive_ptr<LoraCall>;

/// Calls `visit`(update, its layer's number) for the updates of one kind, in the order in which
/// their r columns stand side by side.
template <typename Visit>
void for_updates(const LoraCall& call, bool with_dropout, const Visit& visit) {
  for (size_t l = 0; l < call.layers.size(); ++l) {
    for (const auto& update : call.layers[l].updates) {
      if ((update.dropout > 0.0) == with_dropout) visit(update, l);
    }
  }
}

/// The A of all updates without dropout below each other, [R, in] in x's dtype; undefined when
/// there is none.
at::Tensor shared_a(const LoraCall& call, const variable_list& in, at::ScalarType dtype);
/// s * B in `dtype`, rounded once.
at::Tensor scaled_b(const LoraCall::Update& update, const at::Tensor& b, at::ScalarType dtype);
/// The layer's own bias and those of its updates together; undefined when there are none.
at::Tensor whole_bias(const LoraCall::Layer& layer, const variable_list& in, at::ScalarType dtype);
tuners::WeightMap::Tensors values_of(const LoraCall::WeightPart& part, const variable_list& in);
/// The layer's weight with its updates.
at::Tensor whole_weight(const LoraCall::Layer& layer, const variable_list& in);
/// Whether that is kept for the backward pass.
bool keeps_weight(const LoraCall::Layer& layer);
/// Whether a backward pass reads x: with a frozen weight and no updates it does not.
bool keeps_input(const LoraCall& call, const variable_list& in);
/// Notes down one layer and appends its tensors to `others`.
void add_layer(LoraCall& call, variable_list& others, LoraLayer layer,
               const tuners::ForwardContext& context);

}  // namespace tunefleet::kernels
