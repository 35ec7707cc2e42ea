#include "nodes/config.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include <CLI/CLI.hpp>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <thread>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include "caged_version.hpp"
#include "messages/error.hpp"
#include "messages/sandbox.hpp"
#include "messages/text.hpp"
#include "nodes/open_store.hpp"
#include "nodes/tcp_port.hpp"

namespace caged {

namespace fs = std::filesystem;

namespace {

/// Sandboxes rarely use their cpus all at once; memory they do.
constexpr unsigned cpu_overcommit = 4;
constexpr double memory_share = 0.8, disk_share = 0.8;

/// One setting: how it is called, read and shown.
struct setting {
  std::string flag; ///< "data-dir"
  std::string help;
  std::function<std::string()> show;
  /// Error: what form is accepted.
  std::function<result<void>(const std::string&)> read;
};

std::string variable_of(const std::string& flag) {
  std::string out = "CAGED_NODE_";
  for (char c : flag)
    out.push_back(c == '-' ? '_'
                           : static_cast<char>(
                               std::toupper(static_cast<unsigned char>(c))));
  return out;
}

template <class Text>
setting text_setting(const char* flag, const char* help, Text& to) {
  return {flag, help, [&to] { return std::string{to}; },
          [&to](const std::string& value) -> result<void> {
            to = value;
            return {};
          }};
}

setting path_setting(const char* flag, const char* help, fs::path& to) {
  return {flag, help, [&to] { return to.string(); },
          [&to](const std::string& value) -> result<void> {
            if (value.empty() || value[0] != '/')
              return fail(ec::bad_request, "an absolute path");
            to = value;
            return {};
          }};
}

setting labels_setting(const char* flag, const char* help,
                       std::map<std::string, std::string>& to) {
  return {
      flag, help,
      [&to] {
        std::string all;
        for (const auto& [key, value] : to)
          all += (all.empty() ? "" : ",") + key + "=" + value;
        return all;
      },
      [&to](const std::string& value) -> result<void> {
        std::map<std::string, std::string> read;
        std::istringstream items{value};
        for (std::string item; std::getline(items, item, ',');) {
          const auto at = item.find('=');
          if (at == std::string::npos
              || !read.emplace(item.substr(0, at), item.substr(at + 1)).second)
            return fail(ec::bad_request,
                        "KEY=VALUE, several with commas, each key once");
        }
        if (auto good = check_labels(read); !good)
          return fail(ec::bad_request, "labels of which each is good, but "
                                           + good.error().message);
        to = std::move(read);
        return {};
      }};
}

constexpr unsigned pool_most = 1000;

setting pool_setting(const char* flag, const char* help,
                     std::map<std::string, unsigned>& to) {
  return {flag, help,
          [&to] {
            std::string all;
            for (const auto& [name, size] : to)
              all +=
                  (all.empty() ? "" : ",") + name + "=" + std::to_string(size);
            return all;
          },
          [&to](const std::string& value) -> result<void> {
            std::map<std::string, unsigned> read;
            std::istringstream items{value};
            for (std::string item; std::getline(items, item, ',');) {
              auto at = item.find('=');
              auto name = item.substr(0, at);
              auto size =
                  at == std::string::npos ? std::string{} : item.substr(at + 1);
              if (!is_valid_name(name) || size.empty() || size.size() > 4
                  || size.find_first_not_of("0123456789") != std::string::npos
                  || std::stoul(size) > pool_most
                  || !read.emplace(name, std::stoul(size)).second)
                return fail(ec::bad_request,
                            "TEMPLATE=NUMBER, several with commas, each "
                            "template once and a number from 0 to "
                                + std::to_string(pool_most));
            }
            to = std::move(read);
            return {};
          }};
}

setting listen_setting(const char* flag, const char* help, std::string& to) {
  return {flag, help, [&to] { return to; },
          [&to](const std::string& value) -> result<void> {
            if (!value.empty() && !is_listen_endpoint(value))
              return fail(ec::bad_request,
                          "tcp://ADDRESS:PORT with the number of an address of "
                          "this host, IPv6 in brackets, or * for all, such as "
                          "tcp://10.0.0.1:7400");
            to = value;
            return {};
          }};
}

template <class Number>
setting number_setting(const char* flag, const char* help, Number& to,
                       Number most) {
  return {flag, help, [&to] { return std::to_string(to); },
          [&to, most](const std::string& value) -> result<void> {
            if (value.empty() || value.size() > 12
                || value.find_first_not_of("0123456789") != std::string::npos
                || std::stoull(value) > most)
              return fail(ec::bad_request,
                          "a whole number from 0 to " + std::to_string(most));
            to = static_cast<Number>(std::stoull(value));
            return {};
          }};
}

setting duration_setting(const char* flag, const char* help,
                         std::chrono::milliseconds& to,
                         std::chrono::milliseconds least) {
  return {flag, help, [&to] { return format_duration(to); },
          [&to, least](const std::string& value) -> result<void> {
            auto read = parse_duration(value);
            if (!read || *read < least)
              return fail(ec::bad_request,
                          "a duration such as 5s, 500ms or 1m, at least "
                              + format_duration(least));
            to = *read;
            return {};
          }};
}

setting choice_setting(const char* flag, const char* help, std::string& to,
                       std::set<std::string> choices) {
  return {flag, help, [&to] { return to; },
          [&to, choices](const std::string& value) -> result<void> {
            if (choices.count(value) == 0) {
              std::string all;
              for (const auto& choice : choices)
                all += (all.empty() ? "" : ", ") + choice;
              return fail(ec::bad_request, "one of " + all);
            }
            to = value;
            return {};
          }};
}

std::vector<setting> settings_of(node_config& c) {
  using namespace std::chrono_literals;
  return {
      path_setting("data-dir", "journal, store, disk layers", c.data_dir),
      path_setting("run-dir", "sockets and the runtime's state", c.run_dir),
      text_setting("client-endpoint",
                   "where clients connect (default: ipc://RUN_DIR/node.sock)",
                   c.client_endpoint),
      listen_setting("listen",
                     "where clients elsewhere connect with their keys, "
                     "tcp://ADDRESS:7400 (default: nowhere)",
                     c.listen),
      text_setting("metrics-address", "Prometheus endpoint, ADDRESS:PORT",
                   c.metrics_address),
      text_setting("gateway-address",
                   "MCP over HTTP and WebSocket, ADDRESS:PORT, or off; beyond "
                   "loopback with TLS",
                   c.gateway_address),
      path_setting("gateway-cert",
                   "certificate chain of the gateway, PEM (default: no TLS)",
                   c.gateway_cert),
      path_setting("gateway-key", "its key, PEM, mode 0600 (default: none)",
                   c.gateway_key),
      text_setting("gateway-origins",
                   "web pages that may use the gateway, beside those of this "
                   "machine: ORIGIN,... (default: none)",
                   c.gateway_origins),
      text_setting("store",
                   "who exists and who owns what: sqlite, in the data "
                   "directory, or etcd://HOST:2379,.../PREFIX for several "
                   "nodes (etcds://: with TLS)",
                   c.store),
      path_setting("store-ca",
                   "authority of etcd's certificate, PEM (default: the "
                   "system's)",
                   c.store_ca),
      path_setting("store-cert",
                   "certificate chain of this client of etcd, PEM (default: "
                   "none)",
                   c.store_cert),
      path_setting("store-key", "its key, PEM, mode 0600 (default: none)",
                   c.store_key),
      text_setting("store-user", "user of etcd (default: none)", c.store_user),
      path_setting("store-password-file",
                   "that user's password, mode 0600 (default: none)",
                   c.store_password_file),
      choice_setting("runtime",
                     "driver of the sandboxes: oci, or fake for tests",
                     c.runtime, {"oci", "fake"}),
      text_setting("crun", "name or path of crun", c.crun),
      path_setting("agent-dir",
                   "directory of caged-agent (default: found beside "
                   "this program)",
                   c.agent_dir),
      text_setting("node-name", "name on answers and series (default: the id)",
                   c.node_name),
      labels_setting("labels",
                     "what this node is, for those who ask for it: "
                     "KEY=VALUE,... (default: none)",
                     c.labels),
      number_setting("cpus", "cpus to promise (0: 4 for each core)", c.cpus,
                     100000u),
      number_setting("memory-mb",
                     "memory to promise (0: 80 % of the machine's)",
                     c.memory_mb, std::uint64_t{100'000'000}),
      number_setting("disk-gb", "disk to promise (0: 80 % of what is free)",
                     c.disk_gb, std::uint64_t{10'000'000}),
      number_setting("max-starts", "sandboxes started at a time", c.max_starts,
                     64u),
      pool_setting("pool",
                   "sandboxes to boot ahead and keep frozen: "
                   "TEMPLATE=NUMBER,... (default: none)",
                   c.pool),
      number_setting("pool-load",
                     "percent of the host's cpu time in use above which the "
                     "pool is not filled",
                     c.pool_load, 100u),
      duration_setting("heartbeat-interval", "of the agents",
                       c.heartbeat_interval, 100ms),
      duration_setting("metrics-interval",
                       "of the agents and the host's reading",
                       c.metrics_interval, 100ms),
      duration_setting("failed-retention",
                       "how long a failed sandbox's disk layer is kept",
                       c.failed_retention, 0ms),
      choice_setting("log-level", "least level that is logged", c.log_level,
                     {"debug", "info", "warn", "error"}),
      choice_setting("log-format", "json, text, or auto (text on a terminal)",
                     c.log_format, {"auto", "json", "text"}),
  };
}

std::string nearest_flag(const std::string& key,
                         const std::vector<setting>& settings) {
  std::vector<std::string> flags;
  flags.reserve(settings.size());
  for (const auto& item : settings)
    flags.push_back(item.flag);
  return nearest(key, flags);
}

std::string refusal(const std::string& where, const std::string& value,
                    const failure& accepted) {
  return where + ": " + caged::quoted(value) + " is not accepted; it takes "
         + accepted.message;
}

result<void> read_file(const std::string& file, std::vector<setting>& settings,
                       std::map<std::string, std::string>& sources) {
  std::ifstream in{file};
  if (!in)
    return fail(ec::io, "the config file " + file + " cannot be read",
                "check the path and its mode");
  try {
    auto root = YAML::Load(in);
    if (root.IsNull())
      return {};
    if (!root.IsMap())
      return fail(ec::bad_request, file + ": it must be a map of settings",
                  "one \"name: value\" a line, named like the flags");
    for (const auto& item : root) {
      auto line = file + ":" + std::to_string(item.first.Mark().line + 1);
      auto key = item.first.as<std::string>();
      auto known = std::find_if(settings.begin(), settings.end(),
                                [&](const auto& s) { return s.flag == key; });
      if (known == settings.end())
        return fail(ec::bad_request,
                    line + ": there is no setting " + caged::quoted(key),
                    "did you mean " + nearest_flag(key, settings) + "?");
      if (!item.second.IsScalar())
        return fail(ec::bad_request,
                    line + ": " + key + " takes one value, not a list or map");
      auto value = item.second.as<std::string>();
      if (auto good = known->read(value); !good)
        return fail(ec::bad_request,
                    refusal(line + ": " + key, value, good.error()));
      sources[key] = line;
    }
  } catch (const YAML::Exception& e) {
    return fail(ec::bad_request, file + ":" + std::to_string(e.mark.line + 1)
                                     + ": it is no valid YAML: " + e.msg);
  }
  return {};
}

void fill_from_machine(node_config& c) {
  if (c.client_endpoint.empty())
    c.client_endpoint = "ipc://" + (c.run_dir / "node.sock").string();
  if (c.cpus == 0)
    c.cpus = cpu_overcommit * std::max(1u, std::thread::hardware_concurrency());
  struct sysinfo memory {};
  if (c.memory_mb == 0 && ::sysinfo(&memory) == 0)
    c.memory_mb = static_cast<std::uint64_t>(
        static_cast<double>(memory.totalram) * memory.mem_unit * memory_share
        / (1024 * 1024));
  if (c.disk_gb == 0) {
    auto there = c.data_dir;
    while (!there.empty() && !fs::exists(there) && there != there.parent_path())
      there = there.parent_path();
    struct statvfs disk {};
    if (::statvfs(there.c_str(), &disk) == 0)
      c.disk_gb =
          static_cast<std::uint64_t>(static_cast<double>(disk.f_bavail)
                                     * static_cast<double>(disk.f_frsize)
                                     * disk_share / (1024.0 * 1024 * 1024));
  }
  if (c.max_starts == 0)
    c.max_starts = 1;
  if (c.agent_dir.empty()) {
    std::error_code none;
    auto program = fs::read_symlink("/proc/self/exe", none).parent_path();
    auto installed = program.parent_path() / "lib" / "caged";
    c.agent_dir = fs::exists(installed / "caged-agent") ? installed : program;
  }
}

/// Texts of the flags, by name.
using flag_texts = std::map<std::string, std::string>;
/// Where each value is from, by name.
using value_sources = std::map<std::string, std::string>;

void add_flags(CLI::App& app, std::vector<setting>& settings,
               flag_texts& given) {
  for (auto& item : settings) {
    auto help = item.help;
    if (help.find('(') == std::string::npos)
      help += " (default: " + item.show() + ")";
    app.add_option("--" + item.flag, given[item.flag], help);
  }
}

/// Variables, then flags.
result<void> read_given(const CLI::App& app, std::vector<setting>& settings,
                        const flag_texts& given, value_sources& sources) {
  for (auto& item : settings) {
    const auto variable = variable_of(item.flag);
    if (const char* value = std::getenv(variable.c_str())) {
      if (auto good = item.read(value); !good)
        return fail(ec::bad_request, refusal(variable, value, good.error()));
      sources[item.flag] = variable;
    }
    const auto flag = "--" + item.flag;
    if (app.count(flag) > 0) {
      const auto& value = given.at(item.flag);
      if (auto good = item.read(value); !good)
        return fail(ec::bad_request, refusal(flag, value, good.error()));
      sources[item.flag] = flag;
    }
  }
  return {};
}

/// 2, having said why.
int complain(const failure& why) {
  std::fprintf(stderr, "caged-node: %s\n", why.message.c_str());
  if (!why.hint.empty())
    std::fprintf(stderr, "hint: %s\n", why.hint.c_str());
  return 2;
}

} // namespace

parsed_config parse_node_config(int argc, const char* const* argv) {
  parsed_config out;
  auto settings = settings_of(out.config);
  flag_texts given;
  value_sources sources;
  std::string file;
  bool check = false;

  CLI::App app{"The daemon of one host: runs sandboxes, answers caged, serves "
               "metrics.\nSIGTERM ends it and leaves the sandboxes running.",
               "caged-node"};
  app.set_version_flag("--version", "caged-node " CAGED_VERSION);
  app.add_option("--config", file,
                 "YAML file with the settings below, named like the flags")
      ->envname("CAGED_NODE_CONFIG");
  app.add_flag("--check-config", check,
               "print what would be done, with the source of each value");
  add_flags(app, settings, given);
  app.footer(
      "Each flag has a variable, CAGED_NODE_ and its name (--data-dir: "
      "CAGED_NODE_DATA_DIR).\nThe file gives way to variables, variables to "
      "flags.\n\nExamples:\n  caged-node\n  caged-node --config "
      "/etc/caged/node.yaml --check-config\n  caged-node --data-dir "
      "/tmp/caged --run-dir /tmp/caged-run --metrics-address 127.0.0.1:0\n\n"
      "Setting a host up:\n  caged-node init --help   the first of a cluster\n"
      "  caged-node join --help   one more");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    auto code = app.exit(e);
    out.exit_code = code == 0 ? 0 : 2;
    return out;
  }

