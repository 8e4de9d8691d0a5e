// Runs a fuzz target without libFuzzer: every seed as it is, then a fixed number of mutations of them, the same ones each time.
//   fuzz_TARGET RUNS SECONDS MEGABYTES SEED...
// Prints a line a seed, "NAME: read" or "NAME: what was complained of", then what was run. An input that takes more than SECONDS of the processor, or
// memory beyond MEGABYTES more than the program has at its start, or that crashes the reader, is left in the file crash-input, and the program ends
// badly.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

const Bytes* running = nullptr;

// Only what may be called from a signal's handler.
void keep_input(int signal) {
  const char* what = signal == SIGPROF ? "\ntoo slow: crash-input\n" : "\ncrashed: crash-input\n";
  const int file = ::open("crash-input", O_CREAT | O_WRONLY | O_TRUNC, 0644);
  if (file >= 0 && running != nullptr) (void)!::write(file, running->data(), running->size());
  (void)!::write(STDERR_FILENO, what, std::strlen(what));
  ::_exit(1);
}

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

long memory_pages() {
  long pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages;
}

void run(const Bytes& input, int seconds) {
  running = &input;
  const itimerval limit{.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_usec = 0}}, none{};
  ::setitimer(ITIMER_PROF, &limit, nullptr);
  LLVMFuzzerTestOneInput(input.data(), input.size());
  ::setitimer(ITIMER_PROF, &none, nullptr);
  running = nullptr;
}

class Mutator {
 public:
  explicit Mutator(std::vector<Bytes> seeds) : seeds_(std::move(seeds)) {}

  // One to four changes of a seed, most of them near its start, where headers are, or its end, where zip has its directory.
  Bytes next() {
    Bytes out = seeds_[below(seeds_.size())];
    for (size_t left = 1 + below(4); left > 0; --left) change(out);
    return out;
  }

 private:
  size_t below(size_t limit) { return limit == 0 ? 0 : draw_() % limit; }

  size_t place(const Bytes& bytes) {
    const size_t part = std::min<size_t>(bytes.size(), 512);
    const size_t kind = below(3);
    return kind == 0 ? below(part) : kind == 1 ? bytes.size() - part + below(part) : below(bytes.size());
  }

  void change(Bytes& bytes) {
    static constexpr std::array<uint64_t, 10> kNumbers = {
        0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff, 0x8000000000000000};
    if (bytes.empty()) bytes.push_back(0);
    const size_t at = place(bytes), length = 1 + below(std::min<size_t>(bytes.size() - at, 64));
    const auto from = bytes.begin() + static_cast<ptrdiff_t>(at);
    switch (below(9)) {
      case 0:
        bytes[at] ^= static_cast<uint8_t>(1U << below(8));
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(draw_());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(from, from + static_cast<ptrdiff_t>(length));
        break;
      case 4: {
        const Bytes copy(from, from + static_cast<ptrdiff_t>(length));
        bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(place(bytes)), copy.begin(), copy.end());
        break;
      }
      case 5: {
        const uint64_t number = kNumbers[below(kNumbers.size())];
        const size_t width = size_t{1} << below(4);
        std::memcpy(&bytes[at], &number, std::min(width, bytes.size() - at));
        break;
      }
      case 6: {
        const Bytes& other = seeds_[below(seeds_.size())];
        const size_t first = below(other.size()), count = std::min(other.size() - first, length);
        std::copy_n(other.begin() + static_cast<ptrdiff_t>(first), std::min(count, bytes.size() - at), from);
        break;
      }
      case 7:
        bytes[at] = "0123456789-[]{}\",:e"[below(19)];
        break;
      default:
        bytes.insert(from, length, bytes[at]);
        break;
    }
  }

  std::vector<Bytes> seeds_;
  std::mt19937_64 draw_{1};  // its sequence is the standard's, the same everywhere
};

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const long runs = std::stol(words.at(0)), megabytes = std::stol(words.at(2));
  const int seconds = std::stoi(words.at(1));
  const rlim_t memory = static_cast<rlim_t>(memory_pages()) * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (static_cast<rlim_t>(megabytes) << 20);
  const rlimit limit{.rlim_cur = memory, .rlim_max = memory};
  ::setrlimit(RLIMIT_AS, &limit);
  for (const int signal : {SIGPROF, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) {
    static char stack[1 << 16];  // a stack that overflowed has no room for a handler
    const stack_t other{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
    ::sigaltstack(&other, nullptr);
    struct sigaction action {};
    action.sa_handler = keep_input;
    action.sa_flags = SA_ONSTACK;
    ::sigaction(signal, &action, nullptr);
  }
  const auto begun = std::chrono::steady_clock::now();
  std::vector<Bytes> seeds;
  for (size_t i = 3; i < words.size(); ++i) {
    seeds.push_back(read_file(words[i]));
    run(seeds.back(), seconds);
    const auto slash = words[i].rfind('/');
    fmt::print("{}: {}\n", words[i].substr(slash == std::string::npos ? 0 : slash + 1),
               resflow::fuzz::complaint.empty() ? "read" : resflow::fuzz::complaint);
  }
  long read = 0;
  Mutator mutator(std::move(seeds));
  for (long i = 0; i < runs; ++i) {
    run(mutator.next(), seconds);
    read += resflow::fuzz::complaint.empty() ? 1 : 0;
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begun;
  fmt::print("{} mutations: {} read, {} refused; {:.1f} s, at most {} MB\n", runs, read, runs - read, taken.count(), usage.ru_maxrss / 1024);
  return 0;
}
