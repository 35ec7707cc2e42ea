#include "mcp/json_rpc.hpp"

#include <cmath>
#include <optional>
#include <utility>

#include <boost/json/basic_parser_impl.hpp>

namespace caged::mcp {

namespace {

constexpr std::size_t id_bytes_max = 4096;

/// Builds the value while it is read, so that a text that goes beyond a bound
/// is given up there and never stands in memory as a whole. The parser is
/// Boost.JSON's: it hands out the text's own bytes, while nlohmann's keeps two
/// copies of a string that it reads (of 24 MiB here).
class bounded_reader {
public:
  explicit bounded_reader(const parse_bounds& bounds) : bounds_{bounds} {}

  json root;
  std::string wrong; ///< Which bound; empty: none.

  // What boost::json::basic_parser asks for and calls. False ends it.
  using error_code = boost::json::error_code;
  using string_view = boost::json::string_view;
  static constexpr auto max_object_size = static_cast<std::size_t>(-1);
  static constexpr auto max_array_size = static_cast<std::size_t>(-1);
  static constexpr auto max_key_size = static_cast<std::size_t>(-1);
  static constexpr auto max_string_size = static_cast<std::size_t>(-1);

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code& ec) { return enter(json::object(), ec); }
  bool on_object_end(std::size_t, error_code&) { return leave(); }
  bool on_array_begin(error_code& ec) { return enter(json::array(), ec); }
  bool on_array_end(std::size_t, error_code&) { return leave(); }
  bool on_key_part(string_view part, std::size_t, error_code&) {
    return keep(part);
  }
  bool on_key(string_view part, std::size_t, error_code& ec) {
    keep(part);
    auto& members = open_.back()->get_ref<json::object_t&>();
    auto [at, fresh] =
        members.emplace(std::exchange(text_, std::string{}), nullptr);
    slot_ = &at->second;
    // Two readers may choose different ones, so neither is believed.
    return fresh || refuse("a member stands twice in one object", ec);
  }
  bool on_string_part(string_view part, std::size_t, error_code&) {
    return keep(part);
  }
  bool on_string(string_view part, std::size_t, error_code& ec) {
    keep(part);
    return place(std::exchange(text_, std::string{}), ec) != nullptr;
  }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(std::int64_t value, string_view, error_code& ec) {
    return place(value, ec) != nullptr;
  }
  bool on_uint64(std::uint64_t value, string_view, error_code& ec) {
    return place(value, ec) != nullptr;
  }
  bool on_double(double value, string_view, error_code& ec) {
    if (std::isfinite(value))
      return place(value, ec) != nullptr;
    ec = boost::json::error::exponent_overflow;
    return false;
  }
  bool on_bool(bool value, error_code& ec) {
    return place(value, ec) != nullptr;
  }
  bool on_null(error_code& ec) { return place(nullptr, ec) != nullptr; }
  bool on_comment_part(string_view, error_code&) { return false; }
  bool on_comment(string_view, error_code&) { return false; }

private:
  bool keep(string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }

  bool refuse(std::string why, error_code& ec) {
    wrong = std::move(why);
    ec = boost::json::error::too_deep; // any: `wrong` says more
    return false;
  }

  template <class Value>
  json* place(Value&& value, error_code& ec) {
    if (++values_ > bounds_.values) {
      refuse("more than " + std::to_string(bounds_.values) + " values", ec);
      return nullptr;
    }
    if (open_.empty()) {
      root = std::forward<Value>(value);
      return &root;
    }
    auto& into = *open_.back();
    if (into.is_array()) {
      auto& items = into.get_ref<json::array_t&>();
      items.emplace_back(std::forward<Value>(value));
      return &items.back();
    }
    *slot_ = std::forward<Value>(value);
    return slot_;
  }

  bool enter(json empty, error_code& ec) {
    if (open_.size() >= bounds_.depth)
      return refuse("nested deeper than " + std::to_string(bounds_.depth), ec);
    auto* at = place(std::move(empty), ec);
    if (at != nullptr)
      open_.push_back(at);
    return at != nullptr;
  }

  bool leave() {
    open_.pop_back();
    return true;
  }

