#include "cli/project_file.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include <yaml-cpp/yaml.h>

#include "cli/values.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t file_max = 256 * 1024;

/// A value of the file, and how its place is written in a message.
struct entry {
  const fs::path& file;
  std::string key;
  YAML::Node value;
  int line = value.Mark().line + 1;

  /// The value behind this key. One that is left out has no place of its own.
  void take(const YAML::Node& behind) {
    value.reset(behind);
    if (!behind.IsNull())
      line = behind.Mark().line + 1;
  }
  std::string at() const {
    return file.string() + ":" + std::to_string(line) + ": ";
  }
  tl::unexpected<failure> refuse(const std::string& why,
                                 std::string hint = {}) const {
    return fail(ec::bad_request, at() + why, std::move(hint));
  }
  tl::unexpected<failure> refuse(const failure& why) const {
    return fail(why.code, at() + why.message, why.hint);
  }
};

result<std::string> text(const entry& from) {
  if (from.value.IsNull())
    return from.refuse(from.key + " has no value",
                       "write one, or leave " + from.key + " out");
  if (!from.value.IsScalar())
    return from.refuse(from.key + " takes one value, not a list or a map");
  return from.value.Scalar();
}

result<unsigned> whole_number(const entry& from) {
  auto got = text(from);
  if (!got)
    return tl::unexpected<failure>(got.error());
  unsigned out = 0;
  auto end = got->data() + got->size();
  auto [stop, error] = std::from_chars(got->data(), end, out);
  if (error != std::errc{} || stop != end)
    return from.refuse(from.key + " takes a whole number, not "
                       + caged::quoted(*got));
  return out;
}

/// A sandbox_spec with one field of the file: validate() knows every limit.
result<void> within_limits(const entry& from, const sandbox_spec& spec) {
  if (auto good = validate(spec); !good)
    return from.refuse(good.error());
  return {};
}

template <class Value>
result<void> field(const entry& from, const result<Value>& got,
                   Value sandbox_spec::*member, sandbox_spec& to) {
  if (!got)
    return tl::unexpected<failure>(got.error());
  sandbox_spec one;
  one.*member = *got;
  if (auto good = within_limits(from, one); !good)
    return good;
  to.*member = *got;
  return {};
}

/// Text that the flag's own reader takes, kept as text for up.
result<void> size(const entry& from, std::uint64_t sandbox_spec::*member,
                  result<std::uint64_t> (*read)(std::string_view),
                  std::string& to) {
  auto got = text(from);
  if (!got)
    return tl::unexpected<failure>(got.error());
  auto number = read(*got);
  if (!number)
    return from.refuse(number.error());
  sandbox_spec one;
  one.*member = *number;
  to = std::move(*got);
  return within_limits(from, one);
}

/// As size(), for a duration; 0 needs no unit.
result<void> span(const entry& from,
                  std::chrono::milliseconds sandbox_spec::*member,
                  std::string& to) {
  auto got = text(from);
  if (!got)
    return tl::unexpected<failure>(got.error());
  auto value = parse_duration(*got);
  if (!value)
    return from.refuse(value.error());
  sandbox_spec one;
  one.*member = *value;
  to = std::move(*got);
  return within_limits(from, one);
}

result<void> text_map(const entry& from,
                      std::map<std::string, std::string> sandbox_spec::*member,
                      sandbox_spec& to) {
  if (!from.value.IsMap())
    return from.refuse(from.key + " takes a map of KEY: VALUE");
  sandbox_spec all;
  for (const auto& item : from.value) {
    entry one{from.file, from.key + "'s " + "key", item.first};
    auto key = text(one);
    if (!key)
      return tl::unexpected<failure>(key.error());
    one.key = from.key + " " + caged::quoted(*key);
    if ((all.*member).count(*key) > 0)
      return one.refuse(one.key + " is there twice");
    one.take(item.second);
    auto value = text(one);
    if (!value)
      return tl::unexpected<failure>(value.error());
    sandbox_spec alone;
    (alone.*member)[*key] = *value;
    if (auto good = within_limits(one, alone); !good)
      return good;
    (all.*member)[*key] = std::move(*value);
  }
  if (auto good = within_limits(from, all); !good)
    return good;
  to.*member = std::move(all.*member);
  return {};
}

