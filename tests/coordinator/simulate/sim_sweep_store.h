#pragma once

#include <vector>

#include "coordinator/queue/sweep_store.h"
#include "tests/coordinator/simulate/sim_store.h"

namespace tunefleet::simulate {

using coordinator::SweepPhase;
using coordinator::SweepRecord;
using coordinator::SweepStore;

/// One process' way to the shared sweeps, with the faults of its way to the jobs.
class SimSweepStore : public SweepStore {
 public:
  SimSweepStore(SweepStore& shared, SimStore& way) : shared_(shared), way_(way) {}

  Result<SweepRecord> create(const SweepRecord& sweep) override {
    return way_.call([&] { return shared_.create(sweep); });
  }
  Result<SweepRecord> get(const std::string& id) override {
    return way_.call([&] { return shared_.get(id); });
  }
  Result<std::vector<SweepRecord>> list(const std::string& owner) override {
    return way_.call([&] { return shared_.list(owner); });
  }
  Result<std::vector<SweepRecord>> unfinished() override {
    return way_.call([&] { return shared_.unfinished(); });
  }
  Result<SweepRecord> move(const std::string& id, SweepPhase to) override {
    return way_.call([&] { return shared_.move(id, to); });
  }

 private:
  SweepStore& shared_;
  SimStore& way_;
};

}  // namespace tunefleet::simulate
