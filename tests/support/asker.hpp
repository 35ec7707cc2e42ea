#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/endpoint.hpp"
#include "tests/support/person.hpp"

namespace caged::test {

/// A person's connection to a node that asks for whatever the protocol has,
/// also what the command line would not ask for.
class asker {
public:
  struct answer {
    std::string id; ///< of the request
    /// The first that is no progress. Nothing: what came behind it was
    /// answered, and it was not; or the connection is gone.
    std::optional<api::reply_body> body;

    bool denied() const;
    /// The error in one line, or the number of the answer's kind.
    std::string text() const;
  };

  /// To the node that the person is at. Waits until it knows the key.
  explicit asker(const person& who);

  bool open() const { return connection_ != nullptr; }
  answer ask(api::request_body body);

private:
  std::unique_ptr<cli::connection> connection_;
};

} // namespace caged::test
