#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "cli/exec_io.hpp"

namespace caged::cli {

/// A line on stderr that says how far a copy is: bytes and rate. Silent unless
/// stderr is a terminal.
class progress {
public:
  progress(std::string what, bool quiet);
  ~progress(); ///< ends the line

  void add(std::size_t bytes);

private:
  void draw();

  std::string what_;
  bool shown_;
  bool drawn_ = false;
  std::uint64_t bytes_ = 0;
  std::chrono::steady_clock::time_point begun_, next_;
};

/// A sink and a source whose bytes are counted.
class counted_sink : public byte_sink {
public:
  counted_sink(byte_sink& to, progress& by) : to_{to}, by_{by} {}
  ssize_t write(std::string_view bytes) override;
  int fd() const override { return to_.fd(); }
  bool must_poll() const override { return to_.must_poll(); }

private:
  byte_sink& to_;
  progress& by_;
};

class counted_source : public byte_source {
public:
  counted_source(byte_source& from, progress& by) : from_{from}, by_{by} {}
  ssize_t read(char* to, std::size_t most) override;
  int fd() const override { return from_.fd(); }

private:
  byte_source& from_;
  progress& by_;
};

} // namespace caged::cli
