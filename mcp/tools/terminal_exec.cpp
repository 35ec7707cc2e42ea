#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/command.hpp"
#include "mcp/process_table.hpp"
#include "mcp/tools/terminal.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

using std::chrono::milliseconds;

/// Beyond it execve(2) fails anyway; refused before anything is started.
constexpr std::size_t most_env = 1000;

json signal_name(int number) {
  if (number == 0)
    return nullptr;
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? "SIG" + std::string{name}
                         : "signal " + std::to_string(number);
}

/// Seconds as a model wrote them: "30", "0.5".
std::string seconds(milliseconds value) {
  return value.count() % 1000 == 0
             ? std::to_string(value.count() / 1000)
             : json(static_cast<double>(value.count()) / 1000).dump();
}

milliseconds from_seconds(double value) {
  return milliseconds{static_cast<std::int64_t>(std::llround(value * 1000))};
}

void end_line(std::string& text) {
  if (!text.empty() && text.back() != '\n')
    text += '\n';
}

/// One line for how it ended; empty when all is as it should be.
std::string ending(std::optional<int> exit_code, int signal) {
  if (signal != 0)
    return "[ended by " + signal_name(signal).get<std::string>() + "]";
  if (exit_code.value_or(0) != 0)
    return "[exit code " + std::to_string(*exit_code) + "]";
  return {};
}

result<void> set_program(const terminal& of, const json* given,
                         command_request& what) {
  if (given != nullptr && given->is_string()) {
    const auto& text = given->get_ref<const std::string&>();
    if (of.allowed) {
      auto found = of.allowed->check(text);
      if (!found)
        return tl::unexpected(found.error());
      what.argv = std::move(found->argv);
      what.program = std::move(found->path);
      return {};
    }
    if (text.find_first_not_of(" \t\r\n") == std::string::npos)
      return fail(ec::bad_request, "the command is empty",
                  "give a command such as \"ls -l\"");
    what.argv = {"sh", "-c", text};
    what.program = "/bin/sh";
    // A command that begins with "-" is no option of the shell.
    if (text[0] == '-' || text[0] == '+')
      what.argv = {"sh", "-c", "--", text};
    return {};
  }
  if (what.argv.empty())
    return fail(ec::bad_request, "the command is empty",
                "give a command such as \"ls -l\"");
  if (of.allowed) {
    auto found = of.allowed->check(std::move(what.argv));
    if (!found)
      return tl::unexpected(found.error());
    what.argv = std::move(found->argv);
    what.program = std::move(found->path);
  }
  return {};
}

result<void> set_environment(const terminal& of,
                             std::map<std::string, std::string> more,
                             command_request& what) {
  if (of.allowed && !more.empty())
    // LD_PRELOAD, PATH, PAGER, GIT_SSH_COMMAND: the list has no end.
    return fail(ec::denied,
                "env cannot be given while only some commands are allowed",
                "leave env out");
  if (more.size() > most_env)
    return fail(ec::too_large,
                "env has more than " + std::to_string(most_env) + " variables");
  for (const auto& [name, value] : more)
    if (name.empty() || name.find('=') != std::string::npos
        || name.find('\0') != std::string::npos
        || value.find('\0') != std::string::npos)
      return fail(ec::bad_request,
                  caged::quoted(name) + " is no name of a variable",
                  "names are not empty and hold no \"=\"");
  if (of.allowed)
    more.emplace("PATH", of.allowed->path());
  what.env = clean_environment(environ, more);
  return {};
}

tool_result describe(outcome&& done, milliseconds timeout) {
  tool_result out;
  auto last = ending(done.exit_code, done.signal);
  if (done.timed_out)
    last = "[timed out after " + seconds(timeout)
           + " s: ended with everything it started]";
  if (done.processes_left)
    last += std::string{last.empty() ? "" : "\n"}
            + "[processes that it started still run, until the session ends]";
  // Then the text is stdout itself, which is passed once and not copied.
  const auto bare =
      done.err.bytes.empty() && last.empty() && !done.out.bytes.empty();
  out.text = bare ? std::exchange(done.out.bytes, {}) : done.out.bytes;
  if (!done.err.bytes.empty()) {
    end_line(out.text);
    out.text += done.err.bytes;
  }
  if (!last.empty()) {
    end_line(out.text);
    out.text += last;
  }
  if (out.text.empty())
    out.text = "[no output]";
  out.structured = {
      {"exit_code", done.exit_code ? json(*done.exit_code) : json(nullptr)},
      {"signal", signal_name(done.signal)},
      {"stdout", std::move(done.out.bytes)},
      {"stderr", std::move(done.err.bytes)},
      {"stdout_left_out", done.out.left_out},
      {"stderr_left_out", done.err.left_out},
      {"timed_out", done.timed_out},
      {"processes_left", done.processes_left},
      {"duration_ms", static_cast<double>(done.duration.count()) / 1000}};
  if (bare) {
    out.text_member = "stdout";
    out.structured.erase("stdout");
  }
  return out;
}

