#include "mcp/resources.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t page_size = 200;
/// Entries looked at for one page, so that a page takes milliseconds.
constexpr std::size_t looked_at_most = 20'000;
/// Names of one folder that are held at a time; the rest is not listed.
constexpr std::size_t folder_most = 50'000;
constexpr std::size_t depth_most = 64;

constexpr std::array<std::pair<std::string_view, const char*>, 22> types = {
    {{"c", "text/x-c"},
     {"cpp", "text/x-c++"},
     {"css", "text/css"},
     {"csv", "text/csv"},
     {"gif", "image/gif"},
     {"go", "text/x-go"},
     {"h", "text/x-c"},
     {"hpp", "text/x-c++"},
     {"html", "text/html"},
     {"java", "text/x-java"},
     {"jpg", "image/jpeg"},
     {"js", "text/javascript"},
     {"json", "application/json"},
     {"md", "text/markdown"},
     {"pdf", "application/pdf"},
     {"png", "image/png"},
     {"py", "text/x-python"},
     {"rs", "text/x-rust"},
     {"svg", "image/svg+xml"},
     {"ts", "text/x-typescript"},
     {"txt", "text/plain"},
     {"xml", "application/xml"}}};

/// By its ending; nullptr where that says nothing.
const char* type_of(std::string_view path) {
  const auto dot = path.rfind('.');
  if (dot == std::string_view::npos)
    return nullptr;
  const auto ending = path.substr(dot + 1);
  for (const auto& [each, type] : types)
    if (each == ending)
      return type;
  return nullptr;
}

/// RFC 8089 and RFC 3986, section 2.3.
std::string uri_of(std::string_view absolute) {
  static constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out = "file://";
  for (const auto c : absolute) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
        || (c >= '0' && c <= '9')
        || std::string_view{"/-._~"}.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += hex[byte >> 4U];
      out += hex[byte & 15U];
    }
  }
  return out;
}

