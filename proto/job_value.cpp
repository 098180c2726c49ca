#include "proto/job_value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "proto/nearest_name.h"

namespace tunefleet {
namespace {

using Kind = JobNode::Kind;

template <typename T>
using Value = tl::expected<T, ValueError>;

tl::unexpected<ValueError> wrong(std::string message) {
  return tl::unexpected(ValueError{std::move(message)});
}

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// 2^53: up to here a double holds every whole number, so that 3.0 or 1e6 can stand for one.
constexpr double kExactWhole = 9007199254740992.0;

std::optional<int64_t> whole_number_of(std::string_view text) {
  if (const auto exact = number_of<int64_t>(text)) return exact;
  const auto real = number_of<double>(text);
  if (!real || std::abs(*real) > kExactWhole || std::trunc(*real) != *real) return std::nullopt;
  return static_cast<int64_t>(*real);
}

/// What any count may be, so that products of a few of them stay within 64 bits. Seeds are no
/// counts.
constexpr int64_t kLargestCount = 4294967295;

bool is_seed(std::string_view key) {
  return key.find("seed") != std::string_view::npos || key.find("prng") != std::string_view::npos;
}

bool may_hold_number(const JobNode& node) {
  return node.kind == Kind::kNumber || node.kind == Kind::kText;
}

tl::unexpected<ValueError> out_of_range(const Limits& limits, const JobNode& node) {
  return wrong(fmt::format("must be {}, got {}", limits.text(), node.text));
}

/// The path below `path` of the first key that stands twice in a map; nothing when none does.
std::optional<std::string> repeated_key(const JobNode& node, const std::string& path) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const auto& child = node.children[i];
    const bool in_map = node.kind == Kind::kMap;
    const std::string below = path + (in_map ? "." + child.key : fmt::format("[{}]", i));
    if (in_map && !seen.insert(child.key).second) return below;
    if (auto found = repeated_key(child, below)) return found;
  }
  return std::nullopt;
}

/// The path below `path` of the first count in a tuner's options that is too large.
std::optional<std::string> large_count(const JobNode& node, const std::string& path) {
  if (may_hold_number(node) && !is_seed(node.key)) {
    const auto number = number_of<double>(node.text);
    if (number && std::abs(*number) > static_cast<double>(kLargestCount)) return path;
  }
  for (size_t i = 0; i < node.children.size(); ++i) {
    const auto& child = node.children[i];
    const bool in_map = node.kind == Kind::kMap;
    const std::string below = path + (in_map ? "." + child.key : fmt::format("[{}]", i));
    if (auto found = large_count(child, below)) return found;
  }
  return std::nullopt;
}

/// One overload for each type of value; the first argument only chooses it.
struct Read {
  const JobField& field;

  Value<double> operator()(const double*, const JobNode& node) const {
    const auto number = may_hold_number(node) ? number_of<double>(node.text) : std::nullopt;
    if (!number || !std::isfinite(*number)) return wrong("wants a number, got " + describe(node));
    if (!field.limits.contains(*number)) return out_of_range(field.limits, node);
    return *number;
  }

  Value<int64_t> operator()(const int64_t*, const JobNode& node) const {
    const auto number = may_hold_number(node) ? whole_number_of(node.text) : std::nullopt;
    if (!number) return wrong("wants a whole number, got " + describe(node));
    if (!field.limits.contains(static_cast<double>(*number)))
      return out_of_range(field.limits, node);
    if (*number > kLargestCount && !is_seed(field.key))
      return wrong(fmt::format("must be at most {}, got {}", kLargestCount, node.text));
    return *number;
  }

  /// A whole number, or min..max.
  Value<WorkerRange> operator()(const WorkerRange*, const JobNode& node) const {
    const size_t dots = may_hold_number(node) ? node.text.find("..") : std::string::npos;
    const std::string_view text = node.text;
    const auto min = may_hold_number(node) ? whole_number_of(text.substr(0, dots)) : std::nullopt;
    const auto max = dots == std::string::npos ? min : whole_number_of(text.substr(dots + 2));
    if (!min || !max) return wrong("wants a whole number or a range, 2..8: got " + describe(node));
    if (*min > *max) return wrong("the range ends below its start, got " + describe(node));
    for (const int64_t each : {*min, *max}) {
      if (!field.limits.contains(static_cast<double>(each)))
        return out_of_range(field.limits, node);
    }
    return WorkerRange{.min = *min, .max = *max};
  }

  Value<bool> operator()(const bool*, const JobNode& node) const {
    if (node.kind == Kind::kBool || node.kind == Kind::kText) {
      for (const auto yes : {"true", "True", "TRUE", "yes", "on"}) {
        if (node.text == yes) return true;
      }
      for (const auto no : {"false", "False", "FALSE", "no", "off"}) {
        if (node.text == no) return false;
      }
    }
    return wrong("wants true or false, got " + describe(node));
  }

