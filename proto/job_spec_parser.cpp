#include "proto/job_spec_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "proto/foreign_keys.h"
#include "proto/job_fields.h"
#include "proto/job_rules.h"
#include "proto/job_tree.h"
#include "proto/job_value.h"
#include "proto/nearest_name.h"

namespace tunefleet {
namespace {

constexpr size_t kMostAdvice = 100;         ///< Unknown keys that are told the nearest known one.
constexpr double kFullLearningRate = 1e-5;  ///< Of tuner_type full, when the job gives none.

/// Reads one or more trees into one spec; a later tree replaces what an earlier one said.
class JobReader {
 public:
  void read(const TreeResult& tree, const std::string& source) {
    if (!tree) return add({}, tree.error().line, tree.error().message, source);
    if (tree->kind == JobNode::Kind::kNull)
      return add({}, 0, "is empty: a job names at least model and dataset", source);
    if (tree->kind != JobNode::Kind::kMap) {
      return add({}, tree->line, fmt::format("wants `key: value` lines, got {}", describe(*tree)),
                 source);
    }
    for (size_t i = 0; i < tree->children.size(); ++i) {
      if (!is_repeated(*tree, i, source)) read_field(tree->children[i], source);
    }
  }

  void add_problem(Problem problem) { parsed_.problems.push_back(std::move(problem)); }

  /// Checks what concerns several keys, if every single one was fine: a rule about a value that was
  /// not understood would only confuse.
  ParsedJob finish(const JobCheck& check) {
    if (!parsed_.problems.empty()) return std::move(parsed_);
    auto& spec = parsed_.spec;
    if (spec.tuner_type == "full" && !given_.contains("learning_rate"))
      spec.learning_rate = kFullLearningRate;
    add_broken(broken_rules(spec));
    if (check && parsed_.problems.empty()) add_broken(check(spec, given_));
    return std::move(parsed_);
  }

 private:
  struct Place {
    int line = 0;
    std::string source;
  };

  void add(std::string_view path, int line, std::string message, const std::string& source) {
    parsed_.problems.push_back({std::string(path), line, std::move(message), source});
  }

  void add_broken(const std::vector<BrokenRule>& rules) {
    for (const auto& broken : rules) {
      const Place where = place_of(broken.key);
      add(broken.key, where.line, broken.message, where.source);
    }
  }

  /// Where a key stands, or else what it is inside of.
  Place place_of(std::string path) const {
    while (true) {
      const auto place = places_.find(path);
      if (place != places_.end()) return place->second;
      const size_t dot = path.rfind('.');
      if (dot == std::string::npos) return {0, first_source_};
      path.resize(dot);
    }
  }

  void note_places(const JobNode& node, const std::string& path, const std::string& source) {
    places_[path] = {node.line, source};
    if (node.kind != JobNode::Kind::kMap) return;
    for (const auto& child : node.children) note_places(child, path + "." + child.key, source);
  }

  bool is_repeated(const JobNode& map, size_t index, const std::string& source) {
    const auto& node = map.children[index];
    const auto end = map.children.begin() + static_cast<std::ptrdiff_t>(index);
    const auto first = std::find_if(map.children.begin(), end,
                                    [&](const auto& other) { return other.key == node.key; });
    if (first == end) return false;
    add(node.key, node.line, fmt::format("given twice, first on line {}: remove one", first->line),
        source);
    return true;
  }

  void read_field(const JobNode& node, const std::string& source) {
    if (first_source_.empty()) first_source_ = source;
    const JobField* field = find_job_field(node.key);
    if (field == nullptr) return add(node.key, node.line, advice_for(node.key), source);
    const auto status = read_value(*field, node, parsed_.spec);
    if (!status)
      return add(node.key + status.error().subpath, node.line, status.error().message, source);
    given_.insert(node.key);
    note_places(node, node.key, source);
  }

  std::string advice_for(const std::string& key) const {
    if (parsed_.problems.size() >= kMostAdvice) return "unknown key";
    if (const auto advice = foreign_key_advice(key)) return std::string(*advice);
    if (const auto nearest = nearest_name(key, job_keys()))
      return fmt::format("unknown key, did you mean {}?", *nearest);
    return "unknown key: `tunefleet submit --keys` lists all";
  }

  ParsedJob parsed_;
  std::set<std::string> given_;
  std::map<std::string, Place, std::less<>> places_;  ///< By path: "tuners.style.r".
  std::string first_source_;
};

Result<std::string> read_text(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return fail(ErrorCode::kInvalidArgument, "is a directory, not a job file");
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return fail(ErrorCode::kNotFound,
                fmt::format("cannot be read: {}", std::generic_category().message(errno)));
  std::string text(kLongestJobText + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

TreeResult read_tree(const std::filesystem::path& path, const std::string& text) {
  return path.extension() == ".json" ? read_json_tree(text) : read_yaml_tree(text);
}

/// "lora_rank=16" as a map of one key; the value is read as YAML.
TreeResult read_setting(const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == 0 || equals == std::string::npos) {
    return tl::unexpected(TreeError{0, fmt::format("wants key=value, got `{}`", setting)});
  }
  auto value = read_yaml_tree(std::string_view(setting).substr(equals + 1));
  if (!value)
    return tl::unexpected(TreeError{0, fmt::format("{}: {}", setting, value.error().message)});
  JobNode map{.kind = JobNode::Kind::kMap, .key = {}, .text = {}, .children = {}, .line = 0};
  value->key = setting.substr(0, equals);
  value->line = 0;
  map.children.push_back(*std::move(value));
  return map;
}

ParsedJob parse_tree(const TreeResult& tree, const std::string& source, const JobCheck& check) {
  JobReader reader;
  reader.read(tree, source);
  return reader.finish(check);
}

}  // namespace

std::string to_string(const Problem& problem) {
  std::string text = problem.source;
  if (problem.line > 0) text += fmt::format("{}{}", text.empty() ? "line " : ":", problem.line);
  if (!text.empty()) text += ": ";
  if (!problem.path.empty()) text += problem.path + ": ";
  return text + problem.message;
}

ParsedJob parse_job_yaml(std::string_view text, const std::string& file_name,
                         const JobCheck& check) {
  return parse_tree(read_yaml_tree(text), file_name, check);
}

ParsedJob parse_job_json_text(std::string_view text, const std::string& file_name,
                              const JobCheck& check) {
  return parse_tree(read_json_tree(text), file_name, check);
}

ParsedJob parse_job_json(const nlohmann::json& object, const JobCheck& check) {
  return parse_tree(tree_of_json(object), {}, check);
}

ParsedJob parse_job_file(const std::filesystem::path& path,
                         const std::vector<std::string>& settings, const JobCheck& check) {
  JobReader reader;
  const auto text = read_text(path);
  if (text) {
    reader.read(read_tree(path, *text), path.string());
  } else {
    reader.add_problem({{}, 0, text.error().message, path.string()});
  }
  for (const auto& setting : settings) reader.read(read_setting(setting), "--set");
  return reader.finish(check);
}

Result<JobSpec> to_result(const ParsedJob& parsed) {
  if (parsed.problems.empty()) return parsed.spec;
  std::string message;
  for (const auto& problem : parsed.problems)
    message += (message.empty() ? "" : "\n") + to_string(problem);
  return fail(ErrorCode::kInvalidArgument, std::move(message));
}

Result<JobSpec> load_job_file(const std::filesystem::path& path,
                              const std::vector<std::string>& settings, const JobCheck& check) {
  return to_result(parse_job_file(path, settings, check));
}

}  // namespace tunefleet
