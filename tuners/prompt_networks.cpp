#include "tuners/prompt_networks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/lstm.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <cmath>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {

PromptMlp::PromptMlp(const std::vector<int64_t>& widths, Activation between,
                     const std::string& name, const TunerPlace& place)
    : between_(between), name_(name) {
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    layers_.push_back(TrainedLinear::make(widths[i], widths[i + 1], LayerStart::kKaiming,
                                          place.inside(c10::str(name, ".", 2 * i))));
  }
}

at::Tensor PromptMlp::forward(const at::Tensor& tokens, const ForwardContext&) const {
  at::Tensor x = layers_.front()(tokens);
  for (size_t i = 1; i < layers_.size(); ++i) x = layers_[i](between_(x));
  return x;
}

std::vector<LayerTensor> PromptMlp::tensors() const {
  std::vector<LayerTensor> tensors;
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i].append(c10::str(name_, ".", 2 * i), tensors);
  return tensors;
}

void PromptMlp::zero_last() {
  const at::NoGradGuard no_grad;
  layers_.back().weight.zero_();
  layers_.back().bias.zero_();
}

PromptLstm::PromptLstm(const Shape& shape, const TunerPlace& place)
    : shape_(shape),
      stream_(stream_id(place.inside("lstm_head.dropout").path)),
      head_({2 * shape.hidden, 2 * shape.hidden, shape.width}, activation("relu"), "mlp_head",
            place) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(shape.hidden));
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    std::vector<at::Tensor> parts;
    const auto add = [&](const std::string& name, at::IntArrayRef sizes) {
      const RandomStream stream(place.seed, stream_id(place.inside("lstm_head." + name).path));
      parts.push_back(trained(uniform_values(sizes, bound, stream), place));
    };
    const int64_t in = layer == 0 ? shape.width : 2 * shape.hidden, gates = 4 * shape.hidden;
    for (const std::string way : {"", "_reverse"}) {
      const std::string end = c10::str("_l", layer, way);
      add("weight_ih" + end, {gates, in});
      add("weight_hh" + end, {gates, shape.hidden});
      add("bias_ih" + end, {gates});
      add("bias_hh" + end, {gates});
    }
    layers_.push_back(std::move(parts));
  }
}

at::Tensor PromptLstm::forward(const at::Tensor& tokens, const ForwardContext& context) const {
  // Draws of the virtual tokens themselves, whatever rows the batch has.
  ForwardContext own = context;
  own.token_keys = at::arange(tokens.size(0), at::kLong);
  const at::Tensor start = at::zeros({2, 1, shape_.hidden}, tokens.options().requires_grad(false));
  at::Tensor x = tokens;
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const auto [y, h, c] =
        at::lstm(x.unsqueeze(1), {start, start}, layers_[layer], /*has_biases=*/true,
                 /*num_layers=*/1, /*dropout=*/0.0, /*train=*/false, /*bidirectional=*/true,
                 /*batch_first=*/false);
    x = y.squeeze(1);
    if (layer + 1 < layers_.size()) x = own.dropout(x, stream_ + layer, shape_.dropout);
  }
  return head_.forward(x, context);
}

std::vector<LayerTensor> PromptLstm::tensors() const {
  std::vector<LayerTensor> tensors;
  const char* names[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    for (size_t i = 0; i < layers_[layer].size(); ++i) {
      const std::string way = i < 4 ? "" : "_reverse";
      tensors.push_back({.name = c10::str("lstm_head.", names[i % 4], "_l", layer, way),
                         .tensor = layers_[layer][i],
                         .decay = layers_[layer][i].dim() > 1});
    }
  }
  for (auto& tensor : head_.tensors()) tensors.push_back(std::move(tensor));
  return tensors;
}

}  // namespace tunefleet::tuners
