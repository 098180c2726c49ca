#include "worker/data/tokenizer.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "worker/data/added_tokens.h"
#include "worker/data/bpe.h"
#include "worker/data/normalizer.h"
#include "worker/data/post_processor.h"
#include "worker/data/pre_tokenizer.h"
#include "worker/data/utf8.h"

namespace tunefleet::data {
namespace {

constexpr uintmax_t kMaxFileBytes = uintmax_t{256} << 20;
constexpr int32_t kMaxAddedId = 1 << 24;

std::string_view part_of(std::string_view text, TextRange range) {
  return text.substr(range.begin, range.end - range.begin);
}

/// The ranges of the parts that are not special in the parts' joined text.
std::vector<TextRange> literal_ranges(std::span<const TextPart> parts) {
  std::vector<TextRange> ranges;
  size_t at = 0;
  for (const auto& part : parts) {
    if (!part.special && !part.text.empty()) ranges.push_back({at, at + part.text.size()});
    at += part.text.size();
  }
  return ranges;
}

/// The ranges that overlap `window`, counted from its start.
std::vector<TextRange> ranges_within(std::span<const TextRange> ranges, TextRange window) {
  std::vector<TextRange> within;
  for (const auto& range : ranges) {
    const TextRange common{std::max(range.begin, window.begin), std::min(range.end, window.end)};
    if (common.begin < common.end) {
      within.push_back({common.begin - window.begin, common.end - window.begin});
    }
  }
  return within;
}

Result<std::string> read_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error) return fail(ErrorCode::kNotFound, fmt::format("no such tokenizer: {}", path.string()));
  if (bytes > kMaxFileBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("tokenizer file too large: {} > {} bytes, {}", bytes, kMaxFileBytes,
                            path.string()));
  }
  std::string text(bytes, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("cannot read the tokenizer: {}", path.string()));
  }
  return text;
}

/// An absent key and null mean the same in a tokenizer.json.
const nlohmann::json& part_or_null(const nlohmann::json& config, const char* key) {
  static const nlohmann::json null;
  return config.contains(key) ? config[key] : null;
}

}  // namespace

struct Tokenizer::Tables {
  Bpe bpe;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  AddedTokenMatcher in_original;    ///< Tokens looked for before normalizing.
  AddedTokenMatcher in_normalized;  ///< And those after.
  std::unordered_map<int32_t, AddedToken> added;
  std::unordered_map<std::string, int32_t> added_ids;

  static Result<std::shared_ptr<const Tables>> from_json(const nlohmann::json& config);
  Status add_tokens(const nlohmann::json& config);
  Status append_ids(std::string_view text, std::span<const TextRange> literal,
                    std::vector<int32_t>& ids) const;
  Status append_text(std::string_view text, std::span<const TextRange> literal,
                     std::vector<int32_t>& ids) const;
  Status append_words(std::string_view text, std::vector<int32_t>& ids) const;
};

Result<std::shared_ptr<const Tokenizer::Tables>> Tokenizer::Tables::from_json(
    const nlohmann::json& config) {
  const auto& decoder = part_or_null(config, "decoder");
  if (!decoder.is_null() && decoder.at("type") != "ByteLevel") {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("only byte-level tokenizers are supported: decoder {}",
                            decoder.at("type").dump()));
  }
  auto bpe = Bpe::from_json(config.at("model"));
  if (!bpe) return fail(bpe.error());
  auto normalizer = Normalizer::from_json(part_or_null(config, "normalizer"));
  if (!normalizer) return fail(normalizer.error());
  auto pre_tokenizer = PreTokenizer::from_json(part_or_null(config, "pre_tokenizer"));
  if (!pre_tokenizer) return fail(pre_tokenizer.error());
  auto post_processor = PostProcessor::from_json(part_or_null(config, "post_processor"));
  if (!post_processor) return fail(post_processor.error());
  auto tables = std::make_shared<Tables>(Tables{std::move(*bpe),
                                                std::move(*normalizer),
                                                std::move(*pre_tokenizer),
                                                std::move(*post_processor),
                                                {},
                                                {},
                                                {},
                                                {}});
  if (auto status = tables->add_tokens(part_or_null(config, "added_tokens")); !status) {
    return fail(status.error());
  }
  return tables;
}

Status Tokenizer::Tables::add_tokens(const nlohmann::json& config) {
  for (auto& token : added_tokens_from_json(config)) {
    if (token.id < 0 || token.id >= kMaxAddedId) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("added token id out of range: {}, {}", token.content, token.id));
    }
    if (token.normalized) {
      const auto content = normalizer.normalize(token.content);
      if (!content) return fail(content.error());
      in_normalized.add(token, *content);
    } else {
      in_original.add(token, token.content);
    }
    added_ids.emplace(token.content, token.id);
    added.emplace(token.id, std::move(token));
  }
  return {};
}

