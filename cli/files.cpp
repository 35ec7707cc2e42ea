#include "cli/files.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <map>

#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/inside.hpp"
#include "cli/table.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

/// Of one directory, some 100 bytes a file.
constexpr std::size_t listing_max = 64 * 1024 * 1024;

/// $1 the path. A record is "MODE SIZE MTIME ./NAME//\n": no name has two
/// slashes. Behind an empty line "./NAME\0TARGET\0" for each link.
constexpr const char* list_script = R"(
about='%f %s %Y %n//'
links='for l; do printf "%s\0" "$l"; readlink -n -- "$l"; printf "\0"; done'
if [ -d "$1" ]; then
  cd -- "$1" || exit 1
  find . ! -name . -prune -exec stat -c "$about" -- {} + || exit 1
  echo
  find . ! -name . -prune -type l -exec sh -c "$links" sh {} +
else
  stat -c "$about" -- "$1" || exit 1
  echo
  [ ! -L "$1" ] || sh -c "$links" sh "$1"
fi
)";

template <class T>
bool read_number(std::string_view& from, T& to, int base) {
  auto end = std::min(from.find(' '), from.size());
  auto got = std::from_chars(from.data(), from.data() + end, to, base);
  if (got.ec != std::errc{} || got.ptr != from.data() + end)
    return false;
  from.remove_prefix(std::min(end + 1, from.size()));
  return true;
}

std::string_view without_dot(std::string_view name) {
  return name.rfind("./", 0) == 0 ? name.substr(2) : name;
}

const char* type_of(unsigned mode) {
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return "directory";
  case S_IFLNK:
    return "link";
  case S_IFIFO:
    return "fifo";
  case S_IFSOCK:
    return "socket";
  case S_IFCHR:
    return "char";
  case S_IFBLK:
    return "block";
  default:
    return "file";
  }
}

std::string octal(unsigned mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", mode & 07777U);
  return text;
}

int code_of(const exec_end& end) {
  return end.interrupted != 0 ? 128 + end.interrupted
                              : (end.sink_error == EPIPE ? 1 : 0);
}

} // namespace

result<std::vector<file_row>> parse_listing(std::string_view text) {
  auto broken = [] {
    return fail(ec::malformed, "the sandbox's listing cannot be read",
                "its find, stat or sh is not what it is elsewhere");
  };
  std::vector<file_row> rows;
  while (!text.empty() && text.front() != '\n') {
    file_row row;
    constexpr int hex = 16, decimal = 10;
    if (!read_number(text, row.mode, hex)
        || !read_number(text, row.size, decimal)
        || !read_number(text, row.mtime_s, decimal))
      return broken();
    auto end = text.find("//\n");
    if (end == text.npos)
      return broken();
    row.name = without_dot(text.substr(0, end));
    text.remove_prefix(end + 3);
    rows.push_back(std::move(row));
  }
  if (text.empty())
    return broken();
  text.remove_prefix(1);
  std::map<std::string, std::string, std::less<>> targets;
  while (!text.empty()) {
    auto middle = text.find('\0');
    auto end = middle == text.npos ? middle : text.find('\0', middle + 1);
    if (end == text.npos)
      return broken();
    targets[std::string{without_dot(text.substr(0, middle))}] =
        text.substr(middle + 1, end - middle - 1);
    text.remove_prefix(end + 1);
  }
  for (auto& row : rows)
    if (auto found = targets.find(row.name); found != targets.end())
      row.target = found->second;
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return rows;
}

std::string show(const std::vector<file_row>& rows, format as) {
  using nlohmann::json;
  if (as == format::json) {
    auto out = json::array();
    for (const auto& row : rows)
      out.push_back(
          {{"type", type_of(row.mode)},
           {"mode", octal(row.mode)},
           {"size", row.size},
           {"mtime_s", row.mtime_s},
           {"name", row.name},
           {"target", S_ISLNK(row.mode) ? json(row.target) : json(nullptr)}});
    return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  }
  constexpr std::int64_t thousand = 1000;
  table out{{"TYPE", "MODE", "SIZE", "MTIME (UTC)", "NAME", "TARGET"}};
  for (const auto& row : rows)
    out.add({type_of(row.mode), octal(row.mode), std::to_string(row.size),
             date_time(row.mtime_s * thousand), row.name, row.target});
  return out.str(stdout_has_colour());
}

result<int> run_files_ls(const common_options& with,
                         const files_options& what) {
  auto got =
      run_inside({with.endpoint, what.sandbox},
                 shell(list_script, {safe_path(what.path)}), listing_max);
  if (!got)
    return tl::unexpected<failure>(got.error());
  auto shown = caged::quoted(what.sandbox + ":" + what.path);
  if (auto well =
          ended_well(got->end, got->err, "sh", shown + " cannot be listed");
      !well)
    return tl::unexpected<failure>(well.error());
  auto rows = parse_listing(got->out);
  if (!rows)
    return tl::unexpected<failure>(rows.error());
  std::cout << show(*rows, with.as);
  return 0;
}

result<int> run_files_cat(const common_options& with,
                          const files_options& what) {
  descriptor_sink to{STDOUT_FILENO};
  auto done = read_inside({with.endpoint, what.sandbox},
                          what.sandbox + ":" + what.path, what.path, to);
  if (!done)
    return tl::unexpected<failure>(done.error());
  return code_of(*done);
}

result<int> run_files_write(const common_options& with,
                            const files_options& what) {
  descriptor_source from{STDIN_FILENO};
  auto done =
      write_inside({with.endpoint, what.sandbox},
                   what.sandbox + ":" + what.path, what.path, what.mode, from);
  if (!done)
    return tl::unexpected<failure>(done.error());
  return code_of(*done);
}

result<int> run_files_rm(const common_options& with,
                         const files_options& what) {
  std::vector<std::string> argv = {"rm"};
  if (what.recursive)
    argv.emplace_back("-r");
  argv.emplace_back("--");
  for (const auto& path : what.paths)
    argv.push_back(safe_path(path));
  auto got = run_inside({with.endpoint, what.sandbox}, std::move(argv));
  if (!got)
    return tl::unexpected<failure>(got.error());
  auto well = ended_well(got->end, got->err, "rm",
                         "not everything in " + caged::quoted(what.sandbox)
                             + " was removed");
  if (!well)
    return tl::unexpected<failure>(well.error());
  return 0;
}

} // namespace caged::cli
