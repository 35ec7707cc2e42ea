#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <sys/types.h>

/// Where the bytes of an exec come from and go to.
namespace caged::cli {

/// Takes a stream of an exec.
class byte_sink {
public:
  virtual ~byte_sink() = default;
  /// Bytes taken; 0 when it is full, -1 when nobody reads (errno).
  virtual ssize_t write(std::string_view bytes) = 0;
  /// To poll when it was full; -1 for one that never is.
  virtual int fd() const { return -1; }
  /// Whether a write would block without a poll first.
  virtual bool must_poll() const { return false; }
};

/// Gives an exec its stdin.
class byte_source {
public:
  virtual ~byte_source() = default;
  /// Reads at most so many bytes; 0 at the end, -1 when there is none (errno).
  virtual ssize_t read(char* to, std::size_t most) = 0;
  /// To poll before a read.
  virtual int fd() const = 0;
};

/// A descriptor of the caller's. Pipes and terminals are opened anew, because
/// non-blocking is a property that all holders of a description share, the
/// shell among them.
class descriptor_sink : public byte_sink {
public:
  explicit descriptor_sink(int fd);
  ~descriptor_sink() override;
  descriptor_sink(const descriptor_sink&) = delete;
  descriptor_sink& operator=(const descriptor_sink&) = delete;

  ssize_t write(std::string_view bytes) override;
  int fd() const override { return fd_; }
  bool must_poll() const override { return own_ < 0 && !regular_; }

private:
  int fd_;
  int own_ = -1;
  bool regular_ = false;
};

/// A descriptor of the caller's, read as it is.
class descriptor_source : public byte_source {
public:
  explicit descriptor_source(int fd) : fd_{fd} {}
  ssize_t read(char* to, std::size_t most) override;
  int fd() const override { return fd_; }

private:
  int fd_;
};

/// Keeps the first bytes in memory and drops what comes behind them.
class kept_bytes : public byte_sink {
public:
  explicit kept_bytes(std::size_t most) : most_{most} {}
  ssize_t write(std::string_view bytes) override;
  const std::string& bytes() const noexcept { return bytes_; }
  /// Whether something was dropped.
  bool cut() const noexcept { return cut_; }

private:
  std::size_t most_;
  std::string bytes_;
  bool cut_ = false;
};

} // namespace caged::cli