int hex_value(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

result<std::string> path_of(std::string_view uri) {
  constexpr std::string_view scheme = "file://";
  const auto wrong = [&] {
    return fail(ec::bad_request,
                caged::quoted(uri.substr(0, 256))
                    + " is no file:// URI of this host",
                "resources/list shows them");
  };
  if (uri.substr(0, scheme.size()) != scheme)
    return wrong();
  uri.remove_prefix(scheme.size());
  if (uri.substr(0, 10) == "localhost/")
    uri.remove_prefix(9);
  if (uri.empty() || uri.front() != '/')
    return wrong();
  std::string out;
  for (std::size_t i = 0; i < uri.size(); ++i) {
    if (uri[i] == '?' || uri[i] == '#')
      return wrong();
    if (uri[i] != '%') {
      out += uri[i];
      continue;
    }
    const auto high = i + 2 < uri.size() ? hex_value(uri[i + 1]) : -1;
    const auto low = i + 2 < uri.size() ? hex_value(uri[i + 2]) : -1;
    if (high < 0 || low < 0 || high * 16 + low == 0)
      return wrong();
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool is_text(std::string_view bytes) {
  std::uint32_t point = 0;
  for (std::size_t i = 0; i < bytes.size();) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (byte == 0)
      return false;
    const auto n = byte < 0x80 ? 1 : utf8_sequence(bytes, i, point);
    if (n == 0)
      return false;
    i += n;
  }
  return true;
}

/// Walks a workspace in the order of its paths' components, from behind one
/// path on. Holds the names of one folder a level.
class walk {
public:
  walk(const workspace& where, std::string_view behind, call& c)
      : where_{where}, call_{c} {
    while (!behind.empty()) {
      const auto slash = behind.find('/');
      behind_.emplace_back(behind.substr(0, slash));
      behind.remove_prefix(slash == std::string_view::npos ? behind.size()
                                                           : slash + 1);
    }
  }

  result<resource_source::page> run() {
    auto folder = where_.open_at(".", O_RDONLY | O_DIRECTORY);
    if (!folder)
      return tl::unexpected(std::move(folder.error()));
    enter(std::move(*folder), "", 0, !behind_.empty());
    return std::move(out_);
  }

private:
  struct closer {
    void operator()(DIR* at) const { ::closedir(at); }
  };
  struct entry {
    std::string name;
    bool folder;
  };

  /// `on_path`: the part of behind_ before `depth` led here. A folder that
  /// could not be opened is passed over. False: enough.
  bool enter(owned_fd fd, const std::string& path, std::size_t depth,
             bool on_path) {
    if (depth >= depth_most)
      return true;
    std::unique_ptr<DIR, closer> all{::fdopendir(fd.get())};
    if (all == nullptr)
      return true;
    fd.release(); // closed with `all`, and once
    std::vector<entry> found;
    const auto* from =
        on_path && depth < behind_.size() ? &behind_[depth] : nullptr;
    while (const auto* each = ::readdir(all.get())) {
      const std::string_view name{each->d_name};
      if (name == "." || name == ".." || name == ".git"
          || (from != nullptr && name < *from))
        continue;
      struct stat about {};
      auto type = each->d_type;
      if (type == DT_UNKNOWN
          && ::fstatat(::dirfd(all.get()), each->d_name, &about,
                       AT_SYMLINK_NOFOLLOW)
                 == 0)
        type = static_cast<unsigned char>(IFTODT(about.st_mode));
      if ((type == DT_REG || type == DT_DIR) && found.size() < folder_most)
        found.push_back({std::string{name}, type == DT_DIR});
    }
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    for (const auto& each : found) {
      const auto here = path.empty() ? each.name : path + '/' + each.name;
      const auto same = from != nullptr && each.name == *from;
      if (out_.items.size() >= page_size || ++looked_at_ > looked_at_most
          || call_.cancelled()) {
        out_.next = last_;
        return false;
      }
      if (each.folder) {
        if (!same || depth + 1 >= behind_.size())
          last_ = here;
        if (!enter(owned_fd{::openat(::dirfd(all.get()), each.name.c_str(),
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW
                                         | O_CLOEXEC | O_NONBLOCK)},
                   here, depth + 1, same))
          return false;
        continue;
      }
      last_ = here;
      if (same && depth + 1 >= behind_.size())
        continue; // shown by the page before
      struct stat about {};
      if (::fstatat(::dirfd(all.get()), each.name.c_str(), &about,
                    AT_SYMLINK_NOFOLLOW)
              != 0
          || !S_ISREG(about.st_mode))
        continue;
      json item = {{"uri", uri_of(where_.root() + '/' + here)},
                   {"name", here},
                   {"size", about.st_size}};
      if (const auto* type = type_of(here))
        item["mimeType"] = type;
      out_.items.push_back(std::move(item));
    }
    return true;
  }

  const workspace& where_;
  call& call_;
  std::vector<std::string> behind_;
  std::string last_;
  std::size_t looked_at_ = 0;
  resource_source::page out_;
};

class files final : public resource_source {
public:
  files(const workspace& where, const server_config& config)
      : where_{where}, config_{config} {}

  result<page> list(std::string_view from, call& c) const override {
    std::string behind;
    if (!from.empty()) {
      auto decoded = base64_decode(from);
      if (!decoded || decoded->empty()
          || decoded->find('\0') != std::string::npos)
        return fail(ec::bad_request,
                    "there is no such cursor: start again without one");
      behind = std::move(*decoded);
    }
    auto out = walk{where_, behind, c}.run();
    if (out && !out->next.empty())
      out->next = base64_encode(out->next);
    return out;
  }

  std::vector<json> templates() const override {
    return {{{"uriTemplate", uri_of(where_.root()) + "/{+path}"},
             {"name", "file"},
             {"title", "Workspace file"},
             {"description",
              "A file of the workspace by its path relative to it"}}};
  }

  result<std::vector<json>> read(std::string_view uri, call&) const override {
    auto path = path_of(uri);
    if (!path)
      return tl::unexpected(std::move(path.error()));
    auto fd = where_.open_at(*path, O_RDONLY);
    if (!fd)
      return tl::unexpected(std::move(fd.error()));
    struct stat about {};
    if (::fstat(fd->get(), &about) != 0)
      return fail_errno(ec::io, "cannot look at " + caged::quoted(*path),
                        errno);
    if (!S_ISREG(about.st_mode))
      return fail(ec::bad_request, caged::quoted(*path) + " is no regular file",
                  "resources/list shows files");
    const auto most = std::min<std::uint64_t>(config_.limits.output_bytes,
                                              config_.limits.file_bytes);
    if (static_cast<std::uint64_t>(about.st_size) > most)
      return fail(ec::too_large,
                  caged::quoted(*path) + " has " + std::to_string(about.st_size)
                      + " bytes, more than the " + std::to_string(most)
                      + " of a resource",
                  "read a part of it with the tool file_read");
    std::string bytes(static_cast<std::size_t>(most) + 1, '\0');
    std::size_t size = 0;
    while (size < bytes.size()) {
      const auto n =
          ::read(fd->get(), bytes.data() + size, bytes.size() - size);
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return fail_errno(ec::io, "cannot read " + caged::quoted(*path), errno);
      if (n == 0)
        break;
      size += static_cast<std::size_t>(n);
    }
    bytes.resize(std::min<std::size_t>(size, most)); // it may grow meanwhile
    json item = {{"uri", uri}};
    const auto text = is_text(bytes);
    const auto* type = type_of(*path);
    item["mimeType"] = type != nullptr ? type
                       : text          ? "text/plain"
                                       : "application/octet-stream";
    if (text)
      item["text"] = std::move(bytes);
    else
      item["blob"] = base64_encode(bytes);
    return std::vector<json>{std::move(item)};
  }

private:
  const workspace& where_;
  const server_config& config_;
};

} // namespace

std::unique_ptr<resource_source> file_resources(const workspace& where,
                                                const server_config& config) {
  return std::make_unique<files>(where, config);
}

} // namespace caged::mcp
