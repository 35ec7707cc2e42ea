// Runs inside a sandbox: inotify_probe USERS. Opens inotify instances until the
// kernel refuses, as root and as that many other users, prints how many it has
// got and keeps them until it is killed. USERS 0: one instance, exit code 0
// when it is there.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

int take_all() {
  int count = 0;
  while (::inotify_init1(0) >= 0)
    ++count;
  return count;
}

} // namespace

int main(int argc, char** argv) {
  auto users = argc > 1 ? std::atoi(argv[1]) : 0;
  if (users == 0) {
    if (::inotify_init1(0) >= 0)
      return 0;
    std::printf("refused: %s\n", std::strerror(errno));
    return 1;
  }
  auto count = take_all();
  for (int user = 1; user <= users; ++user)
    if (::fork() == 0) {
      if (::setresuid(static_cast<uid_t>(user), static_cast<uid_t>(user),
                      static_cast<uid_t>(user))
          == 0)
        take_all();
      std::printf("user %d\n", user);
      std::fflush(stdout);
      for (;;)
        ::pause();
    }
  std::printf("root has %d\n", count);
  std::fflush(stdout);
  for (;;)
    ::pause();
}
