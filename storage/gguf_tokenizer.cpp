#include "storage/gguf_tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "storage/gguf_config.h"

namespace tunefleet::storage {

namespace {

using nlohmann::ordered_json;

/// Token types of llama.cpp, as stored.
constexpr uint64_t kControl = 3;
constexpr uint64_t kUserDefined = 4;
constexpr uint64_t kUnused = 5;  ///< Fills the embedding up; no text becomes it.

constexpr uint64_t kMaxTokenBytes = 16'384;

struct Token {
  std::string_view text;
  uint64_t type = 1;
};

/// The vocabulary as the file has it: a token's id is its position.
struct Vocabulary {
  std::vector<Token> tokens;
  std::vector<std::pair<std::string_view, std::string_view>> merges;  ///< By rank.
  std::unordered_set<std::string_view> texts;
};

/// How text is cut before BPE, by the name in `tokenizer.ggml.pre`.
struct PreTokenizer {
  std::vector<std::string_view> names;
  ordered_json normalizer;
  ordered_json pre_tokenizer;
  bool ignore_merges = false;  ///< A whole word that is a token needs no merges.
  bool adds_bos = false;       ///< When the file does not say.
};

ordered_json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

ordered_json sequence(ordered_json first, ordered_json second) {
  return {{"type", "Sequence"},
          {"pretokenizers", ordered_json::array({std::move(first), std::move(second)})}};
}

/// Llama 3's and Qwen 2's expression, which differ in how many digits stay together.
ordered_json split_by_regex(std::string_view digits) {
  const std::string regex = fmt::format(
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{}|"
      " ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      digits);
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

const std::vector<PreTokenizer>& pre_tokenizers() {
  static const std::vector<PreTokenizer> all{
      {{"gpt-2", "gpt2", "default"}, nullptr, byte_level(true)},
      {{"smollm"},
       nullptr,
       sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true))},
      {{"llama-bpe", "llama3", "llama-v3"},
       nullptr,
       sequence(split_by_regex("\\p{N}{1,3}"), byte_level(false)),
       true,
       true},
      {{"qwen2"}, {{"type", "NFC"}}, sequence(split_by_regex("\\p{N}"), byte_level(false))}};
  return all;
}

Result<PreTokenizer> find_pre_tokenizer(const GgufMetadata& metadata) {
  const std::string wanted = metadata.find_text("tokenizer.ggml.pre").value_or("default");
  std::string known;
  for (const PreTokenizer& candidate : pre_tokenizers()) {
    for (const std::string_view name : candidate.names) {
      if (name == wanted) return candidate;
      known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
    }
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("tokenizer.ggml.pre is not supported (known: {}): {}, {}", known, wanted,
                          metadata.file().path().string()));
}

Result<const std::vector<GgufValue>*> read_array(const GgufFile& file, std::string_view key) {
  const GgufValue* value = file.find(key);
  const auto* array = value == nullptr ? nullptr : value->as_array();
  if (array != nullptr) return array;
  return fail(ErrorCode::kDataLoss, fmt::format("GGUF file lacks an array under a key: {}, {}", key,
                                                file.path().string()));
}

tl::unexpected<Error> bad_vocabulary(std::string_view what, size_t position, const GgufFile& file) {
  return fail(ErrorCode::kDataLoss, fmt::format("GGUF vocabulary is damaged: {}, at {}, {}", what,
                                                position, file.path().string()));
}

Status read_tokens(const GgufFile& file, Vocabulary& vocabulary) {
  const auto tokens = read_array(file, "tokenizer.ggml.tokens");
  const auto types = read_array(file, "tokenizer.ggml.token_type");
  if (!tokens) return fail(tokens.error());
  if (!types) return fail(types.error());
  if ((*tokens)->size() != (*types)->size()) {
    return bad_vocabulary("as many types as tokens are needed", (*types)->size(), file);
  }
  for (size_t id = 0; id < (*tokens)->size(); ++id) {
    const auto text = (**tokens)[id].as_text();
    const auto type = (**types)[id].as_unsigned();
    if (!text || !type || text->empty() || text->size() > kMaxTokenBytes) {
      return bad_vocabulary("a token is no text or its type no number", id, file);
    }
    vocabulary.tokens.push_back({*text, *type});
    if (*type != kUnused && !vocabulary.texts.insert(*text).second) {
      return bad_vocabulary(fmt::format("token {} stands twice", *text), id, file);
    }
  }
  return {};
}

Status read_merges(const GgufFile& file, Vocabulary& vocabulary) {
  const auto merges = read_array(file, "tokenizer.ggml.merges");
  if (!merges) return fail(merges.error());
  std::string merged;
  for (size_t rank = 0; rank < (*merges)->size(); ++rank) {
    const auto text = (**merges)[rank].as_text().value_or("");
    const size_t space = text.find(' ', 1);
    if (space == std::string_view::npos) return bad_vocabulary("a merge is no pair", rank, file);
    const auto left = text.substr(0, space);
    const auto right = text.substr(space + 1);
    merged.assign(left).append(right);
    if (!vocabulary.texts.contains(left) || !vocabulary.texts.contains(right) ||
        !vocabulary.texts.contains(merged)) {
      return bad_vocabulary(fmt::format("merge {} is not of tokens", text), rank, file);
    }
    vocabulary.merges.emplace_back(left, right);
  }
  return {};
}

Result<Vocabulary> read_vocabulary(const GgufMetadata& metadata) {
  const auto model = metadata.text("tokenizer.ggml.model");
  if (!model) return fail(model.error());
  if (*model != "gpt2") {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("GGUF tokenizer is not supported (byte-level BPE, \"gpt2\", is): {}, {}",
                    *model, metadata.file().path().string()));
  }
  Vocabulary vocabulary;
  if (Status ok = read_tokens(metadata.file(), vocabulary); !ok) return fail(ok.error());
  if (Status ok = read_merges(metadata.file(), vocabulary); !ok) return fail(ok.error());
  return vocabulary;
}

ordered_json added_token(const Token& token) {
  return {{"content", token.text}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},       {"normalized", false},  {"special", token.type == kControl}};
}

