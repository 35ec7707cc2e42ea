#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "agent/removal.hpp"
#include "agent/unique_fd.hpp"
#include "messages/agent_protocol.hpp"

namespace caged::agent {

/// A file being written: a temporary one beside its target, renamed over it
/// when it is complete, removed when it never gets there.
class upload {
public:
  /// Error: io, not_found, bad_request (the target is a directory).
  /// mode absent: an existing file keeps its own, a new one gets 0644. A link
  /// is followed.
  static result<std::unique_ptr<upload>> open(const std::string& path,
                                              std::optional<unsigned> mode);
  ~upload();
  upload(const upload&) = delete;
  upload& operator=(const upload&) = delete;

  std::uint64_t size() const noexcept { return size_; }
  const std::string& path() const noexcept { return path_; }
  result<void> append(std::string_view bytes);
  /// fsync and rename.
  result<void> finish();

private:
  upload() = default;
  unique_fd fd_;
  std::string path_; ///< as the client named it
  std::string target_, temporary_;
  std::uint64_t size_ = 0;
};

using uploads = std::map<std::string, std::unique_ptr<upload>>;

/// The file messages of agent_protocol.md, section 6. `workspace` is the base
/// of relative paths. Each gives the payload of its `result`.
class file_service {
public:
  explicit file_service(std::string workspace)
      : workspace_{std::move(workspace)} {}

  /// The bytes of a read go beside the payload: how they travel is the
  /// connection's business.
  result<nlohmann::json> read(const nlohmann::json& payload,
                              std::string& bytes) const;
  result<nlohmann::json> write(agent_protocol::line& message,
                               uploads& pending) const;
  result<nlohmann::json> list(const nlohmann::json& payload) const;
  result<nlohmann::json> stat(const nlohmann::json& payload) const;
  /// Nothing: one thing was removed. A removal: a tree that takes its time.
  result<std::unique_ptr<removal>> remove(const nlohmann::json& payload) const;
  result<nlohmann::json> mkdir(const nlohmann::json& payload) const;

  /// Absolute form of a path of the protocol.
  std::string resolve(const std::string& path) const;

private:
  result<std::string> path_of(const nlohmann::json& payload) const;
  std::string workspace_;
};

} // namespace caged::agent
