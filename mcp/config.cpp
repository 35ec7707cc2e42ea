#include "mcp/config.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>

#include <CLI/CLI.hpp>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "caged_version.hpp"
#include "mcp/workspace.hpp"
#include "messages/loopback.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

/// A flag, its variable, and how its text becomes part of the configuration.
/// CLI11 only finds the texts: so every refusal has the same form, whether it
/// comes from the flag or from the variable.
struct option_row {
  const char* flag;
  const char* variable;
  const char* form; ///< accepted values, for help and refusals
  const char* about;
  bool is_switch;
  bool (*set)(server_config& to, std::string_view value);
};

template <class Number, class To>
bool set_number(To& to, std::string_view value, Number least, Number most) {
  Number number{};
  const auto* end = value.data() + value.size();
  auto [at, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc{} || at != end || number < least || number > most)
    return false;
  to = static_cast<To>(number);
  return true;
}

bool set_switch(bool& to, std::string_view value) {
  for (const auto* yes : {"true", "1", "yes", "on"})
    if (value == yes)
      return to = true;
  for (const auto* no : {"false", "0", "no", "off"})
    if (value == no) {
      to = false;
      return true;
    }
  return false;
}

/// "a,b": no empty name.
bool set_list(std::vector<std::string>& to, std::string_view value) {
  to.clear();
  for (;;) {
    const auto comma = value.find(',');
    auto one = value.substr(0, comma);
    while (!one.empty() && one.front() == ' ')
      one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ')
      one.remove_suffix(1);
    if (one.empty())
      return false;
    to.emplace_back(one);
    if (comma == std::string_view::npos)
      return true;
    value.remove_prefix(comma + 1);
  }
}

bool is_address(const std::string& host) {
  in_addr four{};
  in6_addr six{};
  return ::inet_pton(AF_INET, host.c_str(), &four) == 1
         || ::inet_pton(AF_INET6, host.c_str(), &six) == 1;
}

bool is_author(std::string_view text) {
  const auto open = text.find(" <");
  return open != std::string_view::npos && open > 0 && text.back() == '>'
         && text.find('@', open) != std::string_view::npos
         && text.find_first_of("<>\n", open + 2) == text.size() - 1
         && text.substr(0, open).find_first_of("<>\n")
                == std::string_view::npos;
}