/// A script itself when there is a line break in it, else the path of one,
/// which must not lead out of the file's directory: a project's file reads
/// nothing else of its user's.
result<void> init_script(const entry& from, sandbox_spec& to) {
  auto got = text(from);
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (got->find('\n') != std::string::npos)
    return field(from, got, &sandbox_spec::init_script, to);
  const char* form = "one line is a path; write a script itself as a block: "
                     "init_script: |";
  std::error_code error;
  auto home = fs::canonical(from.file, error).parent_path();
  auto path = fs::canonical(home / *got, error);
  if (got->empty() || error)
    return from.refuse("there is no init script "
                           + caged::quoted((home / *got).string()),
                       form);
  auto inside = path.lexically_relative(home);
  if (inside.empty() || *inside.begin() == ".." || !fs::is_regular_file(path))
    return from.refuse("the init script " + caged::quoted(*got)
                           + " is no file in the directory of "
                           + std::string{project_file_name},
                       "give others with caged up --init-script");
  auto script = read_text_file(path, limits::init_script_max);
  if (!script)
    return from.refuse(script.error());
  to.init_script = std::move(*script);
  return {};
}

result<void> command(const entry& from, std::vector<std::string>& to) {
  if (from.value.IsScalar()) {
    to = {"/bin/sh", "-c", from.value.Scalar()};
    return {};
  }
  if (!from.value.IsSequence() || from.value.size() == 0)
    return from.refuse("command takes a list of words, or one text for "
                       "/bin/sh -c");
  if (from.value.size() > limits::argv_max)
    return from.refuse("command has " + std::to_string(from.value.size())
                       + " words; the limit is "
                       + std::to_string(limits::argv_max));
  for (const auto& item : from.value) {
    auto word = text({from.file, "a word of command", item});
    if (!word)
      return tl::unexpected<failure>(word.error());
    to.push_back(std::move(*word));
  }
  return {};
}

/// A key of the file, the flag that wins over it, and its reader.
struct known_key {
  const char* key;
  const char* flag;
  result<void> (*read)(const entry&, up_options&);
};

template <std::string sandbox_spec::*Member>
result<void> text_field(const entry& from, up_options& to) {
  return field(from, text(from), Member, to.spec);
}

template <unsigned sandbox_spec::*Member>
result<void> number_field(const entry& from, up_options& to) {
  return field(from, whole_number(from), Member, to.spec);
}

const std::vector<known_key>& known_keys() {
  using spec = sandbox_spec;
  static const std::vector<known_key> all = {
      {"template", "--template", text_field<&spec::template_name>},
      {"runtime", "--runtime", text_field<&spec::runtime>},
      {"cpus", "--cpus", number_field<&spec::cpus>},
      {"memory", "--memory",
       [](const entry& from, up_options& to) {
         return size(from, &spec::memory_mb, parse_memory_mb, to.memory);
       }},
      {"disk", "--disk",
       [](const entry& from, up_options& to) {
         return size(from, &spec::disk_gb, parse_disk_gb, to.disk);
       }},
      {"pids", "--pids", number_field<&spec::pids>},
      {"network", "--network",
       [](const entry& from, up_options& to) -> result<void> {
         auto got = text(from);
         if (!got)
           return tl::unexpected<failure>(got.error());
         if (!network_mode_from_string(*got))
           return from.refuse("network " + caged::quoted(*got)
                              + " is unknown; it must be none, full or "
                                "allowlist");
         to.network = std::move(*got);
         return {};
       }},
      {"env", "",
       [](const entry& from, up_options& to) {
         return text_map(from, &spec::env, to.spec);
       }},
      {"labels", "",
       [](const entry& from, up_options& to) {
         return text_map(from, &spec::labels, to.spec);
       }},
      {"name", "--name", text_field<&spec::name>},
      {"node", "--node",
       [](const entry& from, up_options& to) -> result<void> {
         auto got = text(from);
         if (!got)
           return tl::unexpected<failure>(got.error());
         to.node = std::move(*got);
         return {};
       }},
      {"require", "", // labels, of a node
       [](const entry& from, up_options& to) -> result<void> {
         sandbox_spec holder;
         if (auto good = text_map(from, &spec::labels, holder); !good)
           return good;
         to.require = std::move(holder.labels);
         return {};
       }},
      {"workdir", "--workdir", text_field<&spec::workdir>},
      {"timeout", "--timeout",
       [](const entry& from, up_options& to) {
         return span(from, &spec::idle_timeout, to.timeout);
       }},
      {"ttl", "--ttl",
       [](const entry& from, up_options& to) {
         return span(from, &spec::ttl, to.ttl);
       }},
      {"init_script", "--init-script",
       [](const entry& from, up_options& to) {
         return init_script(from, to.spec);
       }},
      {"command", "command",
       [](const entry& from, up_options& to) {
         return command(from, to.command);
       }},
  };
  return all;
}

