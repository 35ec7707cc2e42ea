#include "nodes/file_exec_logs.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <mutex>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/limits.hpp"
#include "messages/sandbox.hpp"
#include "messages/text.hpp"

namespace caged {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t generation_max = limits::exec_log_max / 2;

std::string slurp(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

class file_exec_logs : public exec_logs {
public:
  explicit file_exec_logs(fs::path directory) : root_{std::move(directory)} {}

  void append(const std::string& sandbox, const std::string& source,
              std::string_view bytes) override {
    std::lock_guard guard{mutex_};
    if (!is_valid_id(sandbox) || !is_valid_name(source))
      return; // names of ours; anything else would be a path
    auto current = root_ / sandbox / (source + ".log");
    std::error_code ignored; // the write below tells what is wrong
    fs::create_directories(current.parent_path(), ignored);
    while (!bytes.empty()) {
      std::uint64_t used = fs::file_size(current, ignored);
      if (ignored)
        used = 0;
      if (used >= generation_max) {
        rotate(current);
        used = 0;
      }
      auto part = bytes.substr(0, generation_max - used);
      if (!write(current, part)) {
        count_dropped(current, bytes.size());
        return;
      }
      bytes.remove_prefix(part.size());
    }
  }

  result<std::string> read(const std::string& sandbox,
                           const std::string& source) override {
    std::lock_guard guard{mutex_};
    auto current = root_ / sandbox / (source + ".log");
    auto old = current;
    old += ".1";
    std::string out;
    auto dropped = slurp(dropped_file(current));
    if (!dropped.empty())
      out = "[" + dropped + " bytes before this were dropped]\n";
    return out + slurp(old) + slurp(current);
  }

  result<log_part> part(const std::string& sandbox, const std::string& source,
                        std::uint64_t offset, std::size_t most) override {
    std::lock_guard guard{mutex_};
    log_part out;
    if (!is_valid_id(sandbox) || !is_valid_name(source))
      return out;
    auto current = root_ / sandbox / (source + ".log");
    auto old = current;
    old += ".1";
    auto size = [](const fs::path& file) -> std::uint64_t {
      std::error_code none;
      auto bytes = fs::file_size(file, none);
      return none ? 0 : bytes;
    };
    std::uint64_t lowest = 0;
    std::ifstream{dropped_file(current)} >> lowest;
    auto middle = lowest + size(old);
    out.end = middle + size(current);
    out.offset = std::clamp(offset, lowest, out.end);
    bool in_old = out.offset < middle;
    auto base = in_old ? lowest : middle;
    auto left = (in_old ? middle : out.end) - out.offset;
    out.bytes.resize(std::min<std::uint64_t>(left, most));
    if (out.bytes.empty())
      return out;
    std::ifstream in{in_old ? old : current, std::ios::binary};
    in.seekg(static_cast<std::streamoff>(out.offset - base));
    in.read(out.bytes.data(), static_cast<std::streamsize>(out.bytes.size()));
    if (static_cast<std::size_t>(in.gcount()) != out.bytes.size())
      return fail(ec::io, "the log " + caged::quoted(source) + " of " + sandbox
                              + " cannot be read");
    return out;
  }

  void remove(const std::string& sandbox, const std::string& source) override {
    std::lock_guard guard{mutex_};
    if (!is_valid_id(sandbox) || !is_valid_name(source))
      return;
    std::error_code ignored;
    for (const char* ending : {".log", ".log.1", ".dropped"})
      fs::remove(root_ / sandbox / (source + ending), ignored);
  }

  void remove(const std::string& sandbox) override {
    std::lock_guard guard{mutex_};
    if (!is_valid_id(sandbox))
      return;
    std::error_code ignored;
    fs::remove_all(root_ / sandbox, ignored);
  }

private:
  static fs::path dropped_file(fs::path current) {
    return current.replace_extension(".dropped");
  }

  static bool write(const fs::path& file, std::string_view bytes) {
    int fd =
        ::open(file.c_str(),
               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
      return false;
    bool good = true;
    while (good && !bytes.empty()) {
      auto n = ::write(fd, bytes.data(), bytes.size());
      if (n > 0)
        bytes.remove_prefix(static_cast<std::size_t>(n));
      else if (n < 0 && errno != EINTR)
        good = false;
    }
    ::close(fd);
    return good;
  }

  static void rotate(const fs::path& current) {
    std::error_code ignored;
    auto old = current;
    old += ".1";
    auto lost = fs::file_size(old, ignored);
    if (!ignored)
      count_dropped(current, lost);
    fs::rename(current, old, ignored);
  }

  static void count_dropped(const fs::path& current, std::uint64_t bytes) {
    auto file = dropped_file(current);
    std::uint64_t before = 0;
    std::ifstream{file} >> before;
    std::ofstream{file, std::ios::trunc} << before + bytes;
  }

  fs::path root_;
  std::mutex mutex_;
};

} // namespace

std::unique_ptr<exec_logs>
make_file_exec_logs(std::filesystem::path directory) {
  return std::make_unique<file_exec_logs>(std::move(directory));
}

} // namespace caged
