#include "cli/worker.hpp"

#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace caged::cli {

pipe_pair::pipe_pair() {
  if (::pipe2(fds_, O_CLOEXEC) != 0)
    fds_[0] = fds_[1] = -1;
}

pipe_pair::~pipe_pair() {
  close_read();
  close_write();
}

void pipe_pair::close_one(int which) {
  if (fds_[which] >= 0)
    ::close(std::exchange(fds_[which], -1));
}

held_signals::held_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE})
    ::sigaddset(&set, number);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
}

held_signals::~held_signals() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

worker::worker(std::function<void()> work) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  thread_ = std::thread{std::move(work)};
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void worker::join() {
  if (thread_.joinable())
    thread_.join();
}

} // namespace caged::cli
