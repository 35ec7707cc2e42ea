#pragma once

#include <functional>
#include <memory>
#include <string>

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/atom.hpp>
#include <caf/error.hpp>
#include <caf/fwd.hpp>

#include "messages/client_api.hpp"
#include "messages/error.hpp"
#include "messages/sandbox.hpp"

/// What actors say to each other. CAF never leaves the process (DESIGN.md,
/// section 2): nothing here is ever serialised, so messages are plain structs,
/// declared "unsafe" (that is: local) instead of registered with a type id.
namespace caged {

namespace atom {
// At most ten characters each.
using run = caf::atom_constant<caf::atom("run")>;
using start = caf::atom_constant<caf::atom("start")>;
using stop = caf::atom_constant<caf::atom("stop")>;
using tick = caf::atom_constant<caf::atom("tick")>;
using get = caf::atom_constant<caf::atom("get")>;
using list = caf::atom_constant<caf::atom("list")>;
using lookup = caf::atom_constant<caf::atom("lookup")>;
using destroy = caf::atom_constant<caf::atom("destroy")>;
using dial = caf::atom_constant<caf::atom("dial")>;
using expire = caf::atom_constant<caf::atom("expire")>;
using ended = caf::atom_constant<caf::atom("ended")>;
using gone = caf::atom_constant<caf::atom("gone")>;
using beat = caf::atom_constant<caf::atom("beat")>;
using changed = caf::atom_constant<caf::atom("changed")>;
using inject = caf::atom_constant<caf::atom("init")>;
using status = caf::atom_constant<caf::atom("status")>;
using audit = caf::atom_constant<caf::atom("audit")>;
using oom = caf::atom_constant<caf::atom("oom")>;
using fail = caf::atom_constant<caf::atom("fail")>;
using pause = caf::atom_constant<caf::atom("pause")>;
using resume = caf::atom_constant<caf::atom("resume")>;
using idle = caf::atom_constant<caf::atom("idle")>;
using ttl = caf::atom_constant<caf::atom("ttl")>;
using kill = caf::atom_constant<caf::atom("kill")>;
using assign = caf::atom_constant<caf::atom("assign")>;
using pool = caf::atom_constant<caf::atom("pool")>;
using mcp = caf::atom_constant<caf::atom("mcp")>;
using revoke = caf::atom_constant<caf::atom("revoke")>;
using ready = caf::atom_constant<caf::atom("ready")>;
using recheck = caf::atom_constant<caf::atom("recheck")>;
} // namespace atom

/// A request on its way through actors; shared, never changed.
using request_ptr = std::shared_ptr<const api::request>;

/// An error between actors. The context holds message and hint.
caf::error make_error(ec code, std::string message = {}, std::string hint = {});
caf::error make_error(const failure& why);

/// The reverse, for any error: what CAF itself reports (a timeout, an actor
/// that is gone) becomes timeout, unavailable or internal.
failure to_failure(const caf::error& error);

/// For actor_system_config::add_error_category(caf::atom("caged"), ...).
std::string render_error(std::uint8_t code, caf::atom_value,
                         const caf::message& context);

} // namespace caged

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::request_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::failure)
