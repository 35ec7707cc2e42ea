#include "mcp/json_rpc.hpp"

#include <optional>

namespace caged::mcp {

namespace {

constexpr std::size_t id_bytes_max = 4096;

/// Builds the value while it is read, so that a text that goes beyond a bound
/// is given up there and never stands in memory as a whole.
class bounded_reader {
public:
  explicit bounded_reader(const parse_bounds& bounds) : bounds_{bounds} {}

  json root;
  std::string wrong; ///< Which bound; empty: none.
  std::size_t broken_at = 0;

  // What nlohmann::json::sax_parse calls. False ends it.
  bool null() { return place(nullptr) != nullptr; }
  bool boolean(bool value) { return place(value) != nullptr; }
  bool number_integer(json::number_integer_t value) {
    return place(value) != nullptr;
  }
  bool number_unsigned(json::number_unsigned_t value) {
    return place(value) != nullptr;
  }
  bool number_float(json::number_float_t value, const std::string&) {
    return place(value) != nullptr;
  }
  // The reader's own buffer: it starts anew with every token.
  bool string(std::string& value) { return place(std::move(value)) != nullptr; }
  bool binary(json::binary_t&) { return false; }
  bool start_object(std::size_t) { return enter(json::object()); }
  bool end_object() { return leave(); }
  bool start_array(std::size_t) { return enter(json::array()); }
  bool end_array() { return leave(); }
  bool key(std::string& name) {
    auto& members = open_.back()->get_ref<json::object_t&>();
    auto [at, fresh] = members.emplace(std::move(name), nullptr);
    slot_ = &at->second;
    // Two readers may choose different ones, so neither is believed.
    if (!fresh)
      wrong = "a member stands twice in one object";
    return fresh;
  }
  bool parse_error(std::size_t at, const std::string&, const json::exception&) {
    broken_at = at;
    return false;
  }

private:
  template <class Value>
  json* place(Value&& value) {
    if (++values_ > bounds_.values) {
      wrong = "more than " + std::to_string(bounds_.values) + " values";
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

  bool enter(json empty) {
    if (open_.size() >= bounds_.depth) {
      wrong = "nested deeper than " + std::to_string(bounds_.depth);
      return false;
    }
    auto* at = place(std::move(empty));
    if (at != nullptr)
      open_.push_back(at);
    return at != nullptr;
  }

  bool leave() {
    open_.pop_back();
    return true;
  }

  const parse_bounds& bounds_;
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
  bounded_reader reader{bounds};
  if (!json::sax_parse(text.data(), text.data() + text.size(), &reader)) {
    if (!reader.wrong.empty())
      return tl::unexpected(error_response(
          legible_id(reader.root), rpc_code::invalid_request, reader.wrong));
    return tl::unexpected(
        error_response(nullptr, rpc_code::parse_error,
                       "not JSON (RFC 8259, UTF-8): wrong at byte "
                           + std::to_string(reader.broken_at)));
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
