#include "actors/permissions.hpp"

namespace caged {

namespace {

constexpr bool yes = true, no = false;

} // namespace

const std::array<permission, std::variant_size_v<api::request_body>>
    permissions = {{
        // verb, user, viewer; then joiner, who may nothing else
        {"hello", yes, yes},
        {"up", yes, no},
        {"list", yes, yes},
        {"get", yes, yes},
        {"exec", yes, no},
        {"destroy", yes, no},
        {"logs", yes, yes},
        {"why", yes, yes},
        {"node_status", yes, yes},
        {"node_audit", no, no}, // names every owner's resources
        {"node_shutdown", no, no},
        // Of a stream that an exec or a dial has opened.
        {"data", yes, no},
        {"ack", yes, no},
        {"credit", yes, no},
        {"eof", yes, no},
        {"signal", yes, no},
        {"resize", yes, no},
        {"pause", yes, no},
        {"resume", yes, no},
        {"ps", yes, yes},
        {"kill", yes, no},
        {"events", yes, yes},
        {"dial", yes, no},
        {"token_create", yes, no}, // who has one runs commands
        {"token_list", yes, no},
        {"token_revoke", yes, no},
        {"key_authorize", no, no},
        {"key_revoke", no, no},
        {"key_list", no, no},
        {"client_gone", no, no}, // a node's alone; it asks nothing
        {"node_list", yes, yes},
        {"node_get", yes, yes},
        {"node_cordon", no, no},
        {"node_remove", no, no},
        {"node_token_create", no, no}, // who has one gets the store's secrets
        {"join", no, no, yes},
        {"template_read", no, no}, // nodes give them to each other
    }};

std::optional<failure> refusal_of(const api::request& request) {
  if (request.admin)
    return std::nullopt;
  const auto& row = permissions[request.body.index()];
  if (request.joiner) {
    if (row.joiner)
      return std::nullopt;
    return failure{ec::denied,
                   "a join token may do nothing but join (verb "
                       + std::string{api::verb_of(request.body)} + ")",
                   "use a key of your own: caged key create"};
  }
  if (request.viewer ? row.viewer : row.user)
    return std::nullopt;
  const std::string verb{api::verb_of(request.body)};
  if (request.viewer && row.user)
    return failure{ec::denied, "a viewer may not do that (" + verb + ")",
                   "an admin can give the key another role: caged key "
                   "authorize FILE --role user"};
  return failure{ec::denied, "only an admin may do that (" + verb + ")",
                 "ask somebody whose key is an admin's, or who is root or in "
                 "group caged on the node"};
}

bool may_touch(const api::request& request, const std::string& owner) {
  return request.admin || request.viewer || request.caller == owner;
}

} // namespace caged
