#include "coordinator/client/adapter_commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>

#include "coordinator/client/adapter_summary.h"
#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/sibling_command.h"
#include "coordinator/client/text_format.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kWidth = 100;

struct Arguments {
  std::string directory;
  bool json = false;
  bool all = false;
};

/// "model.layers.*.q_proj" for "model.layers.12.q_proj".
std::string over_layers(const std::string& key) {
  std::string pattern;
  for (size_t i = 0; i < key.size();) {
    size_t end = i;
    while (end < key.size() && std::isdigit(static_cast<unsigned char>(key[end])) != 0) ++end;
    const bool whole =
        end > i && (i == 0 || key[i - 1] == '.') && (end == key.size() || key[end] == '.');
    pattern += whole ? "*" : key.substr(i, std::max(end, i + 1) - i);
    i = std::max(end, i + 1);
  }
  return pattern;
}

std::string tensors_text(const json& tensors, bool all) {
  struct Group {
    json shape, dtype;
    size_t count = 0;
  };
  std::vector<std::pair<std::string, Group>> groups;
  std::map<std::string, size_t> places;
  for (const auto& tensor : tensors) {
    const auto key = text_at(tensor, "key");
    const std::string name = all ? key : over_layers(key);
    const auto [place, is_new] =
        places.emplace(name + tensor["shape"].dump() + tensor["dtype"].dump(), groups.size());
    if (is_new) groups.push_back({name, {tensor["shape"], tensor["dtype"]}});
    ++groups[place->second].second.count;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, group] : groups) {
    rows.push_back({"  " + printable(name), group.shape.dump(), group.dtype.get<std::string>(),
                    group.count == 1 ? "" : fmt::format("x{}", group.count)});
  }
  return format_table(rows);
}

std::string numbers_text(const json& adapter) {
  if (adapter["weights_file"].is_null()) return "none";
  if (adapter["tensors"].is_null()) return "not known, the weights are pickled";
  const auto numbers = whole_at(adapter, "numbers").value_or(0);
  const auto trained = whole_at(adapter, "trainable_numbers").value_or(0);
  const auto text = fmt::format("{} in {} tensors", grouped_number(numbers), adapter["tensors"].size());
  return numbers == trained ? text : fmt::format("{}, {} of them train", text, grouped_number(trained));
}

std::string weights_text(const json& adapter) {
  if (adapter["weights_file"].is_null()) return "no file of weights here";
  return fmt::format("{}, {}", text_at(adapter, "weights_file"),
                     size_text(static_cast<uint64_t>(whole_at(adapter, "bytes").value_or(0))));
}

std::string options_text(const json& options) {
  std::vector<std::string> texts;
  for (const auto& [key, value] : options.items())
    texts.push_back(
        fmt::format("{}={}", key, value.is_string() ? value.get<std::string>() : value.dump()));
  return texts.empty() ? "all as by default" : fmt::format("{}", fmt::join(texts, " "));
}

/// The adapters in a directory as JSON.
Result<json> read_adapters(const std::string& directory) {
  const auto stored = find_adapters(directory);
  if (!stored) return fail(stored.error());
  json adapters = json::array();
  for (const auto& each : *stored) {
    auto adapter = adapter_json(each);
    if (!adapter) return fail(adapter.error());
    adapters.push_back(*std::move(adapter));
  }
  return adapters;
}

int list(const Arguments& arguments) {
  auto adapters = read_adapters(arguments.directory);
  if (!adapters) return report(adapters.error());
  if (!arguments.json) {
    fmt::print("{}", adapters_table(*adapters));
    return kExitOk;
  }
  for (auto& adapter : *adapters) adapter.erase("tensors");
  print_json(*adapters);
  return kExitOk;
}

int inspect(const Arguments& arguments) {
  const auto adapters = read_adapters(arguments.directory);
  if (!adapters) return report(adapters.error());
  if (arguments.json) {
    print_json(adapters->size() == 1 ? adapters->front() : *adapters);
    return kExitOk;
  }
  for (size_t i = 0; i < adapters->size(); ++i)
    fmt::print("{}{}", i == 0 ? "" : "\n", adapter_page((*adapters)[i], arguments.all));
  return kExitOk;
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& summary,
                      Arguments& arguments) {
  auto* command = app.add_subcommand(name, summary);
  command
      ->add_option("DIR", arguments.directory,
                   "A run, a checkpoint, or an adapter's folder of ms-swift or PEFT")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_flag("--json", arguments.json, "JSON for programs instead of text for people");
  command->footer(
      fmt::format("\nExample: tunefleet adapters {} run/checkpoint-100\n{}", name, kExitCodeHelp));
  return command;
}

}  // namespace

std::string adapters_table(const json& adapters) {
  std::vector<std::vector<std::string>> rows{
      {"NAME", "TUNER", "LAYOUT", "NUMBERS", "SIZE", "DIRECTORY"}};
  for (const auto& adapter : adapters) {
    const auto numbers = number_at(adapter, "numbers");
    rows.push_back({printable(text_at(adapter, "name")), text_at(adapter, "tuner"),
                    text_at(adapter, "layout"), numbers ? compact_number(*numbers) : "-",
                    adapter["bytes"].is_null()
                        ? "-"
                        : size_text(static_cast<uint64_t>(whole_at(adapter, "bytes").value_or(0))),
                    printable(text_at(adapter, "directory"))});
  }
  return format_table(rows);
}

std::string adapter_page(const json& adapter, bool all) {
  std::vector<std::vector<std::string>> rows;
  const auto line = [&](const std::string& what, const std::string& value) {
    rows.push_back({"  " + what, value});
  };
  line("directory", printable(text_at(adapter, "directory")));
  line("layout", text_at(adapter, "layout") == "peft" ? "PEFT's" : "ms-swift's");
  line("base",
       adapter["base_model"].is_null() ? "not said" : printable(text_at(adapter, "base_model")));
  line("weights", weights_text(adapter));
  line("numbers", numbers_text(adapter));
  line("options", printable(options_text(adapter["set_options"])));
  std::string text =
      fmt::format("{} ({})\n", printable(text_at(adapter, "name")), text_at(adapter, "tuner"));
  text += format_table(rows, kWidth);
  for (const auto& warning : adapter["warnings"])
    text += fmt::format("  warning: {}\n", printable(warning.get<std::string>()));
  if (adapter["tensors"].is_array() && !adapter["tensors"].empty())
    text += "\n" + tensors_text(adapter["tensors"], all);
  return text;
}

int run_adapters(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "combine") return run_combine(argc - 1, argv + 1);
  CLI::App app("Looks at adapters on disk, and combines them", "tunefleet adapters");
  Arguments arguments;
  app.require_subcommand(1);
  auto* listing = add_command(app, "list", "List the adapters in a directory", arguments);
  auto* inspecting = add_command(app, "inspect", "Tell what an adapter holds", arguments);
  inspecting->add_flag("--all", arguments.all, "Every tensor, not gathered over the layers");
  app.add_subcommand("combine", "Make one LoRA adapter of several (see combine --help)");
  app.footer(
      fmt::format("\nExample: tunefleet adapters inspect run/checkpoint-100\n{}", kExitCodeHelp));
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  return listing->parsed() ? list(arguments) : inspect(arguments);
}

}  // namespace tunefleet::coordinator
