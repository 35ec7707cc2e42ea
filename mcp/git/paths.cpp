#include <fcntl.h>
#include <sys/stat.h>

#include "mcp/git/ops.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

path_list::path_list(const worker_state& state, const json& request) {
  if (auto at = request.find("paths"); at != request.end())
    for (const auto& item : *at) {
      auto path = item.get<std::string>();
      while (path.size() > 1 && path.back() == '/')
        path.pop_back();
      while (path.compare(0, 2, "./") == 0)
        path.erase(0, 2);
      if (path.empty() || path == ".") {
        paths_.clear();
        break; // everything
      }
      paths_.push_back(std::move(path));
    }
  for (auto& path : paths_) {
    struct stat seen {};
    const auto full = state.place.worktree + "/" + path;
    if (path.find_first_of("*?[") != std::string::npos
        && ::lstat(full.c_str(), &seen) != 0)
      literal_ = false;
  }
  for (auto& path : paths_)
    pointers_.push_back(path.data());
  raw_ = {pointers_.data(), pointers_.size()};
}

std::string json_path(std::string_view path) {
  for (std::size_t at = 0; at < path.size();) {
    std::uint32_t point = 0;
    const auto length = utf8_sequence(path, at, point);
    if (length == 0)
      return quoted_path(path);
    at += length;
  }
  return std::string{path};
}

void cut_at_line(std::string& text, std::size_t most) {
  if (text.size() <= most)
    return;
  text.resize(most);
  const auto end = text.rfind('\n');
  text.resize(end == std::string::npos ? 0 : end + 1);
}

std::string counted(std::size_t n, const char* one) {
  return std::to_string(n) + " " + one + (n == 1 ? "" : "s");
}

} // namespace caged::mcp::git
