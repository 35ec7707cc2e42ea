#include "nodes/file_exec_logs.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <map>
#include <mutex>
#include <system_error>
#include <utility>

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

  result<void> append(const std::string& sandbox, const std::string& source,
                      std::string_view bytes) override {
    std::lock_guard guard{mutex_};
    if (!is_valid_id(sandbox) || !is_valid_name(source))
      return {}; // names of ours; anything else would be a path
    auto current = root_ / sandbox / (source + ".log");
    std::error_code ignored; // the write below tells what is wrong
    fs::create_directories(current.parent_path(), ignored);
    if (int error = close_gap(current); error != 0)
      return lose(current, bytes.size(), error);
    while (!bytes.empty()) {
      auto used = size_of(current);
      if (used >= generation_max) {
        rotate(current);
        used = size_of(current); // it stays where it cannot be renamed
      }
      auto room = used < generation_max ? generation_max - used : bytes.size();
      auto part = bytes.substr(0, room);
      auto [written, error] = write(current, part);
      bytes.remove_prefix(written);
      if (error != 0)
        return lose(current, bytes.size(), error);
    }
    return {};
  }

  result<std::string> read(const std::string& sandbox,
                           const std::string& source) override {
    std::lock_guard guard{mutex_};
    auto current = root_ / sandbox / (source + ".log");
    auto old = current;
    old += ".1";
    std::string out;
    close_gap(current);
    auto dropped = slurp(dropped_file(current));
    if (!dropped.empty())
      out = "[" + dropped + " bytes before this were dropped]\n";
    out += slurp(old) + slurp(current);
    if (auto open = gaps_.find(current); open != gaps_.end())
      out += note_of(open->second);
    return out;
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
    close_gap(current);
    std::uint64_t lowest = 0;
    std::ifstream{dropped_file(current)} >> lowest;
    auto middle = lowest + size_of(old);
    auto there = middle + size_of(current);
    out.end = there;
    if (auto open = gaps_.find(current); open != gaps_.end())
      out.end += open->second.size;
    if (offset >= there
        && out.end > there) { // what is there no more is skipped
      out.offset = out.end;
      return out;
    }
    out.offset = std::clamp(offset, lowest, out.end);
    bool in_old = out.offset < middle;
    auto base = in_old ? lowest : middle;
    auto left = (in_old ? middle : there) - out.offset;
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
    gaps_.erase(root_ / sandbox / (source + ".log"));
    for (const char* ending : {".log", ".log.1", ".dropped"})
      fs::remove(root_ / sandbox / (source + ending), ignored);
  }

  void remove(const std::string& sandbox) override {
    std::lock_guard guard{mutex_};
    if (!is_valid_id(sandbox))
      return;
    std::erase_if(gaps_, [&](const auto& item) {
      return item.first.parent_path() == root_ / sandbox;
    });
    std::error_code ignored;
    fs::remove_all(root_ / sandbox, ignored);
  }

private:
  static fs::path dropped_file(fs::path current) {
    return current.replace_extension(".dropped");
  }

  /// Bytes at the end of a log that the disk did not take.
  struct gap {
    std::uint64_t size = 0;
    int error = 0;
  };

  static std::uint64_t size_of(const fs::path& file) {
    std::error_code none;
    auto bytes = fs::file_size(file, none);
    return none ? 0 : bytes;
  }

  static std::string note_of(const gap& what) {
    auto why = fail_errno(ec::io, "", what.error).value().message;
    return "\n[" + std::to_string(what.size) + " bytes here were lost" + why
           + "]\n";
  }

  tl::unexpected<failure> lose(const fs::path& current, std::uint64_t bytes,
                               int error) {
    auto& to = gaps_[current];
    to.size += bytes;
    to.error = error;
    return fail_errno(
        ec::io, "output is lost, " + current.string() + " cannot be written",
        error);
  }

  /// Makes the gap a part of the file, as a hole that begins with a note, so
  /// that offsets stay true. 0, or why it cannot be.
  int close_gap(const fs::path& current) {
    auto it = gaps_.find(current);
    if (it == gaps_.end())
      return 0;
    auto what = it->second;
    auto used = size_of(current);
    if (what.size > generation_max) { // nothing before it is worth that
      auto old = current;
      old += ".1";
      std::error_code ignored;
      if (int error = count_dropped(current, size_of(old) + used + what.size);
          error != 0)
        return error;
      fs::remove(old, ignored);
      fs::remove(current, ignored);
      gaps_.erase(it);
      return 0;
    }
    auto note = note_of(what).substr(0, what.size);
    int fd = ::open(current.c_str(),
                    O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
      return errno;
    int error = 0;
    errno = 0; // a short write has none
    if (::pwrite(fd, note.data(), note.size(), static_cast<off_t>(used))
            != static_cast<ssize_t>(note.size())
        || ::ftruncate(fd, static_cast<off_t>(used + what.size)) != 0) {
      error = errno == 0 ? ENOSPC : errno;
      [[maybe_unused]] auto undone = ::ftruncate(fd, static_cast<off_t>(used));
    } else {
      gaps_.erase(it);
    }
    ::close(fd);
    return error;
  }

  /// How much was written, and why no more.
  static std::pair<std::size_t, int> write(const fs::path& file,
                                           std::string_view bytes) {
    int fd =
        ::open(file.c_str(),
               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
      return {0, errno};
    std::size_t done = 0;
    int error = 0;
    while (error == 0 && done < bytes.size()) {
      auto n = ::write(fd, bytes.data() + done, bytes.size() - done);
      if (n > 0)
        done += static_cast<std::size_t>(n);
      else if (n < 0 && errno != EINTR)
        error = errno;
    }
    ::close(fd);
    return {done, error};
  }

  static void rotate(const fs::path& current) {
    std::error_code ignored;
    auto old = current;
    old += ".1";
    auto lost = size_of(old);
    if (lost > 0 && count_dropped(current, lost) != 0)
      return;
    fs::rename(current, old, ignored);
  }

  /// 0 or errno.
  static int count_dropped(const fs::path& current, std::uint64_t bytes) {
    auto file = dropped_file(current), fresh = file;
    fresh += ".new"; // a full disk must not cost the old count
    std::uint64_t before = 0;
    std::ifstream{file} >> before;
    auto text = std::to_string(before + bytes);
    std::error_code failed;
    fs::remove(fresh, failed);
    auto error = write(fresh, text).second;
    if (error == 0)
      fs::rename(fresh, file, failed);
    return error != 0 ? error : failed.value();
  }

  fs::path root_;
  std::map<fs::path, gap> gaps_;
  std::mutex mutex_;
};

} // namespace

std::unique_ptr<exec_logs>
make_file_exec_logs(std::filesystem::path directory) {
  return std::make_unique<file_exec_logs>(std::move(directory));
}

} // namespace caged