/// First the tokens of the original text, then in what lies between them normalizing, the tokens of
/// the normalized text, and words.
Status Tokenizer::Tables::append_ids(std::string_view text, std::span<const TextRange> literal,
                                     std::vector<int32_t>& ids) const {
  for (const auto& fragment : in_original.split(text, literal)) {
    if (fragment.id >= 0) {
      ids.push_back(fragment.id);
      continue;
    }
    const auto part = part_of(text, fragment.range);
    Status status;
    if (normalizer.changes_nothing()) {
      status = append_text(part, ranges_within(literal, fragment.range), ids);
    } else {
      // Offsets do not survive normalizing: a special token that is looked for only there is found
      // anywhere.
      const auto normalized = normalizer.normalize(part);
      status = normalized ? append_text(*normalized, {}, ids) : fail(normalized.error());
    }
    if (!status) return status;
  }
  return {};
}

Status Tokenizer::Tables::append_text(std::string_view text, std::span<const TextRange> literal,
                                      std::vector<int32_t>& ids) const {
  if (in_normalized.empty()) return append_words(text, ids);
  for (const auto& fragment : in_normalized.split(text, literal)) {
    if (fragment.id >= 0) {
      ids.push_back(fragment.id);
    } else if (auto status = append_words(part_of(text, fragment.range), ids); !status) {
      return status;
    }
  }
  return {};
}

Status Tokenizer::Tables::append_words(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return {};
  thread_local PreTokenizer::Words words;
  if (auto status = pre_tokenizer.split(text, words); !status) return status;
  for (const auto word : words.words) bpe.append_ids(word, ids);
  return {};
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
  const auto text = read_file(file);
  if (!text) return fail(text.error());
  return parse(*text, file.string());
}

Result<Tokenizer> Tokenizer::parse(std::string_view json_text, std::string_view name) {
  try {
    auto tables = Tables::from_json(nlohmann::json::parse(json_text));
    if (!tables) return fail(name, tables.error());
    return Tokenizer(std::move(*tables));
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("malformed tokenizer file: {}: {}", name, error.what()));
  }
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text,
                                               bool add_special_tokens) const {
  const TextPart part{text};
  auto ids = encode_parts({&part, 1});
  if (!ids || !add_special_tokens) return ids;
  const auto& [before, after] = tables_->post_processor;
  ids->insert(ids->begin(), before.begin(), before.end());
  ids->insert(ids->end(), after.begin(), after.end());
  return ids;
}

Result<std::vector<int32_t>> Tokenizer::encode_parts(std::span<const TextPart> parts) const {
  std::string joined;
  if (parts.size() != 1) {
    for (const auto& part : parts) joined += part.text;
  }
  const std::string_view text = parts.size() == 1 ? parts.front().text : joined;
  if (const auto offset = first_invalid_utf8(text)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("text is not valid UTF-8: at byte {} of {}", *offset, text.size()));
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3);
  const auto literal = literal_ranges(parts);
  if (auto status = tables_->append_ids(text, literal, ids); !status) return fail(status.error());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!(skip_special_tokens && is_special(id))) bytes += token_bytes(id);
  }
  return replace_invalid_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  const auto added = tables_->added.find(id);
  if (added != tables_->added.end()) return added->second.content;
  return tables_->bpe.token_bytes(id).value_or(std::string_view());
}

std::optional<int32_t> Tokenizer::token_id(std::string_view name) const {
  const std::string spelling(name);
  const auto added = tables_->added_ids.find(spelling);
  return added != tables_->added_ids.end() ? std::optional(added->second)
                                           : tables_->bpe.token_id(spelling);
}

const std::vector<int32_t>& Tokenizer::prefix_ids() const { return tables_->post_processor.before; }

bool Tokenizer::is_special(int32_t id) const {
  const auto added = tables_->added.find(id);
  return added != tables_->added.end() && added->second.special;
}

int64_t Tokenizer::vocab_size() const {
  int64_t size = tables_->bpe.id_limit();
  for (const auto& [id, token] : tables_->added) size = std::max<int64_t>(size, id + 1);
  return size;
}

std::string StreamDecoder::push(int32_t id) {
  if (skip_special_tokens_ && tokenizer_.is_special(id)) return {};
  pending_ += tokenizer_.token_bytes(id);
  const size_t complete = pending_.size() - incomplete_utf8_suffix(pending_);
  std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text = replace_invalid_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace tunefleet::data
