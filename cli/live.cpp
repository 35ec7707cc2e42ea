#include "cli/live.hpp"

#include <csignal>
#include <cstring>
#include <iostream>
#include <set>
#include <tuple>

#include <unistd.h>

#include "cli/endpoint.hpp"
#include "cli/exec.hpp"
#include "cli/terminal.hpp"
#include "cli/values.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

/// The exec that is meant: by id or prefix, or the only one that fits.
result<api::exec_info> find_exec(const common_options& with,
                                 const std::string& sandbox,
                                 const std::string& wanted) {
  auto known = ask<api::ps_reply>(with.endpoint, api::ps{sandbox});
  if (!known)
    return tl::unexpected<failure>(known.error());
  std::vector<api::exec_info> found;
  for (auto& item : known->execs) {
    if (item.exec == wanted)
      return item;
    if (wanted.empty() ? item.detached && item.exec.rfind("init-", 0) != 0
                       : item.exec.rfind(wanted, 0) == 0)
      found.push_back(std::move(item));
  }
  if (found.size() == 1)
    return found.front();
  auto hint = "caged ps " + sandbox + " shows them";
  if (found.empty())
    return fail(ec::not_found,
                wanted.empty()
                    ? escape_text(known->id) + " has no detached exec"
                    : escape_text(known->id) + " has no exec "
                          + caged::quoted(wanted),
                hint);
  return fail(ec::ambiguous,
              (wanted.empty() ? std::string{"there are "}
                              : caged::quoted(wanted) + " fits ")
                  + std::to_string(found.size()) + " execs",
              hint);
}

} // namespace

result<int> run_pause(const common_options& with,
                      const std::vector<std::string>& sandboxes, bool freeze) {
  int code = 0;
  for (const auto& sandbox : sandboxes) {
    auto body = freeze ? api::request_body{api::pause{sandbox}}
                       : api::request_body{api::resume{sandbox}};
    auto done = ask<api::state_reply>(with.endpoint, std::move(body));
    if (!done) {
      code = exit_code_of(done.error(), false);
      continue;
    }
    if (with.as != format::table)
      std::cout << show(done->sandbox, with.as);
    else
      std::cout << escape_text(done->sandbox.id)
                << (done->changed ? "" : " (was so before)") << "\n";
  }
  return code;
}

result<int> run_ps(const common_options& with, const std::string& sandbox) {
  auto got = ask<api::ps_reply>(with.endpoint, api::ps{sandbox});
  if (!got)
    return tl::unexpected<failure>(got.error());
  std::cout << show(*got, with.as);
  return 0;
}

result<int> run_attach(const common_options& with, const std::string& sandbox,
                       const std::string& exec, bool no_stdin) {
  auto found = find_exec(with, sandbox, exec);
  if (!found)
    return tl::unexpected<failure>(found.error());
  api::exec what;
  what.sandbox = sandbox;
  what.attach_only = true;
  what.wants_stdin = !no_stdin;
  what.tty = found->tty && ::isatty(STDIN_FILENO) == 1;
  std::tie(what.rows, what.cols) = terminal_size();
  return run_exec(with.endpoint, std::move(what), {found->exec, 0});
}

result<int> run_kill(const common_options& with, const std::string& sandbox,
                     const std::string& exec, const std::string& signal) {
  auto number = parse_signal(signal);
  if (!number)
    return tl::unexpected<failure>(number.error());
  auto done =
      ask<api::kill_reply>(with.endpoint, api::kill{sandbox, exec, *number});
  if (!done)
    return tl::unexpected<failure>(done.error());
  std::cout << escape_text(done->exec) << "\n";
  return 0;
}

result<int> run_events(const common_options& with, const events_options& what) {
  api::events want{what.sandbox, what.follow, 0};
  if (!what.since.empty()) {
    auto span = parse_duration(what.since);
    if (!span)
      return tl::unexpected<failure>(span.error());
    want.since_ms = wall_clock_ms() - span->count();
  }
  // After a restart of the node the same request is answered from its start.
  std::set<std::tuple<std::int64_t, std::string, std::string>> seen;
  constexpr auto for_ever = std::chrono::hours(24 * 365);
  auto done = call(
      with.endpoint, want,
      what.follow ? std::chrono::milliseconds(for_ever)
                  : std::chrono::milliseconds(limits::request_deadline_default),
      [&](api::reply_body& reply) {
        auto* got = std::get_if<api::events_reply>(&reply);
        if (!got)
          return verdict::more;
        for (const auto& item : got->events)
          if (seen.insert({item.what.time_ms, item.sandbox, item.what.text})
                  .second)
            std::cout << show(item, with.as);
        std::cout << std::flush;
        return got->last || !std::cout ? verdict::done : verdict::more;
      });
  if (!done)
    return tl::unexpected<failure>(done.error());
  return 0;
}

} // namespace caged::cli
