#pragma once

namespace caged::mcp::git {

/// libgit2 without its network transports and without the user's and the
/// system's configuration. offline.cpp defines those functions of libgit2
/// itself, so that the static library's own are never linked: no TLS, no SSH,
/// no Kerberos, no name service (which a static program cannot have), and no
/// code that could reach out. Calling this links them in; it must be called
/// before git_libgit2_init.
void take_git_offline() noexcept;

} // namespace caged::mcp::git
