#include "worker/collective/group.h"

#include <cstdlib>

#include "worker/collective/cuda_plugin.h"

namespace tunefleet::collective {

bool started_by_mpi() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr ||
         std::getenv("PMI_RANK") != nullptr;
}

std::unique_ptr<Group> make_group(const GroupOptions& options) {
  auto group = started_by_mpi() ? make_mpi_group(options.timeout) : make_solo_group();
  if (!options.cuda) return group;
  const auto& plugin = load_cuda_plugin();
  TORCH_CHECK(plugin.device_count() > 0,
              "device: cuda, but this process sees no GPU; use device: cpu or auto");
  if (group->size() == 1) return group;
  return std::unique_ptr<Group>(plugin.make_nccl_group(group.release(), options.timeout.count()));
}

}  // namespace tunefleet::collective
