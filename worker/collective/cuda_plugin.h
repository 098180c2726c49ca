#pragma once

#include <memory>

#include "worker/collective/group.h"

/// What of the worker needs CUDA lives in a library of its own, libtunefleet_cuda.so beside the
/// trainer, loaded only when a run is on GPUs: so a run on CPUs neither maps CUDA's libraries (350
/// MB) nor waits for them, and one build serves both.
namespace tunefleet::collective {

/// The plug-in's one C symbol, "tunefleet_cuda_plugin".
struct CudaPlugin {
  int version = 1;
  /// GPUs this process sees.
  int (*device_count)();
  /// See make_nccl_group in group.h. Takes ownership; throws c10::Error.
  Group* (*make_nccl_group)(Group* hosts, long timeout_s);
};

/// Loads libtorch_cuda and the plug-in, once. Throws c10::Error saying what is missing and the way
/// out.
const CudaPlugin& load_cuda_plugin();
/// Whether the plug-in loads and sees a GPU; never throws.
bool cuda_available();

}  // namespace tunefleet::collective
