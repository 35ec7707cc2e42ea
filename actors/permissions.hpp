#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "messages/client_api.hpp"

/// Who may ask for what: the one place where verbs and roles meet. Which
/// sandboxes an answer is about is asked with may_touch.
namespace caged {

/// The roles that may use a verb. Users only on what is theirs; what a viewer
/// may use reads, and reads everybody's.
struct permission {
  std::string_view verb;             ///< as api::verb_of
  bool user = false, viewer = false; ///< an admin may use every verb
  bool joiner = false;               ///< the bearer of a join token
};

/// Index = alternative of api::request_body. A row that is missing has no verb
/// and is closed to all but admins.
extern const std::array<permission, std::variant_size_v<api::request_body>>
    permissions;

/// Nothing: its sender may ask for that. Otherwise why not: denied.
std::optional<failure> refusal_of(const api::request& request);

/// Whether its sender may see what belongs to this owner, and do with it what
/// its role may do at all.
bool may_touch(const api::request& request, const std::string& owner);

} // namespace caged