tool_result describe(const std::string& id, process_table::output&& of,
                     bool with_output) {
  tool_result out;
  auto last = ending(of.exit_code, of.signal);
  if (of.timed_out && !of.running)
    last = "[timed out: ended with everything it started]";
  if (of.running)
    last = "[runs since " + seconds(of.age) + " s]";
  else if (last.empty())
    last = "[exit code 0]";
  if (of.processes_left)
    last += "\n[processes that it started still run]";
  auto bytes = valid_utf8(std::move(of.bytes));
  if (of.left_out > 0)
    out.text = "[... " + std::to_string(of.left_out) + " bytes left out ...]\n";
  out.text += bytes;
  end_line(out.text);
  out.text += last;
  if (with_output)
    out.text += "\n[next_offset " + std::to_string(of.next) + "]";
  out.structured = {
      {"id", id},
      {"output", std::move(bytes)},
      {"offset", of.offset},
      {"next_offset", of.next},
      {"left_out", of.left_out},
      {"total", of.total},
      {"running", of.running},
      {"exit_code", of.exit_code ? json(*of.exit_code) : json(nullptr)},
      {"signal", signal_name(of.signal)},
      {"timed_out", of.timed_out},
      {"processes_left", of.processes_left},
      {"duration_ms", of.age.count()}};
  return out;
}

result<tool_result> run_in_background(const terminal& of, command_request what,
                                      std::string label,
                                      std::optional<milliseconds> timeout,
                                      call& by) {
  what.one_stream = true;
  process_table::options how;
  how.label = std::move(label);
  how.kept_bytes = of.settings.limits.output_bytes;
  how.timeout = timeout;
  auto id = by.processes().start(what, std::move(how));
  if (!id)
    return tl::unexpected(id.error());
  tool_result out;
  out.text = "[runs in the background as " + *id
             + ": terminal_output shows what it writes, terminal_kill ends it]";
  out.structured = {{"exit_code", nullptr}, {"signal", nullptr},
                    {"stdout", ""},         {"stderr", ""},
                    {"timed_out", false},   {"id", *id}};
  return out;
}

} // namespace

result<tool_result> terminal_exec(const terminal& of, const arguments& args,
                                  call& by) {
  constexpr double default_timeout = 30;
  const auto most = static_cast<double>(of.settings.limits.exec_most.count());
  command_request what;
  if (!args.has("command"))
    args.text("command"); // says that it is missing
  what.argv = args.texts("command");
  const auto background = args.flag("background", false);
  const auto limited = args.has("timeout");
  const auto timeout = from_seconds(
      args.number("timeout", 0.1, most, std::min(default_timeout, most)));
  const auto cwd = args.text("cwd", ".");
  what.in = args.optional_text("stdin");
  auto env = args.text_map("env");
  if (auto good = args.done(); !good)
    return tl::unexpected(good.error());

  const auto& given = args.object().at("command");
  auto label = given.is_string() ? given.get<std::string>() : given.dump();
  if (auto good = set_program(of, &given, what); !good)
    return tl::unexpected(good.error());
  if (auto good = set_environment(of, std::move(env), what); !good)
    return tl::unexpected(good.error());
  auto folder = of.files.open_at(cwd, O_PATH | O_DIRECTORY);
  if (!folder)
    return tl::unexpected(folder.error());
  what.cwd = std::move(*folder);

  if (background)
    return run_in_background(of, std::move(what), std::move(label),
                             limited ? std::optional{timeout} : std::nullopt,
                             by);
  run_options how;
  how.timeout = timeout;
  how.output_bytes = of.settings.limits.output_bytes;
  how.progress = [&by](milliseconds elapsed, std::string_view line) {
    std::string text =
        seconds(milliseconds{elapsed.count() / 100 * 100}) + " s";
    if (!line.empty())
      text += ": " + std::string{line};
    by.progress(static_cast<double>(elapsed.count()) / 1000, std::nullopt,
                text);
  };
  std::unique_ptr<command> left;
  auto done = run_command(what, how, by.cancel(), &left);
  if (!done)
    return tl::unexpected(done.error());
  if (left)
    by.processes().adopt(std::move(left));
  return describe(std::move(*done), timeout);
}

result<tool_result> terminal_output(const terminal& of, const arguments& args,
                                    call& by) {
  const auto most = static_cast<double>(of.settings.limits.exec_most.count());
  const auto id = args.text("id");
  const auto since = args.optional_integer("since", 0, INT64_MAX);
  const auto wait = from_seconds(args.number("wait", 0, most, 0));
  if (auto good = args.done(); !good)
    return tl::unexpected(good.error());
  auto found = by.processes().read(
      id,
      since ? std::optional{static_cast<std::uint64_t>(*since)} : std::nullopt,
      of.settings.limits.output_bytes, wait, by.cancel());
  if (!found)
    return tl::unexpected(found.error());
  return describe(id, std::move(*found), true);
}

result<tool_result> terminal_kill(const terminal&, const arguments& args,
                                  call& by) {
  const auto id = args.text("id");
  std::optional<std::string> name;
  // A number is what some write.
  if (const auto at = args.object().find("signal");
      args.has("signal") && at->is_number_integer())
    name = at->dump();
  else
    name = args.optional_text("signal");
  if (auto good = args.done(); !good)
    return tl::unexpected(good.error());
  std::optional<int> number;
  if (name) {
    const auto parsed = parse_signal(*name);
    if (!parsed)
      return tl::unexpected(parsed.error());
    number = *parsed;
  }
  auto found = by.processes().kill(id, number);
  if (!found)
    return tl::unexpected(found.error());
  return describe(id, std::move(*found), false);
}

} // namespace caged::mcp
