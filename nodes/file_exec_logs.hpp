#pragma once

#include <filesystem>
#include <memory>

#include "actors/exec_logs.hpp"

namespace caged {

/// exec_logs as two files a log, SANDBOX/SOURCE.log and SOURCE.log.1, each of
/// at most half of limits::exec_log_max: when the first is full it replaces
/// the second, and the bytes that go with that are counted in
/// SOURCE.dropped. Mode 0600.
std::unique_ptr<exec_logs> make_file_exec_logs(std::filesystem::path directory);

} // namespace caged