const std::array<option_row, 20> rows = {{
    {"mode", "CAGED_MCP_MODE", "stdio, ws or http", "Transport (stdio)", false,
     [](server_config& to, std::string_view value) {
       if (value != "stdio" && value != "ws" && value != "http")
         return false;
       to.mode = value == "stdio" ? transport::stdio
                 : value == "ws"  ? transport::ws
                                  : transport::http;
       return true;
     }},
    {"port", "CAGED_MCP_PORT", "a number from 0 (any free one) to 65535",
     "Port of ws and http (9090)", false,
     [](server_config& to, std::string_view value) {
       return set_number<unsigned>(to.port, value, 0, 65535);
     }},
    {"host", "CAGED_MCP_HOST", "an IP address or localhost",
     "Address of ws and http (127.0.0.1); beyond loopback with --token-file",
     false,
     [](server_config& to, std::string_view value) {
       to.host = value == "localhost" ? "127.0.0.1" : std::string{value};
       return is_address(to.host);
     }},
    {"socket", "CAGED_MCP_SOCKET", "an absolute path of at most 107 bytes",
     "Unix socket of ws and http, instead of --host and --port; only its owner "
     "can connect",
     false,
     [](server_config& to, std::string_view value) {
       to.socket = value;
       // unix(7): sun_path, and its final zero.
       return value.size() > 1 && value.front() == '/' && value.back() != '/'
              && value.size() < sizeof(sockaddr_un::sun_path);
     }},
    {"workspace", "CAGED_MCP_WORKSPACE", "a folder",
     "The folder that tools work in (.)", false,
     [](server_config& to, std::string_view value) {
       to.workspace = value;
       return !value.empty();
     }},
    {"read-only", "CAGED_MCP_READ_ONLY", "true or false",
     "No tools that write or run commands", true,
     [](server_config& to, std::string_view value) {
       return set_switch(to.read_only, value);
     }},
    {"allowed-commands", "CAGED_MCP_ALLOWED_COMMANDS",
     "program names with commas between them, for example make,git",
     "Programs that terminal_exec may run, without a shell (all)", false,
     [](server_config& to, std::string_view value) {
       to.allowed_commands.emplace();
       return set_list(*to.allowed_commands, value);
     }},
    {"log-level", "CAGED_MCP_LOG_LEVEL", "debug, info, warn or error",
     "Log level (info); JSON lines on stderr", false,
     [](server_config& to, std::string_view value) {
       to.log_level = value;
       return value == "debug" || value == "info" || value == "warn"
              || value == "error";
     }},
    {"token-file", "CAGED_MCP_TOKEN_FILE",
     "a file that only its owner can read (chmod 600) with one line of 16 to "
     "4096 printable characters",
     "Bearer token that ws and http ask for (none)", false,
     nullptr}, // read once the rest is known to be right
    {"allowed-origins", "CAGED_MCP_ALLOWED_ORIGINS",
     "origins with commas between them, for example https://app.example",
     "Web pages that may connect, beside those of loopback (none)", false,
     [](server_config& to, std::string_view value) {
       if (!set_list(to.allowed_origins, value))
         return false;
       return std::all_of(to.allowed_origins.begin(), to.allowed_origins.end(),
                          [](const auto& each) {
                            const auto scheme = each.find("://");
                            return scheme != std::string::npos && scheme > 0
                                   && each.find_first_of("/ ", scheme + 3)
                                          == std::string::npos
                                   && each.size() > scheme + 3;
                          });
     }},
    {"allow-hooks", "CAGED_MCP_ALLOW_HOOKS", "true or false",
     "git_commit runs the repository's hooks", true,
     [](server_config& to, std::string_view value) {
       return set_switch(to.allow_hooks, value);
     }},
    {"git-author", "CAGED_MCP_GIT_AUTHOR",
     "a name and an address, for example \"Ada <ada@example.com>\"",
     "Author of git_commit (the repository's user)", false,
     [](server_config& to, std::string_view value) {
       to.git_author = value;
       return is_author(value);
     }},
    {"max-output-bytes", "CAGED_MCP_MAX_OUTPUT_BYTES",
     "a number of bytes from 1024 to 16777216",
     "Text that a tool returns at most (1048576)", false,
     [](server_config& to, std::string_view value) {
       return set_number<std::uint64_t>(to.limits.output_bytes, value, 1024,
                                        16U << 20U);
     }},
    {"max-file-bytes", "CAGED_MCP_MAX_FILE_BYTES",
     "a number of bytes from 1 to 1073741824",
     "File that a tool reads or writes at most (16777216)", false,
     [](server_config& to, std::string_view value) {
       return set_number<std::uint64_t>(to.limits.file_bytes, value, 1,
                                        1U << 30U);
     }},
    {"max-exec-seconds", "CAGED_MCP_MAX_EXEC_SECONDS",
     "a number of seconds from 1 to 86400",
     "Longest timeout of a command (600)", false,
     [](server_config& to, std::string_view value) {
       unsigned seconds = 0;
       const auto ok = set_number<unsigned>(seconds, value, 1, 86400);
       to.limits.exec_most = std::chrono::seconds{seconds};
       return ok;
     }},
    {"max-concurrent-calls", "CAGED_MCP_MAX_CONCURRENT_CALLS",
     "a number from 1 to 256", "Calls that run at the same time (16)", false,
     [](server_config& to, std::string_view value) {
       return set_number<unsigned>(to.limits.concurrent_calls, value, 1, 256);
     }},
    {"max-connections", "CAGED_MCP_MAX_CONNECTIONS", "a number from 1 to 65536",
     "Connections of ws and http at the same time (1024)", false,
     [](server_config& to, std::string_view value) {
       return set_number<unsigned>(to.max_connections, value, 1, 65536);
     }},
    {"session-idle", "CAGED_MCP_SESSION_IDLE",
     "a number of seconds from 1 to 604800",
     "Sessions of http that nobody uses end after so long (1800)", false,
     [](server_config& to, std::string_view value) {
       unsigned seconds = 0;
       const auto ok = set_number<unsigned>(seconds, value, 1, 604800);
       to.session_idle = std::chrono::seconds{seconds};
       return ok;
     }},
    {"idle-exit", "CAGED_MCP_IDLE_EXIT",
     "a number of seconds from 0 (never) to 604800",
     "ws and http end when there was no connection and no session for so long "
     "(0)",
     false,
     [](server_config& to, std::string_view value) {
       unsigned seconds = 0;
       const auto ok = set_number<unsigned>(seconds, value, 0, 604800);
       to.idle_exit = std::chrono::seconds{seconds};
       return ok;
     }},
    {"one-session", "CAGED_MCP_ONE_SESSION", "true or false",
     "ws and http end with their last session", true,
     [](server_config& to, std::string_view value) {
       return set_switch(to.one_session, value);
     }},
}};

