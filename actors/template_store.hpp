#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "messages/client_api.hpp"

namespace caged {

/// A template as it goes from node to node: one archive, the same bytes
/// wherever the template's files are the same.
struct template_archive {
  std::string digest;     ///< SHA-256, hexadecimal
  std::uint64_t size = 0; ///< bytes

  friend bool operator==(const template_archive&,
                         const template_archive&) = default;
};

/// The templates of this node's disk. Everything but list() and has() may block
/// for as long as reading or writing a whole template takes. Thread-safe.
class template_store {
public:
  virtual ~template_store() = default;

  /// Names, sorted.
  virtual std::vector<std::string> list() const = 0;
  virtual bool has(const std::string& name) const = 0;

  // For another node.
  /// A piece of the archive of what.template_name; without bytes where no
  /// digest is given. Errors: not_found, conflict (it has another digest),
  /// bad_request (beyond its end), resource (no room to pack it), io.
  virtual result<api::template_chunk> read(const api::template_read& what) = 0;

  // From another node. One template is fetched by one caller at a time.
  /// What was fetched before is kept: gives the offset to go on from. Errors:
  /// resource (the disk has no room for it), too_large, io.
  virtual result<std::uint64_t> begin(const std::string& name,
                                      const template_archive& what) = 0;
  /// The next piece. Errors: malformed (it is not the bytes of its digest, or
  /// not at the end of what there is), resource (the disk is full), io.
  virtual result<void> append(const std::string& name,
                              const template_archive& what,
                              const api::template_chunk& piece) = 0;
  /// All is there: from now on the node has the template. Errors: malformed
  /// (the whole is not what its digest says; it is thrown away), resource, io.
  virtual result<void> install(const std::string& name,
                               const template_archive& what) = 0;
};

/// How many members of each pool are ready, from the supervisor to what is told
/// to other nodes. Thread-safe.
class pool_counts {
public:
  void set(const std::string& template_name, unsigned ready) {
    const std::lock_guard guard{mutex_};
    ready_[template_name] = ready;
  }
  std::map<std::string, unsigned> all() const {
    const std::lock_guard guard{mutex_};
    return ready_;
  }

private:
  mutable std::mutex mutex_;
  std::map<std::string, unsigned> ready_;
};

} // namespace caged
