#include <cerrno>
#include <cstdlib>

#include <sys/stat.h>

#include <yaml-cpp/yaml.h>

#include "cli/context.hpp"
#include "cli/values.hpp"
#include "messages/curve_key.hpp"
#include "messages/text.hpp"
#include "messages/whole_file.hpp"

// contexts.yaml: read, checked and written.
namespace caged::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t file_most = 256 * 1024;

/// "a" or ["a", "b"].
std::vector<std::string> texts(const YAML::Node& from) {
  if (from.IsScalar())
    return {from.Scalar()};
  return from.IsSequence() ? from.as<std::vector<std::string>>()
                           : std::vector<std::string>{};
}

result<context> read_one(const std::string& name, const YAML::Node& from) {
  const auto wrong = [&](const std::string& why) {
    return fail(ec::malformed, "context " + caged::quoted(name) + ": " + why);
  };
  context out;
  if (!from.IsMap())
    return wrong("it is no map");
  for (const auto& item : from) {
    const auto key = item.first.as<std::string>();
    if (key == "endpoint")
      out.endpoints = texts(item.second);
    else if (key == "server-key")
      out.server_keys = texts(item.second);
    else if (key == "key")
      out.key_file = item.second.as<std::string>();
    else
      return wrong("there is no setting " + caged::quoted(key)
                   + "; there are endpoint, server-key and key");
  }
  if (out.endpoints.empty())
    return wrong("it has no endpoint");
  for (const auto& each : out.server_keys)
    if (!z85_decode(each))
      return wrong(caged::quoted(each) + " is no public key");
  return out;
}

} // namespace

result<fs::path> config_directory() {
  const char* given = std::getenv("XDG_CONFIG_HOME");
  if (given && *given == '/') // others are to be ignored (XDG base directories)
    return fs::path{given} / "caged";
  const char* home = std::getenv("HOME");
  if (home && *home == '/')
    return fs::path{home} / ".config" / "caged";
  return fail(ec::bad_request,
              "neither XDG_CONFIG_HOME nor HOME says where your keys and "
              "contexts are",
              "set HOME");
}

result<fs::path> make_config_directory(const char* below) {
  auto path = config_directory();
  if (!path)
    return path;
  *path /= below;
  std::error_code code;
  const auto before = ::umask(0077); // this program has one thread yet
  fs::create_directories(*path, code);
  ::umask(before);
  if (code)
    return fail(ec::io, path->string() + " cannot be made: " + code.message());
  return path;
}

result<contexts> read_contexts(const fs::path& file) {
  contexts out;
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0)
    return errno == ENOENT || errno == ENOTDIR
               ? result<contexts>{out}
               : fail_errno(ec::io, file.string() + " cannot be looked at",
                            errno);
  if ((about.st_mode & 0777U) != 0600)
    return fail(ec::denied,
                file.string()
                    + " has another mode than 0600, and it says "
                      "where your commands go",
                "look through it, then: chmod 600 " + file.string());
  auto text = read_text_file(file.string(), file_most);
  if (!text)
    return tl::unexpected<failure>(text.error());
  try {
    const auto root = YAML::Load(*text);
    if (root.IsNull())
      return out;
    if (!root.IsMap())
      return fail(ec::malformed, file.string() + ": it must be a map");
    if (root["current"])
      out.current = root["current"].as<std::string>();
    if (root["contexts"])
      for (const auto& item : root["contexts"]) {
        const auto name = item.first.as<std::string>();
        auto one = read_one(name, item.second);
        if (!one)
          return fail(ec::malformed, file.string() + ": " + one.error().message,
                      "caged context rm takes a context out");
        out.all[name] = std::move(*one);
      }
  } catch (const YAML::Exception& e) {
    return fail(ec::malformed, file.string() + ":"
                                   + std::to_string(e.mark.line + 1)
                                   + ": it is no valid YAML: " + e.msg);
  }
  return out;
}

result<void> write_contexts(const fs::path& file, const contexts& what) {
  YAML::Emitter out;
  out << YAML::Comment("of caged context") << YAML::BeginMap;
  out << YAML::Key << "current" << YAML::Value << what.current;
  out << YAML::Key << "contexts" << YAML::Value << YAML::BeginMap;
  for (const auto& [name, each] : what.all) {
    out << YAML::Key << name << YAML::Value << YAML::BeginMap;
    out << YAML::Key << "endpoint" << YAML::Value << each.endpoints;
    if (!each.server_keys.empty())
      out << YAML::Key << "server-key" << YAML::Value << each.server_keys;
    if (!each.key_file.empty())
      out << YAML::Key << "key" << YAML::Value << each.key_file;
    out << YAML::EndMap;
  }
  out << YAML::EndMap << YAML::EndMap;
  constexpr mode_t mode = 0600;
  return write_whole_file(file, std::string{out.c_str()} + "\n", mode,
                          if_there::replace);
}

} // namespace caged::cli
