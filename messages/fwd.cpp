#include "messages/fwd.hpp"

#include <caf/exit_reason.hpp>
#include <caf/make_message.hpp>
#include <caf/message.hpp>
#include <caf/sec.hpp>

namespace caged {

caf::error make_error(ec code, std::string message, std::string hint) {
  return caf::error{static_cast<std::uint8_t>(code), caf::atom("caged"),
                    caf::make_message(std::move(message), std::move(hint))};
}

caf::error make_error(const failure& why) {
  return make_error(why.code, why.message, why.hint);
}

failure to_failure(const caf::error& error) {
  if (error.category() == caf::atom("caged")) {
    failure out{static_cast<ec>(error.code()), {}, {}};
    const auto& context = error.context();
    if (context.match_elements<std::string, std::string>()) {
      out.message = context.get_as<std::string>(0);
      out.hint = context.get_as<std::string>(1);
    }
    return out;
  }
  if (error == caf::sec::request_timeout)
    return {ec::timeout, "a part of the node did not answer in time",
            "try again; caged node status shows how busy it is"};
  if (error == caf::sec::request_receiver_down
      || error.category() == caf::atom("exit"))
    return {ec::unavailable, "a part of the node is being restarted",
            "try again"};
  return {ec::internal,
          "a part of the node failed (CAF error " + std::to_string(error.code())
              + ")",
          {}};
}

std::string render_error(std::uint8_t code, caf::atom_value,
                         const caf::message& context) {
  std::string out{to_string(static_cast<ec>(code))};
  if (context.match_elements<std::string, std::string>())
    out += ": " + context.get_as<std::string>(0);
  return out;
}

} // namespace caged
