#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "storage/safetensors.h"
#include "tuners/tensor_io.h"

/// A case of tests/oracle/ms_swift/, whose format tests/oracle/ms_swift_values.py tells.
namespace tunefleet::tuners {

/// The tensors of a safetensors file by name.
inline std::map<std::string, at::Tensor> read_tensors(const std::filesystem::path& path) {
  const auto file = storage::SafetensorsFile::open(path);
  if (!file) throw std::runtime_error(file.error().message);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& view : file->tensors()) tensors[view.name] = copy_tensor(view);
  return tensors;
}

inline nlohmann::json read_json_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

/// One folder of them.
struct MsSwiftCase {
  explicit MsSwiftCase(const std::string& name)
      : directory(std::filesystem::path("tests/oracle/ms_swift") / name),
        facts(read_json_file(directory / "case.json")) {
    const auto file = directory / "values.safetensors";
    if (std::filesystem::exists(file)) values = read_tensors(file);
  }

  const at::Tensor& operator[](const std::string& key) const { return values.at(key); }
  bool has(const std::string& key) const { return values.contains(key); }
  /// Names after "grad.": the keys of the adapters' files.
  std::vector<std::string> trained() const {
    return facts.at("trained").get<std::vector<std::string>>();
  }

  std::filesystem::path directory;  ///< With the folder `adapter` in it, where the case has one.
  nlohmann::json facts;
  std::map<std::string, at::Tensor> values;  ///< Empty for a case of facts alone.
};

/// The AdamW of the cases, on tensors with gradients: lr 1e-3, betas 0.9 and 0.999, eps 1e-6.
class CaseAdamW {
 public:
  void step(std::map<std::string, at::Tensor>& tensors) {
    const at::NoGradGuard no_grad;
    ++step_;
    for (auto& [key, tensor] : tensors) {
      auto& [m, v] =
          moments_.try_emplace(key, at::zeros_like(tensor), at::zeros_like(tensor)).first->second;
      const at::Tensor g = tensor.grad();
      m.mul_(0.9).add_(g, 0.1);
      v.mul_(0.999).addcmul_(g, g, 0.001);
      const at::Tensor root = v.sqrt().div_(std::sqrt(1 - std::pow(0.999, step_))).add_(1e-6);
      tensor.addcdiv_(m, root, -1e-3 / (1 - std::pow(0.9, step_)));
      tensor.mutable_grad().reset();
    }
  }

 private:
  int step_ = 0;
  std::map<std::string, std::pair<at::Tensor, at::Tensor>> moments_;
};

/// The largest difference.
inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  return a.sub(b).abs().max().item<double>();
}

}  // namespace tunefleet::tuners
