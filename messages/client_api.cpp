#include "messages/client_api.hpp"

#include <array>

namespace caged::api {

namespace {

constexpr std::array<std::string_view, 4> channel_names = {"stdin", "stdout",
                                                           "stderr", "exit"};

// Index = alternative of request_body.
constexpr std::array<std::string_view, std::variant_size_v<request_body>>
    verbs = {"hello",
             "up",
             "list",
             "get",
             "exec",
             "destroy",
             "logs",
             "why",
             "node_status",
             "node_audit",
             "node_shutdown",
             "data",
             "ack",
             "credit",
             "eof",
             "signal",
             "resize",
             "pause",
             "resume",
             "ps",
             "kill",
             "events",
             "dial",
             "token_create",
             "token_list",
             "token_revoke",
             "key_authorize",
             "key_revoke",
             "key_list",
             "client_gone",
             "node_list",
             "node_get",
             "node_cordon",
             "node_remove",
             "node_token_create",
             "join",
             "template_read"};

} // namespace

std::string_view to_string(channel value) noexcept {
  auto index = static_cast<std::size_t>(value);
  return index < channel_names.size() ? channel_names[index] : "unknown";
}

std::optional<channel> channel_from_string(std::string_view name) noexcept {
  for (std::size_t i = 0; i < channel_names.size(); ++i)
    if (channel_names[i] == name)
      return static_cast<channel>(i);
  return std::nullopt;
}

std::string_view to_string(token_scope value) noexcept {
  return value == token_scope::read ? "read" : "mcp";
}

std::optional<token_scope> token_scope_from(std::string_view name) noexcept {
  for (const auto each : {token_scope::mcp, token_scope::read})
    if (name == to_string(each))
      return each;
  return std::nullopt;
}

std::string_view to_string(role value) noexcept {
  switch (value) {
  case role::admin:
    return "admin";
  case role::user:
    return "user";
  case role::viewer:
    break;
  }
  return "viewer";
}

std::optional<role> role_from(std::string_view name) noexcept {
  for (const auto each : {role::admin, role::user, role::viewer})
    if (name == to_string(each))
      return each;
  return std::nullopt;
}

std::string_view verb_of(const request_body& body) noexcept {
  return verbs[body.index()];
}

} // namespace caged::api
