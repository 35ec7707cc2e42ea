#include "mcp/log.hpp"
#include "mcp/process_table.hpp"
#include "mcp/web_server.hpp"

namespace caged::mcp {

int serve_web(server& of) {
  session_factory factory;
  factory.make = [&of](std::shared_ptr<outlet> events) {
    return session::make(of, std::move(events));
  };
  // Who sends its revision with each request has no session that could hold its
  // background commands: they are the server's, which has one user.
  factory.one_shot = [&of, shared = std::make_shared<process_table>()] {
    return session::make(of, nullptr, shared);
  };
  web_times times;
  times.session_idle = of.config().session_idle;
  times.idle_exit = of.config().idle_exit;
  auto made = web_server::listen(of.config(), std::move(factory), times);
  if (!made) {
    log::error(made.error().message, {{"hint", made.error().hint}});
    return 1;
  }
  auto& serving = **made;
  serving.stop_on_signals();
  const auto* spoken = of.config().mode == transport::ws ? "ws" : "http";
  if (of.config().socket.empty())
    log::info("listening", {{"host", serving.host()},
                            {"port", serving.port()},
                            {"transport", spoken}});
  else
    log::info("listening",
              {{"socket", of.config().socket}, {"transport", spoken}});
  serving.run();
  return 0;
}

} // namespace caged::mcp