constexpr auto examples =
    "\nA flag goes before its variable.\n\nExamples:\n"
    "  caged-mcp-server --workspace ~/project\n"
    "      stdio, as editors and agents start it\n"
    "  caged-mcp-server --workspace ~/project --read-only\n"
    "  caged-mcp-server --allowed-commands make,ctest --max-exec-seconds 120\n"
    "  caged-mcp-server --mode ws --port 9090\n"
    "  caged-mcp-server --mode http --host 0.0.0.0 --token-file "
    "/etc/caged/token\n"
    "      the token: head -c 32 /dev/urandom | base64 > token; chmod 600 "
    "token\n";

/// The token, or nothing when the file is not as it must be.
result<std::string> read_token(const std::string& path) {
  const auto named = [&](const std::string& why) {
    return fail(ec::bad_request, "--token-file " + caged::quoted(path) + " "
                                     + why + "; give " + rows[8].form);
  };
  const owned_fd fd{
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat about {};
  if (!fd || ::fstat(fd.get(), &about) != 0)
    return named(errno == ENOENT ? "does not exist" : "cannot be read");
  if (!S_ISREG(about.st_mode))
    return named("is no file");
  if ((about.st_mode & 077U) != 0)
    return named("can be read or written by others");
  if (about.st_uid != ::geteuid() && about.st_uid != 0)
    return named("belongs to somebody else");
  std::string text(4098, '\0');
  const auto n = ::read(fd.get(), text.data(), text.size());
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r'))
    text.pop_back();
  if (text.size() < 16 || text.size() > 4096)
    return named("holds " + std::to_string(text.size()) + " bytes");
  if (!std::all_of(text.begin(), text.end(),
                   [](char c) { return c > ' ' && c < 0x7f; }))
    return named("holds spaces or other than ASCII");
  return text;
}

/// A sentence of CLI11 about what it does not know at all.
failure unknown(const std::vector<std::string>& args, const CLI::Error& e) {
  std::vector<std::string> known;
  known.reserve(rows.size());
  for (const auto& row : rows)
    known.push_back(std::string{"--"} + row.flag);
  for (const auto& arg : args) {
    const auto name = arg.substr(0, arg.find('='));
    if (std::find(known.begin(), known.end(), name) != known.end()
        && arg == args.back())
      for (const auto& row : rows)
        if (name == std::string{"--"} + row.flag)
          return {ec::bad_request, name + " needs a value: " + row.form, {}};
    if (name.rfind("--", 0) == 0 && name != "--help" && name != "--version"
        && std::find(known.begin(), known.end(), name) == known.end())
      return {ec::bad_request,
              escape_text(name, 128) + ": there is no such flag; did you mean "
                  + nearest(name, known) + "? --help lists them",
              {}};
  }
  return {ec::bad_request,
          escape_text(e.what(), 256)
              + "; only flags are taken, --help lists "
                "them",
          {}};
}

bool is_flag(std::string_view arg, const option_row& row) {
  const std::string_view flag{row.flag};
  return arg.substr(0, 2) == "--" && arg.substr(2, flag.size()) == flag
         && (arg.size() == flag.size() + 2 || arg[flag.size() + 2] == '=');
}

bool is_mentioned(const option_row& row, const std::vector<std::string>& args) {
  return std::getenv(row.variable) != nullptr // NOLINT: one thread so far
         || std::any_of(args.begin(), args.end(),
                        [&](const auto& arg) { return is_flag(arg, row); });
}

/// CLI11 compares each flag that it is told of with all others, which was most
/// of what the program did before its first message (callgrind). So it is told
/// of those alone that are there, unless it has to list or refuse one.
bool needs_all_flags(const std::vector<std::string>& args) {
  return std::any_of(args.begin(), args.end(), [](const auto& arg) {
    return arg.substr(0, 1) == "-"
           && std::none_of(rows.begin(), rows.end(),
                           [&](const auto& row) { return is_flag(arg, row); });
  });
}

} // namespace