  Value<std::string> operator()(const std::string*, const JobNode& node) const {
    if (!field.allowed.empty()) return allowed_text(node);
    if (field.or_boolean) {
      if (const auto as_bool = (*this)(static_cast<const bool*>(nullptr), node))
        return std::string(*as_bool ? "true" : "false");
    }
    if (node.kind != Kind::kText) return wrong("wants text, got " + describe(node));
    return node.text;
  }

  /// A list, or one element without the brackets.
  template <typename T>
  Value<std::vector<T>> operator()(const std::vector<T>*, const JobNode& node) const {
    if (node.kind == Kind::kMap || node.kind == Kind::kNull)
      return wrong("wants a list, got " + describe(node));
    std::vector<T> values;
    if (node.kind != Kind::kList) {
      auto value = element<T>(node, {});
      if (!value) return tl::unexpected(value.error());
      values.push_back(*std::move(value));
      return values;
    }
    for (size_t i = 0; i < node.children.size(); ++i) {
      auto value = element<T>(node.children[i], fmt::format("[{}]", i));
      if (!value) return tl::unexpected(value.error());
      values.push_back(*std::move(value));
    }
    return values;
  }

  template <typename T>
  Value<std::map<std::string, T>> operator()(const std::map<std::string, T>*,
                                             const JobNode& node) const {
    if (node.kind != Kind::kMap)
      return wrong("wants a map of names to numbers, got " + describe(node));
    std::map<std::string, T> values;
    for (const auto& child : node.children) {
      auto value = element<T>(child, "." + child.key);
      if (!value) return tl::unexpected(value.error());
      if (!values.emplace(child.key, *value).second) {
        return tl::unexpected(ValueError{"given twice in this map", "." + child.key});
      }
    }
    return values;
  }

  /// Names to maps, each kept as JSON text.
  Value<std::map<std::string, std::string>> operator()(const std::map<std::string, std::string>*,
                                                       const JobNode& node) const {
    if (node.kind != Kind::kMap)
      return wrong("wants a map of names to maps, got " + describe(node));
    if (auto repeated = repeated_key(node, ""))
      return tl::unexpected(ValueError{"given twice in this map", *std::move(repeated)});
    if (auto large = large_count(node, "")) {
      return tl::unexpected(
          ValueError{fmt::format("must be at most {}", kLargestCount), *std::move(large)});
    }
    std::map<std::string, std::string> texts;
    for (const auto& child : node.children) {
      if (child.kind != Kind::kMap) {
        return tl::unexpected(
            ValueError{"wants a map, {type: …, options}, got " + describe(child), "." + child.key});
      }
      texts[child.key] = json_of_tree(child).dump();
    }
    return texts;
  }

 private:
  template <typename T>
  Value<T> element(const JobNode& node, std::string subpath) const {
    auto value = (*this)(static_cast<const T*>(nullptr), node);
    if (!value) return tl::unexpected(ValueError{value.error().message, std::move(subpath)});
    if constexpr (std::is_same_v<T, std::string>) {
      if (value->empty()) return tl::unexpected(ValueError{"is empty text", std::move(subpath)});
    }
    return value;
  }

  Value<std::string> allowed_text(const JobNode& node) const {
    const std::string written = spelling_of(node);
    for (const auto candidate : field.allowed) {
      if (written == candidate) return written;
    }
    const std::string_view choice = field.allowed.size() == 1 ? "" : "one of ";
    std::string message =
        fmt::format("must be {}{}, got {}", choice, fmt::join(field.allowed, ", "), describe(node));
    if (const auto nearest = nearest_name(node.text, field.allowed))
      message += fmt::format(", did you mean {}?", *nearest);
    return wrong(std::move(message));
  }

  /// YAML readers turn `no` and `true` into booleans before they reach us as JSON: back to the
  /// allowed word.
  std::string spelling_of(const JobNode& node) const {
    if (node.kind != Kind::kText && node.kind != Kind::kBool) return {};
    const auto as_bool = (*this)(static_cast<const bool*>(nullptr), node);
    if (!as_bool) return node.text;
    for (const auto candidate : field.allowed) {
      if (candidate == node.text) return node.text;
      if (candidate == (*as_bool ? "true" : "false") || (!*as_bool && candidate == "no"))
        return std::string(candidate);
    }
    return node.text;
  }
};

template <typename T>
ValueStatus store(const JobField& field, const JobNode& node, T& member) {
  if (node.kind == Kind::kNull)
    return wrong("has no value: give it one, or remove the key for its default");
  auto value = Read{field}(static_cast<const T*>(nullptr), node);
  if (!value) return tl::unexpected(value.error());
  member = *std::move(value);
  return {};
}

template <typename T>
ValueStatus store(const JobField& field, const JobNode& node, std::optional<T>& member) {
  if (node.kind == Kind::kNull) {
    member.reset();
    return {};
  }
  T value{};
  auto status = store(field, node, value);
  if (status) member = std::move(value);
  return status;
}

}  // namespace

ValueStatus read_value(const JobField& field, const JobNode& node, JobSpec& spec) {
  return std::visit([&](auto member) { return store(field, node, spec.*member); }, field.member);
}

}  // namespace tunefleet
