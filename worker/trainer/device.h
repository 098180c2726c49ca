#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "proto/result.h"
#include "worker/models/model_config.h"

namespace tunefleet::trainer {

/// "auto", "cpu" or "cuda" as a device: auto takes a GPU when there is one. For cuda, the GPU of
/// `local_rank`. kUnavailable when cuda is asked for and none is there.
Result<at::Device> choose_device(const std::string& wanted, int local_rank);

/// The dtype to compute in: the one named, else the model's own; float16 models run in bfloat16,
/// which keeps their range. kInvalidArgument for another name.
Result<at::ScalarType> choose_dtype(const std::string& wanted, const models::ModelConfig& config);

/// Gives torch this rank's part of the machine's cores; OMP_NUM_THREADS in the environment wins.
void set_threads(int local_size);

/// Bytes of main memory this process has had at most.
int64_t peak_resident_bytes();
/// Bytes of a GPU's memory that tensors of this process have had at most; 0 for the CPU.
int64_t peak_device_bytes(at::Device device);

}  // namespace tunefleet::trainer