result<void> read_entry(const entry& from, up_options& to,
                        const std::function<bool(std::string)>& given) {
  for (const auto& known : known_keys()) {
    if (from.key != known.key)
      continue;
    if (*known.flag == '\0' || !given(known.flag))
      return known.read(from, to);
    up_options unused; // what is overruled must be right, too
    return known.read(from, unused);
  }
  std::vector<std::string> names;
  for (const auto& known : known_keys())
    names.emplace_back(known.key);
  std::string all;
  for (const auto& name : names)
    all += (all.empty() ? "" : ", ") + name;
  return from.refuse("unknown key " + caged::quoted(from.key)
                         + "; the nearest is " + nearest(from.key, names),
                     "known are " + all);
}

} // namespace

std::optional<fs::path> find_project_file(const fs::path& from,
                                          const fs::path& home) {
  std::error_code error;
  std::optional<fs::path> found;
  auto there = fs::canonical(home, error);
  for (auto dir = from;; dir = dir.parent_path()) {
    if (!found && fs::exists(dir / project_file_name, error))
      found = dir / project_file_name;
    if (fs::exists(dir / ".git", error) || (!home.empty() && dir == there))
      return found;
    if (dir == dir.parent_path())
      break;
  }
  if (fs::exists(from / project_file_name, error))
    return from / project_file_name;
  return std::nullopt;
}

result<void> read_project_file(const fs::path& file, up_options& to,
                               const std::function<bool(std::string)>& given) {
  std::error_code error;
  if (!fs::is_regular_file(file, error))
    return fail(ec::bad_request,
                "there is no file " + caged::quoted(file.string()));
  auto bytes = read_text_file(file, file_max);
  if (!bytes)
    return tl::unexpected<failure>(bytes.error());
  try {
    auto root = YAML::Load(*bytes);
    if (root.IsNull())
      return {};
    entry whole{file, "", root};
    if (!root.IsMap())
      return whole.refuse("KEY: VALUE is expected", "for example cpus: 2");
    std::set<std::string> seen;
    for (const auto& item : root) {
      entry one{file, "a key", item.first};
      auto key = text(one);
      if (!key)
        return tl::unexpected<failure>(key.error());
      one.key = *key;
      if (!seen.insert(*key).second)
        return one.refuse(*key + " is there twice");
      // An unknown key is shown where it stands, a bad value where that is.
      bool known = std::any_of(known_keys().begin(), known_keys().end(),
                               [&](const auto& k) { return k.key == *key; });
      if (known)
        one.take(item.second);
      if (auto good = read_entry(one, to, given); !good)
        return good;
    }
  } catch (const YAML::Exception& e) {
    return fail(ec::bad_request, file.string() + ":"
                                     + std::to_string(e.mark.line + 1)
                                     + ": this is no YAML: " + e.msg);
  }
  return {};
}

} // namespace caged::cli