result<invocation> read_config(std::vector<std::string> args) {
  CLI::App app{"MCP server for one workspace: files, search, terminal, git.",
               "caged-mcp-server"};
  app.set_help_flag("--help,-h", "Print this and end");
  auto show_version = false;
  app.add_flag("--version,-V", show_version, "Print the version and end");
  app.footer(examples);
  std::array<std::string, rows.size()> values;
  std::array<const CLI::Option*, rows.size()> options{};
  const bool all = needs_all_flags(args);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    if (!all && !is_mentioned(row, args))
      continue;
    const auto name = std::string{"--"} + row.flag;
    auto* option =
        row.is_switch
            ? app.add_flag(name, values[i], row.about)
            : app.add_option(name, values[i],
                             std::string{row.about} + ": " + row.form);
    option->envname(row.variable)->take_last();
    options[i] = option;
    if (!row.is_switch)
      option->type_name("");
  }
  auto reversed = args;
  std::reverse(reversed.begin(), reversed.end()); // as CLI11 wants it
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return invocation{{}, app.help()};
  } catch (const CLI::Error& e) {
    return tl::unexpected(unknown(args, e));
  }
  if (show_version)
    return invocation{{}, "caged-mcp-server " CAGED_VERSION "\n"};
  server_config out;
  std::string token_file;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    if (options[i] == nullptr || options[i]->count() == 0)
      continue;
    if (row.set == nullptr)
      token_file = values[i];
    else if (!row.set(out, values[i]))
      return fail(ec::bad_request, std::string{"--"} + row.flag + " ("
                                       + row.variable + ") must be " + row.form
                                       + ", not " + caged::quoted(values[i]));
  }
  if (!out.socket.empty()) {
    if (out.mode == transport::stdio)
      return fail(ec::bad_request, "--socket is for --mode ws and --mode http, "
                                   "not for stdio: give one of them");
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (const std::string_view other{rows[i].flag};
          (other == "host" || other == "port") && options[i] != nullptr
          && options[i]->count() > 0)
        return fail(ec::bad_request,
                    "--" + std::string{other}
                        + " and --socket exclude each other: the server "
                          "listens on a Unix socket or on a port");
  }
  if (!token_file.empty()) {
    auto token = read_token(token_file);
    if (!token)
      return tl::unexpected(std::move(token.error()));
    out.token = std::move(*token);
  }
  if (out.mode != transport::stdio && !is_loopback_address(out.host)
      && !out.token)
    return fail(ec::bad_request,
                "--host " + out.host
                    + " can be reached from outside this machine, which needs "
                      "a token: give --token-file, or --host 127.0.0.1");
  return invocation{std::move(out), {}};
}

} // namespace caged::mcp
