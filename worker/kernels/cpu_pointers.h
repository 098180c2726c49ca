#pragma once

#include <ATen/core/Tensor.h>

#include "tuners/sites.h"
#include "worker/kernels/cpu_loops.h"

namespace tunefleet::kernels {

inline const cpu::Bf16* bf16(const at::Tensor& t) {
  return static_cast<const cpu::Bf16*>(t.const_data_ptr());
}
inline cpu::Bf16* bf16(at::Tensor& t) { return static_cast<cpu::Bf16*>(t.mutable_data_ptr()); }
inline const float* f32(const at::Tensor& t) {
  return static_cast<const float*>(t.const_data_ptr());
}
inline float* f32(at::Tensor& t) { return static_cast<float*>(t.mutable_data_ptr()); }

/// Whether the CPU loops take this tensor: float32 or bfloat16 in main memory.
inline bool has_cpu_loop(const at::Tensor& t) {
  return t.is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

/// Whether they are also what is asked for.
inline bool runs_cpu_loop(const at::Tensor& t, tuners::Kernels kernels) {
  return kernels == tuners::Kernels::kFused && has_cpu_loop(t);
}

}  // namespace tunefleet::kernels
