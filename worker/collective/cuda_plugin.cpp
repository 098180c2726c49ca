#include "worker/collective/cuda_plugin.h"

#include <dlfcn.h>

#include <filesystem>
#include <string>

namespace tunefleet::collective {
namespace {

/// The plug-in stands beside the running program.
std::string plugin_path() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libtunefleet_cuda.so")
      .string();
}

const CudaPlugin* open_plugin() {
  const auto path = plugin_path();
  TORCH_CHECK(std::filesystem::exists(path), "built without CUDA: ", path,
              " is missing; build on a machine with the CUDA toolkit, or run with device: cpu");
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  TORCH_CHECK(library != nullptr, "cannot load the CUDA plug-in: ", dlerror());
  const auto* plugin = static_cast<const CudaPlugin*>(dlsym(library, "tunefleet_cuda_plugin"));
  TORCH_CHECK(plugin != nullptr && plugin->version == 1,
              "the CUDA plug-in is of another version: ", path);
  return plugin;
}

}  // namespace

const CudaPlugin& load_cuda_plugin() {
  static const CudaPlugin* plugin = open_plugin();
  return *plugin;
}

bool cuda_available() {
  if (!std::filesystem::exists("/dev/nvidia0")) return false;
  try {
    return load_cuda_plugin().device_count() > 0;
  } catch (const c10::Error&) {
    return false;
  }
}

}  // namespace tunefleet::collective
