#include "worker/serve/adapter_shelf.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <utility>

#include "proto/log.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::serve {

AdapterShelf::AdapterShelf(models::Decoder& model, size_t capacity)
    : model_(model),
      capacity_(std::max<size_t>(capacity, 1)),
      swift_(std::make_unique<tuners::SwiftModel>(model)) {}

Status AdapterShelf::use(const std::string& directory) {
  // Also before loading: what comes may not fit beside what is active.
  if (auto status = swift_->set_active_adapters({}); !status) return status;
  if (directory.empty()) return {};
  const auto found = std::find_if(kept_.begin(), kept_.end(),
                                  [&](const Kept& each) { return each.directory == directory; });
  if (found == kept_.end()) return load(directory);
  kept_.splice(kept_.begin(), kept_, found);
  return swift_->set_active_adapters(kept_.front().names);
}

std::vector<std::string> AdapterShelf::directories() const {
  std::vector<std::string> out;
  for (const auto& each : kept_) out.push_back(each.directory);
  return out;
}

/// Some tuners are alone on a model of their kind: then the shelf is emptied, and the second try
/// tells what is really wrong.
Status AdapterShelf::load(const std::string& directory) {
  while (kept_.size() >= capacity_) drop_last();
  const std::string prefix = c10::str("a", ++loads_, "-");
  auto status = attach(directory, prefix);
  if (status || kept_.empty()) return status;
  while (!kept_.empty()) drop_last();
  return attach(directory, prefix);
}

Status AdapterShelf::attach(const std::string& directory, const std::string& prefix) {
  auto names = trainer::add_adapters(*swift_, directory, prefix);
  if (!names) return fail(names.error());
  kept_.push_front({.directory = directory, .names = std::move(*names)});
  return {};
}

void AdapterShelf::drop_last() {
  const Kept last = std::move(kept_.back());
  kept_.pop_back();
  bool whole = true;
  for (auto name = last.names.rbegin(); name != last.names.rend(); ++name) {
    whole = swift_->delete_adapter(*name).has_value() && whole;
  }
  if (whole) return;
  // What cannot be taken off one by one goes with the model's wrapper, and all others with it.
  log::warning("adapters cannot be taken off one by one, all are: " + last.directory);
  kept_.clear();
  swift_.reset();
  swift_ = std::make_unique<tuners::SwiftModel>(model_);
}

}  // namespace tunefleet::serve