/// The special token of that role, or nothing when the file names none.
Result<std::optional<Token>> special_token(const GgufMetadata& metadata,
                                           const Vocabulary& vocabulary, std::string_view key) {
  const auto id = metadata.find_integer(fmt::format("tokenizer.ggml.{}", key));
  if (!id) return std::optional<Token>();
  if (static_cast<uint64_t>(*id) < vocabulary.tokens.size()) {
    return std::optional<Token>(vocabulary.tokens[static_cast<size_t>(*id)]);
  }
  return bad_vocabulary(fmt::format("tokenizer.ggml.{} is past the end", key),
                        static_cast<size_t>(*id), metadata.file());
}

/// {"bos_token": text, …} of the roles that the file fills.
Result<ordered_json> special_tokens(const GgufMetadata& metadata, const Vocabulary& vocabulary) {
  constexpr std::array<std::pair<const char*, const char*>, 4> kRoles{
      {{"bos_token", "bos_token_id"},
       {"eos_token", "eos_token_id"},
       {"unk_token", "unknown_token_id"},
       {"pad_token", "padding_token_id"}}};
  ordered_json roles = ordered_json::object();
  for (const auto& [role, key] : kRoles) {
    const auto token = special_token(metadata, vocabulary, key);
    if (!token) return fail(token.error());
    if (*token) roles[role] = (*token)->text;
  }
  return roles;
}

