#include "coordinator/fleet/tenant_policies.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "proto/job_tree.h"
#include "proto/nearest_name.h"
#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

constexpr uint64_t kLongestFile = uint64_t{1} << 20;
constexpr double kLargestWeight = 1e6;
constexpr double kMostSlots = 1e9;
const std::vector<std::string_view> kKeys{"weight", "max_slots"};

/// Reads the tenants of one tree and gathers what is wrong with it.
class PolicyReader {
 public:
  explicit PolicyReader(std::string source) : source_(std::move(source)) {}

  void read(const JobNode& root) {
    if (root.kind == JobNode::Kind::kNull) return;
    if (root.kind != JobNode::Kind::kMap) {
      return wrong(root, "",
                   "wants `tenant: {weight: …, max_slots: …}` lines, got " + describe(root));
    }
    for (const auto& tenant : root.children) read_tenant(tenant);
  }

  Result<std::vector<TenantPolicy>> take() {
    if (problems_.empty()) return std::move(policies_);
    return fail(ErrorCode::kInvalidArgument, problems_);
  }

  void add_problem(int line, const std::string& message) {
    const std::string place = line > 0 ? fmt::format("{}:{}", source_, line) : source_;
    problems_ += fmt::format("{}{}: {}", problems_.empty() ? "" : "\n", place, message);
  }

 private:
  void wrong(const JobNode& node, const std::string& path, const std::string& message) {
    add_problem(node.line, path.empty() ? message : path + ": " + message);
  }

  void read_tenant(const JobNode& node) {
    const bool twice =
        std::ranges::find(policies_, node.key, &TenantPolicy::tenant) != policies_.end();
    if (twice) return wrong(node, node.key, "given twice: remove one");
    if (node.kind != JobNode::Kind::kMap) {
      return wrong(node, node.key, "wants {weight: …, max_slots: …}, got " + describe(node));
    }
    TenantPolicy& policy = policies_.emplace_back(TenantPolicy{.tenant = node.key});
    for (const auto& option : node.children) read_option(option, node.key, policy);
  }

  void read_option(const JobNode& node, const std::string& tenant, TenantPolicy& policy) {
    const std::string path = tenant + "." + node.key;
    if (node.key == "weight") {
      if (const auto weight = number_of(node); weight && *weight > 0 && *weight <= kLargestWeight) {
        policy.weight = *weight;
      } else {
        wrong(node, path,
              fmt::format("wants a number above 0, at most {}, got {}", kLargestWeight,
                          describe(node)));
      }
    } else if (node.key == "max_slots") {
      const auto slots = number_of(node);
      if (slots && *slots >= 1 && *slots <= kMostSlots && std::floor(*slots) == *slots) {
        policy.max_slots = static_cast<int64_t>(*slots);
      } else {
        wrong(node, path,
              "wants a whole number from 1 (leave it out for no limit), got " + describe(node));
      }
    } else {
      const auto nearest = nearest_name(node.key, kKeys);
      wrong(node, path,
            nearest ? fmt::format("unknown key, did you mean {}?", *nearest)
                    : "unknown key: there are weight and max_slots");
    }
  }

  static std::optional<double> number_of(const JobNode& node) {
    double value = 0;
    const char* end = node.text.data() + node.text.size();
    const auto read = std::from_chars(node.text.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end || !std::isfinite(value)) return std::nullopt;
    return value;
  }

  std::string source_;
  std::string problems_;
  std::vector<TenantPolicy> policies_;
};

}  // namespace

Result<std::vector<TenantPolicy>> tenant_policies_of(std::string_view yaml,
                                                     const std::string& source) {
  PolicyReader reader(source);
  const auto tree = read_yaml_tree(yaml);
  if (tree) {
    reader.read(*tree);
  } else {
    reader.add_problem(tree.error().line, tree.error().message);
  }
  return reader.take();
}

Result<std::vector<TenantPolicy>> read_tenant_policies(const std::filesystem::path& file) {
  const auto text = storage::read_small_file(file, kLongestFile);
  if (!text) return fail(text.error());
  return tenant_policies_of(*text, file.string());
}

}  // namespace tunefleet::coordinator