  const parse_bounds& bounds_;
  std::string text_;        // of a string or key that has come in part
  std::vector<json*> open_; // from the root to where values go
  json* slot_ = nullptr;    // the member whose value comes next
  std::size_t values_ = 0;
};

bool is_id(const json& value) {
  return value.is_number_integer()
         || (value.is_string()
             && value.get_ref<const std::string&>().size() <= id_bytes_max);
}

/// The id to name in a refusal; null where none was legible (section 5).
json legible_id(const json& message) {
  if (!message.is_object())
    return nullptr;
  auto at = message.find("id");
  return at != message.end() && is_id(*at) ? *at : json(nullptr);
}

/// Nothing: to be ignored, since neither a notification nor a response is ever
/// answered.
tl::expected<std::optional<incoming>, std::string> classify(json& message) {
  auto refuse = [&](int code, std::string_view why) {
    return tl::unexpected(error_response(legible_id(message), code, why));
  };
  if (!message.is_object())
    return refuse(rpc_code::invalid_request, "a message must be an object");
  auto version = message.find("jsonrpc");
  if (version == message.end() || *version != "2.0")
    return refuse(rpc_code::invalid_request, "jsonrpc must be \"2.0\"");
  auto id = message.find("id");
  auto method = message.find("method");
  incoming out;
  if (method == message.end()) {
    auto value = message.find("result");
    auto error = message.find("error");
    if (value == message.end() && error == message.end())
      return refuse(rpc_code::invalid_request, "method is missing");
    if (id == message.end() || !is_id(*id)
        || (value != message.end() && error != message.end()))
      return std::optional<incoming>{};
    out.kind = incoming::sort::response;
    out.id = std::move(*id);
    out.params = json::object();
    if (value != message.end())
      out.params["result"] = std::move(*value);
    else
      out.params["error"] = std::move(*error);
    return out;
  }
  if (!method->is_string())
    return refuse(rpc_code::invalid_request, "method must be a string");
  if (id != message.end() && !is_id(*id))
    return refuse(rpc_code::invalid_request,
                  "id must be an integer or a string of at most 4096 bytes");
  out.kind = id == message.end() ? incoming::sort::notification
                                 : incoming::sort::request;
  auto params = message.find("params");
  if (params == message.end())
    out.params = json::object();
  else if (params->is_object())
    out.params = std::move(*params);
  else if (out.kind == incoming::sort::notification)
    return std::optional<incoming>{};
  else
    return refuse(rpc_code::invalid_params, "params must be an object");
  if (id != message.end())
    out.id = std::move(*id);
  out.method = std::move(method->get_ref<std::string&>());
  return out;
}

} // namespace

std::string error_response(const json& id, int code, std::string_view message,
                           const json& data) {
  constexpr auto replace = json::error_handler_t::replace;
  auto out = R"({"jsonrpc":"2.0","id":)" + id.dump(-1, ' ', false, replace)
             + R"(,"error":{"code":)" + std::to_string(code) + R"(,"message":)"
             + json(message).dump(-1, ' ', false, replace);
  if (!data.is_null())
    out += ",\"data\":" + data.dump(-1, ' ', false, replace);
  return out + "}}";
}

tl::expected<incoming_text, std::string>
parse_text(std::string_view text, const parse_bounds& bounds) {
  boost::json::parse_options options;
  options.max_depth = bounds.depth + 2; // the reader's own bound comes first
  boost::json::basic_parser<bounded_reader> parser{options, bounds};
  auto& reader = parser.handler();
  boost::json::error_code wrong;
  const auto read = parser.write_some(false, text.data(), text.size(), wrong);
  if (wrong || read < text.size()) {
    if (!reader.wrong.empty())
      return tl::unexpected(error_response(
          legible_id(reader.root), rpc_code::invalid_request, reader.wrong));
    return tl::unexpected(error_response(
        nullptr, rpc_code::parse_error,
        "not JSON (RFC 8259, UTF-8): wrong at byte " + std::to_string(read)));
  }
  incoming_text out;
  auto& root = reader.root;
  if (!root.is_array()) {
    auto one = classify(root);
    if (!one)
      return tl::unexpected(std::move(one.error()));
    if (*one)
      out.messages.push_back(std::move(**one));
    return out;
  }
  out.batch = true;
  if (root.empty() || root.size() > bounds.batch)
    return tl::unexpected(error_response(
        nullptr, rpc_code::invalid_request,
        root.empty() ? "a batch must not be empty"
                     : "a batch holds at most " + std::to_string(bounds.batch)
                           + " messages, not " + std::to_string(root.size())));
  for (auto& each : root) {
    auto one = classify(each);
    if (!one)
      out.refusals.push_back(std::move(one.error()));
    else if (*one)
      out.messages.push_back(std::move(**one));
  }
  return out;
}

} // namespace caged::mcp
