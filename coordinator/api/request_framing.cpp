#include "coordinator/api/request_framing.h"

#include <strings.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

namespace tunefleet::coordinator {
namespace {

bool is_token_character(unsigned char c) {
  return std::isalnum(c) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
}

bool is_header_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), is_token_character);
}

bool is_length(const std::string& text) {
  return !text.empty() && text.size() <= 19 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_chunked(const std::string& coding) { return ::strcasecmp(coding.c_str(), "chunked") == 0; }

}  // namespace

bool is_framing_ambiguous(const httplib::Request& request) {
  const size_t lengths = request.get_header_value_count("Content-Length");
  const size_t codings = request.get_header_value_count("Transfer-Encoding");
  if (lengths + codings > 1) return true;
  if (lengths == 1 && !is_length(request.get_header_value("Content-Length"))) return true;
  if (codings == 1 && !is_chunked(request.get_header_value("Transfer-Encoding"))) {
    return true;
  }
  return !std::all_of(request.headers.begin(), request.headers.end(),
                      [](const auto& header) { return is_header_name(header.first); });
}

bool lacks_length(const httplib::Request& request) {
  const bool may_have_body = request.method != "GET" && request.method != "HEAD" &&
                             request.method != "DELETE" && request.method != "OPTIONS";
  return may_have_body && !request.has_header("Content-Length") &&
         !request.has_header("Transfer-Encoding");
}

}  // namespace tunefleet::coordinator
