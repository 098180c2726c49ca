#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "storage/safetensors.h"

namespace tunefleet::trainer {

/// One folder of tests/oracle/ms_swift: case.json and the float32, uint8 and int64 tensors of
/// values.safetensors.
struct Golden {
  nlohmann::json facts;
  std::map<std::string, at::Tensor> values;

  const at::Tensor& operator[](const std::string& name) const { return values.at(name); }
};

inline at::ScalarType golden_dtype(storage::Dtype dtype) {
  if (dtype == storage::Dtype::kU8) return at::kByte;
  return dtype == storage::Dtype::kI64 ? at::kLong : at::kFloat;
}

inline Golden read_golden(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path("tests/oracle/ms_swift") / name;
  Golden golden;
  golden.facts = nlohmann::json::parse(std::ifstream(folder / "case.json"));
  if (!std::filesystem::exists(folder / "values.safetensors")) return golden;  // Facts alone.
  const auto file = storage::SafetensorsFile::open(folder / "values.safetensors");
  if (!file) throw std::runtime_error(file.error().message);
  for (const auto& view : file->tensors()) {
    golden.values[view.name] = at::from_blob(const_cast<std::byte*>(view.data), view.shape,
                                             at::TensorOptions(golden_dtype(view.dtype)))
                                   .clone();
  }
  return golden;
}

}  // namespace tunefleet::trainer
