#pragma once

#include <string>

namespace caged {

/// From now on a client that comes when no descriptor is left is turned away at
/// once, and the log says so.
///
/// libzmq 4.3.4 aborts the whole process when accept4(2) fails with EMFILE
/// (src/ipc_listener.cpp asserts that it is one of six other errors). The
/// program's own accept4 comes before glibc's: it keeps one descriptor in
/// reserve, takes the client with it, hangs up and reports ECONNABORTED, which
/// libzmq knows. Leaving the client in the queue would let its poll spin.
void guard_accept();

/// Who was last accepted as this descriptor over TCP: "10.0.0.7:40000", also
/// when it is closed by now; empty when it is unknown. For logs.
std::string accepted_from(int fd);

} // namespace caged