/// Adds BOS and EOS around the text where the file asks for them; null where it does not.
ordered_json post_processor(const GgufMetadata& metadata, const PreTokenizer& pre,
                            const ordered_json& roles) {
  const bool bos = metadata.find_bool("tokenizer.ggml.add_bos_token").value_or(pre.adds_bos) &&
                   roles.contains("bos_token");
  const bool eos = metadata.find_bool("tokenizer.ggml.add_eos_token").value_or(false) &&
                   roles.contains("eos_token");
  if (!bos && !eos) return nullptr;
  ordered_json special = ordered_json::object();
  const auto sequence_of = [&](int type_id, const char* id, ordered_json& out) {
    const auto mark = [&](const char* role, const char* key) {
      const std::string text = roles[role];
      out.push_back({{"SpecialToken", {{"id", text}, {"type_id", type_id}}}});
      special[text] = {{"id", text},
                       {"ids", {*metadata.find_integer(fmt::format("tokenizer.ggml.{}", key))}},
                       {"tokens", {text}}};
    };
    if (bos) mark("bos_token", "bos_token_id");
    out.push_back({{"Sequence", {{"id", id}, {"type_id", type_id}}}});
    if (eos) mark("eos_token", "eos_token_id");
  };
  ordered_json single = ordered_json::array();
  sequence_of(0, "A", single);
  ordered_json pair = single;
  sequence_of(1, "B", pair);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", special}};
}

/// tokenizer.json as text. The vocabulary is written by hand: an ordered JSON object of that many
/// keys takes minutes.
std::string tokenizer_json(const GgufMetadata& metadata, const Vocabulary& vocabulary,
                           const PreTokenizer& pre, const ordered_json& roles) {
  ordered_json top{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  ordered_json added = ordered_json::array();
  std::string vocab;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (token.type == kUnused) continue;
    if (token.type == kControl || token.type == kUserDefined) {
      added.push_back({{"id", id}});
      added.back().update(added_token(token));
    }
    vocab += fmt::format("{}{}:{}", vocab.empty() ? "" : ",", ordered_json(token.text).dump(), id);
  }
  std::string merges;
  for (const auto& [left, right] : vocabulary.merges) {
    merges += fmt::format("{}[{},{}]", merges.empty() ? "" : ",", ordered_json(left).dump(),
                          ordered_json(right).dump());
  }
  top["added_tokens"] = added;
  top["normalizer"] = pre.normalizer;
  top["pre_tokenizer"] = pre.pre_tokenizer;
  top["post_processor"] = post_processor(metadata, pre, roles);
  top["decoder"] = byte_level(true);
  std::string text = top.dump();
  text.pop_back();  // the closing brace
  return text + fmt::format(
                    ",\"model\":{{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                    "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                    "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":{},"
                    "\"vocab\":{{{}}},\"merges\":[{}]}}}}\n",
                    pre.ignore_merges, vocab, merges);
}

std::string tokenizer_config_json(const GgufMetadata& metadata, const Vocabulary& vocabulary,
                                  const ordered_json& roles) {
  ordered_json config{{"add_prefix_space", false}};
  ordered_json added = ordered_json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (token.type != kControl && token.type != kUserDefined) continue;
    added[std::to_string(id)] = added_token(token);
  }
  config["added_tokens_decoder"] = added;
  config.update(roles);
  if (const auto chat_template = metadata.find_text("tokenizer.chat_template")) {
    config["chat_template"] = *chat_template;
  }
  config["clean_up_tokenization_spaces"] = false;
  const std::string architecture = metadata.find_text("general.architecture").value_or("");
  if (const auto context = metadata.find_integer(architecture + ".context_length")) {
    config["model_max_length"] = *context;
  }
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return config.dump(2) + "\n";
}

}  // namespace

Result<TokenizerFiles> make_tokenizer_files(const GgufFile& file) {
  const GgufMetadata metadata(file);
  const auto vocabulary = read_vocabulary(metadata);
  if (!vocabulary) return fail(vocabulary.error());
  const auto pre = find_pre_tokenizer(metadata);
  if (!pre) return fail(pre.error());
  const auto roles = special_tokens(metadata, *vocabulary);
  if (!roles) return fail(roles.error());
  try {
    return TokenizerFiles{
        {"tokenizer.json", tokenizer_json(metadata, *vocabulary, *pre, *roles)},
        {"tokenizer_config.json", tokenizer_config_json(metadata, *vocabulary, *roles)},
        {"special_tokens_map.json", roles->dump(2) + "\n"}};
  } catch (const nlohmann::json::exception&) {  // dump() of a text that is not UTF-8
    return fail(ErrorCode::kDataLoss, fmt::format("GGUF tokenizer has a text that is not UTF-8: {}",
                                                  file.path().string()));
  }
}

}  // namespace tunefleet::storage
