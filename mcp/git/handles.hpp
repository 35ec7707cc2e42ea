#pragma once

#include <utility>

#include <git2.h>

namespace caged::mcp::git {

/// An object of libgit2, freed with its owner. put() is for parameters that
/// take a T**: `git_repository_index(index.put(), repository)`; what it gives
/// can be used in the same expression.
template <class T, auto Free>
class handle {
public:
  handle() = default;
  handle(handle&& other) noexcept : raw_{std::exchange(other.raw_, nullptr)} {}
  handle& operator=(handle&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  handle(const handle&) = delete;
  handle& operator=(const handle&) = delete;
  ~handle() { reset(); }
  void reset() noexcept {
    if (raw_ != nullptr)
      Free(raw_);
    raw_ = nullptr;
  }
  T* get() const noexcept { return raw_; }
  T** put() noexcept {
    reset();
    return &raw_;
  }
  explicit operator bool() const noexcept { return raw_ != nullptr; }

private:
  T* raw_ = nullptr;
};

using repository_ptr = handle<git_repository, git_repository_free>;
using index_ptr = handle<git_index, git_index_free>;
using status_list_ptr = handle<git_status_list, git_status_list_free>;
using reference_ptr = handle<git_reference, git_reference_free>;
using object_ptr = handle<git_object, git_object_free>;
using commit_ptr = handle<git_commit, git_commit_free>;
using tree_ptr = handle<git_tree, git_tree_free>;
using tree_entry_ptr = handle<git_tree_entry, git_tree_entry_free>;
using diff_ptr = handle<git_diff, git_diff_free>;
using patch_ptr = handle<git_patch, git_patch_free>;
using config_ptr = handle<git_config, git_config_free>;
using revwalk_ptr = handle<git_revwalk, git_revwalk_free>;
using signature_ptr = handle<git_signature, git_signature_free>;

/// A git_buf that is disposed of with its owner.
struct buffer {
  git_buf raw = {nullptr, 0, 0};
  buffer() = default;
  buffer(const buffer&) = delete;
  buffer& operator=(const buffer&) = delete;
  ~buffer() { git_buf_dispose(&raw); }
};

} // namespace caged::mcp::git
