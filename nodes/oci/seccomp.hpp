#pragma once

#include <string>
#include <vector>

#include <linux/filter.h>

namespace caged::oci {

/// The system call filter of every sandbox, as classic BPF for x86_64: an
/// allow list. i386 callers are killed, x32 and clone3 answered ENOSYS, so is
/// what is newer than the list; all else EPERM. Written by hand since
/// libseccomp takes 5 to 20 ms to compile such a list, at every start.
std::vector<sock_filter> seccomp_program();

/// The same as crun's annotation run.oci.seccomp_bpf_data wants it (crun(1)).
std::string seccomp_base64();

} // namespace caged::oci
