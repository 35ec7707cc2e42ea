#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace caged {

/// Every error of the project, on every wire. Values are part of the
/// protocols: appended only, never renumbered; 0 is "no error".
enum class ec : std::uint8_t {
  bad_request = 1, ///< The request itself is wrong; repeating it is useless.
  not_found = 2,   ///< No such sandbox, exec, template or file.
  ambiguous = 3,   ///< A prefix fits several sandboxes.
  conflict = 4,    ///< A name in use, or a request id with another body.
  denied = 5,      ///< The caller may not do this.
  wrong_state = 6, ///< The sandbox's state does not allow it.
  no_capacity = 7, ///< The node is full; transient.
  unsupported = 8, ///< Not by this node, driver or version.
  unavailable = 9, ///< Somebody needed is away; transient.
  timeout = 10,    ///< A deadline passed; transient.
  agent_lost = 11, ///< The agent died or the link to it broke; transient.
  agent_restarted = 12, ///< A stand-alone agent came back: its execs are void.
  superseded = 13,      ///< A later attachment took the stream over.
  too_large = 14,       ///< A limit on size, count or depth.
  malformed = 15,       ///< Bytes from outside that are no message.
  resource = 16,      ///< The host refused a resource (disk, loop device, ...).
  host_setup = 17,    ///< The host lacks something (crun missing, ...).
  shutting_down = 18, ///< Refused because a shutdown is under way; transient.
  io = 19,            ///< A system call failed; the text has errno's name.
  internal = 20,      ///< Our own mistake.
  lost = 21, ///< The sandbox's node is silent; it goes on when that returns.
};

/// Name on the wire and in logs, for example "not_found"; "internal" for
/// values from a newer version.
std::string_view to_string(ec code) noexcept;

/// The reverse of to_string; internal for unknown names.
ec ec_from_string(std::string_view name) noexcept;

/// Whether the same request may succeed later without any change.
bool is_transient(ec code) noexcept;

/// What went wrong, inside a component: one sentence that names the thing and
/// the limit, and a hint that says what to do (may be empty).
struct failure {
  ec code = ec::internal;
  std::string message;
  std::string hint;
};

template <class T>
using result = tl::expected<T, failure>;

/// `return fail(ec::not_found, "no sandbox \"x\"", "caged list shows them");`
inline tl::unexpected<failure> fail(ec code, std::string message,
                                    std::string hint = {}) {
  return tl::unexpected<failure>(
      failure{code, std::move(message), std::move(hint)});
}

/// As fail, with ": " and errno's text appended to the message.
tl::unexpected<failure> fail_errno(ec code, std::string message, int error);

} // namespace caged
