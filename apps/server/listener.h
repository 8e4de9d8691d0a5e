// The HTTP library's server with a thread a connection, bounded, and the deadlines of connection.h.
#pragma once

#include <httplib.h>

#include <atomic>

#include "server/connection.h"

namespace resflow::server {

class Listener final : public httplib::Server {
 public:
  explicit Listener(int64_t max_connections);

  // -> the port. Throws UserError where it cannot be had.
  int bind(const std::string& host, int port);
  // Serves until stop_serving(), then waits for the requests at hand.
  void serve();
  void stop_serving();
  bool stopping() const { return stopping_; }

 private:
  bool process_and_close_socket(socket_t socket) override;

  std::atomic<bool> stopping_{false};
};

}  // namespace resflow::server
