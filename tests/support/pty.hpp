#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace caged::test {

/// A pseudo-terminal whose other end is given to a program by its path. What
/// the program writes is read all the time, so that it never waits for us.
class pty {
public:
  /// Throws std::system_error when the machine has none.
  pty();
  ~pty();
  pty(const pty&) = delete;
  pty& operator=(const pty&) = delete;

  const std::string& path() const noexcept { return path_; }
  /// Keys of whoever sits in front of it.
  void type(std::string_view keys);
  /// The window is dragged to this size. Programs of which it is not the
  /// controlling terminal want a SIGWINCH besides.
  void resize(unsigned short rows, unsigned short cols);
  /// All that was shown so far.
  std::string out() const;

private:
  void read_on();

  int master_ = -1;
  int slave_ = -1; ///< held open: the terminal outlives its programs
  int stop_ = -1;  ///< an eventfd
  std::string path_;
  mutable std::mutex mutex_; // of out_
  std::string out_;
  std::thread reader_;
};

} // namespace caged::test
