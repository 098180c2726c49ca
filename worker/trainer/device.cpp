#include "worker/trainer/device.h"

#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>

#include "worker/collective/cuda_plugin.h"

namespace tunefleet::trainer {

Result<at::Device> choose_device(const std::string& wanted, int local_rank) {
  if (wanted == "cpu") return at::Device(at::kCPU);
  const bool available = collective::cuda_available();
  if (wanted == "cuda" && !available) {
    return fail(
        ErrorCode::kUnavailable,
        "device: cuda, but no GPU can be used here; check nvidia-smi, or use device: cpu or auto");
  }
  if (!available) return at::Device(at::kCPU);
  const int count = collective::load_cuda_plugin().device_count();
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(local_rank % count));
}

Result<at::ScalarType> choose_dtype(const std::string& wanted, const models::ModelConfig& config) {
  const std::string& name = wanted.empty() ? config.dtype : wanted;
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16" && wanted.empty()) return at::kBFloat16;
  return fail(ErrorCode::kInvalidArgument, "torch_dtype is not float32 or bfloat16: " + name);
}

void set_threads(int local_size) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const int cores = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
  at::set_num_threads(std::max(1, cores / std::max(1, local_size)));
}

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

int64_t peak_device_bytes(at::Device device) {
  if (device.is_cpu()) return 0;
  using c10::CachingAllocator::StatType;
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return stats.allocated_bytes[static_cast<size_t>(StatType::AGGREGATE)].peak;
}

}  // namespace tunefleet::trainer