  result<void> good;
  if (!file.empty())
    good = read_file(file, settings, sources);
  if (good)
    good = read_given(app, settings, given, sources);
  // Not by its setting: what is refused there is repeated, and a URL may hold a
  // password.
  if (good)
    good = check_store(out.config);
  if (!good) {
    out.exit_code = complain(good.error());
    return out;
  }
  fill_from_machine(out.config);
  if (check) {
    for (auto& item : settings) {
      auto from = sources.find(item.flag);
      std::printf("%-20s %-40s # %s\n", (item.flag + ":").c_str(),
                  item.show().c_str(),
                  from == sources.end() ? "default" : from->second.c_str());
    }
    out.exit_code = 0;
  }
  return out;
}

parsed_setup parse_setup(CLI::App& app, int argc, const char* const* argv,
                         bool store) {
  parsed_setup out;
  auto settings = settings_of(out.config);
  if (!store)
    settings.erase(std::remove_if(settings.begin(), settings.end(),
                                  [](const setting& each) {
                                    return each.flag.rfind("store", 0) == 0;
                                  }),
                   settings.end());
  flag_texts given;
  value_sources sources;
  add_flags(app, settings, given);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    out.exit_code = app.exit(e) == 0 ? 0 : 2;
    return out;
  }
  auto good = read_given(app, settings, given, sources);
  if (good)
    good = check_store(out.config);
  if (!good) {
    out.exit_code = complain(good.error());
    return out;
  }
  for (const auto& item : settings)
    if (sources.count(item.flag) > 0)
      out.given.emplace_back(item.flag, item.show());
  return out;
}

std::string config_text(const std::string& comment,
                        const given_settings& settings) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const auto& [name, value] : settings)
    out << YAML::Key << name << YAML::Value << YAML::DoubleQuoted << value;
  out << YAML::EndMap;
  return "# " + comment + "\n" + out.c_str() + "\n";
}

} // namespace caged
