#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "proto/wire.pb.h"

namespace tunefleet::coordinator {

/// A message and the connection it goes to.
struct Relayed {
  std::string peer{};
  wire::Envelope envelope{};
};

/// Passes on what a gang's exec-on asks another agent, and the answers: agents do not know each
/// other's addresses, and all have a line to the coordinator. Decides nothing: the agent that is
/// asked runs only what it has kept slots for. A value: no clock, no socket.
///
/// Nothing is stored: agents are known from their beats, and an exec-on asks again each second, so
/// that after a restart of the coordinator everything is here again by itself.
class ExecRelay {
 public:
  /// Takes one message in, whatever it is; `now_ms` is any clock that only goes forward. What is to
  /// be sent on, if anything: an ExecRequest for an agent that is here, or an ExecStatus of the
  /// agent that was asked.
  std::optional<Relayed> on_message(const std::string& peer, const wire::Envelope& envelope,
                                    int64_t now_ms);

  /// exec-ons that wait for answers.
  size_t askers() const { return askers_.size(); }

 private:
  struct Asker {
    std::string peer;
    std::string host;  ///< Whom it asks.
    int64_t heard_ms = 0;
  };

  std::optional<Relayed> pass_request(const std::string& peer, const wire::ExecRequest& request,
                                      int64_t now_ms);
  std::optional<Relayed> pass_status(const std::string& peer, const wire::ExecStatus& status) const;

  std::map<std::string, std::string> agents_;  ///< Host -> connection, from the newest beat.
  std::map<std::string, Asker> askers_;        ///< By the request's id.
};

}  // namespace tunefleet::coordinator
