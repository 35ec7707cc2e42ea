#pragma once

#include <string>

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tests/support/process.hpp"

namespace caged::test {

/// A certificate for localhost that is its own authority, for a day.
struct self_signed {
  self_signed() {
    const auto made =
        run({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
             "-days", "1", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert});
    INFO(made.err);
    REQUIRE(made.exit == 0);
    ::chmod(key.c_str(), 0600);
  }

  temp_dir dir;
  std::string cert = dir / "cert.pem", key = dir / "key.pem";
};

} // namespace caged::test
