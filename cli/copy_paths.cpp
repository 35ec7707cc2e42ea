#include "cli/copy_paths.hpp"

#include <algorithm>
#include <vector>

#include "messages/text.hpp"

namespace caged::cli {

namespace {

std::vector<std::string_view> components(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    auto end = std::min(path.find('/'), path.size());
    if (end > 0 && path.substr(0, end) != ".")
      out.push_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return out;
}

} // namespace

copy_end parse_copy_end(const std::string& text) {
  if (text == "-")
    return {copy_end::place::stream, {}, {}};
  auto colon = text.find(':');
  if (colon == text.npos || colon == 0 || text.find('/') < colon)
    return {copy_end::place::local, {}, text.empty() ? "." : text};
  auto path = text.substr(colon + 1);
  return {copy_end::place::inside, text.substr(0, colon),
          path.empty() ? "." : path};
}

std::string to_text(const copy_end& end) {
  switch (end.where) {
  case copy_end::place::stream:
    return "-";
  case copy_end::place::inside:
    return end.sandbox + ":" + end.path;
  default:
    return end.path;
  }
}

std::string safe_path(std::string_view path) {
  if (path.empty())
    return ".";
  if (path.front() == '/' || path == "." || path == ".."
      || path.rfind("./", 0) == 0 || path.rfind("../", 0) == 0)
    return std::string{path};
  return "./" + std::string{path};
}

std::string strip_slashes(std::string_view path) {
  while (path.size() > 1 && path.back() == '/')
    path.remove_suffix(1);
  return std::string{path};
}

std::string last_name(std::string_view path) {
  auto text = strip_slashes(path);
  auto name = text.substr(text.rfind('/') + 1); // npos + 1 is 0
  return name == "." || name == ".." ? std::string{} : name;
}

bool names_directory(std::string_view path) {
  return last_name(path).empty() || path.back() == '/';
}

std::string parent_of(std::string_view path) {
  auto text = strip_slashes(path);
  auto slash = text.rfind('/');
  if (slash == text.npos)
    return ".";
  auto parent = strip_slashes(text.substr(0, slash));
  return parent.empty() ? "/" : parent;
}

result<copy_target> choose_target(const std::string& shown,
                                  const std::string& path, there dst,
                                  const std::string& source_name,
                                  bool source_is_directory, bool several) {
  if (dst == there::directory)
    return copy_target{strip_slashes(path), source_name};
  if (several)
    return fail(ec::bad_request,
                quoted(shown)
                    + " is no directory, and several sources "
                      "go only into a directory",
                "make it first: mkdir");
  switch (dst) {
  case there::nowhere:
    return fail(ec::not_found,
                "the directory of " + quoted(shown) + " does not exist",
                "make it first: mkdir -p");
  case there::dangling:
    return fail(ec::bad_request,
                quoted(shown) + " is a symbolic link to nothing",
                "remove it, or name what it should lead to");
  case there::other:
    return fail(ec::bad_request,
                quoted(shown) + " is neither a file nor a directory");
  case there::file:
    if (source_is_directory)
      return fail(ec::bad_request, "a directory cannot overwrite "
                                       + quoted(shown) + ", which is a file");
    [[fallthrough]];
  default:
    if (names_directory(path) && !source_is_directory)
      return fail(ec::bad_request, quoted(shown) + " is no directory",
                  "leave the slash out to make a file of that name");
    if (last_name(path).empty())
      return fail(ec::not_found, quoted(shown) + " does not exist");
    return copy_target{parent_of(path), last_name(path)};
  }
}

result<std::string> name_below(std::string_view entry) {
  if (entry.empty() || entry.front() == '/')
    return fail(ec::denied, "the sandbox sent the absolute name "
                                + quoted(entry) + ", which is refused");
  std::string out;
  for (auto part : components(entry)) {
    if (part == "..")
      return fail(ec::denied, "the sandbox sent the name " + quoted(entry)
                                  + ", whose \"..\" is refused");
    out += (out.empty() ? "" : "/") + std::string{part};
  }
  return out.empty() ? "." : out;
}

bool link_stays_below(std::string_view name, std::string_view target) {
  if (target.empty() || target.front() == '/')
    return false;
  auto above = components(name).size();
  above = above > 0 ? above - 1 : 0; // directories of the tree it is in
  bool down = false;
  for (auto part : components(target)) {
    if (part != "..")
      down = true;
    else if (down || above-- == 0)
      return false;
  }
  return true;
}

} // namespace caged::cli
