#include "server/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace resflow::server {
namespace {

using namespace std::chrono_literals;

constexpr auto kHeadTime = 10s, kBodyTime = 20s;
constexpr int64_t kHeadBytes = 65536;
constexpr double kSlowestPace = 4096;                  // bytes a second, beyond the first seconds
constexpr double kMostWriteWait = 30, kDrainTime = 2;  // seconds

thread_local Connection* current_connection = nullptr;

// Waits until the socket is ready or the time is over. Never longer than `slice` at once, so that stopping is seen.
bool ready(int socket, short events, int milliseconds) {
  pollfd entry{.fd = socket, .events = events, .revents = 0};
  return ::poll(&entry, 1, milliseconds) > 0;
}

void tell_address(const sockaddr_storage& address, std::string& ip, int& port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
    port = ntohs(in.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &in.sin6_addr, text.data(), text.size());
    port = ntohs(in.sin6_port);
  }
  ip = text.data();
}

}  // namespace

Connection* Connection::current() { return current_connection; }
void Connection::make_current(bool on) { current_connection = on ? this : nullptr; }

bool Connection::wait_for_request(std::chrono::seconds most) {
  route = "other";
  in_body_ = chunked_ = body_read_ = over_limit_ = timed_out_ = false;
  announced_ = -1;
  phase_bytes_ = sent_ = 0;
  phase_most_ = kHeadBytes;
  write_waited_ = 0;
  const auto until = Clock::now() + most;
  while (taken_ == buffered_) {
    if (stopping_ || Clock::now() >= until) return false;
    if (ready(socket_, POLLIN, 200)) break;
  }
  phase_begun_ = Clock::now();
  return true;
}

void Connection::begin_body(int64_t most, int64_t announced, bool chunked) {
  in_body_ = true;
  phase_begun_ = Clock::now();
  phase_bytes_ = 0;
  phase_most_ = most;
  announced_ = announced;
  chunked_ = chunked;
}

bool Connection::at_request_end() const {
  if (!in_body_ || over_limit_ || timed_out_) return false;  // what was no request, or was cut off
  if (chunked_) return body_read_;
  return phase_bytes_ == std::max<int64_t>(announced_, 0);
}

void Connection::drain() {
  ::shutdown(socket_, SHUT_WR);
  const auto until = Clock::now() + std::chrono::duration<double>(kDrainTime);
  while (Clock::now() < until && !stopping_) {
    if (!ready(socket_, POLLIN, 100)) continue;
    if (::recv(socket_, buffer_.data(), buffer_.size(), 0) <= 0) return;
  }
}

bool Connection::hung_up() const {
  pollfd entry{.fd = socket_, .events = POLLRDHUP, .revents = 0};
  return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

bool Connection::is_readable() const { return taken_ < buffered_ || ready(socket_, POLLIN, 0); }
bool Connection::is_writable() const { return !hung_up() && ready(socket_, POLLOUT, 5000); }

Connection::Clock::time_point Connection::read_deadline() const {
  if (!in_body_) return phase_begun_ + kHeadTime;
  return phase_begun_ + kBodyTime +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(phase_bytes_) / kSlowestPace));
}

ssize_t Connection::read(char* to, size_t size) {
  const auto left = static_cast<size_t>(std::max<int64_t>(0, phase_most_ - phase_bytes_));
  if (left == 0 && size > 0) {
    over_limit_ = true;
    return -1;
  }
  while (taken_ == buffered_) {
    const auto now = Clock::now(), until = read_deadline();
    if (now >= until) {
      timed_out_ = true;
      return -1;
    }
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(until - now).count();
    if (!ready(socket_, POLLIN, static_cast<int>(std::min<int64_t>(wait + 1, 1000)))) continue;
    const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return got;
    buffered_ = static_cast<size_t>(got);
    taken_ = 0;
  }
  const size_t count = std::min({size, left, buffered_ - taken_});
  std::memcpy(to, buffer_.data() + taken_, count);
  taken_ += count;
  phase_bytes_ += static_cast<int64_t>(count);
  return static_cast<ssize_t>(count);
}

ssize_t Connection::write(const char* from, size_t size) {
  for (;;) {
    const ssize_t put = ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put >= 0) {
      sent_ += put;
      return put;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -1;
    if (write_waited_ > kMostWriteWait + static_cast<double>(sent_) / kSlowestPace) return -1;
    const auto begun = Clock::now();
    ready(socket_, POLLOUT, 1000);
    write_waited_ += std::chrono::duration<double>(Clock::now() - begun).count();
  }
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) tell_address(address, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) tell_address(address, ip, port);
}

}  // namespace resflow::server
