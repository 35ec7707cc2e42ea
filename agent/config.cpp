#include "agent/config.hpp"

#include <array>

#include <getopt.h>
#include <sys/un.h>

#include "messages/text.hpp"

namespace caged::agent {

namespace {

struct option_row {
  const char* flag;
  const char* variable;
  const char* form;
  const char* about;
  result<void> (*set)(config& to, std::string_view value);
};

result<void> set_interval(std::chrono::milliseconds& to,
                          std::string_view value) {
  auto parsed = parse_duration(value);
  if (!parsed)
    return tl::unexpected{parsed.error()};
  using namespace std::chrono_literals;
  if (*parsed < 100ms || *parsed > 1h)
    return fail(ec::bad_request, quoted(value) + " is not 100ms to 1h");
  to = *parsed;
  return {};
}

const std::array<option_row, 5> rows = {{
    {"workspace", "CAGED_WORKSPACE", "an absolute path, for example /workspace",
     "Workspace root directory (/workspace)",
     [](config& to, std::string_view value) -> result<void> {
       if (value.empty() || value.front() != '/')
         return fail(ec::bad_request, quoted(value) + " is no absolute path");
       to.workspace = value;
       while (to.workspace.size() > 1 && to.workspace.back() == '/')
         to.workspace.pop_back();
       return {};
     }},
    {"socket", "CAGED_SOCKET",
     "a path of at most 107 bytes, for example /run/caged/agent.sock",
     "Communication socket path (/run/caged/agent.sock)",
     [](config& to, std::string_view value) -> result<void> {
       // unix(7): sun_path holds 108 bytes with the NUL.
       if (value.empty() || value.size() >= sizeof(sockaddr_un::sun_path))
         return fail(ec::bad_request, quoted(value) + " has "
                                          + std::to_string(value.size())
                                          + " bytes");
       to.socket = value;
       return {};
     }},
    {"heartbeat-interval", "CAGED_HEARTBEAT_INTERVAL",
     "a duration from 100ms to 1h, for example 5s, 500ms or 1m",
     "Heartbeat interval (5s)",
     [](config& to, std::string_view value) {
       return set_interval(to.heartbeat_interval, value);
     }},
    {"metrics-interval", "CAGED_METRICS_INTERVAL",
     "a duration from 100ms to 1h, for example 5s, 500ms or 1m",
     "Metrics collection interval (10s)",
     [](config& to, std::string_view value) {
       return set_interval(to.metrics_interval, value);
     }},
    {"log-level", "CAGED_LOG_LEVEL", "debug, info, warn or error",
     "Log level (info)",
     [](config& to, std::string_view value) -> result<void> {
       if (value == "debug")
         to.log_level = log::level::debug;
       else if (value == "info")
         to.log_level = log::level::info;
       else if (value == "warn")
         to.log_level = log::level::warn;
       else if (value == "error")
         to.log_level = log::level::error;
       else
         return fail(ec::bad_request, quoted(value) + " is no log level");
       return {};
     }},
}};

result<void> apply(const option_row& row, config& to, std::string_view value,
                   const std::string& name) {
  auto ok = row.set(to, value);
  if (ok)
    return ok;
  return fail(ec::bad_request,
              name + ": " + ok.error().message + "; give " + row.form);
}

} // namespace

result<config> parse_config(std::vector<std::string> args,
                            const environment& env) {
  config out;
  for (const auto& row : rows)
    if (const char* value = env(row.variable))
      if (auto ok = apply(row, out, value, row.variable); !ok)
        return tl::unexpected{ok.error()};
  constexpr int help = 100, version = 101;
  std::array<::option, rows.size() + 3> options{};
  for (std::size_t i = 0; i < rows.size(); ++i)
    options[i] = {rows[i].flag, required_argument, nullptr,
                  static_cast<int>(i)};
  options[rows.size()] = {"help", no_argument, nullptr, help};
  options[rows.size() + 1] = {"version", no_argument, nullptr, version};
  std::string program = "caged-agent";
  std::vector<char*> argv{program.data()};
  for (auto& arg : args)
    argv.push_back(arg.data());
  argv.push_back(nullptr);
  auto argc = static_cast<int>(argv.size()) - 1;
  ::opterr = 0;
  ::optind = 0; // glibc: start anew (getopt(3))
  for (;;) {
    // The argument that a refusal has to name.
    auto at = ::optind > 0 ? ::optind : 1;
    auto found =
        ::getopt_long(argc, argv.data(), "+:hV", options.data(), nullptr);
    if (found == -1)
      break;
    if (found == help || found == 'h') {
      out.show_help = true;
    } else if (found == version || found == 'V') {
      out.show_version = true;
    } else if (found >= 0 && found < static_cast<int>(rows.size())) {
      const auto& row = rows[static_cast<std::size_t>(found)];
      if (auto ok = apply(row, out, ::optarg, std::string{"--"} + row.flag);
          !ok)
        return tl::unexpected{ok.error()};
    } else {
      std::string named = at < argc ? argv[static_cast<std::size_t>(at)] : "";
      if (found == ':') {
        for (const auto& row : rows)
          if (named == std::string{"--"} + row.flag)
            named += std::string{": its value is missing; give "} + row.form;
        return fail(ec::bad_request, named);
      }
      return fail(ec::bad_request, escape_text(named, 128)
                                       + ": no such flag; --help lists them");
    }
  }
  if (::optind < argc)
    return fail(ec::bad_request,
                quoted(argv[static_cast<std::size_t>(::optind)])
                    + ": caged-agent takes flags only; --help lists them");
  return out;
}

std::string help_text() {
  std::string out = "usage: caged-agent [flags]\n\n"
                    "The agent inside a caged sandbox. A flag goes before its "
                    "variable.\n\n";
  for (const auto& row : rows)
    out += std::string{"  --"} + row.flag + " / " + row.variable + "\n      "
           + row.about + ": " + row.form + "\n";
  out += "  --version\n  --help\n";
  return out;
}

} // namespace caged::agent
