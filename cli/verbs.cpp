#include "cli/verbs.hpp"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <tuple>

#include <unistd.h>

#include "cli/endpoint.hpp"
#include "cli/exec.hpp"
#include "cli/terminal.hpp"
#include "cli/values.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

/// Freeing a sandbox, or all of a node's.
constexpr auto destroy_deadline = std::chrono::minutes(2);

void print_failure(const failure& why) {
  constexpr std::size_t longest = 2048;
  std::cerr << "caged: " << escape_text(why.message, longest) << "\n";
  if (!why.hint.empty())
    std::cerr << "hint: " << escape_text(why.hint, longest) << "\n";
}

template <class Reply>
result<int> print_answer(const common_options& with, api::request_body body) {
  auto got = ask<Reply>(with.endpoint, std::move(body));
  if (!got)
    return tl::unexpected<failure>(got.error());
  std::cout << show(*got, with.as);
  return 0;
}

bool confirm(const std::string& question) {
  std::cerr << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

} // namespace

int exit_code_of(const failure& why, bool runs_command) {
  print_failure(why);
  return runs_command ? exit_ours : 1;
}

result<int> run_exec_verb(const common_options& with, exec_options what) {
  api::exec run;
  run.sandbox = std::move(what.sandbox);
  run.argv = std::move(what.command);
  if (run.argv.empty())
    return fail(ec::bad_request, "no command is given",
                "put it behind --: caged exec ID -- ls -l");
  if (what.tty && !what.detach && ::isatty(STDIN_FILENO) != 1)
    return fail(ec::bad_request, "-t needs a terminal on stdin",
                "leave -t out when input comes from a file or pipe");
  auto env = collect_env(what.env_files, what.env);
  if (!env)
    return tl::unexpected<failure>(env.error());
  run.env = std::move(*env);
  run.cwd = std::move(what.workdir);
  run.user = std::move(what.user);
  if (!what.timeout.empty()) {
    auto timeout = parse_duration(what.timeout);
    if (!timeout)
      return tl::unexpected<failure>(timeout.error());
    run.timeout = *timeout;
  }
  run.wants_stdin = !what.no_stdin;
  run.tty = what.tty;
  run.resume = what.resume;
  if (run.tty) {
    std::tie(run.rows, run.cols) = terminal_size();
    if (const char* term = std::getenv("TERM"); term && !run.env.count("TERM"))
      run.env["TERM"] = term;
  }
  if (!what.detach)
    return run_exec(with.endpoint, std::move(run));
  // Its stdin, where it has one, waits for whoever attaches.
  run.detach = true;
  auto exec = make_uuid();
  auto begun = ask<api::exec_started>(with.endpoint, std::move(run),
                                      limits::request_deadline_default, exec);
  if (!begun)
    return tl::unexpected<failure>(begun.error());
  std::cout << exec << "\n";
  return 0;
}

result<int> run_connect(const common_options& with, const std::string& sandbox,
                        const std::string& user) {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1)
    return fail(ec::bad_request, "connect needs a terminal",
                "use caged exec " + sandbox + " -- sh for scripts");
  api::exec run;
  run.sandbox = sandbox;
  run.login = true;
  run.user = user;
  run.tty = true;
  run.wants_stdin = true;
  std::tie(run.rows, run.cols) = terminal_size();
  if (const char* term = std::getenv("TERM"))
    run.env["TERM"] = term;
  return run_exec(with.endpoint, std::move(run));
}

result<int> run_list(const common_options& with, const list_options& what) {
  auto labels = parse_labels(what.labels);
  if (!labels)
    return tl::unexpected<failure>(labels.error());
  auto got = ask<api::list_reply>(
      with.endpoint, api::list{true, what.all, std::move(*labels)});
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (what.quiet)
    for (const auto& sandbox : got->sandboxes)
      std::cout << escape_text(sandbox.id) << "\n";
  else
    std::cout << show(got->sandboxes, with.as);
  say_notice(got->notice);
  return 0;
}

result<int> run_destroy(const common_options& with, destroy_options what) {
  bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (what.all == !what.sandboxes.empty())
    return fail(ec::bad_request,
                what.all ? "--all and names exclude each other"
                         : "no sandbox is named",
                "name sandboxes, or give --all");
  if (what.all && !what.force && !terminal)
    return fail(ec::bad_request,
                "--all without a terminal to ask on needs --force",
                "caged destroy --all --force");
  if (what.all) {
    auto known =
        ask<api::list_reply>(with.endpoint, api::list{true, false, {}});
    if (!known)
      return tl::unexpected<failure>(known.error());
    for (const auto& sandbox : known->sandboxes)
      what.sandboxes.push_back(sandbox.id);
    if (what.sandboxes.empty())
      return 0;
  }
  if (!what.force && terminal
      && !confirm("destroy " + std::to_string(what.sandboxes.size())
                  + (what.sandboxes.size() == 1 ? " sandbox" : " sandboxes")
                  + " and all files in it?"))
    return fail(ec::bad_request, "nothing was destroyed");
  // Each for itself: one that fails leaves the others to be destroyed.
  int code = 0;
  for (const auto& sandbox : what.sandboxes) {
    auto done = ask<api::destroy_reply>(with.endpoint, api::destroy{sandbox},
                                        destroy_deadline);
    if (done)
      std::cout << escape_text(done->id)
                << (done->was_there ? "" : " (was destroyed before)") << "\n";
    else
      code = exit_code_of(done.error(), false);
  }
  return code;
}

result<int> run_get(const common_options& with, const std::string& sandbox) {
  return print_answer<api::get_reply>(with, api::get{sandbox});
}

result<int> run_why(const common_options& with, const std::string& sandbox) {
  return print_answer<api::why_reply>(with, api::why{sandbox});
}

result<int> run_logs(const common_options& with, const std::string& sandbox,
                     const std::string& source) {
  bool terminal = ::isatty(STDOUT_FILENO) == 1;
  auto print = [&](const std::string& bytes) {
    if (!terminal) {
      std::cout.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      return;
    }
    // On a terminal the lines stay, what controls it is escaped.
    std::size_t from = 0;
    while (from < bytes.size()) {
      auto end = std::min(bytes.find('\n', from), bytes.size());
      std::cout << escape_text(bytes.substr(from, end - from),
                               4 * bytes.size());
      if (end < bytes.size())
        std::cout << "\n";
      from = end + 1;
    }
  };
  auto done =
      call(with.endpoint, api::logs{sandbox, source},
           limits::request_deadline_default, [&](api::reply_body& reply) {
             auto* chunk = std::get_if<api::log_chunk>(&reply);
             if (!chunk)
               return verdict::more;
             print(chunk->bytes);
             return chunk->last ? verdict::done : verdict::more;
           });
  std::cout << std::flush;
  if (!done)
    return tl::unexpected<failure>(done.error());
  return 0;
}

result<int> run_status(const common_options& with) {
  return print_answer<api::node_status_reply>(with, api::node_status{});
}

result<int> run_audit(const common_options& with, bool fix) {
  return print_answer<api::audit_reply>(with, api::node_audit{fix});
}

result<int> run_shutdown(const common_options& with, bool destroy_all) {
  auto got = ask<api::shutdown_reply>(
      with.endpoint, api::node_shutdown{destroy_all}, destroy_deadline);
  if (!got)
    return tl::unexpected<failure>(got.error());
  std::cout << show(*got, with.as);
  return 0;
}

result<int> run_version(const common_options& with) {
  std::cout << show_version(with.as);
  return 0;
}

} // namespace caged::cli
