#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include <unistd.h>

#include "mcp/command.hpp"

namespace caged::mcp {

namespace {

/// What programs need of the surroundings and what holds no secrets. Not here
/// on purpose: CAGED_*, tokens and keys of any service, SSH_AUTH_SOCK,
/// LD_PRELOAD.
constexpr std::array<std::string_view, 43> passed{"PATH",
                                                  "HOME",
                                                  "USER",
                                                  "LOGNAME",
                                                  "LANG",
                                                  "LANGUAGE",
                                                  "TMPDIR",
                                                  "TZ",
                                                  "SHELL",
                                                  "LD_LIBRARY_PATH",
                                                  "PKG_CONFIG_PATH",
                                                  "CC",
                                                  "CXX",
                                                  "CFLAGS",
                                                  "CXXFLAGS",
                                                  "LDFLAGS",
                                                  "MAKEFLAGS",
                                                  "CMAKE_PREFIX_PATH",
                                                  "JAVA_HOME",
                                                  "MAVEN_HOME",
                                                  "GRADLE_HOME",
                                                  "GOROOT",
                                                  "GOPATH",
                                                  "GOCACHE",
                                                  "GOFLAGS",
                                                  "CARGO_HOME",
                                                  "RUSTUP_HOME",
                                                  "RUSTUP_TOOLCHAIN",
                                                  "NVM_DIR",
                                                  "NODE_PATH",
                                                  "PNPM_HOME",
                                                  "PYENV_ROOT",
                                                  "PYTHONPATH",
                                                  "VIRTUAL_ENV",
                                                  "CONDA_PREFIX",
                                                  "GEM_HOME",
                                                  "DOTNET_ROOT",
                                                  "SSL_CERT_FILE",
                                                  "SSL_CERT_DIR",
                                                  "NODE_EXTRA_CA_CERTS",
                                                  "REQUESTS_CA_BUNDLE",
                                                  "CURL_CA_BUNDLE",
                                                  "XDG_RUNTIME_DIR"};

constexpr std::array<std::string_view, 8> proxies{
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"};

bool passes(std::string_view name, std::string_view value) {
  const auto in = [name](const auto& list) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  return in(passed)
         || name.substr(0, 3) == "LC_"
         // "http://user:password@host" is a secret.
         || (in(proxies) && value.find('@') == std::string_view::npos);
}

} // namespace

std::vector<std::string>
clean_environment(const char* const* from,
                  const std::map<std::string, std::string>& more) {
  auto all = more;
  for (; from != nullptr && *from != nullptr; ++from) {
    const std::string_view pair = *from;
    const auto at = pair.find('=');
    if (at != std::string_view::npos
        && passes(pair.substr(0, at), pair.substr(at + 1)))
      all.emplace(pair.substr(0, at), pair.substr(at + 1));
  }
  all.emplace("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                      "/sbin:/bin");
  all.emplace("HOME", ::geteuid() == 0 ? "/root" : "/");
  all.emplace("USER", ::geteuid() == 0 ? "root" : std::to_string(::geteuid()));
  all.emplace("LOGNAME", all["USER"]);
  all.emplace("LANG", "C.UTF-8");
  all.emplace("TMPDIR", "/tmp");
  all.emplace("TERM", "dumb");
  std::vector<std::string> out;
  out.reserve(all.size());
  for (const auto& [name, value] : all)
    out.push_back(name + "=" + value);
  return out;
}

std::string_view variable(const std::vector<std::string>& env,
                          std::string_view name) {
  for (const std::string_view pair : env)
    if (pair.size() > name.size() && pair[name.size()] == '='
        && pair.substr(0, name.size()) == name)
      return pair.substr(name.size() + 1);
  return {};
}

} // namespace caged::mcp
