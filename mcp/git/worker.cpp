#include "mcp/git/worker.hpp"

#include <charconv>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <new>
#include <string_view>

#include <malloc.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mcp/git/confine.hpp"
#include "mcp/git/frame.hpp"
#include "mcp/git/ops.hpp"

namespace caged::mcp::git {

namespace {

constexpr unsigned request_seconds = 40;
constexpr std::chrono::seconds idle_most{60};
constexpr std::size_t kept_memory = 16U << 20U;

result<answer> run(worker_state& state, const json& request) {
  const auto op = request.value("op", std::string{});
  if (op == "status")
    return status(state, request);
  if (op == "diff")
    return diff(state, request);
  if (op == "log")
    return log(state, request);
  if (op == "commit")
    return commit(state, request);
  return fail(ec::internal, "the git worker knows no such operation");
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

frame reply_to(worker_state& state, const std::string& text) {
  result<answer> done = answer{};
  try {
    const auto request = json::parse(text, nullptr, false);
    done = request.is_object()
               ? run(state, request)
               : fail(ec::internal, "the git worker got no request");
    if (done)
      return {dump({{"structured", std::move(done->structured)}}),
              std::move(done->text)};
  } catch (const std::bad_alloc&) {
    done = fail(ec::too_large,
                "the git worker needs more memory than it may use (40 MiB)",
                "name fewer files with path");
  } catch (const json::exception& e) {
    done = fail(ec::internal, std::string{"the git worker: "} + e.what());
  }
  const auto& why = done.error();
  return {dump({{"error",
                 {{"code", to_string(why.code)},
                  {"message", why.message},
                  {"hint", why.hint}}}}),
          {}};
}

/// A repository that took much memory is not kept.
void give_back(worker_state& state) {
  const auto use = ::mallinfo2();
  if (use.uordblks + use.hblkhd <= kept_memory
      && use.arena + use.hblkhd <= 2 * kept_memory)
    return;
  state.repository.reset();
  ::malloc_trim(0);
}

} // namespace

int git_worker_main(const worker_options& options) {
  ::tzset(); // reads /etc/localtime, which is out of reach later
  set_up_libgit2();
  ::mallopt(M_ARENA_MAX, 1); // one for the helper would be pages of its own
  std::optional<helper_thread> helper;
  auto confined =
      confine({options.root_fd, options.writable, options.use_landlock},
              [&] { helper.emplace(); });
  if (!confined)
    return 3;
  worker_state state;
  state.helper = &*helper;
  state.root_fd = options.root_fd;
  state.confined = *confined;
  state.writable = options.writable;
  state.output_bytes = options.output_bytes;
  for (;;) {
    frame request;
    const frame_wait idle{std::chrono::steady_clock::now() + idle_most, -1};
    if (receive_frame(options.socket_fd, request, {4U << 20U, 0}, idle)
        != frame_end::done)
      return 0;
    ::alarm(request_seconds);
    const auto reply = reply_to(state, request.head);
    if (send_frame(options.socket_fd, reply, {}) != frame_end::done)
      return 0;
    ::alarm(0);
    give_back(state);
  }
}

std::optional<int> maybe_run_worker(int argc, char** argv) {
  constexpr int wrong_use = 2;
  if (argc < 2 || std::string_view{argv[1]} != "--git-worker")
    return std::nullopt;
  worker_options options;
  int type = 0;
  socklen_t size = sizeof type;
  if (argc < 4
      || ::getsockopt(options.socket_fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0
      || type != SOCK_STREAM) {
    constexpr std::string_view text =
        "--git-worker is for the server's own use: it starts its git workers "
        "itself\n";
    [[maybe_unused]] auto n = ::write(STDERR_FILENO, text.data(), text.size());
    return wrong_use;
  }
  const std::string_view bytes = argv[3];
  options.writable = std::string_view{argv[2]} == "write";
  std::from_chars(bytes.data(), bytes.data() + bytes.size(),
                  options.output_bytes);
  options.use_landlock = argc < 5 || std::string_view{argv[4]} != "no-landlock";
  ::syscall(SYS_close_range, 5U, ~0U, 0U); // nothing of the server's leaks in
  return git_worker_main(options);
}

} // namespace caged::mcp::git
