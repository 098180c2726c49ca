#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>

#include <set>
#include <string>
#include <vector>

namespace tunefleet::models {

/// The names of all operations that a differentiable result came from.
inline std::set<std::string> graph_nodes(const at::Tensor& result) {
  std::set<std::string> names;
  std::set<torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> open{result.grad_fn().get()};
  while (!open.empty()) {
    auto* node = open.back();
    open.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    names.insert(node->name());
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return names;
}

/// Whether one of them is named after `operation`.
inline bool has_node(const at::Tensor& result, const std::string& operation) {
  for (const auto& name : graph_nodes(result)) {
    if (name.find(operation) != std::string::npos) return true;
  }
  return false;
}

}  // namespace tunefleet::models
